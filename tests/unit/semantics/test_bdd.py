"""The packet sets behind query, lint and diff, on tables made to trip them."""

import gc
import random
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest

from fwproof.decision import Decision
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.ruleset.iptables import parse
from fwproof.semantics import bdd
from fwproof.semantics.bdd import guarded
from fwproof.semantics.bdd_calls import call_sites, callers_first, rings
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import PATHS, Engine
from fwproof.semantics.lint import lint
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings
from fwproof.semantics.routing import Router
from fwproof.semantics.space import SpaceTooLarge
from fwproof.semantics.witness import dressed, follow, pick, point

from .tables import ADDRESSES, filter_table


def model(text, **more):
    return HostModel.build(iptables_save=text, ip6tables_save="", **more)


NEW = Config()


def accepted(host, hook=Hook.INPUT, config=NEW):
    engine = Engine([host], Family.IPV4)
    return engine, engine.hosts[0].asked(hook).flow({config: engine.hosts[0].packets()})[1].accepted


def flow(**more):
    values = {
        "src": "10.0.0.1",
        "dst": "10.0.0.10",
        "proto": 6,
        "sport": 40000,
        "dport": 22,
        "iif": "eth0",
        "oif": "eth1",
    }
    values |= more
    values |= {name: ip_address(values[name]) for name in ("src", "dst")}
    return Flow(flags=frozenset({"SYN"}), **values)


def check(host, packet, hook=Hook.INPUT, config=NEW):
    """Return whether a packet may and whether it must be accepted, after asking the walk of single packets."""
    engine, some = accepted(host, hook, config)
    here = point(engine.sets, packet)
    may, must = here & some != engine.sets.none, here & ~some == engine.sets.none
    leaves = {leaf.decision for leaf in follow(host, dressed(packet, config), hook)}
    assert (may, must) == (Decision.ACCEPT in leaves, leaves == {Decision.ACCEPT})
    return may, must


CHAINED = [
    ("goto returns one further", ["-A INPUT -j A", "-A INPUT -j DROP", "-A A -g B", "-A A -j ACCEPT"], False),
    ("a jump returns to its caller", ["-A INPUT -j A", "-A INPUT -j DROP", "-A A -j B", "-A A -j ACCEPT"], True),
    ("return in a base chain leads to its default", ["-A INPUT -j RETURN", "-A INPUT -j ACCEPT"], False),
    ("a ring of calls is unknown", ["-A INPUT -j A", "-A A -j B", "-A B -j A", "-A INPUT -j ACCEPT"], False),
    ("recent --set makes a later rcheck hold", [
        "-A INPUT -m recent --set --name x", "-A INPUT -m recent --rcheck --name x -j ACCEPT"], True),
    ("an unread match and its opposite", [
        "-A INPUT -m odd --x -j ACCEPT", "-A INPUT -m odd ! --x -j ACCEPT"], True),
]  # fmt: skip


@pytest.mark.parametrize(("why", "rules", "passes"), CHAINED, ids=[c[0] for c in CHAINED])
def test_chains(why, rules, passes):
    host = model(filter_table(*rules, default="DROP", chains=("A", "B")))
    assert check(host, flow()) == (passes, passes)


def test_a_limit_asked_on_two_visits_may_answer_differently():
    rules = ["-A INPUT -j A", "-A INPUT -j A", "-A A -m limit --limit 1/sec -j RETURN", "-A A -p tcp -j ACCEPT"]
    host = model(filter_table(*rules, default="DROP", chains=("A",)))
    assert check(host, flow()) == (True, False)
    engine, some = accepted(host)
    assert len(engine.sets.labels) == 2
    assert engine.sets.asked(some) == ("limit 1/sec burst 5",)


MARKED = """*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -s 10.0.0.0/16 -j MARK --set-xmark 0x4/0x4
-A PREROUTING -p udp -j CONNMARK --save-mark
-A PREROUTING -m ttl --ttl-gt 64 -j TTL --ttl-set 64
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -m mark --mark 0x4/0x4 -p tcp -j ACCEPT
-A INPUT -m connmark --mark 0x4 -j ACCEPT
-A INPUT -m ttl --ttl-eq 64 -s 192.0.2.0/24 -j ACCEPT
COMMIT
"""


