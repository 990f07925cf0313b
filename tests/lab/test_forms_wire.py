"""Forms that evade rules, on real kernels: what slips through is found, and the same rules mended are clean."""

from types import SimpleNamespace

import pytest

from fwproof.audit.forms import forms_of, rule_form
from fwproof.audit.waves import Asked
from fwproof.facts import EvasionFacts
from fwproof.flow import Family
from fwproof.forms import Ends, Group, dressed, words
from fwproof.judging import judge
from fwproof.observation import PortState, Probe
from fwproof.plan import Check, Kind
from fwproof.policy.model import Evasion, Policy
from fwproof.results import Verdict
from fwproof.semantics.model import HostModel

from .test_probing_wire import TARGET, VANTAGE, agents, clean, net, prober

__all__ = ["agents", "clean", "net", "prober"]
pytestmark = pytest.mark.lab

HEAD = """\
table inet t {
  chain i {
    type filter hook input priority 0; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
"""
TAIL = """
  }
}
"""


def closed(*rules):
    return HEAD + "\n".join(rules) + TAIL


def tried(net, prober, group, version, rules, *, posed=()):
    """Load rules at the target, send the forms of a group there, and return the verdict."""
    net.rules("target", rules)
    model = HostModel.build(
        nft_json=net.run("target", "nft", "-j", "list", "ruleset"),
        addresses=net.run("target", "ip", "-j", "addr"), routes=net.run("target", "ip", "-j", "route"),
        routes6=net.run("target", "ip", "-6", "-j", "route"),
    )  # fmt: skip
    here = {"id": "evasion", "title": "t", "file": "f", "line": 1}
    policy = Policy(name="p", path=None, sha256="", hosts=("target",), services={})
    check = Check(
        id="c", kind=Kind.EVASION, policy=policy, expectation=Evasion(forms=(group.value,), **here), host="target",
        expected="denied in every form", family=Family.of(TARGET[version]), vantage="vantage", peer=VANTAGE[version],
        direction="inbound", group=group,
    )  # fmt: skip
    ends = Ends(src=VANTAGE[version], dst=TARGET[version], closed=9, served=(8080,), posed=posed, echo=True)
    asked = [
        Asked(
            check=check, ruling=rule_form(model, form, flow), reply=None, counts=form.reaches,
            probe=Probe(ref=f"c {n}", sender="vantage", receiver="target", flow=flow, form=form),
        )
        for n, (form, flow) in enumerate(dressed(group, ends))
    ]  # fmt: skip
    retries = 0 if group is Group.SPOOFING else 2
    seen = prober.observe([one.probe for one in asked], retries=retries)
    known = {
        one.probe.ref: SimpleNamespace(
            flow=one.probe.flow,
            ruling=one.ruling,
            observation=seen[one.probe.ref],
            counted=None,
            traced=None,
        )
        for one in asked
    }
    facts = EvasionFacts(forms=forms_of(asked, known, {"target": model}))
    outcome = judge(check, SimpleNamespace(exercised={"c": facts}))
    return outcome, {words(one.probe.form, one.probe.flow): seen[one.probe.ref] for one in asked}


ESTABLISHED = "ct state established,related accept"
HOLES = [
    # what the field writes, the form that goes through it, and how it is mended
    (Group.FLAGS, "tcp flags & (fin|syn|rst|ack) != syn accept", "ACK to tcp/9", ESTABLISHED),
    (Group.SOURCE_PORTS, "udp sport 53 accept", "from udp/53", ESTABLISHED),
    (Group.SOURCE_PORTS, "tcp sport 20 accept", "from tcp/20", ESTABLISHED),
    (Group.PROTOCOLS, "meta l4proto gre accept", "GRE", ESTABLISHED),
    (Group.PROTOCOLS, "meta l4proto != { tcp, udp } accept", "SCTP INIT to sctp/9", ESTABLISHED),
]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("group", "hole", "form", "mended"), HOLES, ids=[hole[2] for hole in HOLES])
def test_a_hole_is_found_and_its_mending_is_clean(net, prober, group, hole, form, mended, version):
    outcome, seen = tried(net, prober, group, version, closed(ESTABLISHED, hole))
    assert outcome.verdict is Verdict.FAIL, outcome
    assert form in outcome.reason
    assert hole.split()[0] in outcome.rule
    assert "a plain packet does not" in outcome.reason or group is Group.PROTOCOLS
    assert seen[form].state in {PortState.CLOSED, PortState.ACCEPTED_SILENT, PortState.NO_ANSWER}
    assert any(form in line for line in outcome.evidence)
    outcome, seen = tried(net, prober, group, version, closed(mended))
    assert outcome.verdict is Verdict.PASS, outcome
    assert seen[form].state in {PortState.SILENT, PortState.NO_ANSWER}
    assert seen[form].arrived is True, "a refusal is shown by a packet that was there"


