"""Address translation and the way through the host, against the kernel.

Random nat tables with random filter tables; packets come in by one interface, and what leaves is read off the far
end of another: the decision, the addresses and ports as they arrive there, and every counter on the way have to be
what the model says. ``FWPROOF_TABLES`` and ``FWPROOF_SEED`` make a larger or another run.
"""

import os
import random
import re
import time
from collections import Counter
from ipaddress import ip_address

import pytest

from fwproof.decision import Decision
from fwproof.flow import Flow
from fwproof.semantics.model import HostModel

from . import kernel as k
from .random_nat import FAR, MAPPED, OWN, PEERS, NatTables, nat_flow, stray
from .test_tables import NOTHING, counters

pytestmark = [pytest.mark.lab]
TABLES = int(os.environ.get("FWPROOF_TABLES", "120"))
SEED = int(os.environ.get("FWPROOF_SEED", "1"))
PACKETS = 20
EMPTY = "".join(
    f"*{table}\n" + "".join(f":{chain} ACCEPT [0:0]\n" for chain in chains.split()) + "COMMIT\n"
    for table, chains in {"nat": "PREROUTING INPUT OUTPUT POSTROUTING"}.items()
)
SYSCTLS = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.rp_filter",
           "net.ipv4.conf.eth0.rp_filter", "net.ipv4.conf.eth0.forwarding")  # fmt: skip
QUIET = """
table inet quiet {
  chain last { type filter hook input priority 3000; drop; }
}
"""
"""Lets no packet reach the host's sockets, whose answers would be counted as well."""
_VETH = "02:00:00:00:00:99"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    reason = k.available()
    assert not reason, reason
    scratch = k.Kernel(tmp_path_factory.mktemp("xtables") / "lock")
    for version, addresses in FAR.items():
        for address in (*addresses, *MAPPED[version]):
            scratch.run("ip", f"-{version}", "neigh", "replace", address, "lladdr", _VETH, "dev", "eth1")
    for address in PEERS[6]:
        scratch.run("ip", "-6", "neigh", "replace", address, "lladdr", _VETH, "dev", "eth0")
    for device in ("all", "eth0", "eth1"):
        scratch.run("sysctl", "-qw", f"net.ipv4.conf.{device}.send_redirects=0")
    scratch.run("nft", "-f", "-", stdin=QUIET)
    scratch.facts = {
        "addresses": scratch.run("ip", "-j", "addr"), "routes": scratch.run("ip", "-j", "-4", "route"),
        "routes6": scratch.run("ip", "-j", "-6", "route"), "routing_rules": scratch.run("ip", "-j", "-4", "rule"),
    }  # fmt: skip
    time.sleep(2.5)  # the kernel's own multicast reports of the new interfaces have to be over
    scratch.heard("far", "outer")
    yield scratch
    scratch.close()


def load(kernel, text, version, backend):
    name = "iptables" if version == 4 else "ip6tables"
    kernel.clear()
    for each in ("iptables", "ip6tables"):
        kernel.run(f"{each}-legacy-restore", stdin=NOTHING + EMPTY)
    kernel.run(f"{name}-{backend}-restore", stdin=text)
    kernel.watch()
    return kernel.run(f"{name}-{backend}-save")


def tagged(flow, number):
    """Return a packet whose last bytes say which one it is, whatever nat makes of its header."""
    tag = b"fwp:" + number.to_bytes(4, "big")
    payload = (number & 0xFFFF).to_bytes(2, "big") + b"\0\1" + tag if flow.icmp_type is not None else tag
    return k.frame(flow, payload) if flow.iif else k.ip_packet(flow, payload)


