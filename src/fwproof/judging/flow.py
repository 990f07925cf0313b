"""Judging one flow: the verdict table of the design, for inbound and outbound, allow and deny."""

from __future__ import annotations

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.errors import HostError, NotGranted
from fwproof.facts import Facts, FlowFacts
from fwproof.judging.passing import sent_elsewhere, turned
from fwproof.judging.space import leak_cause, refusal_cause
from fwproof.judging.wire import (
    ELSEWHERE,
    attributed_words,
    attribution_fault,
    evidence_lines,
    let_through,
    observed_words,
    traced_through,
)
from fwproof.observation import Observation, PortState
from fwproof.plan import Check
from fwproof.policy.model import Passing
from fwproof.results import Outcome, Verdict


def judge_flow(check: Check, facts: Facts) -> Outcome:
    """Judge an inbound or outbound check of one flow; raises HostError when it could not be looked at."""
    known = facts.flows[check.id]
    if isinstance(known, HostError):
        raise known
    seen = known.observation
    if isinstance(seen, HostError) and not isinstance(seen, NotGranted):
        raise seen
    assert seen is not None
    if isinstance(seen, Observation) and seen.arrived and seen.met_at(check.host) is False:
        return _elsewhere(check, known)
    if isinstance(seen, NotGranted):
        verdict, reason, cause, fix = _by_tables(check, known, seen)
    elif check.expected == "allow":
        verdict, reason, cause, fix = _allowed(check, known, seen)
    else:
        verdict, reason, cause, fix = _denied(check, known, seen)
    if verdict is Verdict.PASS and (why := attribution_fault(known)):
        verdict, cause, reason = Verdict.FAIL, why[0], f"{reason}, but {why[1]}"
        fix = "Collect the host again; if it persists, report the rule tables: the model reads them wrongly."
    by = _deciding(check, known, verdict)
    return Outcome(
        verdict=verdict, reason=reason, cause=cause, fix=fix,
        proved=proved_words(known), observed=observed_words(known),
        attributed=attributed_words(known), rule=str(by or ""), evidence=evidence_lines(known),
        by=(by,) if by else (), wrong=_wrong(check, known) if verdict is Verdict.FAIL else "",
    )  # fmt: skip


def _elsewhere(check: Check, known: FlowFacts) -> Outcome:
    """Return the outcome of a packet that was to go through a host, and came to its far end by another way."""
    return Outcome(
        verdict=Verdict.NOT_APPLICABLE, proved=proved_words(known), observed=observed_words(known),
        reason=f"packets from {check.vantage} to {check.to or check.expectation.id} do not go through {check.host}",
        fix="Say in the inventory which gateway each of the two is behind.", evidence=evidence_lines(known),
    )  # fmt: skip


def _wrong(check: Check, known: FlowFacts) -> str:
    """Return what is wrong with the tables, empty where they are as they should be and something else is not."""
    if check.expected == "allow":
        return "shut" if known.ruling.refused or (known.reply is not None and known.reply.refused) else ""
    return "open" if Decision.ACCEPT in known.ruling.may else ""


def proved_words(known: FlowFacts) -> str:
    """Return the model's answer on a packet and its reply in a sentence."""
    ruling, fresh, answer = known.ruling, known.fresh, known.reply
    words = ruling.decision.value + (f" by {ruling.by}" if ruling.by else "")
    if fresh is not None and fresh.accepted:
        words = f"accept by {fresh.by}, until {', '.join(ruling.depends_on)}; then dropped by {ruling.by}"
    elif ruling.depends_on:
        words += f", depending on {', '.join(ruling.depends_on)}"
    if answer is not None and Decision.ACCEPT in ruling.may:
        words += f"; its reply: {answer.decision.value}" + (f" by {answer.by}" if answer.by else "")
    return words


def _deciding(check: Check, known: FlowFacts, verdict: Verdict) -> RuleRef | None:
    """Return the rule behind the verdict: what refuses the reply only matters to a packet that should get in."""
    wanted = check.expected == "allow"
    reply_decides = wanted and verdict is Verdict.FAIL and known.reply is not None and known.reply.refused
    ruling = known.fresh if known.fresh is not None and known.fresh.accepted else known.ruling
    if reply_decides and known.reply and not known.ruling.refused:
        ruling = known.reply
    return ruling.by


_Answer = tuple[Verdict, str, str, str]


