"""One packet for each destination port: the same answers as walking it port by port."""

import json
import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.decision import Decision
from fwproof.flow import TCP, UDP, Flow
from fwproof.semantics.model import HostModel
from fwproof.semantics.portwise import alike, may_enter, rulings

from .tables import ADDRESSES, REPAIRED, filter_table

SYN = Flow(src=ip_address("10.0.5.7"), dst=ip_address("10.0.0.10"), proto=TCP, sport=65000, flags=frozenset({"SYN"}))


def model(text, **more):
    return HostModel.build(**{"iptables_save": text, "ip6tables_save": "", "addresses": ADDRESSES, **more})


def by_port(found):
    said = {}
    for each in found:
        for low, high in each.ranges:
            for port in range(low, high + 1):
                assert port not in said
                said[port] = each
    return said


def rule(rng):
    proto = rng.choice(["tcp", "tcp", "udp"])
    low = rng.randrange(1, 65500)
    port = rng.choice([f"{low}", f"{low}:{low + rng.randrange(1, 35)}", f":{low}", f"{low}:"])
    kind = rng.choice([
        f"-p {proto} -m {proto} --dport {port}", f"-p {proto} -m {proto} ! --dport {port}",
        f"-p {proto} -m multiport --dports {low},{low + 3}:{low + 9},22", f"-p {proto} -m multiport --ports {low},80",
        f"-p {proto} -m {proto} --sport 1024:65535 --dport {port}",
        f"-p {proto} -m conntrack --ctorigdstport {low}",
        f"-p {proto} -m {proto} --dport {port} -m limit --limit 1/sec",
    ])  # fmt: skip
    target = rng.choice(["ACCEPT", "DROP", "REJECT --reject-with icmp-port-unreachable", "RETURN", "A"])
    return f"{kind} -j {target}", low


@pytest.mark.parametrize("seed", range(12))
def test_every_port_has_the_ruling_of_its_own_packet(seed):
    rng = random.Random(seed)
    made = [rule(rng) for _ in range(8)]
    lines = [f"-A {'A' if at % 3 == 2 and '-j A' not in text else 'INPUT'} {text}" for at, (text, _) in enumerate(made)]
    host = model(filter_table(*lines, chains=("A",), default=rng.choice(["DROP", "ACCEPT"])))
    flow = replace(SYN, proto=rng.choice([TCP, UDP]))
    said = by_port(rulings(host, flow))
    assert said.keys() == set(range(1, 65536))
    edges = {low + step for _, low in made for step in (-1, 0, 1, 2, 3, 4, 9, 10, 34, 35)} | {1, 21, 22, 23, 80, 65535}
    for port in sorted(edges | set(rng.sample(range(1, 65536), 40)) & said.keys()):
        if 1 <= port <= 65535:
            own, known = host.evaluate(replace(flow, dport=port)), said[port].ruling
            assert (own.may, own.by, own.reject_with) == (known.may, known.by, known.reject_with), (port, lines)


def test_ports_that_rules_tell_apart_are_few():
    assert len(alike(model(REPAIRED), SYN)) < 20


def test_the_answer_of_what_is_let_in_is_known():
    host = model(filter_table("-A INPUT -p tcp --dport 80:81 -j ACCEPT", "-A OUTPUT -p tcp --sport 81 -j DROP",
                              default="DROP"))  # fmt: skip
    said = by_port(rulings(host, SYN))
    assert [said[port].reply and said[port].reply.accepted for port in (80, 81, 82)] == [True, False, None]
    assert [may_enter(said[port].ruling) for port in (80, 81, 82)] == [True, True, False]


def test_a_rule_that_is_not_understood_leaves_its_ports_open():
    said = by_port(rulings(model(filter_table("-A INPUT -p tcp --dport 80 -j ODD", default="DROP")), SYN))
    assert Decision.UNKNOWN in said[80].ruling.may
    assert may_enter(said[80].ruling)
    assert said[81].ruling.may == {Decision.DROP}


def test_masks_of_ports():
    """Nft can test single bits of a port: then no two ports need be alike, or nothing is said for certain."""
    match = {"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "dport"}}, 1]}, "right": 1}}
    objects = [
        {"metainfo": {"json_schema_version": 1}}, {"table": {"family": "ip", "name": "t", "handle": 1}},
        {"chain": {"family": "ip", "table": "t", "name": "i", "handle": 1, "type": "filter", "hook": "input", "prio": 0,
                   "policy": "accept"}},
        {"rule": {"family": "ip", "table": "t", "chain": "i", "handle": 2, "expr": [match, {"drop": None}]}},
    ]  # fmt: skip
    host = HostModel.build(nft_json=json.dumps({"nftables": objects}), addresses=ADDRESSES)
    said = by_port(rulings(host, SYN))
    for port in (1, 2, 22, 23, 65534, 65535):
        assert Decision.DROP in said[port].ruling.may if port % 2 else Decision.ACCEPT in said[port].ruling.may
