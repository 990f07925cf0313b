"""A review of a packet log as a value: what was read, the sums, the sources, the findings, and what is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fwproof.evidence.packet_log import Kind
from fwproof.review.findings import Finding, Known, allowed_drops, stopped
from fwproof.review.items import Item, Sum, grouped, items_of, service, sum_of
from fwproof.review.loggers import Logger, Loggers, says_let_in, where
from fwproof.review.period import Period
from fwproof.review.sorts import OTHER_PREFIXES
from fwproof.review.sources import Source, Sweep, attackers, knocking, outbound
from fwproof.review.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What :func:`review` finds.

    ``totals`` are, by what they go by (family, direction, rule, service, zone), names with their sums, the greatest
    first. ``limits`` are logging rules whose limit was used up, with the number of minutes. ``unknown`` are prefixes
    that no rule of the tables has, ``silent`` rules without any line. ``weakened`` says what was not understood or
    could not be read: with it a clean answer is none. ``notes`` say what else a reader has to know.
    """

    period: Period
    total: Sum
    let_in: int
    totals: dict[str, list[tuple[str, Sum]]]
    sources: list[Source]
    sweeps: list[Sweep]
    outbound: list[tuple[str, str, Sum]]
    findings: list[Finding]
    limits: list[tuple[str, str, int]]
    unknown: list[tuple[str, Sum]]
    silent: list[Logger]
    weakened: list[str]
    notes: list[str]

    @property
    def acts(self) -> list[Finding]:
        """The findings that ask for something to be done."""
        return [each for each in self.findings if not each.note]


def review(tally: Tally, period: Period, known: Known) -> Review:
    """Return the review of a tally."""
    loggers = known.loggers
    every = items_of(tally, period)
    if loggers is not None:
        loggers.learn(item.sort for item in every)
    drops = [item for item in every if not _let_in(item, loggers)]
    findings = [*allowed_drops(drops, known, tally), *stopped(every, period, known), *knocking(drops, known)]
    sources, sweeps = attackers(drops, known)
    total = sum_of(drops)
    return Review(
        period=period, total=total, let_in=sum_of(every).count - total.count, totals=_totals(drops, known),
        sources=sources, sweeps=sweeps, outbound=outbound(drops, known.names),
        findings=sorted(findings, key=lambda each: each.note), limits=_limits(tally, period, loggers),
        unknown=_unknown(every, loggers), silent=_silent(every, loggers),
        weakened=_weakened(tally, total), notes=_notes(tally, period, known),
    )  # fmt: skip


def _let_in(item: Item, loggers: Loggers | None) -> bool:
    """Whether lines are of packets that were logged and not refused: by the log, by the tables, or by the prefix."""
    if item.sort.let_in:
        return True
    by_tables = None if loggers is None else loggers.lets_in(item.sort)
    return says_let_in(item.sort.prefix) if by_tables is None else by_tables


def _totals(items: Sequence[Item], known: Known) -> dict[str, list[tuple[str, Sum]]]:
    def rule(item: Item) -> str:
        wrote = () if known.loggers is None else known.loggers.wrote(item.sort)
        prefix = f"“{item.sort.prefix}”"
        if len(wrote) == 1:
            return f"{prefix} {where(wrote[0].ref)}"
        return f"{prefix} one of {len(wrote)} rules with this prefix" if wrote else prefix

    def zone(item: Item) -> str:
        return known.places.zone(item.sort.src) or ("not told apart" if item.sort.merged else "no zone")

    keys: dict[str, Callable[[Item], str]] = {
        "family": lambda item: f"ipv{item.sort.version}",
        "direction": lambda item: _WAYS.get(item.sort.way, item.sort.way),
        "kind": lambda item: _KINDS[item.sort.opens],
        "zone": zone,
        "rule": rule,
        "service": lambda item: service(item.sort, known.names),
    }
    return {name: _sums(items, key) for name, key in keys.items()}


_WAYS = {"none": "no interface named"}
_KINDS = {"new": "first packets", "answer": "late packets and answers", "odd": "odd TCP flags", "many": "sent to many"}


def _sums(items: Iterable[Item], key: Callable[[Item], str]) -> list[tuple[str, Sum]]:
    found = [(name, sum_of(group)) for name, group in grouped(items, key).items()]
    return sorted(found, key=lambda each: (-each[1].count, -each[1].before, each[0]))


def _limits(tally: Tally, period: Period, loggers: Loggers | None) -> list[tuple[str, str, int]]:
    found = []
    for logger in loggers.all if loggers else ():
        for way in logger.ways:
            bucket = tally.buckets.get((logger.version, way, logger.prefix))
            if bucket is None or logger.limit is None:
                continue
            minutes = sum(n for hour, n in bucket.used_up.items() if period.since <= hour < period.until)
            if minutes:
                found.append((str(logger.ref), logger.limit.name, minutes))
    return sorted(found, key=lambda each: -each[2])


def _unknown(items: Sequence[Item], loggers: Loggers | None) -> list[tuple[str, Sum]]:
    if loggers is None or not loggers.all:
        return []
    known = {version for version in (4, 6) if any(each.version == version for each in loggers.all)}
    those = [
        item for item in items
        if item.count and item.sort.version in known and item.sort.prefix != OTHER_PREFIXES
        and not loggers.alike(item.sort)
    ]  # fmt: skip
    return _sums(those, lambda item: f"“{item.sort.prefix}” ({item.sort.way}, IPv{item.sort.version})")


def _silent(items: Sequence[Item], loggers: Loggers | None) -> list[Logger]:
    if loggers is None:
        return []
    heard = {item.sort.key for item in items}
    return [each for each in loggers.all if not any((each.version, way, each.prefix) in heard for way in each.ways)]


def _weakened(tally: Tally, total: Sum) -> list[str]:
    found = list(tally.unread)
    missed = tally.lines[Kind.NOT_UNDERSTOOD]
    if missed:
        example = tally.not_understood[0]
        found.append(f"{missed:,} lines look like packets and were not understood, for example: {example}")
    if not tally.lines[Kind.PACKET]:
        found.append("no line of the log tells of a packet")
    elif not total.count:
        found.append("no dropped packet was logged in the period")
    if tally.missed:
        found.append(f"{tally.missed:,} drops of traffic that the policy allows had no room, and are not told")
    return found


def _notes(tally: Tally, period: Period, known: Known) -> list[str]:
    found = []
    if not period.earlier:
        found.append("the log does not reach back before the period: whether hits stopped is not known")
    if tally.lines[Kind.NOT_BELIEVED]:
        found.append(f"{tally.lines[Kind.NOT_BELIEVED]:,} lines look like packets but were written by other programs")
    if tally.undated:
        ages = f", {tally.implausible:,} of them with the stamp of another age" if tally.implausible else ""
        found.append(f"{tally.undated:,} packets have no date{ages}; they are counted as of the period")
    if tally.merged:
        found.append(f"{tally.merged:,} packets are counted without their addresses: there were too many to tell apart")
    if len(tally.hosts) > 1:
        named = ", ".join(name for name, _ in tally.hosts.most_common(5))
        found.append(f"the log is of {len(tally.hosts)} hosts ({named}), reviewed as one")
    if known.places.beyond:
        found.append(f"zones that are not ours: {', '.join(sorted(known.places.beyond))}")
    if known.loggers is not None and not known.loggers.all:
        found.append("no rule of the tables logs")
    return found
