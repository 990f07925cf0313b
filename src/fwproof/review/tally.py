"""Counting a packet log of any length in bounded memory: which packets, in which hour, how often.

Lines that have in common all that a review asks about are counted together, hour by hour. When there are too many
sorts of them (a flood from forged addresses, say), the rarest are merged, without their addresses: the sums stay right,
who comes again and again stays known, and what was merged is itself counted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping

from fwproof.evidence import packet_log
from fwproof.evidence.packet_log import Line
from fwproof.policy.model import Allow
from fwproof.review.bucket import Bucket
from fwproof.review.sorts import MANY, OTHER_PREFIXES, UNDATED, Cell, Hours, Key, Share, Sort

ROOM = 60_000
"""Sorts and hours that are told apart, about 2 kB each; sources of ours and what the policy allows have half as many
for themselves, and so has what is merged."""
PORTS_EACH = 1000
"""Services of one source that are told apart."""
_COMMON = 50
"""How often a service has to be met to keep its name when its lines are merged."""
_PREFIXES, _SERVICES, _HOSTS, _EXAMPLE = 500, 200_000, 50, 400
_TIMES_EACH, _TIMES = 20_000, 1_000_000
_UNREAD_SHOWN = 3


def _nowhere(_: str) -> bool:
    return False


def _nothing(_: Sort) -> Allow | None:
    return None


class Tally:
    """All that is kept of a log.

    ``inside`` says whether an address is one of ours, ``allow_of`` which expectation allows what lines tell of;
    ``buckets`` are the limits of logging rules. ``missed``: lines of traffic that the policy allows which had to be
    merged. ``times`` are those of lines that a rate allows. ``unread`` says what could not be read to its end.
    """

    def __init__(
        self, inside: Callable[[str], bool] = _nowhere, allow_of: Callable[[Sort], Allow | None] = _nothing,
        buckets: Mapping[Key, Bucket] | None = None, room: int = ROOM,
    ) -> None:  # fmt: skip
        self.sorts: dict[Sort, Hours] = {}
        self.lines: Counter[packet_log.Kind] = Counter()
        self.hosts: Counter[str] = Counter()
        self.times: dict[Sort, array[float]] = {}
        self.unread: list[str] = []
        self.not_understood: list[str] = []
        self.buckets = dict(buckets or {})
        self.undated = self.implausible = self.missed = 0
        self._inside, self._allow_of = inside, allow_of
        self._room = {Share.OURS: room // 2, Share.OTHERS: room, Share.MERGED: room // 2}
        self._cells = dict.fromkeys(Share, 0)
        self._services: Counter[tuple[int, int | None]] = Counter()
        self._prefixes: set[str] = set()
        self._ports: Counter[str] = Counter()
        self._all_times = 0

    @property
    def merged(self) -> int:
        """How many lines are counted without their addresses."""
        return sum(cell.count for sort, hours in self.sorts.items() if sort.merged for cell in hours.values())

    def dated(self) -> tuple[int, int] | None:
        """Return the first and the last hour of the log, None where no line has a date."""
        hours = [hour for by_hour in self.sorts.values() for hour in by_hour if hour != UNDATED]
        return (min(hours), max(hours)) if hours else None

    def add(self, line: Line) -> None:
        """Count one line."""
        self.lines[line.kind] += 1
        packet, time = line.packet, line.time
        if packet is None:
            if line.kind is packet_log.Kind.NOT_UNDERSTOOD and len(self.not_understood) < _UNREAD_SHOWN:
                self.not_understood.append(line.text[:_EXAMPLE])
            return
        if line.host and (line.host in self.hosts or len(self.hosts) < _HOSTS):
            self.hosts[line.host] += 1
        sort = Sort.of(packet, self._prefix(packet.prefix))
        if time is None:
            self.undated += 1
            self.implausible += line.implausible
        elif self.buckets:
            bucket = self.buckets.get(sort.key)
            if bucket is not None:
                bucket.take(time)
        self._count(sort, time, line.text)

    def _prefix(self, prefix: str) -> str:
        if prefix not in self._prefixes:
            if len(self._prefixes) >= _PREFIXES:
                return OTHER_PREFIXES
            self._prefixes.add(prefix)
        return prefix

    def _count(self, sort: Sort, time: float | None, text: str) -> None:
        hour = UNDATED if time is None else int(time // 3600)
        hours = self.sorts.get(sort)
        cell = None if hours is None else hours.get(hour)
        if hours is None or cell is None:
            sort, hours = self._admitted(sort)
            cell = self._cell(hours, hour)
            if not cell.example and hours.share is Share.OURS:
                cell.example = text[:_EXAMPLE]
        cell.add(time)
        if hours.allow is not None:
            cell.example = text[:_EXAMPLE]
            if hours.allow.rate is not None and time is not None and self._all_times < _TIMES:
                self._keep_time(sort, time)

    def _keep_time(self, sort: Sort, time: float) -> None:
        kept = self.times.setdefault(sort, array("d"))
        if len(kept) < _TIMES_EACH:
            kept.append(time)
            self._all_times += 1

    def _cell(self, hours: Hours, hour: int) -> Cell:
        if hour not in hours:
            hours[hour] = Cell()
            self._cells[hours.share] += 1
        return hours[hour]

    def _admitted(self, sort: Sort) -> tuple[Sort, Hours]:
        """Return the sort as which a new one is counted, and its hours; first make room where there is none."""
        asked = (sort.proto, sort.port)
        if asked in self._services or len(self._services) < _SERVICES:
            self._services[asked] += 1
        hours = self.sorts.get(sort) or self._of(sort)
        if hours.allow is None and sort not in self.sorts:
            self._ports[sort.src] += 1
            if self._ports[sort.src] > PORTS_EACH:
                sort = sort._replace(port=MANY, dst="")
                hours = self.sorts.get(sort) or hours
        if self._cells[hours.share] >= self._room[hours.share]:
            self._make_room(hours.share)
        return sort, self.sorts.setdefault(sort, hours)

    def _of(self, sort: Sort) -> Hours:
        allow = self._allow_of(sort)
        return Hours(Share.OURS if allow is not None or self._inside(sort.src) else Share.OTHERS, allow)

    def _make_room(self, share: Share) -> None:
        """Merge the rarest sorts of a share until it is half empty, so that what comes again and again is kept."""
        those = [(sum(cell.count for cell in hours.values()), sort)
                 for sort, hours in self.sorts.items() if hours.share is share]  # fmt: skip
        those.sort(key=lambda each: each[0])
        for count, sort in those:
            if self._cells[share] <= self._room[share] // 2:
                break
            hours = self.sorts.pop(sort)
            self._cells[share] -= len(hours)
            self._all_times -= len(self.times.pop(sort, ()))
            self.missed += count if hours.allow is not None else 0
            for hour, cell in hours.items():
                plain, when = self._plain(sort, hour)
                self._cell(self.sorts.setdefault(plain, Hours(Share.MERGED, None)), when).take(cell)
        left = {sort.src for sort in self.sorts}
        self._ports = Counter({src: count for src, count in self._ports.items() if src in left})

    def _plain(self, sort: Sort, hour: int) -> tuple[Sort, int]:
        """Return a sort without its addresses, and without what else there is no room for."""
        known = self._services[sort.proto, sort.port] >= _COMMON
        plain = Sort(sort.version, sort.way, sort.prefix, proto=sort.proto, port=sort.port if known else MANY,
                     opens=sort.opens, let_in=sort.let_in, merged=True)  # fmt: skip
        room = self._room[Share.MERGED]
        if self._cells[Share.MERGED] < room // 2:
            return plain, hour
        if self._cells[Share.MERGED] < room:
            return plain._replace(proto=0, port=None), hour
        return Sort(sort.version, sort.way, OTHER_PREFIXES, merged=True), UNDATED
