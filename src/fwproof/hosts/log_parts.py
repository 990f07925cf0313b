"""A host's packet log with the files that logrotate made of it, read as streams: each no longer than its reader wants.

The account that reads needs no root for it; the names that a host tells are believed only where they are the log's own
with what logrotate(8) adds to them.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwproof.errors import CommandTimeout, Garbled, HostError
from fwproof.hosts.access import log_listing, log_part

if TYPE_CHECKING:
    from fwproof.hosts.transport import ByteChannel, Transport

_WAIT = 20.0
"""Seconds in which a host has to go on with a file."""
_ADDED = r"(\.\d{1,4}|-\d{8}(-?\d{2,10})?)?"
_ADVICE = "let the auditor's account read it, for instance through group adm"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a log: its size in bytes, packed or not, and when it was written last, in seconds since 1970."""

    name: str
    size: int
    written: float

    @property
    def packed(self) -> bool:
        """Whether gzip has to unpack it."""
        return self.name.endswith(".gz")


def parts_of(transport: Transport) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Return the files of a host's drop log, the newest first, and those of its names that are packed otherwise.

    Raises HostError where there is none, or the inventory names none.
    """
    host, path = transport.host.name, transport.host.drop_log
    if path is None:
        raise HostError(host, "the inventory names no drop log", "add `drop_log: FILE` to the host")
    listed = transport.run(log_listing(path), name="drop-log-files")
    mine = re.compile(rf"(\d{{1,18}}) (\d{{1,12}}) ({re.escape(path)}{_ADDED}(?:\.(gz|xz|zst|bz2))?)", re.ASCII)
    found: list[Part] = []
    others: list[str] = []
    for line in listed.stdout.splitlines():
        match = mine.fullmatch(line)
        if match is None:
            continue
        if match[6] in {None, "gz"}:
            found.append(Part(match[3], int(match[1]), float(match[2])))
        else:
            others.append(match[3])
    if not any(part.name == path for part in found):
        raise HostError(host, f"its drop log cannot be read: {listed.stderr.strip() or f'there is no {path}'}", _ADVICE)
    return tuple(sorted(found, key=lambda part: (part.name != path, -part.written))), tuple(others)


class PartStream:
    """The newest ``most`` bytes of a file, from its first whole line on, as a binary stream; close it at the end.

    ``size`` is how long the whole file is when unpacked, ``taken`` what was read of it. After ``deadline``, on the
    monotonic clock, reading raises CommandTimeout; HostError where the file cannot be read.
    """

    def __init__(self, transport: Transport, part: Part, most: int, deadline: float) -> None:
        self.part, self._deadline, self._host = part, deadline, transport.host.name
        self._channel: ByteChannel = transport.open_channel(log_part(part.name, most))
        self._rest = b""
        self.taken = 0
        try:
            self.size = self._told_size()
            if self.size > most:
                self.taken += len(self._channel.readline(self._left()))  # what is left of a line
        except BaseException:
            self.close()
            raise

    def _told_size(self) -> int:
        first = self._channel.readline(self._left())
        if re.fullmatch(rb" *\d{1,18}\n", first) is None:
            why = self._channel.stderr.strip() or "the host did not tell its size"
            raise HostError(self._host, f"{self.part.name} cannot be read: {why}", _ADVICE)
        return int(first)

    def _left(self) -> float:
        left = min(_WAIT, self._deadline - time.monotonic())
        if left <= 0:
            raise CommandTimeout(self._host, f"{self.part.name} took too long")
        return left

    @property
    def complaint(self) -> str:
        """What the host said while it unpacked or read, empty where it said nothing."""
        return self._channel.stderr.strip()

    def _more(self) -> bool:
        if not self._rest:
            self._rest = self._channel.readline(self._left())
            self.taken += len(self._rest)
            if self.taken > self.size + (1 << 26):  # it may grow meanwhile, but not without end
                raise Garbled(self._host, f"{self.part.name} has no end")
        return bool(self._rest)

    def readline(self, size: int = -1, /) -> bytes:
        """Return the rest of a line, at most ``size`` bytes of it; empty at the end."""
        self._more()
        found = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(found) :]
        return found

    def read(self, size: int = -1, /) -> bytes:
        """Return so many bytes, fewer at the end."""
        found = bytearray()
        while (size < 0 or len(found) < size) and self._more():
            found += self.readline(-1 if size < 0 else size - len(found))
        return bytes(found)

    def close(self) -> None:
        """End the command on the host; safe to call again."""
        self._channel.close()
