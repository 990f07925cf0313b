"""What a run says, arranged for a reader: findings by cause, matrices, hosts, and the verdict in a sentence.

Pure functions of :class:`~fwproof.results.Results`; every human format is drawn from these values, so that
they cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fwproof.results import CheckResult, Results, Verdict
from fwproof.run_record import HostRecord

WORST_FIRST = (
    Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED, Verdict.PASS, Verdict.NOT_APPLICABLE,
)  # fmt: skip
"""Verdicts in the order in which a reader wants to see them."""

SEVERITIES = ("critical", "high", "medium", "low", "info")
"""The severities of a policy, worst first; an unknown word sorts last."""

_WORDS = {
    "pass": "passed", "fail": "failed", "waived": "waived", "error": "errors", "inconclusive": "inconclusive",
    "not_applicable": "not applicable",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """All checks of one verdict that share a root cause; ``lead`` is the one that shows it best."""

    number: int
    cause: str
    verdict: Verdict
    severity: str
    lead: CheckResult
    checks: tuple[CheckResult, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts concerned, in the order of the checks."""
        return tuple(dict.fromkeys(check.host for check in self.checks))

    @property
    def rules(self) -> tuple[str, ...]:
        """The deciding rules of all its checks, the lead's first."""
        return _unique([self.lead.rule, *(check.rule for check in self.checks)])

    @property
    def evidence(self) -> tuple[str, ...]:
        """The evidence lines of all its checks, the lead's first."""
        return _unique([*self.lead.evidence, *(line for check in self.checks for line in check.evidence)])

    @property
    def artefacts(self) -> tuple[str, ...]:
        """The evidence files of all its checks, the lead's first."""
        return _unique([*self.lead.artefacts, *(path for check in self.checks for path in check.artefacts)])


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCard:
    """One host of the run: its record, its checks, and how many had each verdict."""

    record: HostRecord
    checks: tuple[CheckResult, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many checks had each verdict, worst first, without those that none had."""
        counter = Counter(check.verdict for check in self.checks)
        return {verdict: counter[verdict] for verdict in WORST_FIRST if counter[verdict]}

    @property
    def verdict(self) -> Verdict:
        """The verdict on the host as a whole; a host of which nothing was answered is not a pass."""
        if not self.checks:
            return Verdict.INCONCLUSIVE
        return overall(check.verdict for check in self.checks)


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the one verdict that stands for several: the worst, where only real passes make a pass."""
    present = set(verdicts)
    for verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.WAIVED):
        if verdict in present:
            return verdict
    return Verdict.NOT_APPLICABLE if present else Verdict.INCONCLUSIVE


def worst_first(checks: Iterable[CheckResult]) -> list[CheckResult]:
    """Return checks by verdict, the worst first, and else in their order."""
    return sorted(checks, key=lambda check: WORST_FIRST.index(check.verdict))


def _severity_rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _witnesses(check: CheckResult) -> int:
    parts = (check.rule, check.proved, check.observed, check.attributed, check.fix, check.evidence, check.artefacts)
    return sum(bool(part) for part in parts)


def findings(results: Results, *verdicts: Verdict) -> tuple[Finding, ...]:
    """Group the checks of the given verdicts by root cause: worst verdict first, then severity, then number.

    A check without a cause is grouped by its reason, so that nothing is left out.
    """
    groups: dict[tuple[Verdict, str], list[CheckResult]] = {}
    for check in results.checks:
        if check.verdict in verdicts:
            groups.setdefault((check.verdict, check.cause or check.reason or check.title), []).append(check)

    def order(item: tuple[tuple[Verdict, str], list[CheckResult]]) -> tuple[int, int, int]:
        (verdict, _), checks = item
        worst = min(_severity_rank(check.severity) for check in checks)
        return WORST_FIRST.index(verdict), worst, -len(checks)

    return tuple(
        Finding(
            number=number,
            cause=cause,
            verdict=verdict,
            severity=min((check.severity for check in checks), key=_severity_rank),
            lead=max(checks, key=_witnesses),
            checks=tuple(checks),
        )
        for number, ((verdict, cause), checks) in enumerate(sorted(groups.items(), key=order), 1)
    )


