"""IP sets against the kernel: random members, random packets, and whether ``-m set`` matches each of them.

``FWPROOF_TABLES`` and ``FWPROOF_SEED`` make a larger or another run.
"""

import os
import random
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.flow import Family
from fwproof.ruleset.asks import Sort
from fwproof.ruleset.iptables import parse
from fwproof.semantics.model import HostModel

from . import kernel as k
from .random_tables import PORTS, SOURCES, new_flow
from .test_tables import load

pytestmark = [pytest.mark.lab]
ROUNDS = int(os.environ.get("FWPROOF_TABLES", "200")) // 10
SEED = int(os.environ.get("FWPROOF_SEED", "1"))
NETS = {
    4: [
        "10.0.0.0/8",
        "10.0.0.0/16",
        "10.0.5.0/24",
        "10.0.0.1",
        "192.0.2.0/24",
        "192.0.2.9",
        "128.0.0.0/1",
        "0.0.0.0/1",
    ],
    6: ["fd00::/16", "fd00::/48", "fd00:0:0:5::/64", "fd00:0:0:1::1", "2001:db8::/32", "2001:db8::9", "8000::/1"],
}
PORTED = ["tcp:22", "tcp:80", "udp:53", "tcp:8080", "udp:80", "tcp:11434"]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    reason = k.available()
    assert not reason, reason
    scratch = k.Kernel(tmp_path_factory.mktemp("xtables") / "lock")
    scratch.sent = 0
    time.sleep(2.5)
    yield scratch
    scratch.close()


def sets(rng, version):
    """Return random sets in ipset's own words, and the directions to ask for, by name."""
    family = "family inet6" if version == 6 else ""
    ping = "icmpv6:echo-request" if version == 6 else "icmp:echo-request"
    nets, addresses = NETS[version], SOURCES[version]

    def some(choices):
        return rng.sample(choices, rng.choice([1, 2, 3]))

    holes = [f"{net} {rng.choice(['', '', 'nomatch'])}" for net in some(nets)]
    ports = [*PORTED, ping, "gre:0"]
    made = {
        "ip": ("hash:ip", family, some(addresses), ["src", "dst"]),
        "timed": ("hash:ip", f"{family} timeout 600", some(addresses), ["src"]),
        "grouped": ("hash:ip", f"{family} netmask {24 if version == 4 else 64}", some(addresses), ["src"]),
        "net": ("hash:net", family, holes, ["src", "dst"]),
        "wide": ("hash:net", family, some(nets), ["src"]),
        "ipport": ("hash:ip,port", family, [f"{a},{p}" for a, p in zip(some(addresses), some(ports), strict=False)],
                   ["src,dst", "src,src", "src"]),
        "netport": ("hash:net,port", family, [f"{a},{p}" for a, p in zip(some(nets), some(ports), strict=False)],
                    ["src,dst"]),
        "three": ("hash:ip,port,net", family, [f"{a},{p},{n}" for a, p, n in
                  zip(some(addresses), some(ports), some(nets), strict=False)], ["src,dst,src", "src,dst,dst"]),
    }  # fmt: skip
    if version == 4:
        made["ports"] = ("bitmap:port", "range 0-65535", [str(p) for p in some(PORTS)], ["dst", "src"])
        made["bits"] = ("bitmap:ip", "range 10.0.0.0/16", [a for a in some(addresses) if a.startswith("10.")], ["src"])
    made["list"] = ("list:set", "", rng.sample(["ip", "net", "wide", "ipport"], 2), ["src", "src,dst"])
    return made


def restored(made):
    lines = []
    for name, (kind, options, members, _) in made.items():
        lines.append(f"create {name} {kind} {options}")
        lines += [f"add {name} {member}" for member in members]
    return "\n".join(lines) + "\n"


def _destroy(kernel):
    """Remove all sets; the kernel lets go of those that rules asked for a little after the rules are gone."""
    for _ in range(100):
        kernel.run("ipset", "flush")  # sets of sets hold on to their members
        kernel.run("ipset", "destroy", check=False)
        if not kernel.run("ipset", "list", "-name"):
            return
        time.sleep(0.02)


def test_members_match_as_in_the_kernel(kernel):
    rng, found, held = random.Random(SEED), [], 0
    for _ in range(ROUNDS):
        version = rng.choice([4, 6])
        family, name = (Family.IPV4, "iptables") if version == 4 else (Family.IPV6, "ip6tables")
        kernel.clear()
        _destroy(kernel)
        made = sets(rng, version)
        kernel.run("ipset", "-exist", "restore", stdin=restored(made))
        matches = [f"-m set {bang}--match-set {each} {way}" for each, (*_, ways) in made.items() for way in ways
                   for bang in ("", "! ")]  # fmt: skip
        rules = "".join(f"-A PREROUTING {match}\n" for match in matches)
        printed = load(kernel, f"*mangle\n:PREROUTING ACCEPT [0:0]\n{rules}COMMIT\n", version, "nft")
        key = "iptables_save" if version == 4 else "ip6tables_save"
        model = HostModel.build(**{key: printed}, ipset_save=kernel.run("ipset", "save"))
        vague = [rule.ref.text for rule in model.rules(family) if rule.sort is not Sort.EXACT]
        assert not vague, (vague, kernel.run("ipset", "save"))
        expected = dict.fromkeys(range(1, len(matches) + 1), 0)
        before = kernel.watched()
        for _ in range(12):
            port = 1024 + kernel.sent % 60000
            kernel.sent += 1
            flow = new_flow(rng, version, "input", port)
            flow = replace(flow, src=ip_address(rng.choice(SOURCES[version])))
            kernel.send(
                [("frame", k.frame(flow, port.to_bytes(2, "big") + bytes(22) if flow.icmp_type else b"").hex(), "")]
            )
            (leaf,) = model.leaves(flow, "prerouting")
            for step in leaf.trace:
                if step.rule.rule:
                    expected[step.rule.rule] += step.matched == "yes"
        kernel.settle(before["arrived"] + 12)
        ruleset = parse(kernel.run(f"{name}-nft-save", "-c"), family)
        for rule in ruleset.chain("mangle", "PREROUTING").rules:
            held += rule.counters.packets
            if rule.counters.packets != expected[rule.ref.rule]:
                found.append(f"{rule.ref.text}: kernel {rule.counters.packets}, model {expected[rule.ref.rule]}")
        assert not found, (found, kernel.run("ipset", "save"))
    assert held