def test_marks_decide_across_tables():
    host = model(MARKED)
    assert check(host, flow()) == (True, True)
    assert check(host, flow(src="10.1.0.1")) == (False, False)
    udp = Flow(
        src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.10"), proto=17, sport=1, dport=2, iif="eth0", oif="eth0"
    )
    assert check(host, udp) == (True, True)
    assert check(host, flow(src="192.0.2.1", ttl=65)) == (True, True)
    assert check(host, flow(src="192.0.2.1", ttl=63)) == (False, False)
    lost = model(MARKED.replace("--ttl-set 64", "--ttl-dec 1"))
    assert check(lost, flow(src="192.0.2.1", ttl=65)) == (True, False)


def test_an_unknown_mark_keeps_its_name_until_it_is_changed():
    lines = ["-A INPUT -m mark --mark 0x1/0x1 -j A", "-A INPUT -m mark ! --mark 0x1/0x1 -j ACCEPT", "-A INPUT -j A",
             "-A A -m mark --mark 0x1/0x1 -j ACCEPT", "-A A -j MARK --set-xmark 0x0/0x1"]  # fmt: skip
    engine, some = accepted(model(filter_table(*lines, default="DROP", chains=("A",))), config=Config(mark="given"))
    assert engine.sets.must(some) == engine.sets.all


def test_a_mask_with_holes_is_exact():
    host = model(filter_table("-A INPUT -s 10.0.5.0/255.0.255.0 -j ACCEPT", default="DROP"))
    assert check(host, flow(src="10.77.5.9")) == (True, True)
    assert check(host, flow(src="10.77.6.9")) == (False, False)
    engine, some = accepted(host)
    ((values, _),) = engine.sets.pieces(engine.sets.only(some, ["src"]), "src")
    assert values == ((0x0A000500, 0xFF00FF00),)


def test_addrtype_follows_the_hosts_addresses():
    host = model(filter_table("-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT", default="DROP"), addresses=ADDRESSES)
    assert check(host, flow()) == (True, True)
    assert check(host, flow(dst="10.0.0.11")) == (False, False)
    assert check(host, flow(dst="127.8.8.8")) == (True, True)


