"""Watchdog: while an audit provokes something, it makes sure that the hosts can still be managed.

Each audited host is logged in to once more at intervals, as an administrator would: a rule that cuts off new
connections is not noticed on one that stands. A log-in is complete, so that nothing on the host takes it for an
attack. Where the host's tables limit new connections from here, only the standing connection is asked: the watchdog
must not use up what it watches. Agents hear from it, so that they know that the auditor is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address

from fwproof.audit.field import Field
from fwproof.errors import HostError
from fwproof.flow import Flow
from fwproof.flows import request
from fwproof.hosts.ssh import SshTransport
from fwproof.policy.model import Service
from fwproof.probing.channel import Agent
from fwproof.semantics.limits import NotSettled
from fwproof.semantics.model import HostModel
from fwproof.semantics.walk import TooLarge

EVERY = 2.0
"""Seconds between two looks at a host, where there are few."""
_EACH = 0.25
"""Seconds for each host that is watched, where there are many: a log-in takes the auditor some 0.1 s of a processor."""
PATIENCE = 3.0
"""Seconds that connecting may take, which is the kernels' work; one that fails is tried once more before it counts."""
_ANSWER = 15.0
"""Seconds that a log-in over a connection that stands, or an agent's answer, may take: processors may be busy."""
_LOOK = 0.1
_AT_ONCE = 32
"""Hosts that are looked at once more at the end, all together."""
Model = Callable[[str], HostModel | HostError | None]


class Watchdog:
    """Watches ``hosts`` of a field, in threads of its own until it is closed; what it finds closes the field's gate."""

    def __init__(self, field: Field, hosts: Iterable[str], model: Model, progress: Callable[[str], None]) -> None:
        self._field, self._progress, self._done = field, progress, False
        self._hosts = [name for name in hosts if name in field.transports]
        self._spared = {name for name in self._hosts if limits_us(field, name, model(name))}
        for name in self._hosts:
            self._start(partial(self._visit, name))
        self._start(self._greet)

    def _start(self, look: Callable[[], None]) -> None:
        def watch() -> None:
            while not self._done:
                begun = time.monotonic()
                look()
                while not self._done and time.monotonic() - begun < max(EVERY, _EACH * len(self._hosts)):
                    time.sleep(_LOOK)

        threading.Thread(target=watch, name="watchdog", daemon=True).start()

    def last(self) -> None:
        """Look once more at every host, so that nothing that was done last goes unnoticed."""
        with ThreadPoolExecutor(max(1, min(_AT_ONCE, len(self._hosts)))) as pool:
            list(pool.map(self._visit, self._hosts))

    def close(self) -> None:
        """Stop watching; a look that is under way comes to nothing."""
        self._done = True

    def _greet(self) -> None:
        for agent in [each for each in list(self._field.agents.values()) if isinstance(each, Agent)]:
            try:
                agent.alive(_ANSWER)
            except HostError as error:
                self._lose(agent.host, f"its agent does not answer any more: {error.message}")

    def _visit(self, name: str) -> None:
        transport = self._field.transports.get(name)
        if transport is None or name in self._field.gate.lost:
            return
        if not transport.connected:
            self._lose(name, "the SSH connection to it was lost")
        elif name not in self._spared:
            error = reached(transport) and reached(transport)
            if error:
                self._lose(name, f"it can no longer be reached over SSH by a new connection: {error}")

    def _lose(self, name: str, why: str) -> None:
        if self._done or name in self._field.gate.lost:
            return
        self._field.gate.lose(name, why)
        self._progress(f"{name}: {why}; nothing more is sent to it")


@contextmanager
def watched(field: Field, hosts: Iterable[str], model: Model, progress: Callable[[str], None]) -> Iterator[None]:
    """Watch hosts for as long as the block takes."""
    dog = Watchdog(field, hosts, model, progress)
    try:
        yield
        dog.last()
    finally:
        dog.close()


def reached(transport: SshTransport) -> str:
    """Log in and out again; return why that cannot be done, empty where it can."""
    try:
        transport.visit(PATIENCE, _ANSWER)
    except HostError as error:
        return error.message
    return ""


def limits_us(field: Field, name: str, model: HostModel | HostError | None) -> bool:
    """Whether a host's tables limit new SSH connections from here, as far as that can be told."""
    transport, place = field.transports[name], field.inventory.hosts[name]
    ends = transport.ends
    if not isinstance(model, HostModel) or ends is None:
        return False
    src, dst = map(ip_address, ends)
    if dst not in place.addresses:  # through a tunnel, or by another network than the audited one
        return False
    flow: Flow = request(Service("tcp", place.ssh.port, f"tcp/{place.ssh.port}"), src, dst)
    try:
        return bool(model.limiters(flow))
    except (NotSettled, TooLarge):
        return True  # what cannot be told may be a limit