def _allowed(check: Check, known: FlowFacts, seen: Observation) -> _Answer:
    through = let_through(seen, check.direction)
    refused = _refused_by_rules(check, known) or _misdirected(check, known)
    if refused is not None:
        return refused
    if through is True:
        return _astray(known, seen) or _allowed_on_the_wire(known, seen)
    if through is False and known.ruling.decision is Decision.DEPENDS:
        depends = ", ".join(known.ruling.depends_on)
        reason = f"refused on the wire; the tables leave it to {depends}, which other traffic may have used up"
        return Verdict.INCONCLUSIVE, reason, "not settled on the wire", "Repeat it when the limit has recovered."
    if through is False and known.ruling.decision is Decision.UNKNOWN:
        why = ", ".join(known.ruling.depends_on) or "a rule could not be read"
        reason = f"on the wire it was {_word(seen)}, and the tables do not say why: {why}"
        return Verdict.FAIL, reason, "refused by what was not read", f"Trace such a packet on the host ({known.flow})."
    if through is False:
        return _disagree(known, f"the model lets it through, but on the wire it was {_word(seen)}")
    return _unsettled(known, seen)


def _unsettled(known: FlowFacts, seen: Observation) -> _Answer:
    """Judge an allowed flow of which the wire by itself cannot tell whether it was let through."""
    traced = traced_through(known)
    if traced is False:
        return _disagree(known, "the model lets it through, but the rules that it met did not")
    if traced is True:
        return Verdict.PASS, "let through by the tables, as the trace shows; the wire could not show it", "", ""
    if seen.arrived is None and seen.answer and known.counted is not None and known.ruling.accepted:
        return Verdict.PASS, f"let through by the tables, as the rule's counter shows; {seen.answer} came back", "", ""
    return (
        Verdict.INCONCLUSIVE,
        f"the tables let it through, but the wire could not show it: {known.stopped or seen.note or _word(seen)}",
        "not settled on the wire",
        "See whether something on the way blocks it, or probe from another vantage.",
    )


def _refused_by_rules(check: Check, known: FlowFacts) -> _Answer | None:
    """Return the failure of a flow whose packet or reply the tables refuse, None where they refuse neither."""
    ruling, answer = known.ruling, known.reply
    if ruling.refused:
        return (
            Verdict.FAIL,
            f"should be let through, but is {past(ruling.decision)}{by_whom(ruling.by)}",
            refusal_cause(ruling.by),
            f"Accept {check.service} for {check.peer} before this rule, in {_family(check)}.",
        )
    if answer is None or not answer.refused:
        return None
    chain = answer.by.chain if answer.by else "the chain"
    fix = f"-I {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    return (
        Verdict.FAIL,
        f"the request is let through, but its reply is {past(answer.decision)}{by_whom(answer.by)}",
        f"replies are dropped by {answer.by}",
        f"Accept RELATED,ESTABLISHED first in {chain}: {fix}",
    )


def _misdirected(check: Check, known: FlowFacts) -> _Answer | None:
    """Return the failure of a packet to a published port that the tables send elsewhere, None where there is none."""
    where = sent_elsewhere(check.expectation, known.after) if isinstance(check.expectation, Passing) else ""
    if not where:
        return None
    cause = f"{check.service} is sent on to another place than the policy names"
    return Verdict.FAIL, where, cause, f"Correct the rule of nat that sends {check.service} on."


def _astray(known: FlowFacts, seen: Observation) -> _Answer | None:
    """Return the answer on what a host passed on and that did not get where it should, None where it did."""
    if seen.passage is None:
        return None
    elsewhere = turned(known.after, seen.passage.after)
    if elsewhere:
        return _disagree(known, elsewhere)
    if seen.state is not PortState.NEVER_ARRIVED:
        return None
    reason = f"passed on by {seen.passage.host}, but it never came to {seen.probe.receiver}"
    return Verdict.INCONCLUSIVE, reason, "not settled on the wire", "See what stops it behind the host."


def _by_tables(check: Check, known: FlowFacts, gap: NotGranted) -> _Answer:
    """Judge a flow that the host's tier lets nobody send: the tables can condemn it, and refuse what should be."""
    if check.expected == "allow":
        unseen = f"the tables let it through; it could not be tried on the wire: {gap.message}"
        return _refused_by_rules(check, known) or (Verdict.INCONCLUSIVE, unseen, "not granted by the tier", gap.advice)
    if known.ruling.decision is Decision.UNKNOWN:
        return Verdict.INCONCLUSIVE, "neither the tables nor the wire could settle it", "not settled", gap.advice
    if Decision.ACCEPT in known.ruling.may:
        return _leak(check, known, "")
    return Verdict.PASS, f"refused by the tables; it was not tried on the wire: {gap.message}", "", ""


