"""The whole packet space: what is let in that nobody claims."""

import random
from dataclasses import replace
from ipaddress import ip_network

import pytest

from fwproof.decision import Decision
from fwproof.flow import Family
from fwproof.semantics import space
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import Claim, SpaceTooLarge, accepted_outside

from .tables import ADDRESSES, PUBLISHED, REPAIRED, filter_table

CLAIMS = [
    Claim(proto=6, ports=((22, 22),), sources=(ip_network("10.0.0.1"),)),
    Claim(proto=6, ports=((11434, 11434),), sources=(ip_network("10.0.0.0/16"),)),
    Claim(proto=6, ports=((8080, 8080),), sources=(ip_network("10.0.0.100"),)),
]


def model(text):
    return HostModel.build(iptables_save=text, ip6tables_save="", addresses=ADDRESSES)


def test_the_published_tables_let_everybody_in_and_say_so_in_a_few_lines():
    leaks = accepted_outside(model(PUBLISHED), "input", Family.IPV4, claimed=CLAIMS)
    said = {leak.service: leak.source for leak in leaks}
    assert said["tcp 22"] == "anywhere except 10.0.0.1"
    assert said["tcp 8080"] == "anywhere except 10.0.0.100"
    assert said["tcp 11434"] == "anywhere except 10.0.0.0/16"
    assert len(leaks) == 4
    assert {leak.by.rule for leak in leaks} == {None}


def test_the_repaired_tables_let_nothing_else_in():
    assert accepted_outside(model(REPAIRED), "input", Family.IPV4, claimed=CLAIMS) == []
    (leak,) = accepted_outside(model(REPAIRED), "input", Family.IPV4, claimed=CLAIMS[1:])
    assert (leak.service, leak.source, leak.by.rule) == ("tcp 22", "10.0.0.1", 3)


def test_loopback_is_asked_about_only_on_demand():
    leaks = accepted_outside(model(REPAIRED), "input", Family.IPV4, claimed=CLAIMS, loopback=True)
    assert {(leak.interface, leak.by.rule) for leak in leaks} == {("lo", 1)}
    assert "tcp 0-21,23-8079,8081-11433,11435-65535" in leaks[0].service


def test_an_unread_match_is_a_leak_that_depends():
    (leak,) = accepted_outside(
        model(filter_table("-A INPUT -m odd --x -j ACCEPT", default="DROP")), "input", Family.IPV4
    )
    assert (leak.certainty, leak.depends_on) == ("depends", ("unread match -m odd --x",))


def test_an_unread_family_is_an_unknown_leak():
    (leak,) = accepted_outside(HostModel.build(iptables_save=PUBLISHED), "input", Family.IPV6)
    assert leak.certainty == "unknown"


@pytest.mark.parametrize("text", [PUBLISHED, REPAIRED])
@pytest.mark.parametrize("hook", ["input", "output", "forward"])
def test_every_witness_is_what_it_says(text, hook):
    for leak in accepted_outside(model(text), hook, Family.IPV4, claimed=CLAIMS[:1]):
        ruling = model(text).evaluate(leak.witness, hook)
        assert Decision.ACCEPT in ruling.may, leak


def test_random_tables_agree_with_the_walk_of_single_packets():
    rng = random.Random(7)
    for _ in range(120):
        rules = [_random_rule(rng) for _ in range(8)]
        host = model(filter_table(*rules, default=rng.choice(["ACCEPT", "DROP"])))
        claim = Claim(proto=6, ports=((rng.choice([22, 80]),) * 2,), sources=(ip_network("10.0.0.0/16"),))
        leaks = accepted_outside(host, "input", Family.IPV4, claimed=[claim])
        for leak in leaks:
            assert host.evaluate(leak.witness, "input").decision is Decision.ACCEPT, (rules, leak)
        if any(word in rule for rule in rules for word in ("-i eth0", "--ports")):
            continue  # what follows claims a source and a port, whatever the interface and the source port
        for port in (22, 80, 443):
            for source in ("10.0.0.1", "10.1.0.1", "192.0.2.1"):
                flow = replace(_packet(port), src=ip_network(source).network_address)
                claimed = port == claim.ports[0][0] and source == "10.0.0.1"
                inside = Claim(proto=6, ports=((port, port),), sources=(ip_network(source),))
                alone = accepted_outside(host, "input", Family.IPV4, claimed=[claim, inside])
                accepted = host.evaluate(flow, "input").decision is Decision.ACCEPT
                assert (str(alone) != str(leaks)) == (accepted and not claimed), (rules, flow)


def _packet(port):
    from fwproof.flow import Flow

    return Flow(src=ip_network("10.0.0.1").network_address, dst=ip_network("10.0.0.10").network_address, proto=6,
                sport=40000, dport=port, flags=frozenset({"SYN"}), iif="eth0")  # fmt: skip


def _random_rule(rng):
    bang = rng.choice(["", "", "! "])
    source = rng.choice(["", f"{bang}-s 10.0.0.0/16", f"{bang}-s 10.0.0.0/8", f"{bang}-s 192.0.2.0/24"])
    port = rng.choice(["", "-p tcp -m tcp --dport 22", f"-p tcp -m tcp {bang}--dport 80", "-p udp", "-i eth0",
                       "-p tcp -m multiport --dports 80,443", "-p tcp -m multiport --ports 80"])  # fmt: skip
    return f"-A INPUT {source} {port} -j {rng.choice(['ACCEPT', 'DROP', 'RETURN'])}"


def test_too_large_is_said_and_not_waited_for(monkeypatch):
    monkeypatch.setattr(space, "MOST_STEPS", 10)
    with pytest.raises(SpaceTooLarge, match="too entangled"):
        accepted_outside(model(REPAIRED), "input", Family.IPV4)
