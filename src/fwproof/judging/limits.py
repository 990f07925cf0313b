"""Judging a rate limit: what the tables admit by simulation, what a burst was admitted, what was expected."""

from __future__ import annotations

from fwproof.decision import Ruling
from fwproof.errors import HostError
from fwproof.facts import BurstFacts, Facts, FlowFacts, Untried
from fwproof.judging.admitted import admissions_of
from fwproof.judging.space import refusal_cause
from fwproof.judging.wire import ELSEWHERE
from fwproof.measured import attempts_of
from fwproof.plan import Check
from fwproof.policy.model import Allow
from fwproof.results import Outcome, Verdict


def judge_rate(check: Check, facts: Facts) -> Outcome:
    """Judge the burst of one source inside the named peers, or that one outside them is not let in unlimited."""
    assert isinstance(check.expectation, Allow)
    assert check.expectation.rate is not None
    burst = facts.exercised[check.id]
    if isinstance(burst, HostError):
        raise burst
    assert isinstance(burst, BurstFacts)
    rate, expected = check.expectation.rate, min(check.expectation.rate.limit, burst.sent)
    predicted = sum(burst.predicted)
    rule = burst.limiter or next((line.split(" counted ")[0] for line in burst.counters), "")
    ruling = _one_packet(check, facts)
    if not rule and ruling is not None:
        rule = str(ruling.by or "")
    verdict, reason, cause, fix = (
        _outside(check, burst, predicted, expected)
        if check.expected == "limited or denied"
        else _inside(check, burst, predicted, expected, f"{rate.limit} in {rate.per:g} s")
    )
    if burst.untried and verdict in {Verdict.PASS, Verdict.INCONCLUSIVE}:
        verdict, reason, cause, fix = _unsent(burst, predicted)
    if ruling is not None and ruling.refused and verdict is Verdict.FAIL and not predicted:
        cause = refusal_cause(ruling.by)  # nobody is let in, with or without a limit: that is the cause to mend
    return Outcome(
        verdict=verdict, reason=reason, cause=cause, fix=fix, rule=rule, observed=_observed(burst),
        proved=f"of {burst.sent} new connections at once from one source, the tables admit {predicted}",
        attributed="; ".join(burst.counters), evidence=(*burst.counters, *((burst.note,) if burst.note else ())),
        # sources that may not get in at all are let in by a rule; those that may are not limited by any
        by=() if ruling is None or ruling.by is None or check.expected != "limited or denied" else (ruling.by,),
        wrong="open" if verdict is Verdict.FAIL and predicted > expected else "",
        admissions=admissions_of(rate, attempts_of(burst.seen, check.host)),
    )  # fmt: skip


def _one_packet(check: Check, facts: Facts) -> Ruling | None:
    """Return how the tables rule on one packet of the same source, None where no check asks."""
    known = facts.flows.get(check.id.replace(":rate[", "[", 1))
    return known.ruling if isinstance(known, FlowFacts) else None


def _unsent(burst: BurstFacts, predicted: int) -> _Answer:
    """Judge a burst that was not sent and in which the tables by themselves find no fault."""
    reason = f"the tables admit {predicted} of {burst.sent}; no burst was sent: {burst.untried}"
    if burst.untried is Untried.NO_VANTAGE:
        return Verdict.INCONCLUSIVE, reason, "not settled", "Add a host with `vantage: true` there."
    return Verdict.NOT_APPLICABLE, reason, "", ""


def _observed(burst: BurstFacts) -> str:
    if burst.untried:
        return f"no burst was sent: {burst.untried}"
    if not burst.watched:
        return f"{burst.sent} sent, {burst.answered} answered; nobody watched the host's end"
    if not burst.arrived:
        return f"{burst.sent} sent, none arrived{'. ' + burst.note if burst.note else ''}"
    first = f"; the first refused was number {burst.first_refused}" if burst.first_refused else ""
    return f"{burst.sent} sent, {burst.arrived} arrived, {burst.admitted} let in, {burst.answered} answered{first}"


_Answer = tuple[Verdict, str, str, str]


def _inside(check: Check, burst: BurstFacts, predicted: int, expected: int, limit: str) -> _Answer:
    if predicted != expected:
        return _wrong_limit(check, burst, predicted, limit)
    unseen = _unseen(burst, predicted)
    if unseen is not None:
        return unseen
    if burst.admitted != expected:
        return (
            Verdict.FAIL, f"the tables should admit {predicted}, but {burst.admitted} were let in",
            "model and wire disagree", "Repeat the burst; other connections from this source may have been counted.",
        )  # fmt: skip
    if burst.answered != burst.admitted:
        return (
            Verdict.FAIL, f"{burst.admitted} were let in as expected, but only {burst.answered} were answered",
            f"{check.service}: replies are lost", "See the service's allow checks.",
        )  # fmt: skip
    return Verdict.PASS, f"exactly {burst.admitted} of {burst.sent} were let in", "", ""


def _unseen(burst: BurstFacts, predicted: int) -> _Answer | None:
    """Return why a burst cannot be counted, None when all of it was seen."""
    if not burst.arrived:
        return Verdict.INCONCLUSIVE, f"the tables admit {predicted}; no packet of the burst arrived", "not settled", ""
    if burst.arrived < burst.sent:
        lost = burst.sent - burst.arrived
        return Verdict.INCONCLUSIVE, f"{lost} packets of the burst were lost before the host", "burst was thinned", ""
    if not burst.watched and not burst.answered:
        reason = f"the tables admit {predicted}; no answer came, and nobody watched the host's end"
        return Verdict.INCONCLUSIVE, reason, "not settled", ""
    return None


def _wrong_limit(check: Check, burst: BurstFacts, predicted: int, limit: str) -> _Answer:
    if predicted == 0:
        return (
            Verdict.FAIL, f"{limit} should be let in, the tables let in none",
            f"{check.service} is refused to the peers that may use it", "Accept the service for its peers first.",
        )  # fmt: skip
    off = f"the limiter admits {predicted}, not {check.expected.split()[0]}"
    fix = "Check the limit before counting: --rcheck (or --update) … -j DROP first, --set … -j ACCEPT after it."
    if predicted == burst.sent:
        off, fix = "no limiter applies to this source", f"Limit new connections to {limit}."
    return Verdict.FAIL, f"{limit} should be let in: {off}", f"{check.service}: {off}", fix


def _outside(check: Check, burst: BurstFacts, predicted: int, expected: int) -> _Answer:
    number = max(predicted, burst.admitted)
    if number > expected:
        return (
            Verdict.FAIL,
            f"a source outside the named peers is let in {number} times of {burst.sent}: it is not limited at all",
            f"{check.service}: sources outside the named peers are not limited at all",
            "Refuse the sources that no expectation names, or let the limiter see every source.",
        )
    if burst.admitted and not predicted:
        reason = f"the tables let none in, but {burst.admitted} of {burst.sent} were let in"
        return Verdict.FAIL, reason, "model and wire disagree", "Trace such a packet on the host."
    elsewhere = sum(one.answered_for for one in burst.seen)
    if elsewhere:
        reason = f"{elsewhere} packets of the burst were answered, and not seen at the host"
        return Verdict.INCONCLUSIVE, reason, ELSEWHERE, ""
    if not burst.arrived:
        return Verdict.PASS, f"the tables let in {predicted or 'none'}; no packet of the burst arrived", "", ""
    return Verdict.PASS, f"limited: {burst.admitted} of {burst.sent} were let in", "", ""
