"""The walk that passes over rules against the walk that asks every rule: the same ends, with the same answers.

The walk that asks every rule is compared with the kernel in test_tables.py, test_nat.py and test_nft.py.
``FWPROOF_SET_TABLES`` makes a larger run.
"""

import os
import random
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.flow import CtState, Family, Hook
from fwproof.semantics import lookup, route
from fwproof.semantics.burst import Burst
from fwproof.semantics.model import HostModel
from fwproof.semantics.ruling import rule_on
from fwproof.semantics.walk import TooLarge, Walker

from . import kernel as k
from .random_nat import NatTables, nat_flow
from .random_nft import Ruleset
from .random_tables import MACS, NETS, PORTS, SOURCES, Tables, new_flow
from .test_nft import NftKernel, load
from .test_sets import ADDRESSES

SEED = int(os.environ.get("FWPROOF_SEED", "1"))
TABLES = int(os.environ.get("FWPROOF_SET_TABLES", "60"))
PACKETS = 40
UNKNOWN = [
    {"iif": None}, {"oif": None}, {"mac_src": None}, {"sport": None}, {"dport": None}, {"fragment": True},
    {"proto": 47, "sport": None, "dport": None}, {"icmp_type": None, "icmp_code": None}, {"ttl": 1}, {"mark": 3},
    {"connmark": 1}, {"ctdir": "reply"}, {"pkttype": "multicast"}, {"length": 1500}, {"tos": 0x10},
]  # fmt: skip


def a_packet(rng, version):
    """Return a packet of any kind, of which not everything has to be known."""
    way, port = rng.choice(["input", "input", "forward", "output"]), rng.choice([*PORTS, 1023, 20001, 40000])
    flow = replace(new_flow(rng, version, way, port), ctstate=rng.choice(list(CtState)))
    if rng.random() < 0.3:
        flow = nat_flow(rng, version, port, outward=way == "output")
    if rng.random() < 0.3:
        flow = replace(flow, iif=rng.choice(["eth0", "eth1", "lo", "wlan0"]), oif=rng.choice(["eth0", "lo", "eno1"]))
    for change in rng.sample(UNKNOWN, rng.choice([0, 0, 1, 1, 2])):
        flow = replace(flow, **change)
    return flow


def ends(model, flow, hook, *, traced, burst=None):
    """Return all that a walk says but its steps; TooLarge by its message."""
    try:
        leaves = model.leaves(flow, hook, None if burst is None else burst.answer, traced=traced)
    except TooLarge as limit:
        return str(limit)
    assert traced or not any(leaf.trace for leaf in leaves)
    return [replace(leaf, trace=(), subject=replace(leaf.subject, local=None, simulate=None)) for leaf in leaves]


