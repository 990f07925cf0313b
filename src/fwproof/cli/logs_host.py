"""Counting the packet log of a live host: its newest files first, as far back as the review needs, within bounds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from fwproof.errors import CommandTimeout, HostError
from fwproof.evidence.log_stamps import Clock
from fwproof.evidence.packet_log import read_log
from fwproof.hosts.log_parts import Part, PartStream, parts_of
from fwproof.review.period import DAYS
from fwproof.review.sorts import HOUR
from fwproof.review.tally import Tally

if TYPE_CHECKING:
    from fwproof.hosts.transport import Transport

MOST_MIB = 64
SECONDS = 120.0
"""Seconds that reading the log of one host may take."""
_MIB = 1 << 20
_MORE = " (--most MIB reads more)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a log is wanted: the period's begin and end as the command line has them, MiB and seconds at most."""

    since: float | None
    until: float | None
    most: int = MOST_MIB * _MIB
    seconds: float = SECONDS

    def reach(self, end: float) -> tuple[float, float]:
        """Return where the period begins, and how far back what it is compared with goes, as long again."""
        last = end if self.until is None else end + self.until * HOUR if self.until < 0 else self.until
        begin = last - DAYS * 24 * HOUR
        if self.since is not None:
            begin = last + self.since * HOUR if self.since < 0 else self.since
        return begin - HOUR, begin - HOUR - (last - begin)


def read_host(transport: Transport, tally: Tally, clock: Clock, wanted: Wanted) -> list[str]:
    """Count the lines of a host's drop log; return what was read and what was not, in words.

    What is missing of the period itself is in ``tally.unread``. Raises HostError where nothing can be read.
    """
    parts, others = parts_of(transport)
    begin, earliest = wanted.reach(max(part.written for part in parts))
    reading = _Reading(transport, tally, clock, wanted.most, time.monotonic() + wanted.seconds, begin)
    for part in parts:
        if part.written >= earliest or part is parts[0]:
            reading.add(part)
    for name in others:
        tally.unread.append(f"{name} is packed so that it cannot be read here: give it as a FILE, unpacked")
    missing = f"; not read: {'; '.join(reading.missing)}" if reading.missing else ""
    read = f"{', '.join(reading.read)}, {reading.taken / _MIB:,.1f} MiB"
    return [f"the drop log of {transport.host.name} ({read}{missing})"]


class _Reading:
    """Reads the files of a log one after the other, until there is no room or time left."""

    def __init__(  # noqa: PLR0913, PLR0917 - what reading needs, once
        self, transport: Transport, tally: Tally, clock: Clock, left: int, deadline: float, begin: float
    ) -> None:
        self.transport, self.tally, self.clock = transport, tally, clock
        self.left, self.deadline, self.begin = left, deadline, begin
        self.read: list[str] = []
        self.missing: list[str] = []
        self.taken = 0

    def add(self, part: Part) -> None:
        """Count one file, or say why not."""
        if self.left <= 0 or time.monotonic() > self.deadline:
            self._missed(f"{part.name}, written last {_day(part.written)}{_MORE}", part)
            return
        try:
            self._count(part)
        except CommandTimeout:
            self.deadline = 0.0
            self._missed(f"the rest of {part.name}: the time was up", part)
        except HostError as error:
            if not self.read:
                raise
            self._missed(f"{part.name}: {error.message}", part)

    def _count(self, part: Part) -> None:
        stream = PartStream(self.transport, part, self.left, self.deadline)
        try:
            self.read.append(part.name.rpartition("/")[2])
            for line in read_log(cast("BinaryIO", stream), self.clock.at_most(part.written)):
                self.tally.add(line)
        finally:
            stream.close()
            self.taken += stream.taken
            self.left -= stream.taken
        if stream.complaint:
            self._missed(f"{part.name} to its end: {stream.complaint[:200]}", part)
        if stream.size > stream.taken:
            self.left = 0
            dated = self.tally.dated()
            older = f"the oldest {(stream.size - stream.taken) / _MIB:,.1f} MiB of {part.name}{_MORE}"
            self._missed(older, None if dated is not None and dated[0] * HOUR <= self.begin else part)

    def _missed(self, words: str, part: Part | None) -> None:
        """Note what was not read; of a ``part`` that was written in the period itself, it weakens the answer."""
        self.missing.append(words)
        if part is not None and part.written >= self.begin:
            self.tally.unread.append(f"not read: {words}")


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
