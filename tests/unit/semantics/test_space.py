"""The whole packet space: what is let in that nobody claims."""

import random
from dataclasses import replace
from ipaddress import ip_network

import pytest

from fwproof.decision import Decision
from fwproof.flow import Family, Flow, Hook
from fwproof.semantics.bdd import Sets
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings
from fwproof.semantics.space import Claim, SpaceTooLarge

from .tables import ADDRESSES, PUBLISHED, REPAIRED, filter_table

CLAIMS = [
    Claim(proto=6, ports=((22, 22),), sources=(ip_network("10.0.0.1"),)),
    Claim(proto=6, ports=((11434, 11434),), sources=(ip_network("10.0.0.0/16"),)),
    Claim(proto=6, ports=((8080, 8080),), sources=(ip_network("10.0.0.100"),)),
]


def model(text):
    return HostModel.build(iptables_save=text, ip6tables_save="", addresses=ADDRESSES)


def outside(host, claimed=(), hook=Hook.INPUT, family=Family.IPV4, **question):
    return openings(host, hook, family, outside=claimed, **question).openings


def test_the_published_tables_let_everybody_in_and_say_so_in_a_few_lines():
    (leak,) = outside(model(PUBLISHED), CLAIMS)
    assert [str(room) for room in leak.rooms] == [
        "every service except tcp 22,8080,11434 from anywhere",
        "tcp 22 from anywhere except 10.0.0.1",
        "tcp 8080 from anywhere except 10.0.0.100",
        "tcp 11434 from anywhere except 10.0.0.0/16",
    ]
    assert leak.by.rule is None
    assert [line.split(" for example ")[1] for line in leak.lines()] == [str(flow) for flow in leak.witnesses]


def test_the_repaired_tables_let_nothing_else_in():
    assert outside(model(REPAIRED), CLAIMS) == ()
    (leak,) = outside(model(REPAIRED), CLAIMS[1:])
    assert ([str(room) for room in leak.rooms], leak.by.rule) == (["tcp 22 from 10.0.0.1"], 3)


def test_loopback_is_asked_about_only_on_demand():
    (leak,) = outside(model(REPAIRED), CLAIMS, loopback=True)
    assert ({room.interfaces for room in leak.rooms}, leak.by.rule) == ({("lo",)}, 1)
    assert str(leak.rooms[0]) == "every service except tcp 22,8080,11434 from anywhere through lo"


def test_an_unread_match_is_a_leak_that_depends():
    (leak,) = outside(model(filter_table("-A INPUT -m odd --x -j ACCEPT", default="DROP")))
    assert (leak.certainty, leak.depends_on) == ("depends", ("unread match -m odd --x",))


def test_an_unread_family_is_an_unknown_leak():
    (leak,) = outside(HostModel.build(iptables_save=PUBLISHED), family=Family.IPV6)
    assert leak.certainty == "unknown"


@pytest.mark.parametrize("text", [PUBLISHED, REPAIRED])
@pytest.mark.parametrize("hook", [Hook.INPUT, Hook.OUTPUT, Hook.FORWARD])
def test_every_witness_is_what_it_says(text, hook):
    for leak in outside(model(text), CLAIMS[:1], hook):
        for witness in leak.witnesses:
            assert Decision.ACCEPT in model(text).evaluate(witness, hook).may, leak


def test_random_tables_agree_with_the_walk_of_single_packets():
    rng = random.Random(7)
    for _ in range(120):
        rules = [_random_rule(rng) for _ in range(8)]
        host = model(filter_table(*rules, default=rng.choice(["ACCEPT", "DROP"])))
        claim = Claim(proto=6, ports=((rng.choice([22, 80]),) * 2,), sources=(ip_network("10.0.0.0/16"),))
        leaks = outside(host, [claim])
        for leak in leaks:
            for witness in leak.witnesses:
                assert host.evaluate(witness, "input").decision is Decision.ACCEPT, (rules, leak)
        if any(word in rule for rule in rules for word in ("-i eth0", "--ports")):
            continue  # what follows claims a source and a port, whatever the interface and the source port
        for port in (22, 80, 443):
            for source in ("10.0.0.1", "10.1.0.1", "192.0.2.1"):
                flow = replace(_packet(port), src=ip_network(source).network_address)
                claimed = port == claim.ports[0][0] and source == "10.0.0.1"
                inside = Claim(proto=6, ports=((port, port),), sources=(ip_network(source),))
                alone = outside(host, [claim, inside])
                accepted = host.evaluate(flow, "input").decision is Decision.ACCEPT
                assert (_rooms(alone) != _rooms(leaks)) == (accepted and not claimed), (rules, flow)


def _rooms(leaks):
    return {(leak.by, room) for leak in leaks for room in leak.rooms}


def _packet(port):
    return Flow(src=ip_network("10.0.0.1").network_address, dst=ip_network("10.0.0.10").network_address, proto=6,
                sport=40000, dport=port, flags=frozenset({"SYN"}), iif="eth0")  # fmt: skip


def _random_rule(rng):
    bang = rng.choice(["", "", "! "])
    source = rng.choice(["", f"{bang}-s 10.0.0.0/16", f"{bang}-s 10.0.0.0/8", f"{bang}-s 192.0.2.0/24"])
    port = rng.choice(["", "-p tcp -m tcp --dport 22", f"-p tcp -m tcp {bang}--dport 80", "-p udp", "-i eth0",
                       "-p tcp -m multiport --dports 80,443", "-p tcp -m multiport --ports 80"])  # fmt: skip
    return f"-A INPUT {source} {port} -j {rng.choice(['ACCEPT', 'DROP', 'RETURN'])}"


def test_too_large_is_said_and_not_waited_for(monkeypatch):
    def out_of_time(_sets):
        raise SpaceTooLarge("the tables are too entangled")

    monkeypatch.setattr(Sets, "tick", out_of_time)
    with pytest.raises(SpaceTooLarge, match="too entangled"):
        outside(model(REPAIRED))
