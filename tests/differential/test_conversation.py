"""Whole connections against the kernel: requests, answers, later packets and errors, through nat and back.

Random tables translate, mark and look at states. First packets are sent; where the model says that one is let through,
so are the answer, an error and a later packet, as the model says that they reach the host. Every counter on the way,
and the addresses with which packets arrive at the far ends, have to be the model's. ``FWPROOF_TABLES`` and
``FWPROOF_SEED`` make a larger or another run.
"""

import json
import os
import random
from collections import Counter

import pytest

from fwproof.decision import Decision
from fwproof.flow import CtState
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import Packet

from . import kernel as k
from .random_nat import ODD_SOURCES, OWN, NatTables, nat_flow
from .test_nat import ends, kernel, load, read, sysctls, tagged  # noqa: F401 - kernel is the fixture
from .test_tables import counters

pytestmark = [pytest.mark.lab]
TABLES = int(os.environ.get("FWPROOF_TABLES", "60"))
SEED = int(os.environ.get("FWPROOF_SEED", "1"))
PACKETS = 8
STATES = ["NEW", "ESTABLISHED", "RELATED", "RELATED,ESTABLISHED", "NEW,RELATED", "INVALID"]


class Tables(NatTables):
    """Tables that look at the states, directions, marks and translations of connections at every hook."""

    def _module(self, *, ported):
        rng, bang = self.rng, self._bang()
        kind = rng.random()
        if kind < 0.3:
            return f"-m conntrack {bang}--ctstate {rng.choice(STATES)}"
        if kind < 0.45:
            return f"-m conntrack --ctstate {rng.choice(STATES)} --ctdir {rng.choice(['ORIGINAL', 'REPLY'])}"
        if kind < 0.6:
            return f"-m connmark {bang}--mark {rng.choice(['0x1', '0x2/0x2', '0x0'])}"
        return super()._module(ported=ported)

    def _filter(self):
        rng, lines = self.rng, ["*filter"]
        lines += [
            f":{base} {rng.choice(['ACCEPT', 'ACCEPT', 'DROP'])} [0:0]" for base in ("INPUT", "FORWARD", "OUTPUT")
        ]
        for base in ("INPUT", "FORWARD", "OUTPUT"):
            for _ in range(rng.randrange(5)):
                lines.append(f"-A {base} {self._match(base)} -j {rng.choice(['ACCEPT', 'ACCEPT', 'DROP'])}")
        return [*lines, "COMMIT"]

    def _mangle(self):
        rng = self.rng
        bases = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
        lines = ["*mangle", *(f":{base} ACCEPT [0:0]" for base in bases)]
        for base in bases:
            for _ in range(rng.randrange(3)):
                what = rng.choice(["", "", " -j CONNMARK --set-mark 1", " -j CONNMARK --or-mark 2"])
                # by the first packet only: the packets of a connection are not sent in the order of its life
                first = "-m conntrack --ctstate NEW " if what else ""
                lines.append(f"-A {base} {first}{self._match(base)}{what}")
        return [*lines, "COMMIT"]


class Expected:
    """What the model says of packet after packet: the rules that they meet, and how those leave that are tagged."""

    def __init__(self, model):
        self.model, self.hits, self.away = model, Counter(), Counter()

    def add(self, part, number):
        for step in part.ruling.trace:
            if step.matched == "yes" and step.rule.rule is not None:
                self.hits[step.rule.table, step.rule.chain, step.rule.rule] += 1
        inside = any(step.rule.chain == "INPUT" for step in part.ruling.trace)
        if part.after is not None and not inside and part.flow.ctstate is not CtState.RELATED:
            self.away[number, "far" if part.after.oif == "eth1" else "outer", ends(part.after)] += 1


def wire(part, number, first, mac):
    """Return (kind, bytes, address) of a packet of a connection; ``first`` is the request as the far end saw it."""
    flow = part.flow
    if flow.ctstate is CtState.RELATED:
        inner = k.ip_packet(
            first, (number & 0xFFFF).to_bytes(2, "big") + b"\0\1" if first.icmp_type is not None else b""
        )
        packet = k.frame(flow, (1280).to_bytes(4, "big") + inner)
    else:
        packet = tagged(flow, number)
    if flow.iif is None:
        return ("ip4" if flow.dst.version == 4 else "ip6"), packet.hex(), str(flow.dst)
    return ("frame far", (mac + packet[6:]).hex(), "") if flow.iif == "eth1" else ("frame", packet.hex(), "")


