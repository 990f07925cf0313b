"""Judging drift: the tables mean what they meant when the baseline was taken, for every packet."""

from __future__ import annotations

from fwproof.facts import BaselineFacts, Facts
from fwproof.flow import Family
from fwproof.judging.changes import SHOWN, told
from fwproof.plan import Check
from fwproof.policy.model import Baseline
from fwproof.results import Outcome, Verdict
from fwproof.semantics.diff import Comparison, Kind, compare
from fwproof.semantics.runtime import without_bans
from fwproof.semantics.space import SpaceTooLarge

_SAVES = {Family.IPV4: "iptables-save", Family.IPV6: "ip6tables-save"}


def judge_drift(check: Check, facts: Facts) -> Outcome:
    """Judge one family: every packet is decided as it was then, leaving out whom fail2ban bans at the moment."""
    assert check.family is not None
    assert isinstance(check.expectation, Baseline)
    family = check.family
    live, bans = without_bans(facts.model(check.host), family)
    baseline = facts.baseline(check.host, check.expectation.folder(check.host))
    before, old_bans = without_bans(baseline.model, family)
    source = _source(baseline, family)
    try:
        found = compare(before, live, family)
    except SpaceTooLarge as limit:
        return Outcome(verdict=Verdict.INCONCLUSIVE, reason=str(limit), cause="the tables are too large for this proof")
    left = {*bans, *old_bans}
    note = [f"{len(left)} rules of fail2ban's own were left out on both sides"] if left else []
    if found.same:
        return Outcome(
            verdict=Verdict.PASS, reason="; ".join([f"the same meaning as in {baseline.folder}", *note]),
            proved="every packet is decided the same, in every state, at input, forward and output", evidence=(source,),
        )  # fmt: skip
    return _changed(found, baseline.folder, (source, *note))


def _changed(found: Comparison, folder: str, notes: tuple[str, ...]) -> Outcome:
    known = [change for change in found.changes if change.kind is not Kind.UNKNOWN]
    texts = [told(change) for change in known] + [f"a rule with other effects, {effect}" for effect in found.effects]
    unclear = [told(change) for change in found.changes if change.kind is Kind.UNKNOWN]
    unclear += [f"not read: {reason}" for reason in found.blind]
    certain = bool(texts) or (bool(found.unlisted) and not unclear)
    listed_ = texts if certain else unclear
    more = len(listed_) + found.unlisted - SHOWN
    listed = "; ".join(listed_[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
    by = next((change.after[1] or change.before[1] for change in known), None)
    return Outcome(
        verdict=Verdict.FAIL if certain else Verdict.INCONCLUSIVE,
        reason=f"since the baseline in {folder}: {listed}", proved=listed, rule=str(by or ""),
        cause="the tables have drifted from their baseline" if certain else "the drift could not be told",
        fix="Put the tables back, or take a new baseline with fwproof collect once the change is approved."
        if certain else "", evidence=(*texts, *unclear, *notes),
    )  # fmt: skip


def _source(baseline: BaselineFacts, family: Family) -> str:
    capture = baseline.snapshot.captures.get(_SAVES[family])
    if capture is None:
        return f"baseline: {baseline.folder}"
    return f"baseline: {baseline.folder}, {capture.name} of {capture.at}, SHA-256 {capture.sha256}"
