"""Judging what is left open in a draft: never good, since what a host does today is not what it should do."""

from __future__ import annotations

from fwproof.facts import Facts
from fwproof.plan import Check
from fwproof.policy.model import Question
from fwproof.results import Outcome, Verdict

CAUSE = "the policy is a draft"


def judge_draft(check: Check, facts: Facts) -> Outcome:
    """Judge that a person has confirmed the policy, or answered one of its questions: as long as it asks, no."""
    del facts
    if isinstance(check.expectation, Question):
        return Outcome(
            verdict=Verdict.INCONCLUSIVE, reason=f"an open question of a draft: {check.expectation.title}",
            cause=CAUSE, fix="Decide it, say so in the policy (or change the host), and delete the question.",
        )  # fmt: skip
    count = len(check.policy.questions)
    asked = (
        f", and {count} question{'s' if count > 1 else ''} in it {'are' if count > 1 else 'is'} open" if count else ""
    )
    return Outcome(
        verdict=Verdict.INCONCLUSIVE, cause=CAUSE,
        reason=f"this policy is a draft: nobody has confirmed that it says what should be{asked}",
        fix="Read every line, make it say what should be, answer its questions, then delete 'status: draft'.",
    )  # fmt: skip
