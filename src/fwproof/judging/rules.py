"""Judging rules: each has a part in what the tables decide, contradicts no other, and allows not too much."""

from __future__ import annotations

from collections.abc import Sequence

from fwproof.facts import Facts
from fwproof.plan import Check
from fwproof.policy.table_model import Accepted, Rules
from fwproof.results import Outcome, Verdict
from fwproof.semantics.bdd_walk import unread
from fwproof.semantics.lint import lint
from fwproof.semantics.lint_finding import Finding
from fwproof.semantics.runtime import without_bans
from fwproof.semantics.space import SpaceTooLarge

_SHOWN = 8
_FIX = (
    "Take out, move or narrow the rules that are named; fwproof lint shows each with the rules that cause it. One that"
    " has to stay is listed in the policy under 'rules: accept', with the reason."
)


def judge_rules(check: Check, facts: Facts) -> Outcome:
    """Judge the rules of one family by what fwproof lint finds, without the bans that fail2ban keeps there."""
    assert check.family is not None
    assert isinstance(check.expectation, Rules)
    family, asked = check.family, check.expectation
    model, bans = without_bans(facts.model(check.host), family)
    gaps = list(dict.fromkeys((*model.blind.get(family, ()), *unread(model, family))))
    try:
        found = [] if model.blind.get(family) else [each for each in lint(model, family) if each.rule not in bans]
    except SpaceTooLarge as limit:
        found, gaps = [], [*gaps, str(limit)]
    accepted = {id(each): why for each in found if (why := _accepted(each, asked.accepted))}
    bad = [each for each in found if each.kind in asked.fail and id(each) not in accepted]
    notes = _notes(found, accepted, asked, len(bans))
    looked = f"{len(model.rules(family))} rules looked at, over all packets, states and ways through the host"
    if bad:
        return _failed(bad, notes, gaps, looked)
    if gaps:
        return Outcome(
            verdict=Verdict.INCONCLUSIVE, reason=f"the rules could not be looked at as a whole: {'; '.join(gaps)}",
            cause="the rules could not be looked at as a whole", evidence=tuple(notes),
        )  # fmt: skip
    return Outcome(
        verdict=Verdict.PASS, reason="; ".join(["no rule has a finding that fails", *notes]), proved=looked,
        evidence=tuple(notes),
    )  # fmt: skip


def _failed(bad: Sequence[Finding], notes: list[str], gaps: list[str], looked: str) -> Outcome:
    texts = [_text(each) for each in bad]
    more = [f"and {len(texts) - _SHOWN} more, which the evidence lists"] if len(texts) > _SHOWN else []
    notes = notes + [f"not looked at: {gap}" for gap in gaps]
    kinds = ", ".join(dict.fromkeys(each.kind.value for each in bad))
    return Outcome(
        verdict=Verdict.FAIL, reason="; ".join([*texts[:_SHOWN], *more, *notes]), rule=str(bad[0].rule),
        proved=looked, cause=f"{len(bad)} rules are {kinds}" if len(bad) > 1 else f"a rule is {kinds}", fix=_FIX,
        evidence=(*texts, *notes),
    )  # fmt: skip


def _accepted(found: Finding, accepted: Sequence[Accepted]) -> str:
    """Return why a finding stays, empty where nobody says so."""
    text = " ".join(found.rule.text.split())
    return next((one.reason for one in accepted
                 if " ".join(one.rule.split()) == text and one.finding in {"", found.kind.value}), "")  # fmt: skip


def _notes(found: Sequence[Finding], accepted: dict[int, str], asked: Rules, bans: int) -> list[str]:
    """Return what is told beside the findings that fail: accepted ones, others, and what was left out."""
    notes = [f"accepted ({accepted[id(each)]}): {_text(each)}" for each in found if id(each) in accepted]
    others = [each for each in found if each.kind not in asked.fail and id(each) not in accepted]
    kinds = [each.kind.value for each in others]
    notes += [f"only told: {kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    return notes + ([f"{bans} rules of fail2ban's own were left out"] if bans else [])


def _text(found: Finding) -> str:
    by = f" ({', '.join(map(str, found.causes))})" if found.causes else ""
    return f"{found.kind.value}: {found.rule}: {found.why}{by}"
