"""When a log line was written: the stamps of syslog, journalctl and dmesg, as seconds since 1970 (UTC).

A stamp without a zone is in the log's own, which the reader has to be told; one without a year (RFC 3164, section
4.1.2) gets the last year that does not put it behind the moment at which the log was known to be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
"""No log is older; a stamp before is one of a clock that was never set."""
SLACK = 86_400.0
"""Seconds by which a stamp may be ahead of the reader's clock."""
_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip
_YEARS = 9
"""How many years back a stamp without a year is looked for: 29 February may be eight years away (1896 to 1904)."""
_REMEMBERED = 100_000
_KERNEL_TIME = r"\[\s{0,12}(?P<up>\d{1,12}\.\d{1,9})\]"
_STAMP = re.compile(
    r"(?:<\d{1,3}>)?(?:"
    r"(?P<day>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d):(?P<s1>\d\d)(?P<f1>\.\d{1,9})?"
    r"|(?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d):(?P<s2>\d\d)(?P<f2>[.,]\d{1,9})?"
    r" ?(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?"
    r"|\[[A-Z][a-z]{2} (?P<ctime>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d):(?P<s3>\d\d) (?P<year>\d{4})\]"
    r"|(?P<unix>\d{9,11}\.\d{6})"
    rf"|{_KERNEL_TIME}"
    r")(?: |$)",
    re.ASCII,
)


class Stamp(NamedTuple):
    """``time`` is None where the line does not say when it was written; ``end`` is where the stamp ends in the line.

    ``named``: the name of a host follows. ``implausible``: there was a time, of another age or of the future.
    """

    time: float | None
    end: int = 0
    named: bool = False
    implausible: bool = False


class Clock:
    """Reads stamps. ``zone`` is that of stamps without one, ``now`` the reader's own clock.

    ``written`` is a moment at which the log is known to have been written last; ``boot`` is when the host started, if
    known, for stamps that count from there.
    """

    def __init__(self, zone: tzinfo, now: float, written: float | None = None, boot: float | None = None) -> None:
        self.zone = zone
        self.now = now
        self.boot = boot
        self._latest = SLACK + (now if written is None else min(now, written))
        self._minutes: dict[str, float | None] = {}

    def at_most(self, moment: float) -> Clock:
        """Return a clock for a log that was written last at ``moment``."""
        return Clock(self.zone, self.now, moment, self.boot)

    def read(self, line: str) -> Stamp:
        """Return the stamp at the beginning of a line."""
        found = _STAMP.match(line)
        if found is None:
            return Stamp(None)
        named = True
        if found["day"]:
            time = _plus(self._minute(found["day"], self._this_year), found["s1"], found["f1"])
        elif found["date"]:
            text = f"{found['date']}T{found['time']}{found['zone'] or ''}"
            time = _plus(self._minute(text, self._iso), found["s2"], found["f2"])
            named = not (found["f2"] or "").startswith(",")  # dmesg --time-format iso
        elif found["ctime"]:
            time = _plus(self._minute(f"{found['year']} {found['ctime']}", self._of_year), found["s3"], None)
            named = False
        elif found["unix"]:
            time = float(found["unix"])
        else:
            time = None if self.boot is None else self.boot + float(found["up"])
            named = False
        return self.checked(time, found.end(), named=named)

    def checked(self, time: float | None, end: int = 0, *, named: bool = False) -> Stamp:
        """Return a stamp for a time, which is dropped where no log of ours can be of that age."""
        if time is not None and not EARLIEST <= time <= self.now + SLACK:
            return Stamp(None, end, named, implausible=True)
        return Stamp(time, end, named)

    def _minute(self, text: str, read: Callable[[str], float | None]) -> float | None:
        """Return when a minute began; None for one that no calendar has."""
        if text not in self._minutes:
            if len(self._minutes) >= _REMEMBERED:
                self._minutes.clear()
            self._minutes[text] = read(text)
        return self._minutes[text]

    def _this_year(self, text: str) -> float | None:
        latest = datetime.fromtimestamp(self._latest, self.zone).year
        for year in range(latest, latest - _YEARS, -1):
            time = self._of_year(f"{year} {text}")
            if time is not None and time <= self._latest:
                return time
        return None

    def _of_year(self, text: str) -> float | None:
        year, month, day, clock = text.split()
        hour, _, minute = clock.partition(":")
        try:
            when = datetime(int(year), _MONTHS.get(month, 0), int(day), int(hour), int(minute), tzinfo=self.zone)
            return when.timestamp()
        except (ValueError, OverflowError):
            return None

    def _iso(self, text: str) -> float | None:
        try:
            when = datetime.fromisoformat(text.replace("UTC", "Z"))
            return (when if when.tzinfo else when.replace(tzinfo=self.zone)).timestamp()
        except (ValueError, OverflowError):
            return None


def _plus(minute: float | None, seconds: str, fraction: str | None) -> float | None:
    if minute is None:
        return None
    return minute + int(seconds) + (float(f"0.{fraction[1:]}") if fraction else 0.0)
