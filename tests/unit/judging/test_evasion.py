"""Judging forms: the worst of them decides, silence counts where it means something, and spoofed ones by the way."""

from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.errors import AgentRefused, NotGranted
from fwproof.facts import Counted, EvasionFacts, FlowFacts, FormFacts
from fwproof.flow import Family
from fwproof.forms import PLAIN, Ends, Form, Group
from fwproof.judging import judge
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check, Kind
from fwproof.policy.model import Evasion, Policy
from fwproof.results import Verdict

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
ENDS = Ends(src=ip_address("203.0.113.66"), dst=ip_address("10.0.0.10"), closed=9)
RULE = RuleRef(family="ip", table="filter", chain="INPUT", rule=4, text="-A INPUT -j DROP")
HOLE = RuleRef(family="ip", table="filter", chain="INPUT", rule=2, text="-A INPUT -p tcp ! --syn -j ACCEPT")
ACK = Form(name="ACK")
MUTE = Form(name="ICMP redirect", shows=False)
OVERLAP = Form(name="in overlapping fragments", cut=24, reaches=False, shows=False)
SPOOFED = Form(name="with the source 10.0.9.9", spoofed=True, shows=False)


def ruled(decision, *, may=None, by=None, reject=None):
    return Ruling(decision=decision, by=by or (HOLE if decision is Decision.ACCEPT else RULE),
                  may=frozenset(may or {decision}), reject_with=reject)  # fmt: skip


DROP, ACCEPT = ruled(Decision.DROP), ruled(Decision.ACCEPT)
UNKNOWN = ruled(Decision.UNKNOWN, may={Decision.ACCEPT, Decision.DROP, Decision.UNKNOWN})


def form(form_, ruling, state, *, answer=None, tracked=True, counted=None, arrived=True, note=""):
    flow = ENDS.tcp(9, "ACK")
    seen = Observation(
        probe=Probe(ref="x", sender="v", receiver="h", flow=flow, form=form_), state=state, sent=1, arrived=arrived,
        confirmed=None, answer=answer, note=note,
    )  # fmt: skip
    moved = None if counted is None else Counted(rule=RULE, probes=3, moved=counted)
    return FormFacts(
        form=form_, known=FlowFacts(flow=flow, ruling=ruling, observation=seen, counted=moved), tracked=tracked
    )


def judged(*forms, group=Group.FLAGS, vantage="v", family=Family.IPV4):
    evasion = Evasion(forms=(group.value,), id="evasion", title="x", file="p.yaml", line=3)
    policy = Policy(name="p", path=None, sha256="", hosts=("h",), services={})
    check = Check(
        id="c", kind=Kind.EVASION, policy=policy, expectation=evasion, host="h", expected="denied in every form",
        family=family, vantage=vantage, direction="inbound", group=group,
    )  # fmt: skip
    return judge(check, SimpleNamespace(exercised={"c": EvasionFacts(forms=forms)}))


SILENT, CLOSED, GONE = PortState.SILENT, PortState.CLOSED, PortState.NEVER_ARRIVED
PLAIN_DENIED = form(PLAIN, DROP, SILENT)
CASES = [
    ([form(ACK, DROP, SILENT)], PASS, "ACK to tcp/9 is refused by the tables, and on the wire"),
    ([form(ACK, ACCEPT, CLOSED, answer="RST")], FAIL, "1 of 2 packets get in that should not: ACK to tcp/9"),
    ([form(ACK, ACCEPT, SILENT)], FAIL, "a plain packet does not, by ip filter INPUT rule 2"),
    ([form(ACK, DROP, CLOSED, answer="RST")], FAIL, "The model says drop, but on the wire: closed (RST)"),
    ([form(ACK, DROP, GONE, answer="SYN/ACK", arrived=False, note="it answers for it")], UNSURE, "it answers for it"),
    ([form(ACK, DROP, GONE, answer="RST", arrived=False)], PASS, "of 1 the wire shows nothing either way"),
    ([form(ACK, UNKNOWN, SILENT)], PASS, "1 of them observed only"),
    ([form(ACK, UNKNOWN, PortState.NO_ANSWER, note="no reading")], UNSURE, "neither the tables nor the wire settled"),
    ([form(ACK, UNKNOWN, CLOSED)], FAIL, "the tables could not be read to the end"),
    ([form(ACK, ruled(Decision.DEPENDS, may={Decision.ACCEPT, Decision.DROP}), SILENT)], FAIL, "ACK to tcp/9"),
    # silence proves nothing of what would leave no sign, nor where conntrack is not at work
    ([form(MUTE, UNKNOWN, SILENT)], UNSURE, "ICMP redirect"),
    ([form(MUTE, UNKNOWN, SILENT, counted=3)], PASS, "observed only"),
    ([form(ACK, UNKNOWN, SILENT, tracked=False)], UNSURE, "ACK"),
    ([form(MUTE, DROP, SILENT)], PASS, "of 1 the wire shows nothing either way: ICMP redirect"),
    ([form(ACK, DROP, SILENT, counted=1)], FAIL, "did not count the packets"),
    ([form(ACK, DROP, GONE, arrived=False)], PASS, "of 1 the wire shows nothing either way"),
    # what the kernel discards by itself is no hole, but what gets past all the same is one
    ([form(OVERLAP, ACCEPT, SILENT)], PASS, "nothing either way: in overlapping fragments"),
    ([form(OVERLAP, ACCEPT, PortState.OPEN, answer="SYN/ACK")], FAIL, "in overlapping fragments"),
    ([form(ACK, DROP, PortState.NO_ANSWER, answer="ICMP protocol unreachable")], FAIL, "ICMP protocol unreachable"),
    ([form(ACK, ruled(Decision.REJECT, reject="icmp-proto-unreachable"), PortState.NO_ANSWER,
           answer="ICMP protocol unreachable")], PASS, "all 2"),
    ([form(ACK, DROP, PortState.REJECTED, answer="RST")], PASS, "on the wire"),
]  # fmt: skip


