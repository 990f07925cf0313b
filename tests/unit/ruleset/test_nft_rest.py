"""What nft lists of rest.nft: statements that few rules hold, each read for what it is."""

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from fwproof.decision import Decision
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.ruleset import nft
from fwproof.ruleset.asks import Sort
from fwproof.ruleset.model import Act
from fwproof.ruleset.nft_tables import ruleset_of
from fwproof.ruleset.nft_text import rule_text
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings
from fwproof.semantics.witness import dressed, follow, point

# ruff: noqa: E501 - rules stand on one line, as nft prints them

REST = json.loads(
    (Path(__file__).parents[3] / "fixtures" / "rules" / "rest.nft.json").read_text(encoding="utf-8")
)["nftables"]  # fmt: skip
UNKNOWN = {"ip saddr set 10.0.0.5", "ip daddr set 10.0.0.5", "ip6 daddr set fd00::5", "@nh,8,8 set 5"}
"""Addresses that are written without conntrack, and bytes of which nothing is known: what becomes of them is open."""
TCP = Flow(
    src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.10"), proto=6, sport=40000, dport=22, iif="eth0", oif="eth1",
    flags=frozenset({"SYN"}),
)  # fmt: skip
TCP6 = replace(TCP, src=ip_address("fd00::1"), dst=ip_address("fd00::10"))
LINKS = json.dumps([
    {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
    {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16}]},
])  # fmt: skip
ROUTES = '[{"dst": "10.0.0.0/16", "dev": "eth0"}, {"dst": "10.9.0.0/24", "dev": "eth1"}]'


@pytest.mark.parametrize("family", Family)
def test_nothing_is_opaque_but_what_rewrites_addresses(family):
    found = {}
    for rule in ruleset_of(nft.parse(json.dumps({"nftables": REST})), family, "nft").rules():
        found.setdefault(rule.ref.text, []).append(rule)
    assert len(found) > 180
    assert {text for text, rules in found.items() if any(rule.sort is Sort.OPAQUE for rule in rules)} == UNKNOWN
    assert all("is not understood" in found[text][0].target.reason for text in UNKNOWN)


def expressions(*texts):
    """Return the statements of rules by how nft writes them, as they stand in the fixture."""

    rules = {}
    for entry in REST:
        if "rule" in entry:
            rules[rule_text(nft.NftRule(statements=tuple(entry["rule"]["expr"])))] = entry["rule"]["expr"]
    return [rules[text] for text in texts]


def says(rules, flow, hook="input", priority=0):
    """Return whether a packet may and whether it must get through a chain of rules and a drop at their end."""
    family = Family.of(flow.dst)
    body = {"family": "inet", "table": "t"}
    head = {"name": "c", "type": "filter", "hook": hook, "prio": priority, "policy": "drop"}
    entries = [{"table": {"family": "inet", "name": "t"}}, {"chain": body | head}]
    entries += [{"rule": body | {"chain": "c", "expr": expr}} for expr in rules]
    text = json.dumps({"nftables": entries})
    host = HostModel.build(nft_json=text, addresses=LINKS, routes=ROUTES)
    asked = Hook.INPUT if hook == "prerouting" else Hook(hook)
    engine, config = Engine([host], family), Config(flow.ctstate, flow.ctdir)
    some = engine.hosts[0].asked(asked).flow({config: engine.hosts[0].packets()})[1].accepted
    here = engine.sets.plain(point(engine.sets, flow))
    found = here & some != engine.sets.none, here & ~some == engine.sets.none
    decisions = {leaf.decision for leaf in follow(host, dressed(flow, config), asked)}
    assert found == (Decision.ACCEPT in decisions, decisions == {Decision.ACCEPT})
    return found


YES, NO, OPEN = (True, True), (False, False), (True, False)
ESP = replace(TCP, proto=50, spi=7, sport=None, dport=None, flags=frozenset())
MATCHES = [
    ("esp spi 5-10 accept", ESP, YES), ("esp spi 5-10 accept", replace(ESP, spi=11), NO),
    ("esp spi != 5 accept", ESP, YES), ("esp spi != 5 accept", TCP, NO), ("esp spi 5-10 accept", replace(ESP, spi=None), OPEN),
    ("ah spi 5 accept", replace(ESP, proto=51, spi=5), YES), ("meta l4proto 43-60 accept", ESP, YES),
    ("meta l4proto ah accept", replace(TCP6, proto=51), NO), ("ct protocol tcp accept", TCP, YES),
    ("ct protocol tcp accept", replace(TCP, ctstate=CtState.INVALID), NO),
    ("ct status expected,seen-reply accept", TCP, NO),
    ("ct status expected,seen-reply accept", replace(TCP, ctstate=CtState.ESTABLISHED), YES),
    ("ct helper ftp accept", TCP, NO), ("ct helper != ftp accept", TCP, NO),
    ("ct helper != ftp accept", replace(TCP, ctstate=CtState.ESTABLISHED), OPEN),
    ("exthdr hbh exists accept", TCP6, NO), ("exthdr frag missing accept", TCP6, YES),
    ("exthdr frag missing accept", TCP, NO), ("exthdr hbh nexthdr tcp accept", TCP6, NO),
    ("meta ipsec missing accept", TCP, OPEN), ("osf name Linux accept", TCP, OPEN),
    ("osf name Linux accept", replace(TCP, flags=frozenset({"ACK"})), NO),
    ("meta skgid != { 5, 7 } accept", TCP, OPEN), ("ip ecn ce accept", replace(TCP, tos=0x13), YES),
    ("ether saddr != 00:11:22:33:44:55 accept", replace(TCP, mac_src="00:11:22:33:44:66"), YES),
    ("ether saddr != 00:11:22:33:44:55 accept", replace(TCP, iif="lo", mac_src="00:11:22:33:44:66"), NO),
]  # fmt: skip


