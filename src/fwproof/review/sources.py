"""Who was refused: sources from outside and what they were after, and hosts of ours that keep trying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fwproof.review.findings import Finding, Known, numbers, times
from fwproof.review.items import Item, Names, Sum, grouped, service, short, sum_of
from fwproof.review.period import stamp
from fwproof.review.places import Places
from fwproof.review.sorts import MANY
from fwproof.review.tally import PORTS_EACH

SCAN_PORTS = 10
"""Services, on any of our addresses, that one source has to try in a period for a scan."""
SWEEP_SOURCES = 10
"""Addresses from outside that have to try the same service for a sweep."""
PERSISTENT_HOURS = 6
"""Separate hours in which an address from outside has to come back to be persistent."""
KNOCKING_HOURS = 3
"""Separate hours of the period in which a source of ours has to be refused the same service to keep knocking."""
_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An address from outside. ``tried`` is the number of services, on any address, ``most``: there were more."""

    address: str
    zone: str
    total: Sum
    services: tuple[str, ...]
    tried: int
    most: bool

    @property
    def what(self) -> str:
        """What it looks like: a scan, persistent knocking, both, or nothing more than it is."""
        words = []
        if self.tried >= SCAN_PORTS:
            words.append(f"scan of {self.tried:,}{' or more' if self.most else ''} ports")
        if len(self.total.hours) >= PERSISTENT_HOURS:
            words.append(f"persistent: {len(self.total.hours)} hours on {self.total.days} days")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One service that many addresses from outside tried."""

    service: str
    sources: int
    total: Sum


def _tried(items: Sequence[Item]) -> tuple[int, bool]:
    """Return how many services a source tried, and whether there were more than are told apart."""
    seen = {(item.sort.dst, item.sort.proto, item.sort.port) for item in items if item.sort.port != MANY}
    many = any(item.sort.port == MANY for item in items)
    return (max(len(seen), PORTS_EACH) if many else len(seen)), many


def attackers(items: Sequence[Item], known: Known) -> tuple[list[Source], list[Sweep]]:
    """Return the sources from outside, those first that look like something, then the busiest; and the sweeps."""
    places, names = known.places, known.names
    asked = [
        item
        for item in items
        if item.count and item.sort.asks and item.sort.way != "out" and not places.inside(item.sort.src)
    ]
    sources = [
        Source(
            address=address, zone=places.zone(address), total=sum_of(group), services=_services(group, names),
            tried=_tried(group)[0], most=_tried(group)[1],
        )
        for address, group in grouped(asked, lambda item: item.sort.src).items()
    ]  # fmt: skip
    sweeps = [
        Sweep(what, len({item.sort.src for item in group}), sum_of(group))
        for what, group in grouped(asked, lambda item: service(item.sort, names)).items()
    ]
    sources.sort(key=lambda each: (not each.what, -each.total.count, each.address))
    found = [each for each in sweeps if each.sources >= SWEEP_SOURCES]
    return sources, sorted(found, key=lambda each: (-each.sources, each.service))


def _services(items: Sequence[Item], names: Names) -> tuple[str, ...]:
    counts = {what: sum_of(group).count for what, group in grouped(items, lambda i: service(i.sort, names)).items()}
    return tuple(sorted(counts, key=lambda what: (-counts[what], what)))


def outbound(items: Sequence[Item], names: Names) -> list[tuple[str, str, Sum]]:
    """Return whom the host itself wanted to reach and could not: address, service, how often."""
    ours = [item for item in items if item.count and item.sort.asks and item.sort.way == "out"]
    found = grouped(ours, lambda item: (item.sort.dst, service(item.sort, names)))
    listed = [(to, what, sum_of(group)) for (to, what), group in found.items()]
    return sorted(listed, key=lambda each: (-each[2].count, each[0], each[1]))


def knocking(items: Sequence[Item], known: Known) -> Iterator[Finding]:
    """Yield a finding for each host of ours that tries what is refused again and again, the host itself last."""
    places, names = known.places, known.names
    asked = [item for item in items if item.count and item.sort.asks and item.allow is None]
    ours = [item for item in asked if item.sort.way != "out" and places.inside(item.sort.src)]
    by_host = sorted(grouped(ours, lambda item: item.sort.src).items(), key=lambda each: -sum_of(each[1]).count)
    for who, group in by_host:
        yield from _of_host(who, group, places, names)
    own = [item for item in asked if item.sort.way == "out"]
    for what, group in grouped(own, lambda item: service(item.sort, names)).items():
        found = sum_of(group)
        if len(found.hours) >= KNOCKING_HOURS:
            to = sorted({item.sort.dst for item in group if item.sort.dst})
            yield Finding(
                kind="knocking-out", title=f"the host itself keeps trying to reach {what} at {_at(to, places)}",
                details=(_told(found),), example=_example(group),
                data={"service": what, "to": to[:20], "since": stamp(found.since), **numbers(found)},
            )  # fmt: skip


def _of_host(who: str, group: Sequence[Item], places: Places, names: Names) -> Iterator[Finding]:
    by_service = grouped(group, lambda item: service(item.sort, names))
    again = {what: those for what, those in by_service.items() if len(sum_of(those).hours) >= KNOCKING_HOURS}
    tried, most = _tried(group)
    if not again and tried < SCAN_PORTS:
        return
    those = [item for each in again.values() for item in each] or list(group)
    at = _at(sorted({item.sort.dst for item in those if item.sort.dst}), places)
    found = sum_of(those)
    title = f"{places.name(who)} keeps trying {_some(list(again))} at {at}"
    if tried >= SCAN_PORTS:
        scan = f"scans {tried:,}{' or more' if most else ''} ports at {at}"
        title = f"{places.name(who)} {scan}" + (f", and keeps trying {_some(list(again))}" if again else "")
    details = [_told(found)]
    if places.vantage(who):
        details.append("probes are sent from here: those of an audit leave lines as well")
    yield Finding(
        kind="knocking", title=title, details=tuple(details), example=_example(those),
        data={"source": who, "zone": places.zone(who), "services": list(again)[:20], "ports_tried": tried,
              "since": stamp(found.since), **numbers(found)},
    )  # fmt: skip


def _told(found: Sum) -> str:
    hours, days = len(found.hours), found.days
    on = "one day" if days == 1 else f"{days} days"
    within = "within an hour" if hours == 1 else f"in {hours} separate hours on {on}"
    told = f"{times(found.count)} {within}, {found.span}"
    if not found.before:
        return f"{told}; not before"
    return f"{told}; since {short(stamp(found.since))}, {times(found.before)} before this period"


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:_LISTED]) + (f" and {len(words) - _LISTED:,} more" if len(words) > _LISTED else "")


def _at(addresses: Sequence[str], places: Places) -> str:
    return _some([places.name(each) for each in addresses]) or "addresses not told apart"


def _example(items: Sequence[Item]) -> str:
    return max(items, key=lambda item: (bool(item.example), item.last)).example