@pytest.mark.parametrize(("forms", "verdict", "words"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_what_a_form_shows(forms, verdict, words):
    plain = [] if words.startswith("ACK to tcp/9 is") else [PLAIN_DENIED]
    outcome = judged(*plain, *forms)
    assert outcome.verdict is verdict, outcome
    assert words in outcome.reason
    assert bool(outcome.fix) is (verdict is not PASS)
    assert len(outcome.evidence) >= len(forms) + len(plain)


def test_a_plain_packet_that_gets_in_too_is_said():
    outcome = judged(form(PLAIN, ACCEPT, CLOSED), form(ACK, ACCEPT, CLOSED))
    assert outcome.verdict is FAIL
    assert "so does a plain packet" in outcome.reason
    outcome = judged(form(PLAIN, ACCEPT, CLOSED), form(ACK, DROP, SILENT))
    assert "1 of 2 packets get in that should not: a plain packet to tcp/9" in outcome.reason


def test_headers_that_nft_does_not_list():
    outcome = judged(
        PLAIN_DENIED, form(Form(name="behind", headers=(0,)), DROP, CLOSED), group=Group.EXTENSION_HEADERS,
        family=Family.IPV6,
    )  # fmt: skip
    assert outcome.verdict is FAIL
    assert "only the wire tells" in outcome.reason
    assert "l4proto" in outcome.fix


SPOOFING = [
    (form(SPOOFED, ACCEPT, GONE, arrived=False), PASS, "1 of 1 spoofed packets were stopped on the way"),
    (form(SPOOFED, ACCEPT, CLOSED, answer="RST"), FAIL, "with the source 10.0.9.9 to tcp/9"),
    (form(SPOOFED, ACCEPT, SILENT), FAIL, "with the source"),
    (form(SPOOFED, DROP, SILENT), PASS, "nothing on the way stopped them, and the tables did"),
    (form(SPOOFED, ACCEPT, PortState.UNREACHABLE, arrived=False, note="no control came either"), UNSURE, "no control"),
    (form(SPOOFED, ACCEPT, PortState.NO_ANSWER, arrived=None), UNSURE, "with the source"),
]


@pytest.mark.parametrize(("one", "verdict", "words"), SPOOFING, ids=[str(n) for n in range(len(SPOOFING))])
def test_spoofed_sources(one, verdict, words):
    outcome = judged(one, group=Group.SPOOFING)
    assert outcome.verdict is verdict, outcome
    assert words in outcome.reason


def test_what_cannot_be_looked_at_is_no_pass():
    gone = form(ACK, DROP, SILENT)
    broken = replace(gone, known=replace(gone.known, observation=AgentRefused("h", "it ended")))
    with pytest.raises(AgentRefused):
        judged(gone, broken)
    with pytest.raises(NotGranted, match="no vantage"):
        judged(vantage=None)
    with pytest.raises(NotGranted, match="access root"):
        judged(vantage=None, group=Group.SPOOFING)
    assert judged(group=Group.SPOOFING).verdict is Verdict.NOT_APPLICABLE
