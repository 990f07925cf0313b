"""What a run was about and what it left open: sums by severity and by zone, and what was not tested, with why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fwproof.report import matrix
from fwproof.report.view import SEVERITIES, not_tested
from fwproof.results import CheckResult, Results, Verdict

_OPEN = {
    Verdict.ERROR: "could not look", Verdict.INCONCLUSIVE: "looked, could not tell",
    Verdict.NOT_APPLICABLE: "does not apply",
}  # fmt: skip
NO_ZONE = "no zone"
NO_VANTAGE = "not about one vantage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """How many checks of one sort had each verdict."""

    name: str
    counts: Counter[Verdict]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Left:
    """Checks without an answer that share a reason: how many, in which way, why, and on which hosts."""

    number: int
    how: str
    why: str
    hosts: tuple[str, ...]


def by_severity(results: Results) -> tuple[Sum, ...]:
    """Return the sums of each severity, worst first."""
    known = {name: position for position, name in enumerate(SEVERITIES)}
    found = _sums((check.severity, check) for check in results.checks)
    return tuple(sorted(found, key=lambda each: known.get(each.name, len(known))))


def by_zone(results: Results) -> tuple[Sum, ...]:
    """Return the sums of each zone that the far ends stand in; one that stands in several counts in each."""
    zones: dict[str, list[str]] = {}
    for zone, hosts in sorted(results.run.zones.items()):
        for host in hosts:
            zones.setdefault(host, []).append(zone)

    def pairs() -> Iterator[tuple[str, CheckResult]]:
        for check in results.checks:
            names = [NO_VANTAGE] if check.vantage is None else zones.get(check.vantage, [NO_ZONE])
            yield from ((name, check) for name in names)

    order = [*sorted(results.run.zones), NO_ZONE, NO_VANTAGE]
    return tuple(sorted(_sums(pairs()), key=lambda each: order.index(each.name)))


def _sums(pairs: Iterable[tuple[str, CheckResult]]) -> list[Sum]:
    found: dict[str, Counter[Verdict]] = {}
    for name, check in pairs:
        found.setdefault(name, Counter())[check.verdict] += 1
    return [Sum(name=name, counts=counts) for name, counts in found.items()]


def left_open(results: Results) -> tuple[Left, ...]:
    """Return what was not tested or not answered, by reason, the most of each sort first."""
    run, missing = results.run, not_tested(results)
    deselected = min(run.deselected, missing)
    found = [Left(deselected, "not run", "deselected by the operator", ())] if deselected else []
    if missing > deselected:
        why = "; ".join(run.stopped) or "the run ended before them"
        found.append(Left(missing - deselected, "not run", why, ()))
    for verdict, how in _OPEN.items():
        groups: dict[str, list[CheckResult]] = {}
        for check in results.checks:
            if check.verdict is verdict:
                groups.setdefault(check.cause or check.reason, []).append(check)
        for why, checks in sorted(groups.items(), key=lambda item: -len(item[1])):
            found.append(Left(len(checks), how, why, tuple(dict.fromkeys(check.host for check in checks))))
    return tuple(found)


def pairs_not_tested(tables: Iterable[matrix.Matrix]) -> tuple[int, int]:
    """Return how many pairs of far end and service (a family each) the matrices have, and how many nobody asked about.

    Hosts that are alike count each.
    """
    cells = [(cell, len(table.hosts)) for table in tables for row in table.rows for cell in row.cells]
    return sum(number for _, number in cells), sum(number for cell, number in cells if not cell.checks)
