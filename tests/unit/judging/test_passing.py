"""What passes through a router: claims over the whole packet space, and one packet that was watched on its way."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.facts import FlowFacts
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.judging.absent import judge_absent
from fwproof.judging.flow import judge_flow
from fwproof.judging.passing import judge_passing
from fwproof.judging.space import judge_default
from fwproof.observation import Observation, Passage, PortState, Probe
from fwproof.plan import Check, Kind
from fwproof.policy.model import Default, Passing, Peers, Policy, Service
from fwproof.results import Verdict
from fwproof.semantics.model import HostModel

HERE = {"title": "x", "file": "p.yaml", "line": 3}
INSIDE, OUTSIDE = Peers("inside", (ip_network("10.0.0.0/24"),)), Peers("outside", (ip_network("203.0.113.0/24"),))
OUT = Passing(id="out", service=Service("tcp", 443, "https"), peers=INSIDE, to=OUTSIDE, **HERE)
IN = Passing(
    id="in", service=Service("tcp", 80, "http"), peers=OUTSIDE, to=INSIDE, published=Service("tcp", 8080, "page"),
    **HERE,
)  # fmt: skip
DEFAULT = Default(id="forward-default", decision="deny", **HERE)
POLICY = Policy(name="p", path=None, sha256="", hosts=("r",), services={}, forward=(OUT, IN), forward_default=DEFAULT)
ADDRESSES = (
    '[{"ifname": "lo", "addr_info": []},'
    ' {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "203.0.113.1", "prefixlen": 24}]},'
    ' {"ifname": "eth1", "addr_info": [{"family": "inet", "local": "10.0.0.254", "prefixlen": 24}]}]'
)
ROUTES = '[{"dst": "203.0.113.0/24", "dev": "eth0"}, {"dst": "10.0.0.0/24", "dev": "eth1"}]'
DNAT = "-A PREROUTING -d 203.0.113.1 -i eth0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.5:80\n"
STATE = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
LET_OUT = "-A FORWARD -s 10.0.0.0/24 -d 203.0.113.0/24 -i eth1 -o eth0 -p tcp -m tcp --dport 443 -j ACCEPT\n"
LET_IN = (
    "-A FORWARD -s 203.0.113.0/24 -d 10.0.0.5 -i eth0 -o eth1 -p tcp -m tcp --dport 80"
    " -m conntrack --ctstate DNAT -j ACCEPT\n"
)
GOOD = (DNAT, STATE + LET_OUT + LET_IN)


def facts(nat, rules, **more):
    text = (
        f"*nat\n:PREROUTING ACCEPT [0:0]\n{nat}COMMIT\n*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n{rules}COMMIT\n"
    )
    model = HostModel.build(iptables_save=text, addresses=ADDRESSES, routes=ROUTES)
    host = SimpleNamespace(address=lambda family: ip_address("203.0.113.1"))
    return SimpleNamespace(model=lambda name: model, inventory=SimpleNamespace(hosts={"r": host}), **more)


def claim(passing):
    return Check(
        id="c", kind=Kind.CLAIM, policy=POLICY, expectation=passing, host="r", expected="x", family=Family.IPV4,
        service=passing.asked, direction="forward",
    )  # fmt: skip


CLAIMS = {
    "out as it should be": (OUT, *GOOD, Verdict.PASS, "tcp/443 is open to exactly inside"),
    "out for everybody": (OUT, DNAT, STATE + LET_OUT.replace("-s 10.0.0.0/24 ", ""), Verdict.FAIL,
                          "others than inside pass"),
    # what goes elsewhere is a matter of the default
    "out to everywhere": (OUT, DNAT, STATE + LET_OUT.replace("-d 203.0.113.0/24 ", ""), Verdict.PASS, "exactly inside"),
    "out for some": (OUT, DNAT, STATE + LET_OUT.replace("10.0.0.0/24", "10.0.0.0/25"), Verdict.FAIL,
                     "refused, though the policy lets it pass: tcp 443 from 10.0.0.128/25"),
    "out without answers": (OUT, DNAT, LET_OUT + LET_IN, Verdict.FAIL, "let in, but its answers are refused"),
    "in as it should be": (IN, *GOOD, Verdict.PASS, "tcp/8080 is open to exactly outside"),
    "in to another host": (IN, DNAT.replace("10.0.0.5", "10.0.9.5"), STATE + LET_IN.replace("10.0.0.5", "10.0.9.5"),
                           Verdict.FAIL, "sent on to 10.0.9.5, not to inside"),
    "in to another port": (IN, DNAT.replace(":80\n", ":81\n"), STATE + LET_IN.replace("--dport 80 ", "--dport 81 "),
                           Verdict.FAIL, "tcp/8080 is sent on to port 81 of 10.0.0.5, not to tcp/80"),
    "in to the same port": (IN, DNAT.replace(":80\n", "\n"), STATE + LET_IN.replace("--dport 80 ", "--dport 8080 "),
                            Verdict.FAIL, "tcp/8080 is sent on to the same port of 10.0.0.5, not to tcp/80"),
    "in and dropped": (IN, DNAT, STATE, Verdict.FAIL,
                       "refused, though the policy lets it pass: tcp 8080 from 203.0.113.0/24"),
}  # fmt: skip


@pytest.mark.parametrize(("passing", "nat", "rules", "verdict", "reason"), CLAIMS.values(), ids=list(CLAIMS))
def test_claims(passing, nat, rules, verdict, reason):
    found = judge_passing(claim(passing), facts(nat, rules))
    assert (found.verdict, reason in found.reason) == (verdict, True), found


def test_a_passage_of_a_family_without_peers_is_open_to_nobody():
    far = Peers("far", (*OUTSIDE.networks, ip_network("2001:db8:1::/64")))
    check = replace(claim(replace(OUT, to=far)), family=Family.IPV6)
    check = replace(check, policy=replace(POLICY, forward=(check.expectation,), forward_default=None))
    for rules, verdict, words in (
        ("", Verdict.PASS, "tcp/443 is open to nobody here: inside has no address of ipv6"),
        ("-A FORWARD -p tcp --dport 443 -j ACCEPT\n", Verdict.FAIL, "others than inside pass: tcp 443"),
    ):
        text = f"*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n{rules}COMMIT\n"
        model = HostModel.build(ip6tables_save=text, addresses=ADDRESSES)
        host = SimpleNamespace(address=lambda family: ip_address("2001:db8::1"))
        known = SimpleNamespace(model=lambda name, model=model: model, inventory=SimpleNamespace(hosts={"r": host}))
        found = judge_passing(check, known)
        assert (found.verdict, words in found.reason) == (verdict, True), found


def test_the_way_round_a_port_forward_is_no_part_of_it():
    check = replace(claim(OUT), kind=Kind.FORWARD_DEFAULT, expectation=DEFAULT)
    assert judge_default(check, facts(*GOOD)).verdict is Verdict.PASS
    found = judge_default(check, facts(DNAT, STATE + LET_OUT + LET_IN.replace(" -m conntrack --ctstate DNAT", "")))
    assert found.verdict is Verdict.FAIL
    assert "tcp 80 from 203.0.113.0/24 to 10.0.0.5" in found.reason, "whoever routes it to the router needs no forward"


def test_what_is_allowed_to_some_place_is_refused_elsewhere():
    check = replace(claim(OUT), kind=Kind.FORWARD_DEFAULT, expectation=DEFAULT)
    found = judge_default(check, facts(DNAT, STATE + LET_OUT.replace("-d 203.0.113.0/24 ", "") + LET_IN))
    assert found.verdict is Verdict.FAIL
    assert "tcp 443 from 10.0.0.0/24 to anywhere except 203.0.113.0/24" in found.reason


def test_what_no_rule_sees_is_let_through_but_what_has_no_hops_left():
    check = replace(claim(OUT), kind=Kind.FORWARD_DEFAULT, expectation=DEFAULT)
    model = HostModel.build(iptables_save="", addresses=ADDRESSES, routes=ROUTES)
    known = SimpleNamespace(model=lambda name: model)
    assert judge_default(check, known).cause == "forward has no rules at all"


# ---- one packet

FLOW = request(OUT.service, ip_address("10.0.0.5"), ip_address("203.0.113.66"))
RULE = RuleRef(family="ip", table="filter", chain="FORWARD", rule=2, text="-A FORWARD -j X")


def judged(expected, decision, state, *, passage, arrived=True, after=None, expectation=OUT):
    probe = Probe(ref="c", sender="in", receiver="out", flow=FLOW, through="r")
    seen = Observation(probe=probe, state=state, sent=1, arrived=arrived, confirmed=None, passage=passage)
    ruling = Ruling(decision=decision, by=RULE, may=frozenset({decision}))
    check = replace(claim(expectation), kind=Kind.FORWARD, expected=expected, vantage="in", to="out")
    return judge_flow(
        check, SimpleNamespace(flows={"c": FlowFacts(flow=FLOW, ruling=ruling, observation=seen, after=after)})
    )


WENT = Passage(host="r", came=True, went=True, after=FLOW)
STAYED = Passage(host="r", came=True, went=False)
ROWS = [
    ("allow", Decision.ACCEPT, PortState.OPEN, WENT, Verdict.PASS, "let through by the tables, and on the wire"),
    ("allow", Decision.ACCEPT, PortState.REJECTED, WENT, Verdict.PASS, "let through"),
    ("allow", Decision.ACCEPT, PortState.REPLY_LOST, WENT, Verdict.FAIL, "the answer never reached the vantage"),
    ("allow", Decision.ACCEPT, PortState.SILENT, STAYED, Verdict.FAIL, "the model lets it through, but on the wire"),
    ("allow", Decision.UNKNOWN, PortState.SILENT, STAYED, Verdict.FAIL, "and the tables do not say why: a rule could"),
    ("allow", Decision.DROP, PortState.SILENT, STAYED, Verdict.FAIL, "should be let through, but is dropped by"),
    ("deny", Decision.DROP, PortState.SILENT, STAYED, Verdict.PASS, "refused by the tables, and on the wire"),
    ("deny", Decision.DROP, PortState.SILENT, WENT, Verdict.FAIL, "the model says drop, but the wire let it through"),
    ("deny", Decision.ACCEPT, PortState.SILENT, WENT, Verdict.FAIL, "should be refused, but is let through by"),
    (
        "deny",
        Decision.DROP,
        PortState.OPEN,
        Passage(host="r", came=False, went=False),
        Verdict.NOT_APPLICABLE,
        "do not go through r",
    ),
]


@pytest.mark.parametrize(("expected", "decision", "state", "passage", "verdict", "reason"), ROWS)
def test_one_packet_through_a_router(expected, decision, state, passage, verdict, reason):
    found = judged(expected, decision, state, passage=passage)
    assert (found.verdict, reason in found.reason) == (verdict, True), found


def test_what_is_passed_on_and_never_comes_is_not_settled():
    found = judged("allow", Decision.ACCEPT, PortState.NEVER_ARRIVED, passage=WENT, arrived=False)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "passed on by r, but it never came to out")


def test_a_packet_that_left_to_another_place_than_the_tables_say():
    other = replace(WENT, after=replace(FLOW, dst=ip_address("203.0.113.99")))
    found = judged("allow", Decision.ACCEPT, PortState.OPEN, passage=other, after=FLOW)
    assert (found.verdict, found.cause) == (Verdict.FAIL, "model and wire disagree")
    assert "send it on to 203.0.113.66 port 443, and it left to 203.0.113.99 port 443" in found.reason
    found = judged("allow", Decision.ACCEPT, PortState.OPEN, passage=WENT, after=FLOW, expectation=IN)
    assert found.reason == "should be sent on to tcp/80 at inside, and is for 203.0.113.66 port 443"


# ---- what does not apply


def test_a_family_that_a_host_lacks_does_not_apply_and_one_that_it_has_is_not_passed_over():
    allow = replace(OUT, id="six", peers=Peers("six", (ip_network("fd00::/48"),)))
    check = replace(claim(allow), kind=Kind.ABSENT, family=Family.IPV6, policy=replace(POLICY, forward=(allow,)))
    found = judge_absent(check, facts(*GOOD))
    assert (found.verdict, found.reason) == (
        Verdict.NOT_APPLICABLE, "the host has no IPv6 address, so in IPv6 nothing applies of forward-default, six",
    )  # fmt: skip
    found = judge_absent(replace(check, family=Family.IPV4), facts(*GOOD))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the host has 203.0.113.1, 10.0.0.254: nothing was asked there" in found.reason


LINK = '{"family": "inet6", "local": "fe80::1", "prefixlen": 64}, {"family": "inet", "local": "10.0.0.254"'
ND = "-A INPUT -p ipv6-icmp -j ACCEPT\n"
LINKS = {
    "open": (":INPUT ACCEPT [0:0]\n", Verdict.INCONCLUSIVE, "neighbours get in there: "),
    "one port": (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n", Verdict.INCONCLUSIVE, ": tcp 22 "),
    "global only": (":INPUT DROP [0:0]\n-A INPUT -s fd00::/8 -j ACCEPT\n", Verdict.NOT_APPLICABLE, "no IPv6 address"),
    "shut": (f":INPUT DROP [0:0]\n{ND.replace('ipv6-icmp', 'ipv6-icmp -m icmp6 --icmpv6-type 135')}",
             Verdict.NOT_APPLICABLE, "no IPv6 address"),
    "not read": (None, Verdict.INCONCLUSIVE, "the rules of ip6tables were not read"),
}  # fmt: skip


@pytest.mark.parametrize(("rules", "verdict", "words"), LINKS.values(), ids=LINKS)
def test_a_family_that_a_host_speaks_on_its_links_only(rules, verdict, words):
    allow = replace(OUT, id="six", peers=Peers("six", (ip_network("fd00::/48"),)))
    check = replace(claim(allow), kind=Kind.ABSENT, family=Family.IPV6, policy=replace(POLICY, forward=(allow,)))
    six = None if rules is None else f"*filter\n{rules}COMMIT\n"
    addresses = ADDRESSES.replace('{"family": "inet", "local": "10.0.0.254"', LINK)
    model = HostModel.build(iptables_save="", ip6tables_save=six, addresses=addresses, routes=ROUTES)
    found = judge_absent(check, SimpleNamespace(model=lambda name: model))
    assert found.verdict is verdict
    assert words in found.reason
