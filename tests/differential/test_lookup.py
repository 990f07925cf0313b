"""The walk that passes over rules against the walk that asks every rule: the same ends, with the same answers.

The walk that asks every rule is compared with the kernel in test_tables.py, test_nat.py and test_nft.py.
``FWPROOF_SET_TABLES`` makes a larger run.
"""

import os
import random
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.flow import CtState, Family, Hook
from fwproof.semantics import lookup
from fwproof.semantics.burst import Burst
from fwproof.semantics.model import HostModel
from fwproof.semantics.ruling import rule_on
from fwproof.semantics.walk import TooLarge

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


def flat(rng, version, count):
    """Return one long chain whose rules overlap, with two tests of one field and matches that only look like exact."""
    bang, lines = lambda: rng.choice(["", "", "! "]), []
    for _ in range(count):
        first, last = sorted(rng.sample(SOURCES[version], 2), key=ip_address)
        parts = [
            f"{bang()}-s {rng.choice(NETS[version])}", f"{bang()}-d {rng.choice(NETS[version])}",
            f"-m iprange {bang()}--src-range {first}-{last}", f"-i {rng.choice(['eth0', 'eth+', 'lo', '+'])}",
            f"-m mac {bang()}--mac-source {rng.choice(MACS)}", f"-m conntrack {bang()}--ctstate NEW,RELATED",
            "-m limit --limit 1/hour", "-m recent --set --name l", "-m recent --rcheck --name l",
            f"-m mark {bang()}--mark {rng.choice(['0x1', '0x1/0x3'])}", "-m string --string x --algo bm",
            f"-m ttl {bang()}--ttl-lt 64" if version == 4 else f"-m hl {bang()}--hl-lt 64", "-m odd",
            f"-m length {bang()}--length {rng.choice(['40', '28:40', '60:'])}",
        ]  # fmt: skip
        low = rng.randrange(60000)
        parts.append(rng.choice([
            f"-p tcp -m multiport {bang()}--dports {low}:{low + 9000},{rng.choice(PORTS)}",
            f"-p udp -m multiport {bang()}--ports {rng.choice(PORTS)},{low}:{low + 50}", f"{bang()}-p tcp",
            f"-p tcp -m tcp --sport {low}: {bang()}--dport {rng.choice(PORTS)} --syn",
        ]))  # fmt: skip
        chosen = sorted(rng.sample(range(len(parts)), rng.choice([1, 2, 2, 3])), key=lambda at: rng.random())
        words = " ".join(parts[at] for at in chosen)
        target = rng.choice(["ACCEPT", "DROP", "RETURN", "", "U", "U", "MARK --set-xmark 0x1/0x1", "TTL --ttl-inc 1"])
        target = f"-j {target}" if target else ""
        lines += [f"-A INPUT {words} {target}", f"-A U {words} {'' if 'U' in target else target}"]
    return "\n".join(["*filter", ":INPUT DROP [0:0]", ":U - [0:0]", *lines, "COMMIT", ""])


@pytest.mark.parametrize("room", [lookup.ROOM, 60], ids=["every bitset is kept", "few bitsets are kept"])
def test_long_chains(monkeypatch, room):
    monkeypatch.setattr(lookup, "ROOM", room)
    rng = random.Random(SEED)
    for _ in range(max(TABLES // 6, 1)):
        version = rng.choice([4, 6])
        text = flat(rng, version, 50)
        save = {"iptables_save" if version == 4 else "ip6tables_save": text}
        compare(rng, HostModel.build(**save, addresses=ADDRESSES), version, text)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    reason = k.available()
    assert not reason, reason
    scratch = NftKernel(tmp_path_factory.mktemp("xtables") / "lock")
    scratch.facts = (
        scratch.run("ip", "-j", "addr"),
        scratch.run("ip", "-j", "route") + scratch.run("ip", "-6", "-j", "route"),
    )
    time.sleep(0.1)
    yield scratch
    scratch.close()


@pytest.mark.lab
def test_native_rulesets(kernel):
    rng = random.Random(SEED)
    for serial in range(TABLES):
        version = rng.choice([4, 6])
        ruleset = Ruleset(rng, version, serial, outward=rng.random() < 0.25)
        text = load(kernel, ruleset)
        model = HostModel.build(nft_json=text, addresses=kernel.facts[0], routes=kernel.facts[1])
        compare(rng, model, version, text)