def test_a_stateless_hole_lets_every_set_of_flags_but_syn_through(net, prober):
    hole = closed("tcp flags & (fin|syn|rst|ack) != syn accept")
    _, seen = tried(net, prober, Group.FLAGS, 4, hole)
    through = {name for name, one in seen.items() if one.let_in}
    assert through == set(seen) - {"a plain packet to tcp/9", "a plain packet to tcp/8080"}


OPEN6 = "table ip6 t {\n chain i {\n type filter hook input priority 0; policy accept;\n"
NEXTHDR = f"{OPEN6} ip6 nexthdr tcp tcp dport {{ 9, 8080 }} drop\n }}\n}}\n"
L4PROTO = NEXTHDR.replace("ip6 nexthdr tcp tcp dport", "tcp dport")


def test_a_rule_on_the_next_header_is_bypassed_by_extension_headers(net, prober):
    outcome, seen = tried(net, prober, Group.EXTENSION_HEADERS, 6, NEXTHDR)
    assert outcome.verdict is Verdict.FAIL
    assert "behind hop-by-hop options to tcp/9" in outcome.reason
    assert "a plain packet does not" in outcome.reason
    assert "l4proto" in outcome.fix
    for header in ("hop-by-hop options", "destination options", "routing type 0", "an atomic fragment header"):
        assert seen[f"behind {header} to tcp/8080"].state is PortState.OPEN
        assert seen[f"behind {header} to tcp/9"].state is PortState.CLOSED
    assert seen["a plain packet to tcp/8080"].arrived
    assert not seen["a plain packet to tcp/8080"].let_in
    assert "tcp dport { 8080, 9 } drop" in outcome.rule or "tcp dport { 9, 8080 } drop" in outcome.rule
    assert "nft lists `ip6 nexthdr tcp tcp dport` as `tcp dport`" in outcome.reason


def test_where_nft_lists_the_next_header_the_model_says_so_itself(net, prober):
    outcome, seen = tried(net, prober, Group.EXTENSION_HEADERS, 6, f"{OPEN6} ip6 nexthdr tcp drop\n }}\n}}\n")
    assert outcome.verdict is Verdict.FAIL
    assert outcome.cause == "ip6 i has no default deny: its policy is ACCEPT"
    assert seen["behind hop-by-hop options to tcp/8080"].state is PortState.OPEN
    assert not seen["a plain packet to tcp/8080"].let_in


def test_the_same_rule_on_the_protocol_is_not(net, prober):
    outcome, seen = tried(net, prober, Group.EXTENSION_HEADERS, 6, L4PROTO)
    tcp = {name: one for name, one in seen.items() if name.endswith(("tcp/9", "tcp/8080"))}
    assert len(tcp) == 12
    assert not any(one.let_in or one.answer for one in tcp.values())
    assert all(one.arrived for one in tcp.values())
    assert "tcp" not in outcome.reason.replace("udp", ""), "what is left is UDP, which these rules let in"


