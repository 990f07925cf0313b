"""A comparison arranged for readers: checks by what became of them and why, cells of the matrix by what they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fwproof.report.view import SEVERITIES
from fwproof.trends.changes import ChangedCheck, Crossing, HostRules, RunDiff, Sort
from fwproof.trends.history import Finding

SHOWN = (
    Sort.NEW, Sort.OTHER_CAUSE, Sort.UNACCEPTED, Sort.LOST, Sort.STILL_UNKNOWN, Sort.FIRST_ASKED,
    Sort.ASKED_OTHERWISE, Sort.NOT_ASKED, Sort.NOT_APPLICABLE, Sort.ACCEPTED, Sort.FIXED, Sort.SETTLED,
)  # fmt: skip
"""The sorts in the order in which a reader wants them; what is unchanged comes last, after all else."""
CHANGES = {
    "opened": "Now reachable", "told-apart": "Proved and observed went apart", "not-known": "No longer known",
    "closed": "No longer reachable",
}  # fmt: skip
_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
_STATES = {"in": "gets through", "out": "does not get through", "unknown": "not known"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Checks of one sort, with one cause (or, where one run alone has them, one reason) and one pair of verdicts."""

    cause: str
    severity: str
    verdicts: str
    lead: ChangedCheck
    checks: tuple[ChangedCheck, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts concerned."""
        return tuple(dict.fromkeys(check.host for check in self.checks))


def causes(found: RunDiff, sort: Sort) -> tuple[Cause, ...]:
    """Return the checks of a sort by cause, the most severe and largest first."""
    groups: dict[tuple[str, str], list[ChangedCheck]] = {}
    for check in found.checks:
        if check.sort is sort:
            groups.setdefault((_topic(check), _verdicts(check)), []).append(check)
    made = [
        Cause(cause=cause, verdicts=verdicts, lead=checks[0], checks=tuple(checks),
              severity=min((check.severity for check in checks), key=_rank))
        for (cause, verdicts), checks in groups.items()
    ]  # fmt: skip
    return tuple(sorted(made, key=lambda each: (_rank(each.severity), -len(each.checks))))


def _topic(check: ChangedCheck) -> str:
    if check.sort in {Sort.FIRST_ASKED, Sort.NOT_ASKED}:
        last = check.after or check.before
        cause = f": {last.cause}" if last and last.cause else ""
        return f"{' or '.join(check.why)}{cause}"
    if check.sort is Sort.ASKED_OTHERWISE and check.before and check.after:
        return f"expected {check.before.expected}, now {check.after.expected}"
    return check.cause


def _verdicts(check: ChangedCheck) -> str:
    return " → ".join(side.verdict.value if side else "not asked" for side in (check.before, check.after))


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Far ends whose reach of one service of a host changed alike."""

    change: str
    host: str
    direction: str
    service: str
    expected: str
    peers: tuple[str, ...]
    families: str
    proved: str
    observed: str
    lead: Crossing

    @property
    def said(self) -> str:
        """Who reaches what, in a few words."""
        ends = [", ".join(self.peers), f"{self.host} {self.service}"]
        if self.direction == "outbound":
            ends = [self.host, f"{', '.join(self.peers)} {self.service}"]
        through = f" through {self.host}" if self.direction == "forward" else ""
        if through:
            ends[1] = self.service
        return f"{' → '.join(ends)}{through}, {self.families}"

    @property
    def as_wanted(self) -> bool:
        """Whether the policy wants it so now."""
        return self.expected == {"opened": "allow", "closed": "deny"}.get(self.change)


def ways(found: RunDiff) -> tuple[Way, ...]:
    """Return the changes of the matrix, those of one service that are alike as one, in their order."""
    groups: dict[tuple[str, ...], dict[str, list[Crossing]]] = {}
    for one in found.reachability:
        key = one.change, one.host, one.direction, one.service, one.expected, *one.proved, *one.observed
        groups.setdefault(key, {}).setdefault(one.peer, []).append(one)
    made: list[Way] = []
    for peers in groups.values():
        alike: dict[str, list[str]] = {}
        for peer, each in peers.items():
            alike.setdefault(" and ".join(_FAMILIES.get(one.family, one.family) for one in each), []).append(peer)
        for families, names in alike.items():
            lead = peers[names[0]][0]
            made.append(Way(
                change=lead.change, host=lead.host, direction=lead.direction, service=lead.service, lead=lead,
                expected=lead.expected, peers=tuple(names), families=families, proved=moved(lead.proved),
                observed=moved(lead.observed),
            ))  # fmt: skip
    return tuple(made)


def moved(pair: Iterable[str]) -> str:
    """Return an answer before and after in words."""
    was, now = (_STATES.get(each, each) for each in pair)
    return was if was == now else f"{was} → {now}"


def rules_said(rules: HostRules) -> str:
    """Return what became of a host's tables in a sentence."""
    if rules.altered:
        return "stored evidence was altered, and is not compared"
    if rules.same:
        return "same meaning, written otherwise" if rules.texts else "same"
    if rules.same is None:
        return "not known" if not rules.texts else "written otherwise; whether they mean the same is not known"
    number = len(rules.changes) + rules.unlisted
    words = f"{number:,} {'change' if number == 1 else 'changes'} of what packets meet"
    return words if number else "packets are decided the same; rules that mark, log or translate differ"


def by_cause(findings: Iterable[Finding]) -> list[tuple[Finding, int, tuple[str, ...]]]:
    """Return findings that share cause, state and times as one: the worst of them, how many, and on which hosts."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.cause, one.state, one.first_seen, one.last_seen, one.ended), []).append(one)
    return [(min(each, key=lambda one: _rank(one.severity)), len(each), tuple(dict.fromkeys(one.host for one in each)))
            for each in groups.values()]  # fmt: skip
