"""Which controls of which framework checks support, and with what outcome; never that they satisfy one.

A pure function of a run, or of what policies plan: every format of this view is drawn from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fwproof.controls import Control, Framework
from fwproof.report.view import WORST_FIRST, overall
from fwproof.results import CheckResult, Results, Verdict


class State(StrEnum):
    """What checks say about a control as a whole; ``planned`` is that of a policy before any run."""

    FAILING = "failing"
    UNDETERMINED = "undetermined"
    WAIVED = "waived"
    PASSING = "passing"
    NOT_APPLICABLE = "not applicable"
    PLANNED = "planned"


_STATES = {
    Verdict.FAIL: State.FAILING, Verdict.ERROR: State.UNDETERMINED, Verdict.INCONCLUSIVE: State.UNDETERMINED,
    Verdict.WAIVED: State.WAIVED, Verdict.PASS: State.PASSING, Verdict.NOT_APPLICABLE: State.NOT_APPLICABLE,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One check and the controls that its expectation names; ``verdict`` is None where it is planned only."""

    controls: Mapping[str, Sequence[str]]
    expectation: str
    verdict: Verdict | None
    check: CheckResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Supporter:
    """An expectation that supports a control: its checks by verdict, worst first, and the check that shows it best."""

    expectation: str
    counts: Mapping[Verdict, int]
    checks: int
    lead: CheckResult | None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on all of its checks, None where they are planned only."""
        return overall(self.counts) if self.counts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Supported:
    """A control that checks support; one that the catalogue of the run did not have has no text.

    ``hosts`` are those on which a check failed or could not tell, where there are others; else it is empty.
    """

    control: Control
    supporters: tuple[Supporter, ...]
    hosts: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """What the checks say together."""
        verdicts = {one.verdict for one in self.supporters if one.verdict is not None}
        return _STATES[overall(verdicts)] if verdicts else State.PLANNED


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """One framework: the controls that checks support, and those of the catalogue that none does.

    ``unchecked`` could be supported by a check; ``beyond`` by none of fwproof. ``aside`` counts those of other
    managers' hosts (``section``), where the checks name controls of one manager.
    """

    framework: Framework
    supported: tuple[Supported, ...]
    unchecked: tuple[Control, ...]
    beyond: tuple[Control, ...]
    aside: Mapping[str, int]

    def number(self, state: State) -> int:
        """Return how many supported controls are in a state."""
        return sum(each.state is state for each in self.supported)

    @property
    def states(self) -> dict[State, int]:
        """How many supported controls are in each state, without those that none is in."""
        return {state: self.number(state) for state in State if self.number(state)}


def of_results(results: Results) -> tuple[Coverage, ...]:
    """Return the coverage of every framework that the policies of a run name."""
    claims = [
        Claim(controls=check.controls, expectation=check.expectation, verdict=check.verdict, check=check)
        for check in results.checks
    ]
    return coverage(results.run.frameworks, claims)


def coverage(frameworks: Iterable[Framework], claims: Sequence[Claim]) -> tuple[Coverage, ...]:
    """Return the coverage of frameworks by claims, by the frameworks' ids.

    A framework that only the claims name is shown with the ids that they name: nothing else is known of it.
    """
    known = {framework.id: framework for framework in frameworks}
    for claim in claims:
        for name in claim.controls:
            known.setdefault(name, Framework(id=name, title=name, source="", controls=()))
    return tuple(_coverage(known[name], claims) for name in sorted(known))


def _coverage(framework: Framework, claims: Sequence[Claim]) -> Coverage:
    by_control: dict[str, list[Claim]] = {}
    for claim in claims:
        for id_ in claim.controls.get(framework.id, ()):
            by_control.setdefault(id_, []).append(claim)
    supported = [
        Supported(
            control=framework.control(id_) or Control(id=id_, text=""),
            supporters=_supporters(those),
            hosts=_hosts(those),
        )
        for id_, those in by_control.items()
    ]
    rest = [control for control in framework.controls if control.id not in by_control]
    sections = {each.control.section for each in supported} - {""}
    aside = Counter(control.section for control in rest if sections and control.section not in {"", *sections})
    rest = [control for control in rest if control.section not in aside]
    return Coverage(
        framework=framework,
        supported=tuple(sorted(supported, key=lambda each: _natural(each.control.id))),
        unchecked=tuple(control for control in rest if control.by),
        beyond=tuple(control for control in rest if not control.by),
        aside=dict(sorted(aside.items())),
    )


def _hosts(claims: Sequence[Claim]) -> tuple[str, ...]:
    """Return the hosts on which a check of the claims is no pass, none where that is so on all of them."""
    checks = [claim.check for claim in claims if claim.check is not None]
    wrong = {check.host for check in checks if _STATES[check.verdict] in {State.FAILING, State.UNDETERMINED}}
    every = dict.fromkeys(check.host for check in checks)
    return tuple(host for host in every if host in wrong) if len(wrong) < len(every) else ()


def _supporters(claims: Sequence[Claim]) -> tuple[Supporter, ...]:
    """Return the expectations of claims, the worst first."""
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.expectation, []).append(claim)
    made = [_supporter(name, those) for name, those in groups.items()]
    return tuple(sorted(made, key=lambda one: WORST_FIRST.index(one.verdict) if one.verdict else 0))


def _supporter(name: str, claims: Sequence[Claim]) -> Supporter:
    counter = Counter(claim.verdict for claim in claims if claim.verdict is not None)
    counts = {verdict: counter[verdict] for verdict in WORST_FIRST if counter[verdict]}
    worst = next(iter(counts), None)
    lead = next((claim.check for claim in claims if claim.verdict is worst), None)
    return Supporter(expectation=name, counts=counts, checks=len(claims), lead=lead)


def _natural(identifier: str) -> list[tuple[bool, int, str]]:
    parts = identifier.replace("(", ".").replace("-", ".").replace(")", "").split(".")
    return [(not part.isdecimal(), int(part) if part.isdecimal() and len(part) < 10 else 0, part) for part in parts]
