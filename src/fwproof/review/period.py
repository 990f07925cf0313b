"""The period that is reviewed, in whole hours, and the one before that it is compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from fwproof.errors import UsageError
from fwproof.evidence.log_stamps import EARLIEST
from fwproof.review.sorts import HOUR, UNDATED, Cell

DAYS = 7
_UNITS = {"h": 1, "d": 24, "w": 7 * 24}
_EXPECTED = "expected a length such as 7d, 12h or 2w, or a date such as 2026-11-18 or 2026-11-18T14:00"


@dataclass(frozen=True, slots=True)
class Period:
    """Hours since 1970, the last one not included; what is earlier than ``since`` is for comparison.

    ``earlier`` is the number of hours before ``since`` that the log covers, 0 where it does not reach back.
    """

    since: int
    until: int
    earlier: int = 0

    @property
    def hours(self) -> int:
        """How long the period is."""
        return self.until - self.since

    def now(self, hours: Mapping[int, Cell]) -> list[Cell]:
        """Return the cells of the period; undated lines count as of it."""
        return [cell for hour, cell in hours.items() if hour == UNDATED or self.since <= hour < self.until]

    def before(self, hours: Mapping[int, Cell]) -> list[Cell]:
        """Return the cells of the time before."""
        return [cell for hour, cell in hours.items() if hour != UNDATED and hour < self.since]


def moment(text: str, zone: tzinfo, option: str) -> int | float:
    """Return a time as seconds since 1970, or a length of time as whole hours, negative; raises UsageError."""
    length = re.fullmatch(r"(\d{1,5})([hdw])", text, re.ASCII)
    if length is not None and int(length[1]):
        return -int(length[1]) * _UNITS[length[2]]
    try:
        when = datetime.fromisoformat(text)
        found = (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option} {text}: {_EXPECTED}") from error
    if found < EARLIEST:
        raise UsageError(f"{option} {text}: {_EXPECTED}")
    return found


def period_of(since: float | None, until: float | None, dated: tuple[int, int] | None, now: float) -> Period:
    """Return the period; ``dated`` are the first and the last hour of the log, None where no line has a date.

    ``until`` defaults to the log's own end, or to ``now`` where it has none, and ``since`` to :data:`DAYS` days before.
    Lengths (negative) count back from there. Raises UsageError for a period that ends before it begins.
    """
    first, last = dated or (int(now // HOUR),) * 2
    end = last + 1
    if until is not None:
        end = end + int(until) if until < 0 else -int(-until // HOUR)
    begin = end - DAYS * 24
    if since is not None:
        begin = end + int(since) if since < 0 else int(since // HOUR)
    if begin >= end:
        raise UsageError(f"--since is not before --until: {stamp(begin * HOUR)} and {stamp(end * HOUR)} (UTC)")
    return Period(begin, end, max(0, begin - first) if dated else 0)


def stamp(seconds: float) -> str:
    """Return a time as RFC 3339 writes it, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "-"
