"""What a tally holds, cut into the period that is reviewed and the time before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from fwproof.flow import ICMP, ICMPV6, protocol_name
from fwproof.policy.model import Allow
from fwproof.review.period import Period, stamp
from fwproof.review.sorts import MANY, UNDATED, Cell, Sort
from fwproof.review.tally import Tally

Key = TypeVar("Key")
Names = Mapping[tuple[int, int | None], str]
"""Names of services, by protocol number, and port or ICMP type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Lines of one sort: how many in the period and before, and in which hours of each.

    ``first`` and ``last`` are of the period, ``since`` is the first of all; 0 where no line has a date. ``allow`` is
    the expectation that allows such traffic.
    """

    sort: Sort
    count: int
    before: int
    hours: frozenset[int]
    hours_before: frozenset[int]
    first: float
    last: float
    since: float
    allow: Allow | None
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Lines of several sorts together, as :class:`Item`."""

    count: int
    before: int
    hours: frozenset[int]
    hours_before: frozenset[int]
    first: float
    last: float
    since: float

    @property
    def days(self) -> int:
        """On how many days (UTC) of the period there were some."""
        return len({hour // 24 for hour in self.hours})

    @property
    def span(self) -> str:
        """The first and the last time, for people."""
        return span(self.first, self.last) if self.count else "-"


def span(first: float, last: float) -> str:
    """Return a time from and to, for people; in UTC."""
    if not last:
        return "undated"
    one, other = (short(stamp(each)) for each in (first, last))
    return one if one == other else f"{one} to {other}"


def short(text: str) -> str:
    """Return a time as people write it, to the minute."""
    return text[:16].replace("T", " ")


def items_of(tally: Tally, period: Period) -> list[Item]:
    """Return what of a tally is in the period or before."""
    found = []
    for sort, hours in tally.sorts.items():
        now, before = period.now(hours), period.before(hours)
        if now or before:
            dated = [cell for cell in now if cell.last]
            found.append(Item(
                sort=sort, count=_count(now), before=_count(before),
                hours=frozenset(h for h in hours if h != UNDATED and period.since <= h < period.until),
                hours_before=frozenset(h for h in hours if h != UNDATED and h < period.since),
                first=min((cell.first for cell in dated), default=0.0),
                last=max((cell.last for cell in dated), default=0.0),
                since=min((cell.first for cell in (*dated, *before)), default=0.0),
                allow=hours.allow, example=max(((cell.last, cell.example) for cell in now if cell.example),
                                               default=(0.0, ""))[1],
            ))  # fmt: skip
    return found


def _count(cells: list[Cell]) -> int:
    return sum(cell.count for cell in cells)


def sum_of(items: Iterable[Item]) -> Sum:
    """Return several together."""
    listed = list(items)
    return Sum(
        count=sum(each.count for each in listed), before=sum(each.before for each in listed),
        hours=frozenset().union(*(each.hours for each in listed)),
        hours_before=frozenset().union(*(each.hours_before for each in listed)),
        first=min((each.first for each in listed if each.first), default=0.0),
        last=max((each.last for each in listed), default=0.0),
        since=min((each.since for each in listed if each.since), default=0.0),
    )  # fmt: skip


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> Mapping[Key, list[Item]]:
    """Return items by a key, in the order in which keys are met first."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def service(sort: Sort, names: Names) -> str:
    """Return what was asked for: ``tcp/22``, ``icmp type 8``, with the policy's name for it where it has one."""
    proto = protocol_name(sort.proto)
    if sort.merged and not sort.proto:
        return "not told apart"
    if sort.port == MANY:
        return f"{proto} (many ports)"
    if sort.port is None:
        return f"{proto} answers" if sort.opens == "answer" else proto
    text = f"{proto} type {sort.port}" if sort.proto in {ICMP, ICMPV6} else f"{proto}/{sort.port}"
    name = names.get((sort.proto, sort.port), text)
    return text if name == text else f"{text} ({name})"
