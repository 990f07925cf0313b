"""The verdict table of the design, row by row, for one inbound flow."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.errors import AgentRefused, HostError, NotGranted
from fwproof.facts import Connected, Counted, FlowFacts
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.judging.flow import judge_flow
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow, Peers, Policy, Service
from fwproof.results import Verdict
from fwproof.semantics.traced import Met, Traced
from fwproof.semantics.traced import Path as Path_

SERVICE = Service("tcp", 11434, "ollama")
FLOW = request(SERVICE, ip_address("10.0.5.7"), ip_address("10.0.0.10"))
RULE = RuleRef(family="ip", table="filter", chain="INPUT", rule=3, text="-A INPUT -j DROP")
POLICY_RULE = RuleRef(family="ip", table="filter", chain="INPUT", rule=None, text="ACCEPT")
EXPECTATION = Allow(
    id="ollama-internal", title="Ollama answers the internal network only", file="p.yaml", line=9, service=SERVICE,
    peers=Peers("internal", ()),
)  # fmt: skip
POLICY = Policy(name="p", path=Path("p.yaml"), sha256="", hosts=("ai",), services={})
DECISIONS = {
    "accept": {Decision.ACCEPT}, "drop": {Decision.DROP}, "reject": {Decision.REJECT},
    "depends": {Decision.ACCEPT, Decision.DROP}, "unknown": {Decision.ACCEPT, Decision.DROP},
}  # fmt: skip


def check(expected, direction="inbound"):
    kind = Kind.INBOUND if direction == "inbound" else Kind.OUTBOUND
    return Check(
        id="c", kind=kind, policy=POLICY, expectation=EXPECTATION, host="ai", expected=expected, family=Family.IPV4,
        vantage="ws", peer=ip_address("10.0.5.7"), service=SERVICE, direction=direction,
    )  # fmt: skip


def ruling(word, by=RULE):
    depends = ("recent OLLAMA hitcount 20/60s",) if word in {"depends", "unknown"} else ()
    return Ruling(decision=Decision(word), by=by, may=frozenset(DECISIONS[word]), depends_on=depends)


def seen(state, *, arrived=True, confirmed=None, sent=1):
    probe = Probe(ref="c", sender="ws", receiver="ai", flow=FLOW)
    return Observation(probe=probe, state=state, sent=sent, arrived=arrived, confirmed=confirmed)


def facts(known):
    return SimpleNamespace(flows={"c": known})


TABLE = [
    # expected, model, wire, verdict, words of the reason
    ("allow", "accept", PortState.OPEN, Verdict.PASS, "by the tables, and on the wire"),
    ("allow", "accept", PortState.CLOSED, Verdict.PASS, "by the tables, and on the wire"),
    ("allow", "accept", PortState.SILENT, Verdict.FAIL, "on the wire it was silent"),
    ("allow", "accept", PortState.REPLY_LOST, Verdict.FAIL, "never reached the vantage"),
    ("allow", "accept", PortState.ACCEPTED_SILENT, Verdict.FAIL, "no answer left the host"),
    ("allow", "accept", PortState.NEVER_ARRIVED, Verdict.INCONCLUSIVE, "could not show it"),
    ("allow", "drop", PortState.SILENT, Verdict.FAIL, "should be let through"),
    ("allow", "drop", PortState.OPEN, Verdict.FAIL, "should be let through"),
    ("allow", "reject", PortState.REJECTED, Verdict.FAIL, "rejected by"),
    ("allow", "depends", PortState.OPEN, Verdict.PASS, "observed only"),
    ("allow", "depends", PortState.SILENT, Verdict.INCONCLUSIVE, "which other traffic may have used up"),
    ("allow", "unknown", PortState.OPEN, Verdict.PASS, "observed only"),
    ("allow", "unknown", PortState.NEVER_ARRIVED, Verdict.INCONCLUSIVE, "could not show it"),
    ("deny", "drop", PortState.SILENT, Verdict.PASS, "by the tables, and on the wire"),
    ("deny", "reject", PortState.REJECTED, Verdict.PASS, "by the tables, and on the wire"),
    ("deny", "drop", PortState.NEVER_ARRIVED, Verdict.PASS, "the wire did not test it"),
    ("deny", "drop", PortState.NO_ANSWER, Verdict.PASS, "no single reading"),
    ("deny", "drop", PortState.OPEN, Verdict.FAIL, "the wire let it through"),
    ("deny", "drop", PortState.CLOSED, Verdict.FAIL, "the wire let it through"),
    ("deny", "accept", PortState.CLOSED, Verdict.FAIL, "is let in by"),
    ("deny", "accept", PortState.SILENT, Verdict.FAIL, "did not show"),
    ("deny", "accept", PortState.ACCEPTED_SILENT, Verdict.FAIL, "only its reply was lost"),
    ("deny", "depends", PortState.SILENT, Verdict.FAIL, "is let in by"),
    ("deny", "unknown", PortState.SILENT, Verdict.PASS, "observed only"),
    ("deny", "unknown", PortState.OPEN, Verdict.FAIL, "could not be read"),
    ("deny", "unknown", PortState.NEVER_ARRIVED, Verdict.INCONCLUSIVE, "neither"),
]


@pytest.mark.parametrize(("expected", "model", "wire", "verdict", "words"), TABLE)
def test_the_verdict_table(expected, model, wire, verdict, words):
    known = FlowFacts(flow=FLOW, ruling=ruling(model), observation=seen(wire))
    outcome = judge_flow(check(expected), facts(known))
    assert outcome.verdict is verdict
    assert words in outcome.reason
    assert bool(outcome.cause) is (verdict in {Verdict.FAIL, Verdict.INCONCLUSIVE})


ANSWERED_FOR = [
    # direction, answer, verdict, words
    ("inbound", "SYN/ACK", Verdict.INCONCLUSIVE, "SYN/ACK came back, and the packet was not seen at the host"),
    ("inbound", "UDP", Verdict.INCONCLUSIVE, "UDP came back"),
    ("inbound", "ICMP echo reply", Verdict.INCONCLUSIVE, "ICMP echo reply came back"),
    ("inbound", "RST", Verdict.PASS, "refused by the tables; "),
    ("inbound", "ICMP admin prohibited", Verdict.PASS, "refused by the tables; "),
    ("outbound", "SYN/ACK", Verdict.FAIL, "the wire let it through"),
    ("outbound", "ICMP admin prohibited", Verdict.PASS, "refused by the tables; "),
]


# where nothing of a vantage arrives the way counts as unreachable, and as no answer where packets were not captured
@pytest.mark.parametrize("state", [PortState.NEVER_ARRIVED, PortState.UNREACHABLE, PortState.NO_ANSWER])
@pytest.mark.parametrize(("direction", "answer", "verdict", "words"), ANSWERED_FOR)
def test_an_answer_that_the_host_did_not_give_is_not_passed_over(direction, answer, verdict, words, state):
    observed = replace(seen(state, arrived=False), answer=answer)
    known = FlowFacts(flow=FLOW, ruling=ruling("drop"), observation=observed)
    outcome = judge_flow(check("deny", direction), facts(known))
    assert outcome.verdict is verdict
    assert words in outcome.reason


# tier read: nobody watches the host, and nothing can be sent from it
UNWATCHED = [
    # expected, model, wire, answer, counter, verdict, words
    ("deny", "drop", PortState.NO_ANSWER, None, None, Verdict.PASS, "arrival was not watched"),
    ("deny", "drop", PortState.NO_ANSWER, None, 3, Verdict.PASS, "the rule shows that the packets arrived"),
    ("deny", "drop", PortState.OPEN, "SYN/ACK", None, Verdict.FAIL, "the wire let it through"),
    ("deny", "accept", PortState.NO_ANSWER, None, None, Verdict.FAIL, "is let in by"),
    ("allow", "accept", PortState.OPEN, "SYN/ACK", None, Verdict.PASS, "by the tables, and on the wire"),
    ("allow", "accept", PortState.NO_ANSWER, "RST", 1, Verdict.PASS, "as the rule's counter shows"),
    ("allow", "accept", PortState.NO_ANSWER, "RST", None, Verdict.INCONCLUSIVE, "could not show it"),
    ("allow", "accept", PortState.NO_ANSWER, None, 3, Verdict.INCONCLUSIVE, "could not show it"),
    ("allow", "unknown", PortState.NO_ANSWER, "RST", 1, Verdict.INCONCLUSIVE, "could not show it"),
]


@pytest.mark.parametrize(("expected", "model", "wire", "answer", "counter", "verdict", "words"), UNWATCHED)
def test_a_host_that_nobody_watches(expected, model, wire, answer, counter, verdict, words):
    counted = Counted(rule=RULE, probes=counter, moved=counter) if counter else None
    watched = replace(seen(wire, arrived=None), answer=answer)
    known = FlowFacts(flow=FLOW, ruling=ruling(model), observation=watched, counted=counted)
    outcome = judge_flow(check(expected), facts(known))
    assert (outcome.verdict, words in outcome.reason) == (verdict, True), outcome.reason


UNSENT = [
    ("allow", "accept", Verdict.INCONCLUSIVE, "could not be tried"),
    ("allow", "drop", Verdict.FAIL, "should be let through"),
    ("deny", "drop", Verdict.PASS, "not tried on the wire"),
    ("deny", "accept", Verdict.FAIL, "is let out by"),
    ("deny", "depends", Verdict.FAIL, "is let out by"),
    ("deny", "unknown", Verdict.INCONCLUSIVE, "neither"),
]


@pytest.mark.parametrize(("expected", "model", "verdict", "words"), UNSENT)
def test_what_the_tier_lets_nobody_send_is_judged_by_the_tables(expected, model, verdict, words):
    gap = NotGranted("ai", "its access is read, so nothing can be sent from it", "grant it observe")
    known = FlowFacts(flow=FLOW, ruling=ruling(model), observation=gap)
    outcome = judge_flow(check(expected, "outbound"), facts(known))
    assert (outcome.verdict, words in outcome.reason) == (verdict, True), outcome.reason


def test_a_request_whose_reply_is_dropped_fails_and_names_the_rule_that_drops_it():
    out = RuleRef(family="ip", table="filter", chain="OUTPUT", rule=5, text="-A OUTPUT -j DROP")
    known = FlowFacts(
        flow=FLOW, ruling=ruling("accept", POLICY_RULE), reply=ruling("drop", out),
        observation=seen(PortState.ACCEPTED_SILENT, confirmed=True),
    )  # fmt: skip
    outcome = judge_flow(check("allow"), facts(known))
    assert outcome.verdict is Verdict.FAIL
    assert outcome.rule == str(out)
    assert "ESTABLISHED" in outcome.fix


def test_a_default_that_accepts_is_named_as_the_cause():
    known = FlowFacts(flow=FLOW, ruling=ruling("accept", POLICY_RULE), observation=seen(PortState.SILENT))
    assert "no default deny" in judge_flow(check("deny"), facts(known)).cause


def test_a_counter_that_does_not_account_for_the_probes_is_a_finding():
    known = FlowFacts(flow=FLOW, ruling=ruling("drop"), observation=seen(PortState.SILENT))
    good = replace(known, counted=Counted(rule=RULE, probes=3, moved=4))
    bad = replace(known, counted=Counted(rule=RULE, probes=3, moved=2))
    assert judge_flow(check("deny"), facts(good)).verdict is Verdict.PASS
    outcome = judge_flow(check("deny"), facts(bad))
    assert (outcome.verdict, outcome.cause) == (Verdict.FAIL, "model and counters disagree")


def traced(*met, agrees, why="", **more):
    by = met[-1] if met else None
    decision = None if by is None else Decision(by.verdict)
    path = Path_(met=met, by=by.rule if by else None, decision=decision, begun=True, **more)
    return Traced(path=path, agrees=agrees, why=why)


DROPPED, LET_IN = Met(RULE, "drop", main=True, final=True), Met(RULE, "accept", main=True, final=True)


def test_a_trace_that_has_another_rule_decide_is_a_finding():
    known = FlowFacts(flow=FLOW, ruling=ruling("drop"), observation=seen(PortState.SILENT))
    good = judge_flow(check("deny"), facts(replace(known, traced=traced(DROPPED, agrees=True))))
    assert (good.verdict, good.attributed) == (Verdict.PASS, f"trace: {RULE} (drop)")
    assert f"trace: {RULE} (drop)" in good.evidence
    other = traced(DROPPED, agrees=False, why="the kernel had A drop, the model has B")
    bad = judge_flow(check("deny"), facts(replace(known, traced=other)))
    assert (bad.verdict, bad.cause) == (Verdict.FAIL, "model and trace disagree")
    assert "but the kernel had A drop, the model has B" in bad.reason


def test_a_trace_decides_what_counters_leave_open():
    counted = Counted(rule=RULE, probes=3, moved=2)
    known = FlowFacts(flow=FLOW, ruling=ruling("drop"), observation=seen(PortState.SILENT), counted=counted)
    told = {agrees: judge_flow(check("deny"), facts(replace(known, traced=traced(DROPPED, agrees=agrees))))
            for agrees in (True, None)}  # fmt: skip
    assert told[True].verdict is Verdict.PASS
    assert (told[None].verdict, told[None].cause) == (Verdict.FAIL, "model and counters disagree")


TRACED = [
    # expected, model, what was met, verdict, words of the reason; the wire says nothing
    ("allow", "accept", LET_IN, Verdict.PASS, "as the trace shows"),
    ("allow", "accept", None, Verdict.INCONCLUSIVE, "could not show it"),
    ("allow", "unknown", DROPPED, Verdict.FAIL, "the rules that it met did not"),
    ("deny", "unknown", LET_IN, Verdict.FAIL, "let through"),
    ("deny", "unknown", DROPPED, Verdict.PASS, "observed only"),
    ("deny", "unknown", None, Verdict.INCONCLUSIVE, "neither"),
]


@pytest.mark.parametrize(("expected", "model", "met", "verdict", "words"), TRACED)
def test_a_trace_tells_what_the_wire_does_not(expected, model, met, verdict, words):
    told = traced(*([met] if met else []), agrees=None, why="not comparable")
    known = FlowFacts(flow=FLOW, ruling=ruling(model), observation=seen(PortState.NO_ANSWER), traced=told)
    outcome = judge_flow(check(expected), facts(known))
    assert (outcome.verdict, words in outcome.reason) == (verdict, True), outcome.reason


def test_a_trace_of_what_never_arrived_says_nothing():
    nothing = Traced(path=Path_(), agrees=None, why="no tracing began for it")
    known = FlowFacts(flow=FLOW, ruling=ruling("drop"), observation=seen(PortState.NEVER_ARRIVED), traced=nothing)
    assert judge_flow(check("deny"), facts(known)).attributed == ""


def test_a_full_connection_that_could_not_be_tried_is_no_pass():
    known = FlowFacts(
        flow=FLOW, ruling=ruling("accept"), observation=seen(PortState.OPEN), connected=AgentRefused("ws", "gone")
    )
    with pytest.raises(AgentRefused):
        judge_flow(check("allow"), facts(known))


def test_a_flow_passes_while_its_limit_is_unused():
    known = FlowFacts(
        flow=FLOW, ruling=ruling("depends"), fresh=ruling("accept"), observation=seen(PortState.OPEN)
    )  # fmt: skip
    outcome = judge_flow(check("allow"), facts(known))
    assert (outcome.verdict, "while their limit is not used up" in outcome.reason) == (Verdict.PASS, True)


def test_a_full_connection_that_fails_where_the_probe_was_answered_is_a_finding():
    known = FlowFacts(
        flow=FLOW, ruling=ruling("accept"), observation=seen(PortState.OPEN),
        connected=Connected(ok=False, detail="timed out"),
    )  # fmt: skip
    assert judge_flow(check("allow"), facts(known)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "known",
    [AgentRefused("ws", "no agent"), FlowFacts(flow=FLOW, ruling=ruling("drop"), observation=AgentRefused("ws", "x"))],
)
def test_what_could_not_be_looked_at_is_raised_not_judged(known):
    with pytest.raises(HostError):
        judge_flow(check("deny"), facts(known))


OUTBOUND = [
    ("allow", "accept", seen(PortState.OPEN), Verdict.PASS),
    ("allow", "accept", seen(PortState.REFUSED_LOCALLY, arrived=False), Verdict.FAIL),
    ("allow", "accept", seen(PortState.SILENT), Verdict.PASS),
    ("deny", "drop", seen(PortState.REFUSED_LOCALLY, arrived=False), Verdict.PASS),
    ("deny", "drop", seen(PortState.SILENT), Verdict.FAIL),
    ("deny", "drop", seen(PortState.NEVER_ARRIVED, arrived=False), Verdict.PASS),
]


@pytest.mark.parametrize(("expected", "model", "wire", "verdict"), OUTBOUND)
def test_outbound_is_about_what_leaves_the_host(expected, model, wire, verdict):
    known = FlowFacts(flow=FLOW, ruling=ruling(model), observation=wire)
    assert judge_flow(check(expected, "outbound"), facts(known)).verdict is verdict


def test_where_a_probe_was_stopped_is_told():
    known = FlowFacts(
        flow=FLOW,
        ruling=ruling("drop"),
        observation=seen(PortState.NEVER_ARRIVED, arrived=False),
        stopped="at a router",
    )
    outcome = judge_flow(check("deny"), facts(known))
    assert (
        "something before this firewall stopped the probe, so the wire did not test it; at a router" in outcome.reason
    )
    assert "path: at a router" in outcome.evidence
    allowed = judge_flow(check("allow"), facts(replace(known, ruling=ruling("accept"))))
    assert (allowed.verdict, allowed.reason.endswith("could not show it: at a router")) == (Verdict.INCONCLUSIVE, True)


def test_a_note_and_a_connection_are_sentences_of_their_own():
    observation = replace(seen(PortState.OPEN), note="Seen from the sender only.")
    known = FlowFacts(
        flow=FLOW, ruling=ruling("accept"), observation=observation, connected=Connected(ok=True, detail="connected")
    )
    assert judge_flow(check("allow"), facts(known)).observed.endswith(
        "Seen from the sender only. A full connection stood: connected"
    )