@pytest.mark.parametrize(("text", "flow", "expected"), MATCHES)
def test_a_match_means_what_it_says(text, flow, expected):
    assert says(expressions(text), flow) == expected


BACK = [("10.0.5.5", YES), ("10.9.0.7", NO), ("192.0.2.1", NO)]


@pytest.mark.parametrize(("source", "expected"), BACK)
@pytest.mark.parametrize("how", ["fib saddr . iif oif exists accept", "fib saddr . iif oif != 0 accept"])
def test_the_way_back(source, expected, how):
    assert says(expressions(how), replace(TCP, src=ip_address(source)), "prerouting", -300) == expected
    assert says(expressions(how), replace(TCP, src=ip_address(source))) == OPEN  # nft asks otherwise after routing


def test_what_is_not_there_fits_no_comparison():
    there = [
        {"match": {"op": "==", "left": {"tcp option": {"name": "maxseg", "field": "size"}}, "right": 536}},
        {"accept": None},
    ]
    not_it = [there[0]["match"] | {"op": "!="}]
    assert says([there, [{"match": not_it[0]}, {"accept": None}]], TCP) == OPEN
    exists = [
        {"match": {"op": "==", "left": {"tcp option": {"name": "maxseg"}}, "right": value}} for value in (True, False)
    ]
    assert says([[each, {"accept": None}] for each in exists], TCP) == YES


REWRITES = [
    ("ip dscp set ef", "tos", 0xFC, 0xB8), ("ip ecn set ce", "tos", 3, 3), ("ip ttl set 5", "ttl", 0xFF, 5),
    ("tcp flags set syn", "flags", 0xFF, 2),
]  # fmt: skip


@pytest.mark.parametrize(("text", "field", "mask", "value"), REWRITES)
def test_what_is_written_with_a_constant_is_known(text, field, mask, value):
    ruleset = ruleset_of(nft.parse(json.dumps({"nftables": REST})), Family.IPV4, "nft")
    (target,) = {rule.target for rule in ruleset.rules() if rule.ref.text == text and rule.target.act is Act.CHANGE}
    assert target.rewrites == ((field, mask, value),)


def test_a_field_that_is_written_is_seen_by_what_follows():
    (write,) = expressions("ip ttl set 5 ip ttl 5 accept")
    assert says([write], TCP) == YES
    assert says([write], TCP6) == NO


def test_a_zone_leaves_open_what_has_begun():
    zone, state = (
        expressions("ct zone set 1"),
        [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"}}],
    )
    rules = [*zone, [*state, {"accept": None}]]
    entries = [{"table": {"family": "inet", "name": "t"}}]
    body = {"family": "inet", "table": "t"}
    for name, hook, priority, rule in (("a", "prerouting", -300, rules[0]), ("b", "input", 0, rules[1])):
        policy = "accept" if name == "a" else "drop"
        entries.append(
            {"chain": body | {"name": name, "type": "filter", "hook": hook, "prio": priority, "policy": policy}}
        )
        entries.append({"rule": body | {"chain": name, "expr": rule}})
    host = HostModel.build(nft_json=json.dumps({"nftables": entries}), addresses=LINKS, routes=ROUTES)
    whole = [entries[0], entries[1], {"rule": body | {"chain": "a", "expr": expressions("notrack")[0]}}, *entries[2:]]
    untracked = json.dumps({"nftables": whole}).replace('"established"', '"untracked"')
    said = {leaf.decision for leaf in follow(HostModel.build(nft_json=untracked, addresses=LINKS), TCP, Hook.INPUT)}
    assert said == {Decision.ACCEPT, Decision.DROP}  # ct zone set has it tracked all the same
    begun = replace(TCP, ctstate=CtState.ESTABLISHED)
    assert {leaf.decision for leaf in follow(host, begun, Hook.INPUT)} == {Decision.ACCEPT, Decision.DROP}
    assert {leaf.decision for leaf in follow(host, TCP, Hook.INPUT)} == {Decision.DROP}


@pytest.mark.parametrize(("priority", "said"), [(-300, {Decision.ACCEPT, Decision.DROP}), (-150, {Decision.DROP})])
def test_flags_written_before_conntrack_leave_its_state_open(priority, said):
    body, entries = {"family": "inet", "table": "t"}, [{"table": {"family": "inet", "name": "t"}}]
    state = [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}, {"accept": None}]
    chains = (
        ("a", "prerouting", priority, "accept", expressions("tcp flags set syn")[0]),
        ("b", "input", 0, "drop", state),
    )
    for name, hook, at, policy, rule in chains:
        chain = {"name": name, "type": "filter", "hook": hook, "prio": at, "policy": policy}
        entries += [{"chain": body | chain}, {"rule": body | {"chain": name, "expr": rule}}]
    host = HostModel.build(nft_json=json.dumps({"nftables": entries}), addresses=LINKS, routes=ROUTES)
    odd = replace(TCP, flags=frozenset({"SYN", "FIN"}), ctstate=CtState.INVALID)
    assert {leaf.decision for leaf in follow(host, odd, Hook.INPUT)} == said
    let = openings(host, Hook.INPUT, Family.IPV4, states=(CtState.INVALID,)).openings
    assert any(opening.certainty == "depends" for opening in let) == (Decision.ACCEPT in said)
