"""The reachability matrix: who may reach what on one host, expected against seen.

One matrix for each host and direction. Rows are the far ends (where packets come from or, outbound, go to),
columns the services, each with one cell an address family; families that agree are shown as one. Where most pairs of
far end and service are not asked about, as is usual outbound, the pairs that are make a shorter list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from fwproof.report.view import WORST_FIRST
from fwproof.results import CheckResult, Results, Verdict


class Mark(StrEnum):
    """What a cell says; the value is its CSS class. Colours after Okabe and Ito, never without glyph and word."""

    OPEN = "ok-open"
    BLOCKED = "ok-blocked"
    WRONGLY_OPEN = "bad-open"
    WRONGLY_BLOCKED = "bad-blocked"
    WAIVED = "waived"
    ERROR = "error"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "na"
    NOT_TESTED = "untested"

    @property
    def glyph(self) -> str:
        """One character that tells the mark apart without colour."""
        return _SHOWN[self][0]

    @property
    def word(self) -> str:
        """What the cell says in a word; capitals where it should not be so."""
        return _SHOWN[self][1]

    @property
    def meaning(self) -> str:
        """What the mark means, for the legend and for readers who hear the page."""
        return _SHOWN[self][2]


_SHOWN = {
    Mark.OPEN: ("●", "open", "open, as expected"),
    Mark.BLOCKED: ("\N{EN DASH}", "blocked", "blocked, as expected"),
    Mark.WRONGLY_OPEN: ("✖", "OPEN", "open, should be blocked"),
    Mark.WRONGLY_BLOCKED: ("▲", "BLOCKED", "blocked, should be open"),
    Mark.WAIVED: ("W", "waived", "deviates, under a waiver"),
    Mark.ERROR: ("!", "error", "could not look"),
    Mark.INCONCLUSIVE: ("?", "unclear", "looked, could not tell"),
    Mark.NOT_APPLICABLE: ("·", "n/a", "does not apply"),
    Mark.NOT_TESTED: ("", "not tested", "not tested"),
}


MOST_CELLS = 5000
"""Cells of all matrices of a page; more than that nobody reads, and no browser opens at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One far end, service and family: the mark, and the checks behind it, the one that decides it first."""

    mark: Mark
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The cells of one far end, in column order: for each service one cell a family."""

    peer: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Neighbouring cells of one service that say the same: their mark, and each family with the check behind it."""

    mark: Mark
    width: int
    sides: tuple[tuple[str, CheckResult], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One far end and one service, as a line of a list."""

    peer: str
    service: str
    sample: bool
    expected: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One direction of one host, and of every other host whose matrix looks the same, mark for mark."""

    hosts: tuple[str, ...]
    direction: str
    services: tuple[str, ...]
    samples: frozenset[str]
    families: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def host(self) -> str:
        """The host whose checks are behind the cells."""
        return self.hosts[0]

    @property
    def marks(self) -> frozenset[Mark]:
        """The marks that occur, for the legend."""
        cells = (cell for row in self.rows for cell in row.cells if cell.checks or not self.sparse)
        return frozenset(cell.mark for cell in cells)

    @property
    def sparse(self) -> bool:
        """Whether fewer than half of the pairs of far end and service were asked about."""
        return 2 * len(self.pairs()) < len(self.rows) * len(self.services)

    def pairs(self) -> tuple[Pair, ...]:
        """Return the pairs that were asked about, those of named services first."""
        pairs = [pair for row in self.rows for service in self.services if (pair := self._pair(row, service))]
        return tuple(sorted(pairs, key=lambda pair: pair.sample))

    def _pair(self, row: Row, service: str) -> Pair | None:
        cells = self._cells(row, service)
        checks = [check for cell in cells for check in cell.checks]
        if not checks:
            return None
        expected = " or ".join(dict.fromkeys(check.expected for check in checks))
        sample, spans = all(map(_is_sample, checks)), self.spans(row, service)
        return Pair(peer=row.peer, service=service, sample=sample, expected=expected, spans=spans)

    def _cells(self, row: Row, service: str) -> tuple[Cell, ...]:
        start = self.services.index(service) * len(self.families)
        return row.cells[start : start + len(self.families)]

    def spans(self, row: Row, service: str) -> tuple[Span, ...]:
        """Return the cells of a row and service, with equal neighbours as one."""
        cells = zip(self.families, self._cells(row, service), strict=True)
        spans = []
        for mark, alike in groupby(cells, key=lambda pair: pair[1].mark):
            found = tuple(alike)
            sides = tuple((family, cell.checks[0]) for family, cell in found if cell.checks)
            spans.append(Span(mark=mark, width=len(found), sides=sides))
        return tuple(spans)


def in_matrix(check: CheckResult) -> bool:
    """Whether a check is about one far end and one service, and so has a cell."""
    return None not in {check.vantage, check.service, check.family, check.direction} and check.expected in {
        "allow",
        "deny",
    }


def mark_of(check: CheckResult) -> Mark:
    """Return the mark of one check that has a cell."""
    allow = check.expected == "allow"
    return {
        Verdict.PASS: Mark.OPEN if allow else Mark.BLOCKED,
        Verdict.FAIL: Mark.WRONGLY_BLOCKED if allow else Mark.WRONGLY_OPEN,
        Verdict.WAIVED: Mark.WAIVED,
        Verdict.ERROR: Mark.ERROR,
        Verdict.INCONCLUSIVE: Mark.INCONCLUSIVE,
        Verdict.NOT_APPLICABLE: Mark.NOT_APPLICABLE,
    }[check.verdict]


def _cell(checks: list[CheckResult]) -> Cell:
    if not checks:
        return Cell(mark=Mark.NOT_TESTED)
    ordered = sorted(checks, key=lambda check: WORST_FIRST.index(check.verdict))
    return Cell(mark=mark_of(ordered[0]), checks=tuple(ordered))


def _is_sample(check: CheckResult) -> bool:
    """Whether a check is one of the samples that show what the default does, rather than a listed expectation."""
    return check.kind.endswith("-default")


def _matrix(host: str, direction: str, checks: list[CheckResult]) -> Matrix:
    named = dict.fromkeys(str(check.service) for check in checks if not _is_sample(check))
    samples = dict.fromkeys(service for check in checks if (service := str(check.service)) not in named)
    services = (*named, *samples)
    peers = tuple(dict.fromkeys(str(check.vantage) for check in checks))
    families = tuple(sorted({str(check.family) for check in checks}))
    cells: dict[tuple[str, str, str], list[CheckResult]] = {}
    for check in checks:
        cells.setdefault((str(check.vantage), str(check.service), str(check.family)), []).append(check)
    rows = tuple(
        Row(
            peer=peer,
            cells=tuple(_cell(cells.get((peer, service, family), [])) for service in services for family in families),
        )
        for peer in peers
    )
    return Matrix(
        hosts=(host,), direction=direction, services=services, samples=frozenset(samples), families=families, rows=rows
    )


def matrices(results: Results) -> tuple[Matrix, ...]:
    """Return the matrices of a run, one a host and direction, by host in the order of the checks."""
    groups: dict[tuple[str, str], list[CheckResult]] = {}
    for check in results.checks:
        if in_matrix(check):
            groups.setdefault((check.host, str(check.direction)), []).append(check)
    order = {host: index for index, host in enumerate(dict.fromkeys(check.host for check in results.checks))}
    ordered = sorted(groups.items(), key=lambda item: (order[item[0][0]], item[0][1]))
    return tuple(_matrix(host, direction, checks) for (host, direction), checks in ordered)


def folded(tables: Iterable[Matrix]) -> tuple[Matrix, ...]:
    """Put hosts whose matrices are alike into one, so that a fleet of equal hosts takes the room of one."""
    groups: dict[object, list[Matrix]] = {}
    for table in tables:
        marks = tuple((row.peer, *(cell.mark for cell in row.cells)) for row in table.rows)
        groups.setdefault((table.direction, table.services, table.families, marks), []).append(table)
    return tuple(replace(alike[0], hosts=tuple(table.host for table in alike)) for alike in groups.values())


def fitting(tables: Iterable[Matrix], most: int = MOST_CELLS) -> tuple[tuple[Matrix, ...], tuple[str, ...]]:
    """Return the matrices that a page has room for, those with deviations first, and the hosts of all others."""
    fine = frozenset({Mark.OPEN, Mark.BLOCKED, Mark.NOT_APPLICABLE, Mark.NOT_TESTED})
    shown: list[Matrix] = []
    left: list[str] = []
    cells = 0
    for table in sorted(tables, key=lambda table: table.marks <= fine):
        cells += sum(len(row.cells) for row in table.rows)
        if cells <= most or not shown:
            shown.append(table)
        else:
            left += table.hosts
    return tuple(shown), tuple(dict.fromkeys(left))


def other_checks(results: Results) -> tuple[CheckResult, ...]:
    """Return the checks that have no cell in a matrix."""
    return tuple(check for check in results.checks if not in_matrix(check))