def test_fragments_bypass_it_as_well(net, prober):
    outcome, seen = tried(net, prober, Group.FRAGMENTS, 6, NEXTHDR)
    assert outcome.verdict is Verdict.FAIL
    assert seen["in fragments of 24 bytes to tcp/8080"].state is PortState.OPEN
    outcome, seen = tried(net, prober, Group.FRAGMENTS, 6, L4PROTO)
    tcp = [one for name, one in seen.items() if "tcp" in name]
    assert tcp
    assert not any(one.state is PortState.OPEN for one in tcp), seen


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_of_what_is_denied_are_denied(net, prober, version):
    outcome, seen = tried(net, prober, Group.FRAGMENTS, version, closed(ESTABLISHED))
    assert outcome.verdict is Verdict.PASS, outcome
    assert all(one.arrived for one in seen.values())


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_of_what_is_allowed_get_in_so_the_probe_is_a_good_one(net, prober, version):
    _, seen = tried(net, prober, Group.FRAGMENTS, version, closed(ESTABLISHED, "tcp dport { 9, 8080 } accept"))
    assert seen["in fragments of 24 bytes to tcp/8080"].state is PortState.OPEN
    assert seen["in fragments of 8 bytes to tcp/8080"].state is (PortState.OPEN if version == 4 else PortState.CLOSED)
    assert seen["in overlapping fragments to tcp/8080"].arrived
    assert not seen["in overlapping fragments to tcp/8080"].let_in


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_in_fragments_get_in_where_whole_ones_do(net, prober, version):
    echo = "icmp type echo-request accept" if version == 4 else "icmpv6 type echo-request accept"
    outcome, seen = tried(net, prober, Group.FRAGMENTS, version, closed(ESTABLISHED, echo, "udp dport 9 accept"))
    assert outcome.verdict is Verdict.FAIL
    for form in ("", " in fragments of 32 bytes", " in fragments of 32 bytes, last first"):
        assert seen[f"an echo request{form}"].state is PortState.OPEN
        assert seen[f"{form.strip() or 'a plain packet'} to udp/9"].state is PortState.CLOSED


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_types_that_nobody_allowed(net, prober, version):
    hole = "icmp type timestamp-request accept" if version == 4 else "icmpv6 type nd-router-advert accept"
    outcome, seen = tried(net, prober, Group.ICMP_TYPES, version, closed(ESTABLISHED, hole))
    assert outcome.verdict is Verdict.FAIL
    assert ("timestamp" if version == 4 else "router advertisement") in outcome.reason
    if version == 4:
        assert seen["ICMP timestamp request"].answer == "ICMP timestamp reply"
    outcome, _ = tried(net, prober, Group.ICMP_TYPES, version, closed(ESTABLISHED))
    assert outcome.verdict is Verdict.PASS


# ---- spoofed sources: the vantage stands outside, the target's own link is inside

INSIDE = {4: "10.2.0.77", 6: "fd00:2::77"}
TRUSTING = {
    4: closed(ESTABLISHED, "ip saddr 10.2.0.0/24 tcp dport 8080 accept"),
    6: closed(ESTABLISHED, "ip6 saddr fd00:2::/64 tcp dport 8080 accept"),
}
RPFILTER = """
table inet raw {
  chain p {
    type filter hook prerouting priority -300; policy accept;
    meta nfproto ipv6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    fib saddr . iif oif missing drop
  }
}
"""


@pytest.mark.parametrize("version", [4, 6])
def test_an_inside_source_from_outside_is_let_in_where_nothing_stops_it(net, prober, version):
    posed = ((type(VANTAGE[version])(INSIDE[version]), 8080),)
    net.run("router", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.rv.rp_filter=0")
    outcome, seen = tried(net, prober, Group.SPOOFING, version, TRUSTING[version], posed=posed)
    (one,) = seen.values()
    assert outcome.verdict is Verdict.FAIL, (outcome, seen)
    assert outcome.cause == "nothing on the way stops spoofed sources"
    assert one.arrived
    assert one.sent == 1, "one packet each"
    assert INSIDE[version] in outcome.reason


@pytest.mark.parametrize("version", [4, 6])
def test_the_router_stops_it_and_it_is_seen_as_never_arrived(net, prober, version):
    posed = ((type(VANTAGE[version])(INSIDE[version]), 8080),)
    if version == 4:
        net.run("router", "sysctl", "-qw", "net.ipv4.conf.rv.rp_filter=1")
    else:
        net.rules("router", RPFILTER)
    outcome, seen = tried(net, prober, Group.SPOOFING, version, TRUSTING[version], posed=posed)
    (one,) = seen.values()
    net.run("router", "sysctl", "-qw", "net.ipv4.conf.rv.rp_filter=0")
    assert one.state is PortState.NEVER_ARRIVED
    assert "Another packet from the same vantage did arrive" in one.note, "silence has a positive control"
    assert outcome.verdict is Verdict.PASS
    assert outcome.reason == "1 of 1 spoofed packets were stopped on the way"