DOCKER = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 8080 -m addrtype --dst-type LOCAL -j DNAT --to-destination 172.17.0.2:80
-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
-A FORWARD -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT --ctorigdstport 8443 -j DROP
COMMIT
"""


def test_a_published_port_is_reached_past_input():
    host = model(DOCKER, addresses=ADDRESSES)
    assert check(host, flow(dport=8080)) == (True, True)
    assert check(host, flow(dport=80)) == (False, False)
    assert check(host, flow(dport=8080, dst="10.0.0.11")) == (False, False)
    assert check(host, flow(dport=80, dst="172.17.0.2"), Hook.FORWARD) == (True, True)
    assert check(host, flow(dport=8080, dst="172.17.0.2"), Hook.FORWARD) == (False, False)
    assert check(host, flow(dport=8080), config=Config(CtState.ESTABLISHED)) == (False, False)


def test_errors_about_a_connection_do_not_meet_nat():
    host = model(DOCKER.replace("INPUT DROP", "INPUT ACCEPT"), addresses=ADDRESSES)
    engine, some = accepted(host, config=Config(CtState.RELATED))
    assert some & engine.sets.within("proto", ((1, 1),)) == engine.sets.within("proto", ((1, 1),))


def test_calls():
    lines = ["-A INPUT -j A", "-A INPUT -j A", "-A A -j B", "-A B -j C", "-A C -g B", "-A D -j D"]
    table = parse(filter_table(*lines, chains=("A", "B", "C", "D", "E")), Family.IPV4).tables["filter"]
    found = rings(table)
    assert found["B"] == found["C"]
    assert len({found[name] for name in ("INPUT", "A", "B", "D", "E")}) == 5
    assert {name for name in "ABCDE" if call_sites(table)[name] > 1} == {"A", "B", "C"}
    order = callers_first(table)
    assert order.index("INPUT") < order.index("A") < order.index("B")


def test_too_many_nodes_are_told_and_nothing_hangs():
    rng = random.Random(1)
    rules = []
    for _ in range(400):
        ends = f"-s {rng.randrange(1, 200)}.0.0.0/{rng.randrange(1, 9)} -d {rng.randrange(1, 200)}.64.0.0/12"
        ports = f"--sport {rng.randrange(60000)}: --dport {rng.randrange(60000)}:"
        rules.append(f"-A INPUT {ends} -p tcp -m tcp {ports} -j {rng.choice(['ACCEPT', 'DROP'])}")
    host = model(filter_table(*rules))
    for limit in ({"nodes": 4000}, {"seconds": 0.0}):
        with pytest.raises(SpaceTooLarge, match="entangled"):
            guarded(lambda limit=limit: _whole(Engine([host], Family.IPV4, **limit)))


@pytest.mark.parametrize(
    ("worked", "waited", "told"), [(119, 500, ""), (121, 121, "120 s of processor time"), (10, 601, "in 600 s")]
)
def test_the_limit_counts_processor_time_and_only_much_later_the_clock(monkeypatch, worked, waited, told):
    """On a busy machine two minutes by the clock may be seconds of work."""
    spent = {"process_time": 1000.0, "monotonic": 5000.0}
    monkeypatch.setattr(bdd.time, "process_time", lambda: spent["process_time"])
    monkeypatch.setattr(bdd.time, "monotonic", lambda: spent["monotonic"])
    sets = Engine([model(filter_table("-A INPUT -j ACCEPT"))], Family.IPV4).sets
    spent["process_time"] += worked
    spent["monotonic"] += waited
    if not told:
        sets.tick()
        return
    with pytest.raises(SpaceTooLarge, match=told):
        sets.tick()


def test_the_search_for_garbage_is_as_it_was_afterwards():
    before = gc.get_threshold()
    assert guarded(gc.get_threshold)[0] > before[0]
    with pytest.raises(SpaceTooLarge):
        guarded(lambda: bytes(1 << 62))
    assert gc.get_threshold() == before


def _whole(engine):
    return engine.hosts[0].asked(Hook.INPUT).flow({NEW: engine.sets.all})


def test_chains_nested_without_end_are_told():
    deep = [f"C{n}" for n in range(3000)]
    rules = ["-A INPUT -j C0", *(f"-A {a} -j {b}" for a, b in pairwise(deep))]
    host = model(filter_table(*rules, chains=deep))
    with pytest.raises(SpaceTooLarge, match="too deeply"):
        guarded(lambda: accepted(host))


def test_a_witness_is_an_ordinary_packet():
    host = model(
        filter_table("-A INPUT -s 10.0.0.0/16 -i eth+ -p tcp -m tcp --dport 100:200 -j ACCEPT", default="DROP")
    )
    engine, some = accepted(host)
    assert str(pick(engine.sets, some, host.router(Family.IPV4), Hook.INPUT)) == "tcp 10.0.0.7:40000 -> 10.200.0.7:100"
    assert pick(engine.sets, some, Router(family=Family.IPV4)).iif == "eth99"


@pytest.mark.parametrize("kind", ["LOCAL", "UNSPEC", "MULTICAST", "UNICAST", "LOCAL,UNICAST"])
@pytest.mark.parametrize("address", ["::", "::1", "::2", "fd00:0:0:1::10", "fd00:0:0:1::11", "ff02::1"])
def test_kinds_of_address_that_lie_side_by_side(kind, address):
    text = f"*filter\n:INPUT DROP [0:0]\n-A INPUT -m addrtype --dst-type {kind} -j ACCEPT\nCOMMIT\n"
    host = HostModel.build(ip6tables_save=text, addresses=ADDRESSES)
    engine = Engine([host], Family.IPV6)
    some = engine.hosts[0].asked(Hook.INPUT).flow({NEW: engine.sets.all})[1].accepted
    packet = Flow(src=ip_address("2001:db8::1"), dst=ip_address(address), proto=17, sport=1, dport=2, iif="eth0")
    said = Decision.ACCEPT if point(engine.sets, packet) & some != engine.sets.none else Decision.DROP
    assert {leaf.decision for leaf in follow(host, packet, Hook.INPUT)} == {said}


NFT = Path(__file__).parents[3] / "fixtures" / "rules" / "everything.nft.json"


@pytest.mark.parametrize("family", list(Family))
def test_native_tables_are_looked_at_as_a_whole(family):
    host = HostModel.build(nft_json=NFT.read_text())
    engine = Engine([host], family)
    sets = engine.sets
    for hook in PATHS:
        ends = engine.hosts[0].asked(hook).flow({NEW: sets.all})[1]
        parts = [(Decision.ACCEPT, ends.accepted), *((Decision.UNKNOWN, some) for some in ends.unknown.values())]
        for decision, some in parts:
            if sets.plain(some) != sets.none:
                plain = pick(sets, sets.plain(some), host.router(family), hook)
                assert decision in {leaf.decision for leaf in follow(host, dressed(plain, NEW, hook), hook)}
        assert openings(host, hook, family).openings
    assert lint(host, family)
