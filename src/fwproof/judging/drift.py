"""Judging drift: the tables mean what they meant when the baseline was taken, for every packet, or as was accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fwproof.facts import BaselineFacts, Facts
from fwproof.flow import Family
from fwproof.judging.changes import SHOWN, told
from fwproof.plan import Check
from fwproof.policy.accepted import EFFECT, AcceptedChange
from fwproof.policy.table_model import Baseline
from fwproof.results import Drift, Outcome, Verdict
from fwproof.semantics.compare import by_rule
from fwproof.semantics.diff import Comparison, Kind, Selection, compare, words
from fwproof.semantics.runtime import without_bans
from fwproof.semantics.space import Claim, SpaceTooLarge

_SAVES = {Family.IPV4: "iptables-save", Family.IPV6: "ip6tables-save"}
_FIX = (
    "Put the tables back; or record the change in {folder}/accepted.yaml with owner, reason and date (fwproof diff"
    " {folder} host:{host} --accept-draft writes a draft); or take a new baseline with fwproof collect."
)


@dataclass(slots=True)
class _Sorted:
    """Changes in words: not accepted, accepted with whom, and not known; and the accepted ones that changes met."""

    open: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    met: set[AcceptedChange] = field(default_factory=set)
    rule: str = ""


def judge_drift(check: Check, facts: Facts) -> Outcome:
    """Judge one family: every packet is decided as it was then, leaving out whom fail2ban bans at the moment."""
    assert check.family is not None
    assert isinstance(check.expectation, Baseline)
    family = check.family
    live, bans = without_bans(facts.model(check.host), family)
    baseline = facts.baseline(check.host, check.expectation.folder(check.host))
    before, old_bans = without_bans(baseline.model, family)
    mine = [each for each in baseline.accepted if each.family is family]
    valid = [each for each in mine if each.expires is None or baseline.day <= each.expires]
    spaces = [each for each in valid if each.change != EFFECT]
    try:
        found = compare(before, live, family, selections=[_selection(each) for each in spaces])
    except SpaceTooLarge as limit:
        return Outcome(verdict=Verdict.INCONCLUSIVE, reason=str(limit), cause="the tables are too large for this proof")
    left = {*bans, *old_bans}
    notes = [f"{len(left)} rules of fail2ban's own were left out on both sides"] if left else []
    seen = _sorted(found, spaces, [each for each in valid if each.change == EFFECT])
    notes += [f"{each.place}: the acceptance ran out on {each.expires} ({each})" for each in mine if each not in valid]
    if not found.blind and not found.unlisted:
        notes += [f"{each.place}: stale, no change is left that it accepts: take it out ({each})"
                  for each in valid if each not in seen.met]  # fmt: skip
    then, now = (each.rulesets.get(family, ()) for each in (before, live))
    written = tuple(by_rule(then, now, family, ("in the baseline", "now")))
    source = _source(baseline, family)
    evidence = (*seen.open, *seen.accepted, *seen.unclear, *written, source, *notes)
    drift = Drift(baseline=source, open=seen.open, accepted=seen.accepted, unclear=seen.unclear, rules=list(written),
                  notes=notes)  # fmt: skip
    return replace(_outcome(found, seen, notes, evidence, (baseline.folder, check.host)), drift=drift)


def _selection(each: AcceptedChange) -> Selection:
    claims = [
        Claim(proto=service.number(each.family), sources=each.sources, destinations=each.destinations,
              ports=None if service.numbers is None or service.proto == "icmp" else (service.numbers,),
              icmp_types=None if service.numbers is None or service.proto != "icmp"
              else tuple(range(service.numbers[0], service.numbers[1] + 1)))
        for service in each.services
    ]  # fmt: skip
    if not claims and (each.sources is not None or each.destinations is not None):
        claims = [Claim(sources=each.sources, destinations=each.destinations)]
    return Selection(kind=Kind(each.change), hook=each.hook, rule=each.rule, claims=tuple(claims))


def _sorted(found: Comparison, spaces: Sequence[AcceptedChange], effects: Sequence[AcceptedChange]) -> _Sorted:
    seen = _Sorted()
    for change in found.changes:
        if change.kind is Kind.UNKNOWN:
            seen.unclear.append(told(change))
        elif change.chosen is not None:
            _accept(seen, spaces[change.chosen], told(change))
        else:
            seen.open.append(told(change))
            seen.rule = seen.rule or str(change.after[1] or change.before[1] or "")
    for effect in found.effects:
        by = next((each for each in effects if words(effect).endswith(f": {words(each.rule)}")), None)
        text = f"a rule with other effects, {effect}"
        if by is None:
            seen.open.append(text)
        else:
            _accept(seen, by, text)
    seen.unclear += [f"not read: {reason}" for reason in found.blind]
    return seen


def _accept(seen: _Sorted, by: AcceptedChange, text: str) -> None:
    seen.met.add(by)
    seen.accepted.append(f"accepted ({by}): {text}")


def _outcome(
    found: Comparison, seen: _Sorted, notes: Sequence[str], evidence: tuple[str, ...], where: tuple[str, str]
) -> Outcome:  # fmt: skip
    folder, host = where
    # accepted changes are listed last: where one is, nothing that is not accepted is left out
    unlisted = 0 if any(change.chosen is not None for change in found.changes) else found.unlisted
    certain = bool(seen.open) or (bool(unlisted) and not seen.unclear)
    if found.same:
        return Outcome(
            verdict=Verdict.PASS, reason="; ".join([f"the same meaning as in {folder}", *notes]), evidence=evidence,
            proved="every packet is decided the same, in every state, at input, forward and output",
        )  # fmt: skip
    if not certain and not seen.unclear:
        reason = f"since the baseline in {folder} only what was accepted has changed: {_listed(seen.accepted, 0)}"
        return Outcome(
            verdict=Verdict.PASS, reason="; ".join([reason, *notes]), evidence=evidence,
            proved=f"{len(seen.accepted)} changes, all of them accepted; every other packet is decided the same",
        )  # fmt: skip
    listed = _listed(seen.open if certain else seen.unclear, unlisted)
    also = [f"{len(seen.accepted)} more changes are accepted"] if seen.accepted else []
    return Outcome(
        verdict=Verdict.FAIL if certain else Verdict.INCONCLUSIVE, proved=listed, rule=seen.rule,
        reason="; ".join([f"since the baseline in {folder}: {listed}", *also, *notes]),
        cause="the tables have drifted from their baseline" if certain else "the drift could not be told",
        fix=_FIX.format(folder=folder, host=host) if certain else "", evidence=evidence,
    )  # fmt: skip


def _listed(texts: Sequence[str], unlisted: int) -> str:
    more = max(0, len(texts) - SHOWN) + unlisted
    return "; ".join(texts[:SHOWN]) + (f"; and {more} more" if more else "")


def _source(baseline: BaselineFacts, family: Family) -> str:
    capture = baseline.snapshot.captures.get(_SAVES[family])
    if capture is None:
        return f"baseline: {baseline.folder}"
    return f"baseline: {baseline.folder}, {capture.name} of {capture.at}, SHA-256 {capture.sha256}"
