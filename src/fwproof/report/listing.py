"""Which checks a page lists one by one, and which it sums up, so that the page of a fleet stays small enough to open.

A run of up to :data:`ALL_UP_TO` checks is listed in full. In a larger one the first checks of each cause are, and
those that the matrices lead to in a line each; all others are summed up by host, cause and expectation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from fwproof.report.matrix import Matrix
from fwproof.report.view import WORST_FIRST, Finding
from fwproof.results import CheckResult, Results, Verdict

ALL_UP_TO = 2000
"""Checks of a run up to which each is listed in full."""
_FULL_PER_CAUSE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Checks of one host that are summed up: they share a verdict, and what ``name`` is, a cause or an expectation."""

    anchor: str
    verdict: Verdict
    name: str
    checks: tuple[CheckResult, ...]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What is listed how; checks are told apart by identity."""

    results: Results
    full: frozenset[int]
    brief: frozenset[int]

    @classmethod
    def of(cls, results: Results, findings: Iterable[Finding], tables: Iterable[Matrix]) -> Listing:
        """Return how the checks of a run are listed."""
        if len(results.checks) <= ALL_UP_TO:
            every = frozenset(map(id, results.checks))
            return cls(results=results, full=every, brief=frozenset())
        full = frozenset(
            id(check) for finding in findings for check in (finding.lead, *finding.checks[:_FULL_PER_CAUSE])
        )
        cells = (cell for table in tables for row in table.rows for cell in row.cells)
        brief = frozenset(id(cell.checks[0]) for cell in cells if cell.checks) - full
        return cls(results=results, full=full, brief=brief)

    @property
    def abridged(self) -> bool:
        """Whether some checks are not listed in full."""
        return len(self.full) < len(self.results.checks)

    def in_full(self, check: CheckResult) -> bool:
        """Whether a check is listed with all that is known of it."""
        return id(check) in self.full

    def anchor(self, check: CheckResult) -> str:
        """Return the anchor of a check, or of the line that sums it up."""
        return self._anchors[id(check)]

    def single(self, checks: Iterable[CheckResult]) -> Iterator[CheckResult]:
        """Yield the checks that are listed one by one."""
        return (check for check in checks if id(check) in self.full or id(check) in self.brief)

    def summed(self, host: str) -> Sequence[Group]:
        """Return the groups of a host, worst verdict first."""
        return self._groups.get(host, ())

    @cached_property
    def _anchors(self) -> dict[int, str]:
        own = {id(check): f"c{number}" for number, check in enumerate(self.results.checks, 1)}
        in_groups = {id(check): one.anchor for every in self._groups.values() for one in every for check in one.checks}
        return own | in_groups

    @cached_property
    def _groups(self) -> dict[str, list[Group]]:
        found: dict[tuple[str, Verdict, str], list[CheckResult]] = {}
        for check in self.results.checks:
            if id(check) not in self.full and id(check) not in self.brief:
                good = check.verdict is Verdict.PASS
                name = check.expectation if good else check.cause or check.reason or check.title
                found.setdefault((check.host, check.verdict, name), []).append(check)
        by_host: dict[str, list[Group]] = {}
        for number, ((host, verdict, name), checks) in enumerate(found.items(), 1):
            group = Group(anchor=f"g{number}", verdict=verdict, name=name, checks=tuple(checks))
            by_host.setdefault(host, []).append(group)
        for groups in by_host.values():
            groups.sort(key=lambda group: WORST_FIRST.index(group.verdict))
        return by_host
