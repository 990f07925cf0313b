"""A stream to a host that somebody else carries: what paramiko needs of a socket, without one.

Whoever carries it hands in what came from the host, and takes away what is to be sent there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fwproof.errors import HostUnreachable

if TYPE_CHECKING:
    import paramiko

Send = Callable[[bytes | None], None]
"""Takes bytes for the host, or None for the end of the stream; raises OSError where it is over."""
MOST = 64 * 1024 * 1024
"""Bytes of a host that wait to be read at most; all the windows of an SSH connection together are less."""


class Carried:
    """One stream; ``ends`` are the addresses of its connection, the carrier's and the host's.

    ``lost`` says why it ended, where that was neither the host nor us.
    """

    def __init__(self, ends: tuple[str, str], send: Send) -> None:
        self.ends, self.lost = ends, ""
        self._send = send
        self._came, self._over = bytearray(), False
        self._news = threading.Condition()
        self._patience: float | None = None

    # ---- what paramiko asks for, as of socket(7)

    def settimeout(self, seconds: float | None) -> None:
        """Let :meth:`recv` wait so long; None is without a limit."""
        self._patience = seconds

    def recv(self, most: int) -> bytes:
        """Return what came, or ``b""`` at the end of the stream; raises TimeoutError where nothing came in time."""
        deadline = None if self._patience is None else time.monotonic() + self._patience
        with self._news:
            while not self._came and not self._over:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError
                self._news.wait(left)
            piece = bytes(self._came[:most])
            del self._came[:most]
            return piece

    def send(self, data: bytes) -> int:
        """Hand over all of ``data``; raises OSError after the end of the stream."""
        if self._over:
            raise BrokenPipeError(self.lost or "the stream has ended")
        self._send(bytes(data))
        return len(data)

    def close(self) -> None:
        """End the stream, for both sides. Safe to call again."""
        if self.end():
            self._send(None)

    @property
    def _closed(self) -> bool:  # paramiko looks at this attribute of a socket before it waits for its own thread
        return self._over

    # ---- what the carrier does

    def feed(self, data: bytes) -> None:
        """Take in what came from the host; one that sends much faster than it is read is hung up on."""
        with self._news:
            self._came += data
            self._news.notify_all()
            flooded = len(self._came) > MOST
        if flooded and self.end(f"it had sent {MOST:,} bytes more than were read"):
            self._send(None)

    def end(self, lost: str = "") -> bool:
        """Let the stream be over once all that came is read; return whether it was not over before."""
        with self._news:
            first, self._over = not self._over, True
            self.lost = self.lost or (lost if first else "")
            self._news.notify_all()
            return first


def lost(
    host: str, connection: paramiko.Transport | None, words: str = "the connection was lost",
    advice: str = "see that the host is up, then run again",
) -> HostUnreachable:  # fmt: skip
    """Return what to raise where an SSH connection does not stand any more: its carrier's reason goes before words."""
    why = getattr(getattr(connection, "sock", None), "lost", "")
    return HostUnreachable(host, why, "run again once it is back") if why else HostUnreachable(host, words, advice)