def send(kernel, packets):  # noqa: F811
    """Send packets one after the other, and wait until they have come in."""
    before = kernel.watched()
    kernel.send(packets)
    for kind, name in (("frame", "arrived"), ("frame far", "came")):
        kernel.settle(before[name] + sum(each == kind for each, _, _ in packets), name)


def settled(conversation):
    """Whether everything about a connection is known: one way for every packet, no address that nat picks."""
    parts = (conversation.request, conversation.reply, conversation.later, conversation.error)
    decided = {Decision.ACCEPT, Decision.DROP, Decision.REJECT}
    return all(part is None or (part.ruling.decision in decided and not part.unknown) for part in parts)


@pytest.fixture(scope="module")
def lenient(kernel):  # noqa: F811
    kernel.run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_be_liberal=1", "net.ipv4.ip_forward=1")
    (link,) = json.loads(kernel.run("ip", "-j", "link", "show", "eth1"))
    kernel.mac = bytes.fromhex(link["address"].replace(":", ""))
    return kernel


def disagreements(kernel, rng, serial, tamper=None):  # noqa: F811
    version, backend, outward = rng.choice([4, 4, 6]), ("nft", "legacy")[serial % 2], rng.random() < 0.3
    kernel.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.eth0.rp_filter=0")
    printed = load(kernel, Tables(rng, version, outward=outward).text, version, backend)
    save = {"iptables_save" if version == 4 else "ip6tables_save": tamper(printed) if tamper else printed}
    facts = {**kernel.facts, "sysctls": kernel.run("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")}
    model, phases = HostModel.build(**save, **facts), [[], [], [], []]
    expected, used = Expected(model), 0
    kernel.heard("far", "outer")
    for at in range(PACKETS):
        number = serial * PACKETS + at
        flow = nat_flow(rng, version, 1024 + number % 60000, outward=outward)
        if str(flow.src) in ODD_SOURCES or flow.src == flow.dst or (outward and str(flow.dst) in OWN[version]):
            continue  # nobody is there to be answered
        found = converse(model, flow)
        if not settled(found):
            continue
        used += add(expected, found, number, phases, kernel.mac)
    for phase in phases:
        send(kernel, phase)
    seen = counters(kernel, version, backend)
    told = [f"{rule}: the kernel counts {count}, the model {expected.hits[rule]}"
            for rule, count in seen.items() if count != expected.hits[rule]]  # fmt: skip
    told += far(kernel, expected, version)
    return used, [f"table {serial}, IPv{version}, {backend}: {text}\n{printed}" for text in told]


def add(expected, found, number, phases, mac):
    """Note what the model says of a connection, and the packets to send; return how many beside the request."""
    first = found.request.after or found.request.flow
    parts = [found.request]
    if found.reply is not None and found.reply.flow.iif is not None:
        # answers that the host would give itself are not looked at: nothing in it is reached
        parts += [found.reply, found.error, found.later]
    for phase, part in zip(phases, parts, strict=False):
        expected.add(part, number)
        phase.append(wire(part, number, first, mac))
    return len(parts) - 1


def far(kernel, expected, version):  # noqa: F811
    """Yield the differences in what reached the far ends."""
    seen = Counter()
    for interface, data in kernel.heard("far", "outer"):
        packet = read(data, version)
        if packet is not None:
            seen[packet[0], interface, packet[1:]] += 1
    for one in sorted(seen.keys() | expected.away.keys(), key=str):
        if seen[one] != expected.away[one]:
            yield f"packet {one}: {seen[one]} at the far end, the model says {expected.away[one]}"


def test_connections_are_followed(lenient):
    rng = random.Random(SEED)
    used = 0
    for serial in range(TABLES):
        count, found = disagreements(lenient, rng, serial)
        used += count
        assert not found, "\n".join(found[:3])
    assert used > TABLES * PACKETS / 2


SABOTAGE = {
    "states": lambda text: text.replace("ESTABLISHED", "INVALID"),
    "directions": lambda text: text.replace("--ctdir REPLY", "--ctdir ORIGINAL"),
    "marks": lambda text: text.replace("-j CONNMARK --set-xmark 0x1/0xffffffff", ""),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_the_comparison_can_fail(lenient, what):
    rng = random.Random(2)
    assert any(disagreements(lenient, rng, TABLES + serial, tamper=SABOTAGE[what])[1] for serial in range(40)), (
        f"a model that reads {what} wrong agrees with the kernel: the comparison proves nothing"
    )


def test_the_comparison_sees_what_conntrack_translates(lenient, monkeypatch):
    monkeypatch.setattr(Packet, "carried", lambda self, _context: (self, ""))
    rng = random.Random(3)
    assert any(disagreements(lenient, rng, TABLES + 50 + serial)[1] for serial in range(40))
