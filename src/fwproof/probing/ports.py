"""Source ports of the probes: a rotating block above every kernel's ephemeral ports."""

from __future__ import annotations

import secrets
import threading

from fwproof.probing.agent import PORT_HIGH, PORT_LOW

BLOCK = PORT_HIGH - PORT_LOW + 1


class Ports:
    """Hands out source ports in turn, from a random start; safe to use from several threads.

    A port comes back only after the whole block was used, so that conntrack at the target has no entry of the
    same connection any more and reports it as new.
    """

    def __init__(self, start: int | None = None) -> None:
        self._next = secrets.randbelow(BLOCK) if start is None else start - PORT_LOW
        self._lock = threading.Lock()

    def take(self) -> int:
        """Return the next port."""
        with self._lock:
            port = PORT_LOW + self._next % BLOCK
            self._next += 1
            return port