def _leak(check: Check, known: FlowFacts, more: str) -> _Answer:
    by = known.ruling.by
    way = {"outbound": "out", "forward": "through"}.get(check.direction or "", "in")
    return (
        Verdict.FAIL,
        f"should be refused, but is let {way}{by_whom(by)}{more}",
        leak_cause(by, "the host"),
        f"Refuse it by default, and accept {check.service} for the named peers only.",
    )


def _word(seen: Observation) -> str:
    return seen.state.value.replace("-", " ")


def _allowed_on_the_wire(known: FlowFacts, seen: Observation) -> _Answer:
    connected = known.connected
    if seen.state is PortState.REPLY_LOST:
        return Verdict.FAIL, "let in and answered, but the answer never reached the vantage", "reply lost", ""
    if isinstance(connected, HostError):
        raise connected
    if connected is not None and not connected.ok and seen.state is PortState.OPEN:
        return _disagree(known, f"the probe was answered, but a full connection failed: {connected.detail}")
    if seen.state is PortState.ACCEPTED_SILENT and known.flow.flags and seen.passage is None:
        return _disagree(known, "let in, and the model lets its reply out, but no answer left the host")
    if known.ruling.accepted:
        return Verdict.PASS, "let through by the tables, and on the wire", "", ""
    if known.fresh is not None and known.fresh.accepted:
        return Verdict.PASS, "let through by the tables while their limit is not used up, and on the wire", "", ""
    return (
        Verdict.PASS,
        f"let through on the wire; observed only, as the tables say {known.ruling.decision.value}",
        "",
        "",
    )


def _denied(check: Check, known: FlowFacts, seen: Observation) -> _Answer:
    through = let_through(seen, check.direction)
    ruling = known.ruling
    if ruling.decision is Decision.UNKNOWN:
        return _denied_on_the_wire(ruling, traced_through(known) if through is None else through)
    if Decision.ACCEPT in ruling.may:
        shown = seen.state in {PortState.OPEN, PortState.CLOSED} or (seen.passage is not None and through)
        return _leak(check, known, "" if shown else f"; on the wire it {_hidden(seen)}")
    if through is True:
        return _disagree(known, f"the model says {ruling.decision.value}, but the wire let it through")
    if through is False:
        return Verdict.PASS, "refused by the tables, and on the wire", "", ""
    if seen.answered_for:
        reason = f"refused by the tables, but {seen.answer} came back, and the packet was not seen at the host"
        return Verdict.INCONCLUSIVE, reason, ELSEWHERE, _ANSWERED_FOR
    note = "something before this firewall stopped the probe, so the wire did not test it"
    if seen.arrived is None:
        note = "no answer on the wire; arrival was not watched"
        if known.counted is not None:
            note = "no answer on the wire, and the counter of the rule shows that the packets arrived"
    elif seen.state is PortState.NO_ANSWER:
        note = f"what happened on the wire has no single reading: {seen.note}"
    elif known.stopped:
        note = f"{note}; {known.stopped}"
    return Verdict.PASS, f"refused by the tables; {note}", "", ""


_ANSWERED_FOR = (
    "Find out what answers there: another host with this address, nat or a proxy on the way, or a program or hardware"
    " that takes packets before the tables."
)


def _denied_on_the_wire(ruling: Ruling, through: bool | None) -> _Answer:  # noqa: FBT001 - a three-valued answer
    """Judge on the wire alone, for this flow, where the tables could not be read to the end."""
    if through is None:
        return Verdict.INCONCLUSIVE, "neither the tables nor the wire could settle it", "not settled", ""
    if through:
        reason = f"let through on the wire; the tables could not be read to the end ({', '.join(ruling.depends_on)})"
        return Verdict.FAIL, reason, "open on the wire", "Refuse this flow."
    return Verdict.PASS, "refused on the wire; observed only, as a rule could not be read", "", ""


def _disagree(known: FlowFacts, reason: str) -> _Answer:
    fix = f"Trace such a packet on the host ({known.flow}): the tables changed during the run, or a rule is misread."
    return Verdict.FAIL, reason, "model and wire disagree", fix


def _hidden(seen: Observation) -> str:
    if seen.state is PortState.ACCEPTED_SILENT:
        return "was let in too, and only its reply was lost"
    return f"did not show ({seen.state.value})"


def by_whom(by: RuleRef | None) -> str:
    """Return who decided, to follow a decision in a sentence; no rule does on a host that has none."""
    return f" by {by}" if by else ", as no rule says otherwise"


def past(decision: Decision) -> str:
    """Return a decision as a past participle, for sentences."""
    return {Decision.DROP: "dropped", Decision.REJECT: "rejected"}.get(decision, decision.value)


def _family(check: Check) -> str:
    return "ip6tables" if check.family == "ipv6" else "iptables"