def read(frame, version):
    """Return (number, source, destination, ports) of a tagged frame, None for any other."""
    head, size = (frame[14:34], 20) if version == 4 else (frame[14:54], 40)
    if frame[-8:-4] != b"fwp:" or frame[12:14] != (b"\x08\x00" if version == 4 else b"\x86\xdd"):
        return None
    ends = (head[12:16], head[16:20]) if version == 4 else (head[8:24], head[24:40])
    proto, body = head[9] if version == 4 else head[6], frame[14 + size :]
    ports = (int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")) if proto in {6, 17} else (None, None)
    return int.from_bytes(frame[-4:], "big"), ip_address(ends[0]), ip_address(ends[1]), *ports


class Expected:
    """What the model says of packet after packet."""

    def __init__(self, text, version, facts):
        save = {"iptables_save" if version == 4 else "ip6tables_save": text}
        self.model = HostModel.build(**save, **facts)
        self.hits, self.passed, self.away = Counter(), Counter(), {}

    def add(self, flow, number):
        leaves = self.model.leaves(flow)
        assert len(leaves) == 1, (flow, [leaf.choices for leaf in leaves])
        (leaf,) = leaves
        assert leaf.decision in {Decision.ACCEPT, Decision.DROP}, leaf
        for step in leaf.trace:
            if step.matched == "yes" and step.rule.rule is not None:
                self.hits[step.rule.table, step.rule.chain, step.rule.rule] += 1
        seen = {step.rule.chain for step in leaf.trace if step.rule.table == "filter"}
        for hook in ("INPUT", "FORWARD", "OUTPUT"):
            self.passed[hook.lower()] += int(hook in seen and leaf.decision is Decision.ACCEPT)
        after = leaf.subject.flow
        if leaf.decision is Decision.ACCEPT and "INPUT" not in seen:
            self.away[number] = ("far" if after.oif == "eth1" else "outer", ends(after, leaf.subject.unknown))


def ends(flow, unknown=frozenset()):
    return tuple(None if name in unknown else getattr(flow, name) for name in ("src", "dst", "sport", "dport"))


def sysctls(kernel, rng, version):
    """Change how the host routes, and return what it then says."""
    kernel.run("sysctl", "-qw", f"net.ipv4.ip_forward={int(rng.random() < 0.8 or version == 6)}")
    kernel.run("sysctl", "-qw", f"net.ipv4.conf.eth0.rp_filter={rng.choice([0, 1, 1, 2])}")
    return kernel.run("sysctl", *SYSCTLS)


def disagreements(kernel, rng, serial, tamper=None, blur=None):
    """Return the differences between model and kernel over one random table and its packets, in words."""
    version, backend, outward = rng.choice([4, 4, 6]), ("nft", "legacy")[serial % 2], rng.random() < 0.25
    facts = {**kernel.facts, "sysctls": sysctls(kernel, rng, version)}
    printed = load(kernel, NatTables(rng, version, outward=outward).text, version, backend)
    expected = Expected(tamper(printed) if tamper else printed, version, blur(facts) if blur else facts)
    packets = []
    for at in range(PACKETS):
        number = serial * PACKETS + at
        flow = nat_flow(rng, version, 1024 + number % 60000, outward=outward)
        flow = stray(flow) if rng.random() < 0.1 else flow
        expected.add(flow, number)
        kind = ("ip4" if version == 4 else "ip6") if outward else "frame"
        packets.append((kind, tagged(flow, number).hex(), str(flow.dst)))
    before = kernel.watched()
    kernel.send(packets)
    now = kernel.settle(before["arrived"] + sum(kind == "frame" for kind, _, _ in packets))
    passed = {name: now[name] - before[name] for name in (("output",) if outward else ("input", "forward"))}
    found = [f"{name}: the kernel lets {seen} through, the model {expected.passed[name]}"
             for name, seen in passed.items() if seen != expected.passed[name]]  # fmt: skip
    found += [*_counted(counters(kernel, version, backend), expected), *_far(kernel, expected, version)]
    return [f"table {serial}, IPv{version}, {backend}: {text}\n{printed}\n{facts['sysctls']}" for text in found]


def _counted(seen, expected):
    # what the host answers goes through mangle POSTROUTING as well
    for rule, count in seen.items():
        if rule[:2] != ("mangle", "POSTROUTING") and count != expected.hits[rule]:
            yield f"{rule}: the kernel counts {count}, the model {expected.hits[rule]}"


def _far(kernel, expected, version):
    """Yield the differences in what reached the far ends."""
    found = {}
    for interface, frame in kernel.heard("far", "outer"):
        packet = read(frame, version)
        if packet is not None:
            found[packet[0]] = (interface, packet[1:])
    found = {number: seen for number, seen in found.items() if number in expected.away or seen[0] == "far"}
    for number in sorted(found.keys() | expected.away.keys()):
        seen, said = found.get(number), expected.away.get(number)
        if seen != said:
            yield f"packet {number}: at the far end {seen}, the model says {said}"


def test_random_translations_are_followed(kernel):
    rng = random.Random(SEED)
    found, left = [], 0
    for serial in range(TABLES):
        found += disagreements(kernel, rng, serial)
        assert not found, "\n".join(found[:3])
        left += 1
    assert left == TABLES


def test_the_kernel_picks_one_of_the_choices_that_the_model_names(kernel):
    rng = random.Random(4)
    picked = Counter()
    for serial in range(TABLES, TABLES + 20):
        version = rng.choice([4, 6])
        kernel.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.eth0.rp_filter=0")
        first, last = FAR[version][0], FAR[version][2]
        to = {4: f"{first}-{last}:8080-8083", 6: f"[{first}-{last}]:8080-8083"}[version]
        text = f"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j DNAT --to-destination {to}\nCOMMIT\n"
        printed = load(kernel, text, version, ("nft", "legacy")[serial % 2])
        save = {"iptables_save" if version == 4 else "ip6tables_save": printed}
        model = HostModel.build(**save, **kernel.facts)
        peer, own = ip_address(rng.choice(PEERS[version])), ip_address(OWN[version][0])
        port, length = rng.choice([53, 8080, 8081]), 36 if version == 4 else 56
        flow = Flow(src=peer, dst=own, proto=17, sport=1024 + serial, dport=port, length=length, iif="eth0")
        leaves = model.leaves(flow)
        assert len(leaves) == (12 if port == 53 else 3)
        before = kernel.watched()
        kernel.heard("far", "outer")
        kernel.send([("frame", tagged(flow, serial).hex(), "")])
        kernel.settle(before["arrived"] + 1)
        (seen,) = [packet for _, frame in kernel.heard("far") if (packet := read(frame, version))]
        assert seen[1:] in {ends(leaf.subject.flow) for leaf in leaves}
        picked[seen[2]] += 1
    assert len(picked) > 1, "the kernel never had a choice"


SABOTAGE = {
    "ports": lambda text: re.sub(r"(--to-destination \S*:)\d+", r"\g<1>9999", text),
    "negation": lambda text: text.replace("! ", ""),
    "original destination": lambda text: text.replace("--ctorigdst ", "--ctreplsrc "),
    "nat state": lambda text: text.replace("--ctstate DNAT", "--ctstate NEW"),
    "redirect": lambda text: text.replace("-j REDIRECT", "-j ACCEPT").replace("--to-ports ", "-m comment --comment "),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_the_comparison_can_fail(kernel, what):
    rng = random.Random(2)  # whatever run this is, these tables are the ones that show it
    found = []
    for serial in range(TABLES + 100, TABLES + 400):
        found += disagreements(kernel, rng, serial, tamper=SABOTAGE[what])
        if found:
            break
    assert found, f"a model that reads {what} wrong agrees with the kernel: the comparison proves nothing"


def test_the_comparison_sees_what_the_routing_does(kernel):
    rng = random.Random(3)
    found = []
    for serial in range(TABLES + 200, TABLES + 230):
        found += disagreements(kernel, rng, serial, blur=lambda facts: facts | {"sysctls": ""})
    assert found, "a model without sysctls agrees with the kernel: the comparison proves nothing"