def steps(model, flow):
    """Return how many rules each of the walks counts on the way through the host."""
    router = model.router(flow.family)
    found = []
    for indexes in (None, model.indexes):
        for path in route.paths(flow, None, model.addresses):
            walker = Walker(model._routes(path, router, later=False)[0][0], lookup=indexes)
            with suppress(TooLarge):
                list(walker.walk(model._packet(flow, path, router, None)))
            found.append(walker.steps)
    return found[: len(found) // 2], found[len(found) // 2 :]


def compare(rng, model, version, text):
    """Ask both walks about packets, with a simulated state of the rates as well."""
    family = Family.IPV4 if version == 4 else Family.IPV6
    bursts = [Burst(model.rules(family)) for _ in range(2)]
    for number in range(PACKETS):
        flow, hook = a_packet(rng, version), rng.choice([None, None, *Hook])
        slow, fast = (ends(model, flow, hook, traced=traced) for traced in (True, False))
        assert slow == fast, f"{hook} {flow}\n{text}"
        ruling = model.decide(flow, hook)
        assert ruling == replace(model.evaluate(flow, hook), trace=())
        assert isinstance(fast, str) or ruling == rule_on(fast)
        counted = steps(model, flow)
        assert counted[0] == counted[1]
        for burst in bursts:
            burst.now = number / 2
        told = [ends(model, flow, hook, traced=traced, burst=burst) for traced, burst in zip((True, False), bursts,
                                                                                             strict=True)]  # fmt: skip
        assert told[0] == told[1], f"{hook} {flow}\n{text}"


def nat_tables(rng, version, _serial, *, outward):
    return NatTables(rng, version, outward=outward)


@pytest.mark.parametrize("make", [Tables, nat_tables])
def test_passing_over_rules_changes_no_answer(make):
    rng = random.Random(SEED)
    for serial in range(TABLES):
        version = rng.choice([4, 6])
        tables = make(rng, version, serial, outward=rng.random() < 0.3)
        save = {"iptables_save" if version == 4 else "ip6tables_save": tables.text}
        addresses = ADDRESSES if rng.random() < 0.7 else None
        compare(rng, HostModel.build(**save, addresses=addresses), version, tables.text)


def long_tables(rng, version, count):
    """Return long chains whose rules overlap, one of them called from two hooks, with fragments left as they are in
    half of the cases, and else with notrack and with nat that makes addresses and ports unknown."""
    tracked, lines = rng.random() < 0.5, []
    for _ in range(count):
        base = rng.choice(["INPUT", "INPUT", "FORWARD", "OUTPUT"])
        target = rng.choice(["ACCEPT", "DROP", "RETURN", "", "U", "U", "MARK --set-xmark 0x1/0x1", "TTL --ttl-inc 1"])
        target = f"-j {target}" if target else ""
        lines += [f"-A {base} {words(rng, version, tracked)} {target}",
                  f"-A U {words(rng, version, tracked)} {'' if 'U' in target else target}"]  # fmt: skip
    heads = [":INPUT DROP [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ":U - [0:0]"]
    filter_ = ["*filter", *heads, *lines, "COMMIT", ""]
    if not tracked:
        return "\n".join(filter_)
    raw = [f"-A {rng.choice(['PREROUTING', 'PREROUTING', 'V'])} {words(rng, version, tracked)} {target}"
           for target in rng.choices(["-j CT --notrack", "-j V", "-j ACCEPT", ""], k=12)]  # fmt: skip
    raw = [line.replace("-j V", "") if line.startswith("-A V") else line for line in raw]
    far = {4: "10.0.0.10-10.0.0.200:100-9000", 6: "[fd00::7-fd00::1007]:100-9000"}[version]
    met = rng.choice(["-i eth0", "", "-m length --length 28:40"])
    nat = [f"-A PREROUTING {met} -p tcp -j DNAT --to-destination {far}"]
    return "\n".join(["*raw", ":PREROUTING ACCEPT [0:0]", ":V - [0:0]", *raw, "COMMIT", "*nat",
                      ":PREROUTING ACCEPT [0:0]", *nat, "COMMIT", *filter_])  # fmt: skip


def words(rng, version, tracked):
    """Return the matches of a rule in any order, two of one field among them."""
    first, last = sorted(rng.sample(SOURCES[version], 2), key=ip_address)
    low, hops = rng.randrange(60000), ("ttl", "ttl") if version == 4 else ("hl", "hl")

    def bang():
        return rng.choice(["", "", "! "])

    parts = [
        f"{bang()}-s {rng.choice(NETS[version])}", f"{bang()}-d {rng.choice(NETS[version])}",
        f"-m iprange {bang()}--src-range {first}-{last}", f"-i {rng.choice(['eth0', 'eth+', 'lo', '+'])}",
        f"-m mac {bang()}--mac-source {rng.choice(MACS)}", "-m limit --limit 1/hour", "-m recent --set --name l",
        "-m recent --rcheck --name l", f"-m mark {bang()}--mark {rng.choice(['0x1', '0x1/0x3'])}", "-m odd",
        f"-m {hops[0]} {bang()}--{hops[1]}-{rng.choice(['eq', 'lt'])} 64", "-f" if version == 4 else "-m odd",
        f"-m length {bang()}--length {rng.choice(['40', '28:40', '60:'])}",
    ]  # fmt: skip
    if tracked and rng.random() < 0.4:
        parts = [f"-m conntrack {bang()}--ctstate {rng.choice(['NEW,RELATED', 'UNTRACKED', 'INVALID', 'DNAT'])}"]
    transport = rng.choice([
        f"-p tcp -m multiport {bang()}--dports {low}:{low + 5000},{rng.choice(PORTS)}",
        f"-p udp -m multiport {bang()}--ports {rng.choice(PORTS)},{low}:{low + 50}", f"{bang()}-p tcp",
        f"-p tcp -m tcp --sport {low // 10}: {bang()}--dport {rng.choice(PORTS)} --syn",
        f"-p tcp -m tcp {bang()}--dport {rng.choice(PORTS)}",
    ])  # fmt: skip
    if rng.random() < 0.6:
        return " ".join([transport, *rng.sample(parts, rng.choice([0, 1]))])
    return " ".join(rng.sample(parts, min(len(parts), rng.choice([1, 1, 2, 3]))))


@pytest.mark.parametrize("room", [lookup.ROOM, 8], ids=["every bitset is kept", "few bitsets are kept"])
def test_long_chains(monkeypatch, room):
    monkeypatch.setattr(lookup, "ROOM", room)
    rng = random.Random(SEED)
    for _ in range(max(TABLES // 2, 1)):
        version = rng.choice([4, 6])
        text = long_tables(rng, version, 50)
        save = {"iptables_save" if version == 4 else "ip6tables_save": text}
        compare(rng, HostModel.build(**save, addresses=ADDRESSES), version, text)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with k.scratch(tmp_path_factory, NftKernel, settle=0.1) as scratch:
        yield scratch


@pytest.mark.lab
def test_native_rulesets(kernel):
    rng = random.Random(SEED)
    for serial in range(TABLES):
        version = rng.choice([4, 6])
        ruleset = Ruleset(rng, version, serial, outward=rng.random() < 0.25)
        text = load(kernel, ruleset)
        model = HostModel.build(nft_json=text, addresses=kernel.facts[0], routes=kernel.facts[1])
        compare(rng, model, version, text)
