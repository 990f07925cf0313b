"""Which forms are sent to whom, and what the model says of them."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from fwproof.audit.forms import ends_of, posed, rule_form
from fwproof.decision import Decision
from fwproof.flow import ICMP, UDP, CtState, Family
from fwproof.forms import FRAGMENT, HOP_BY_HOP, Ends, Form, Group, dressed
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.policy.model import Allow, Peers, Service
from fwproof.semantics.model import HostModel

ROOT = Path(__file__).parents[3]
INVENTORY = load_inventory(ROOT / "fixtures" / "inventory.yaml")
POLICY = load_policy(ROOT / "checks" / "ai-server.policy.yaml", INVENTORY)
OWN, OUTSIDE, WORKSTATION, ADMIN = map(ip_address, ("10.0.0.10", "203.0.113.66", "10.0.5.7", "10.0.0.1"))
SIX = Ends(src=ip_address("2001:db8:bad::66"), dst=ip_address("fd00:0:0:1::10"), closed=9)
FOUR = Ends(src=OUTSIDE, dst=OWN, closed=9)
ADDRESSES = '[{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.0.0.10","prefixlen":24},{"family":"inet6","local":"fd00:0:0:1::10","prefixlen":64}]}]'  # noqa: E501


def built(*rules, default="DROP", **more):
    text = _saved(rules, default)
    return HostModel.build(iptables_save=text, ip6tables_save=text, addresses=ADDRESSES, **more)


def _saved(rules, default):
    lines = ["*filter", f":INPUT {default} [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]", *rules, "COMMIT", ""]
    return "\n".join(lines)


def legacy(*rules):
    return HostModel.build(ip6tables_legacy_save=_saved(rules, "DROP"), addresses=ADDRESSES)


def nft(*expressions):
    rule = {"rule": {"family": "ip6", "table": "t", "chain": "i", "handle": 3, "expr": [*expressions, {"drop": None}]}}
    chain = {"family": "ip6", "table": "t", "name": "i", "handle": 1, "type": "filter", "hook": "input", "prio": 0,
             "policy": "accept"}  # fmt: skip
    top = [{"metainfo": {"json_schema_version": 1}}, {"table": {"family": "ip6", "name": "t", "handle": 1}}]
    return HostModel.build(nft_json=json.dumps({"nftables": [*top, {"chain": chain}, rule]}), addresses=ADDRESSES)


NEXTHDR = {"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "nexthdr"}}, "right": "tcp"}}
L4PROTO = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}


def test_closed_and_served_ports_are_those_that_the_policy_denies():
    assert ends_of(POLICY, INVENTORY, OUTSIDE, OWN).served == (11434, 8080, 22)
    assert ends_of(POLICY, INVENTORY, WORKSTATION, OWN).served == (8080, 22)
    assert ends_of(POLICY, INVENTORY, ADMIN, OWN).served == (8080,)
    assert {ends_of(POLICY, INVENTORY, src, OWN).closed for src in (OUTSIDE, ADMIN)} == {9}


@pytest.mark.parametrize("family", list(Family))
def test_posed_sources_are_of_the_inventorys_zones_and_nobodys(family):
    taken = {address for host in INVENTORY.hosts.values() for address in host.addresses}
    for host in INVENTORY.vantages:
        src = host.address(family)
        found = posed(POLICY, INVENTORY, src, family)
        for address, port in found:
            assert address not in taken
            assert any(address in zone for zone in INVENTORY.zones.values())
            assert address != src
            assert port in {9, 22, 8080, 11434}
    outside = posed(POLICY, INVENTORY, INVENTORY.hosts["outside"].address(family), family)
    inside = INVENTORY.zones["internal"].networks
    assert outside[0][1] == 11434
    assert any(outside[0][0] in network for network in inside), "a source that the policy lets in"
    work = posed(POLICY, INVENTORY, INVENTORY.hosts["workstation"].address(family), family)
    assert [port for _, port in work] == [9]
    assert not any(work[0][0] in network for network in inside), "an outside source, from inside"


def test_the_model_sees_through_extension_headers_what_the_rule_looks_at():
    syn, hidden = SIX.tcp(9), Form(name="x", headers=(HOP_BY_HOP,))
    assert rule_form(nft(NEXTHDR), Form(), syn).decision is Decision.DROP
    assert rule_form(nft(NEXTHDR), hidden, syn).decision is Decision.ACCEPT
    assert rule_form(nft(L4PROTO), hidden, syn).decision is Decision.DROP
    first = {"match": {**NEXTHDR["match"], "right": 0}}
    assert rule_form(nft(first), Form(), syn).decision is Decision.ACCEPT
    assert rule_form(nft(first), hidden, syn).decision is Decision.DROP
    assert rule_form(nft(first), Form(name="x", headers=(FRAGMENT,)), syn).decision is Decision.ACCEPT


def test_fragments_meet_the_rules_whole_where_conntrack_or_ipv4_puts_them_together():
    pieces = Form(name="x", cut=24)
    assert rule_form(nft(NEXTHDR), pieces, SIX.tcp(9)).decision is Decision.ACCEPT
    assert rule_form(nft(L4PROTO), pieces, SIX.tcp(9)).decision is Decision.DROP
    allow = "-A INPUT -p tcp -m tcp --dport 9 -j ACCEPT"
    assert rule_form(built(allow), pieces, FOUR.tcp(9)).decision is Decision.ACCEPT
    assert rule_form(legacy(allow), pieces, SIX.tcp(9)).decision is Decision.DROP, "later ones have no port"
    assert rule_form(built(allow), pieces, SIX.tcp(9)).decision is Decision.DEPENDS, "nft takes what is in its place"
    state = "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    assert rule_form(built(state, allow), pieces, SIX.tcp(9)).decision is Decision.ACCEPT


def test_datagrams_are_cut_up_as_well_and_echo_requests_where_they_are_denied():
    ping = Allow(
        service=Service("icmp", None, "ping", "echo-request"), peers=Peers("all", (ip_network("0.0.0.0/0"),)),
        id="ping", title="x", file="f", line=1,
    )  # fmt: skip
    for policy, echoes in ((POLICY, 3), (replace(POLICY, inbound=(*POLICY.inbound, ping)), 0)):
        found = dressed(Group.FRAGMENTS, ends_of(policy, INVENTORY, OUTSIDE, OWN))
        assert [flow.proto for _, flow in found].count(UDP) == 3
        assert [flow.proto for _, flow in found].count(ICMP) == echoes
        assert {form.cut for form, flow in found if flow.proto in {UDP, ICMP}} == {0, 32}


def test_a_bare_ack_is_new_unless_conntrack_is_strict():
    rules = ["-A INPUT -m conntrack --ctstate INVALID -j DROP", "-A INPUT -p tcp -m tcp --dport 9 -j ACCEPT"]
    ack = FOUR.tcp(9, "ACK")
    assert rule_form(built(*rules), Form(name="ACK"), ack).decision is Decision.ACCEPT
    strict = built(*rules, sysctls="/proc/sys/net/netfilter/nf_conntrack_tcp_loose:0\n")
    assert rule_form(strict, Form(name="ACK"), ack).decision is Decision.DROP
    fin = next(flow for form, flow in dressed(Group.FLAGS, FOUR) if form.name == "FIN")
    assert fin.ctstate is CtState.INVALID
    assert rule_form(built(*rules), Form(name="FIN"), fin).decision is Decision.DROP
    null = next(flow for form, flow in dressed(Group.FLAGS, FOUR) if form.name == "NULL")
    assert null.flags == frozenset()
    hole = built("-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT")
    for form, flow in dressed(Group.FLAGS, FOUR):
        wanted = Decision.ACCEPT if form.name else Decision.DROP
        assert rule_form(hole, form, flow).decision is wanted, form


def test_a_low_source_port_is_what_the_model_is_asked_about():
    hole = built("-A INPUT -p udp -m udp --sport 53 -j ACCEPT")
    let_in = [f.name for f, flow in dressed(Group.SOURCE_PORTS, FOUR) if rule_form(hole, f, flow).accepted]
    assert let_in == ["from udp/53"]


def test_spoofed_sources_are_flows_of_their_own():
    ends = Ends(src=OUTSIDE, dst=OWN, closed=9, posed=((ip_address("10.0.9.9"), 11434),))
    ((form, flow),) = dressed(Group.SPOOFING, ends)
    assert (str(flow.src), flow.dport, form.spoofed) == ("10.0.9.9", 11434, True)
    hole = built("-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 11434 -j ACCEPT")
    assert rule_form(hole, form, flow).accepted
