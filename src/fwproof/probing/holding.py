"""Ordinary connections that a vantage keeps open for a while: what a limit on open connections counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fwproof.errors import HostError
from fwproof.flow import Address
from fwproof.probing.channel import Agent

_OFTEN, _SOON = 0.2, 2.0
PATIENCE = 0.6
"""Seconds in which a connection must stand: less than the second after which a kernel repeats its SYN (RFC 6298)."""


class Held:
    """The connections that one agent keeps; made by :func:`held`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def open(self, source: Address, address: Address, port: int, count: int) -> int:
        """Open up to ``count`` connections, one after another until one does not stand; return how many stood."""
        answer = self._agent.call(
            "hold", timeout=15.0 + count * PATIENCE, source=str(source), address=str(address), port=port, count=count,
            patience=PATIENCE,
        )  # fmt: skip
        with self._agent.reading("report of connections"):
            return int(answer["stood"])

    def finish(self) -> bool:
        """End the sending half of all; return whether every other end acknowledges that in time."""
        answer = self._agent.call("finish", patience=PATIENCE)
        with self._agent.reading("report of connections"):
            return 0 < int(answer["kept"]) == int(answer["acknowledged"])

    def release(self) -> None:
        """Reset all of them."""
        self._agent.call("release")


@contextmanager
def held(agent: Agent) -> Iterator[Held]:
    """Give connections to keep from one agent; whatever happens, they are reset afterwards.

    The agent resets them by itself when nobody speaks to it for a second, so somebody does.
    """
    kept, done = Held(agent), threading.Event()

    def speak() -> None:
        while not done.wait(_OFTEN):
            try:
                agent.alive(_SOON)
            except HostError:
                return

    speaker = threading.Thread(target=speak, name="holding", daemon=True)
    speaker.start()
    try:
        yield kept
    finally:
        done.set()
        speaker.join()
        kept.release()