def hosts(results: Results) -> tuple[HostCard, ...]:
    """Return every host of the run or of a check, in the order of the run."""
    known = {record.name: record for record in results.run.hosts}
    by_host: dict[str, list[CheckResult]] = {name: [] for name in known}
    for check in results.checks:
        by_host.setdefault(check.host, []).append(check)

    def record(name: str) -> HostRecord:
        nothing = "the run holds no record of this host"
        return known.get(name) or HostRecord(
            name=name, addresses=[], access="", kernel="", firewall="", rules={}, limits=[nothing], error=""
        )

    return tuple(HostCard(record=record(name), checks=tuple(checks)) for name, checks in by_host.items())


def not_tested(results: Results) -> int:
    """Return how many planned checks have no result."""
    return max(results.run.planned - len(results.checks), 0)


def counts_line(results: Results) -> str:
    """Return the one machine-greppable line of counts."""
    counts = results.counts()
    shown = [f"planned {counts['planned']}", f"run {counts['run']}"]
    shown += [f"{word} {counts[key]}" for key, word in _WORDS.items()]
    return "fwproof: " + " · ".join(shown)


def outcome(results: Results) -> Verdict:
    """Return the verdict on the run as a whole; a run that left planned checks untested is not a pass."""
    verdict = overall(check.verdict for check in results.checks)
    if verdict in {Verdict.PASS, Verdict.WAIVED, Verdict.NOT_APPLICABLE} and not_tested(results):
        return Verdict.INCONCLUSIVE
    return verdict


def number_of(number: int, word: str) -> str:
    """Return a number with its noun, in the plural where that is due."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _names(cards: list[HostCard]) -> str:
    names = [card.record.name for card in cards]
    if len(names) <= 3:
        return " and ".join(", ".join(names).rsplit(", ", 1))
    return f"{names[0]}, {names[1]} and {len(names) - 2:,} more hosts"


def verdict_sentences(results: Results) -> tuple[str, str]:
    """Return the verdict on the run: a headline, and a sentence that says what it rests on."""
    cards = hosts(results)
    if not results.checks:
        return "Nothing was tested", "No check has a result, so this run says nothing about any firewall."
    parts = []
    counts = results.counts()
    if counts["fail"]:
        causes = len(findings(results, Verdict.FAIL))
        parts.append(
            f"{counts['fail']:,} of {number_of(counts['run'], 'check')} failed, from {number_of(causes, 'cause')}."
        )
    else:
        parts.append(f"{counts['pass']:,} of {number_of(counts['run'], 'check')} passed and none failed.")
    open_ends = [
        (counts["error"], "could not be carried out"),
        (counts["inconclusive"], "could not be decided"),
        (counts["waived"], "failed under a waiver"),
        (counts["not_applicable"], "did not apply"),
        (not_tested(results), "planned but not run"),
    ]
    parts += [f"{number:,} {words}." for number, words in open_ends if number]
    return _headline(results, list(cards)), " ".join(parts)


def _headline(results: Results, cards: list[HostCard]) -> str:
    def those(*verdicts: Verdict) -> list[HostCard]:
        return [card for card in cards if card.checks and card.verdict in verdicts]

    failed, passed = those(Verdict.FAIL), those(Verdict.PASS)
    verdict = outcome(results)
    if verdict is Verdict.FAIL:
        text = f"{_names(failed)} {'does' if len(failed) == 1 else 'do'} not do what the policy says"
        return f"{text}; {_names(passed)} {'does' if len(passed) == 1 else 'do'}" if passed else text
    if verdict is Verdict.ERROR:
        return "Not established: some checks could not be carried out"
    if verdict is Verdict.INCONCLUSIVE:
        return "Not established: some questions are still open"
    if verdict is Verdict.WAIVED:
        return "Every deviation is covered by a waiver"
    if verdict is Verdict.NOT_APPLICABLE:
        return "No check applied to these hosts"
    return f"{_names(passed)} {'does' if len(passed) == 1 else 'do'} what the policy says"
