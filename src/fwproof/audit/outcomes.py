"""From a check and the facts to its outcome and its row of the results, for an audit and for whoever verifies it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from datetime import date

from fwproof.audit.allowance import allowance_of
from fwproof.errors import HostError, NotGranted
from fwproof.facts import Facts
from fwproof.judging import judge
from fwproof.judging.front_end import in_its_words
from fwproof.judging.waiving import covered, judge_waiver, waive
from fwproof.plan import Check, Kind
from fwproof.policy.waivers import Waiver
from fwproof.results import CheckResult, Outcome, Verdict


class Judging:
    """Judges the checks of one run, each once, and holds their deviations against the waivers of ``today``.

    ``planned`` are all checks of the policies, ``selected`` those that were gathered for; ``waivers`` returns what a
    check may fall under.
    """

    def __init__(
        self, facts: Facts, planned: Sequence[Check], selected: Sequence[Check],
        waivers: Callable[[Check], Sequence[Waiver]], today: date,
    ) -> None:  # fmt: skip
        self.facts, self.planned, self.selected, self.waivers, self.today = facts, planned, selected, waivers, today
        self._known: dict[str, Outcome] = {}

    def outcome(self, check: Check) -> Outcome:
        """Return a check's outcome; a waiver's asks for those of the checks that it covers."""
        if check.id not in self._known:
            if check.kind is Kind.WAIVER:
                self._known[check.id] = self._waiver(check)
            else:
                self._known[check.id] = waive(outcome_of(check, self.facts), check, self.waivers(check), self.today)
        return self._known[check.id]

    def _waiver(self, check: Check) -> Outcome:
        assert isinstance(check.expectation, Waiver)
        ids = [each.id for each in covered(check.expectation, self.planned) if each.host == check.host]
        outcomes = {each.id: self.outcome(each) for each in self.selected if each.id in ids}
        return judge_waiver(check, outcomes, ids, self.today)


def outcome_of(check: Check, facts: Facts) -> Outcome:
    """Return a check's outcome; what could not be looked at becomes the verdict ``error``."""
    try:
        return in_its_words(judge(check, facts), check, facts)
    except NotGranted as gap:
        return Outcome(
            verdict=Verdict.INCONCLUSIVE, reason=str(gap), cause=f"not settled: {gap.message}", fix=gap.advice
        )
    except HostError as error:
        return Outcome(
            verdict=Verdict.ERROR, reason=str(error), cause=f"could not look: {error.cause}",
            fix=error.advice,
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - one check that cannot be judged must not end the audit
        return _own_fault(error)


def _own_fault(error: Exception) -> Outcome:
    """Return the outcome of a check at which the judge itself failed: nothing is known, so it is an error."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return Outcome(
        verdict=Verdict.ERROR, reason=f"fwproof itself failed to judge this: {type(error).__name__}: {error}",
        cause="fwproof itself failed", fix="Report it, with the evidence of this run.", evidence=tuple(lines[-12:]),
    )  # fmt: skip


def result_of(  # noqa: PLR0913 - what is not judged is by name
    check: Check, outcome: Outcome, facts: Facts, *, file: str, seconds: float, artefacts: Sequence[str]
) -> CheckResult:  # fmt: skip
    """Return a check's row of the results; ``file`` is its policy as a report shows it."""
    return CheckResult(
        id=check.id, title=check.expectation.title, expectation=check.expectation.id, policy=check.policy.name,
        file=file, line=check.expectation.line, host=check.host,
        vantage=check.vantage, family=check.family.value if check.family else None,
        service=check.service.name if check.service else None, direction=check.direction, kind=check.kind.value,
        severity=check.expectation.severity, expected=check.expected, verdict=outcome.verdict,
        reason=outcome.reason, proved=outcome.proved, observed=outcome.observed, attributed=outcome.attributed,
        rule=outcome.rule, cause=outcome.cause, fix=outcome.fix,
        controls={name: list(ids) for name, ids in check.expectation.controls.items()},
        evidence=list(outcome.evidence), artefacts=list(artefacts), seconds=round(seconds, 4),
        coverage=outcome.coverage, waiver=outcome.waiver, owner=check.expectation.owner,
        justification=check.expectation.justification, allowance=allowance_of(check, outcome, facts),
        admissions=outcome.admissions, drift=outcome.drift,
    )  # fmt: skip
