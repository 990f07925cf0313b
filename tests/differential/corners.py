"""Corners of the kernel's semantics as data: ``tests/golden/corners/*.yaml``.

A case loads tables, sends packets, and says of each what becomes of it and which rules count it. The model has to
say the same of the text of the case, the kernel has to do it, and the model has to say it again of what the kernel
lists.

    says, source        the statement, and how it is known: seen, or which file of the kernel says so
    load                texts by the program that loads them, in order; ``iptables`` and ``ip6tables`` mean both the
                        nft and the legacy variant, each in a run of its own
    sysctls, setup      settings and commands before the tables
    refused             the programs refuse these tables (part of the message); the model reads them all the same
    lacks               what a kernel may be built without: the case is then left to the model
    listed              the model gets nft's list as well, though nft loads none of the tables
    hidden              texts that the model does not get
    deliver             packets reach the host's sockets, so that conntrack keeps the connection

    packets: keys as for ``fwproof explain``, iif eth0 and udp from 10.0.0.1 to 10.0.0.10 where not given, and
    decision, by        the golden answer; ``by`` is "FAMILY TABLE CHAIN RULE", "… policy", or "routing"
    may                 every decision that is possible, where the model leaves it open
    kernel              what the kernel does, where the model leaves it open
    hits                the rules that count the packet; the deciding one where not given
    model_hits          the same in the model, where what the kernel does hangs on what no listing shows
    way                 input, forward or output: where it is let through
    answer, away        what comes back ("icmp 3/3", "rst"); where it leaves to ("10.9.0.7:8080")
    made                the kernel itself makes this packet because of the one before it
    model_only          what the kernel does with it was not looked at
    arrives             the far end that it is sent by, where that is not eth0's
    pieces              the datagram is cut in two, and these pieces are sent
    extension           the packet begins with this IPv6 extension header, which only sets of packets can have
    over_all            every decision that is possible to the question over all packets, where that sees less
    whole               false: not asked as a question over all packets
"""

import json
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import yaml

from fwproof.cli.explain import read_packets
from fwproof.decision import Decision
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.model import HostModel

from . import kernel as k
from .test_sets import said_by_sets

GOLDEN = Path(__file__).parents[1] / "golden" / "corners"
LISTED = GOLDEN / "listed"
OWN_KEYS = frozenset({
    "decision", "by", "may", "kernel", "hits", "model_hits", "way", "answer", "away", "made", "pieces", "extension",
    "over_all", "arrives", "model_only", "whole",
})  # fmt: skip
SYSCTLS = {
    "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1, "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.eth0.rp_filter": 0,
}  # fmt: skip
RULES = json.dumps([{"priority": n, "src": "all", "table": t} for n, t in enumerate(("local", "main", "default"))])
KEYS = {
    "iptables-nft": "iptables_save", "iptables-legacy": "iptables_legacy_save", "ip6tables-nft": "ip6tables_save",
    "ip6tables-legacy": "ip6tables_legacy_save", "nft": "nft_json", "ipset": "ipset_save",
}  # fmt: skip
"""What a text is to the model, by the program that loads it."""


@dataclass(frozen=True)
class Sent:
    """A packet of a case and the golden answer."""

    id: str
    flow: Flow
    hook: Hook | None
    decision: Decision
    by: str
    may: frozenset[Decision]
    hits: frozenset[str]
    given: dict = field(repr=False)

    @property
    def sure(self):
        return self.decision in {Decision.ACCEPT, Decision.DROP, Decision.REJECT}

    @property
    def done(self):
        """What the kernel does with it."""
        return Decision(self.given.get("kernel", self.decision))

    @property
    def way(self):
        return self.given.get("way") or ("output" if self.flow.iif is None else "input")


@dataclass(frozen=True)
class Case:
    """A case, read for one variant of iptables."""

    name: str
    says: str
    load: tuple[tuple[str, str], ...]
    packets: tuple[Sent, ...]
    given: dict = field(repr=False)

    @property
    def six(self):
        return any(each.flow.family is Family.IPV6 for each in self.packets)


@cache
def documents():
    """Return every case as it is written, by name."""
    found = {}
    for path in sorted(GOLDEN.glob("*.yaml")):
        for given in yaml.safe_load(path.read_text(encoding="utf-8")):
            assert given["name"] not in found, given["name"]
            found[given["name"]] = given
    return found


def names():
    """Return the ids of all cases: each for both variants of iptables where it does not name one."""
    return [
        f"{name}-{variant}" if variant else name
        for name, given in documents().items()
        for variant in (("nft", "legacy") if {"iptables", "ip6tables"} & set(given["load"]) else ("",))
    ]


def case(identity):
    """Return a case by its id."""
    name, variant = identity, ""
    if name not in documents():
        name, _, variant = identity.rpartition("-")
    given = documents()[name]
    load = tuple((tool if "-" in tool or tool in {"nft", "ipset"} else f"{tool}-{variant}", text)
                 for tool, text in given["load"].items())  # fmt: skip
    packets = tuple(_sent(at, each) for at, each in enumerate(given["packets"]))
    return Case(identity, given["says"], load, packets, given)


def _sent(at, given):
    own = {key: value for key, value in given.items() if key in OWN_KEYS}
    six = ":" in given.get("src", "") + given.get("dst", "")
    words = {
        "id": f"packet {at + 1}", "src": "fd00:0:0:1::1" if six else "10.0.0.1",
        "dst": "fd00:0:0:1::10" if six else "10.0.0.10", "proto": "udp",
    } | {key: value for key, value in given.items() if key not in OWN_KEYS}  # fmt: skip
    if words["proto"] in {"udp", "tcp"}:
        words.setdefault("sport", 40000 + at)
        words.setdefault("dport", 80)
    if words["proto"] == "tcp":
        words.setdefault("flags", "SYN")
    if words["src"] not in {"10.0.0.10", "fd00:0:0:1::10"} and "oif" not in words:
        words.setdefault("iif", "eth0")
    if words.get("iif"):
        words.setdefault("mac_src", "02:00:00:00:00:01")
    (packet,) = read_packets(json.dumps(words), "the case")
    flow = packet.flow
    if "length" not in words:
        flow = replace(flow, length=len(data(replace(flow, ttl=64))))
    decision = Decision(given["decision"])
    may = frozenset(map(Decision, given.get("may", [decision])))
    by = given.get("by", "")
    deciding = {by} if by and by.split()[-1].isdigit() else set()
    return Sent(str(packet.id), flow, packet.hook, decision, by, may, frozenset(given.get("hits", deciding)), own)


def data(flow):
    """Return a packet of a flow; what it carries is long enough to be cut in two."""
    return k.ip_packet(flow, b"" if flow.icmp_type is not None else bytes(16))


def pieces(packet):
    """Cut an IPv4 packet in two fragments: the first sixteen bytes behind the header, and the rest."""
    head, body = packet[:20], packet[20:]
    found = []
    for at, part, more in ((0, body[:16], 1), (2, body[16:], 0)):
        raw = head[:2] + (20 + len(part)).to_bytes(2, "big") + head[4:6] + (more << 13 | at).to_bytes(2, "big")
        raw += head[8:10] + b"\0\0" + head[12:]
        found.append(raw[:10] + k.checksum(raw).to_bytes(2, "big") + raw[12:] + part)
    return found


EXTENSIONS = {"hop-by-hop": 0, "destination": 60, "routing": 43, "fragment": 44}


def with_extension(packet, name):
    """Put an IPv6 extension header before the transport header (RFC 8200, 4.1)."""
    if name is None:
        return packet
    number = EXTENSIONS[name]
    extra = bytes([packet[6], 0]) + (b"\1\4\0\0\0\0" if number in {0, 60} else bytes(6))
    length = int.from_bytes(packet[4:6], "big") + 8
    return packet[:4] + length.to_bytes(2, "big") + bytes([number]) + packet[7:40] + extra + packet[40:]


def facts(given):
    """Return what the model is told of the host beside its tables."""
    host = GOLDEN / "host"
    return {
        "addresses": (host / "addresses.json").read_text(), "routes": (host / "routes.json").read_text(),
        "routes6": (host / "routes6.json").read_text(), "routing_rules": RULES,
        "sysctls": "".join(f"{n} = {v}\n" for n, v in (SYSCTLS | given.get("sysctls", {})).items()),
    }  # fmt: skip


def texts(found):
    """Return the texts of a case as the model reads them; those of nft as nft lists them."""
    read = {KEYS[tool]: text for tool, text in found.load}
    listing = LISTED / f"{found.given['name']}.json"
    if listing.exists():
        read["nft_json"] = listing.read_text(encoding="utf-8")
    return {key: text for key, text in read.items() if key not in found.given.get("hidden", ())}


def differences(found, read, known):
    """Return where the model's answers are not the golden ones, in words."""
    model = HostModel.build(**read, **known)
    wrong = []
    for sent in found.packets:
        if "extension" not in sent.given:
            wrong += [f"{sent.id}: {text}" for text in _single(model, sent)]
        if sent.given.get("whole", True) and sent.hook is None and not sent.flow.fragment:
            wrong += [f"{sent.id}, over all packets: {text}" for text in _whole(model, sent)]
    return wrong


def place(ref, *, plain=True):
    """Return a rule as cases name it."""
    if ref is None:
        return ""
    if ref.table == "routing":
        return "routing"
    return f"{ref.family} {ref.table} {ref.chain} {'policy' if ref.rule is None else ref.rule}"


def _single(model, sent):
    said = model.evaluate(sent.flow, sent.hook)
    if said.decision is not sent.decision:
        yield f"the model says {said.decision} by {said.by} ({said.depends_on}), not {sent.decision}"
        return
    if sent.decision is Decision.DEPENDS and said.may != sent.may:
        yield f"the model thinks {set(said.may)} possible, not {set(sent.may)}"
    by = sent.by.removeprefix("legacy ")
    if by and place(said.by) != by:
        yield f"the model has it decided by {said.by}, not {sent.by}"
    if not sent.sure:
        return
    leaves = model.leaves(sent.flow, sent.hook)
    hits = {place(step.rule) for step in leaves[0].trace if step.matched == "yes" and step.rule.rule is not None
            and (step.rule.text.startswith("-A") or "counter" in step.rule.text)}  # fmt: skip
    golden = {each.removeprefix("legacy ") for each in sent.given.get("model_hits", sent.hits)}
    if len(leaves) == 1 and hits != golden:
        yield f"in the model {sorted(hits)} count it, not {sorted(golden)}"
    answer = sent.given.get("answer")
    if answer and NAMES[said.reject_with] != answer:
        yield f"the model has it answered with {said.reject_with}, not {answer}"
    away, after = sent.given.get("away"), leaves[0].subject.flow
    if away and str(after).split(" -> ")[1] != away:
        yield f"the model has it leave to {after}, not {away}"


def _whole(model, sent):
    engine = Engine([model], sent.flow.family)
    route = engine.hosts[0].asked(Hook(sent.way))
    flow = sent.flow
    config = Config(CtState(flow.ctstate), flow.ctdir, flow.mark, flow.connmark)
    _, ends = route.flow({config: engine.hosts[0].packets()})
    said = said_by_sets(engine, ends, flow)
    if sent.decision is Decision.UNKNOWN:
        if Decision.UNKNOWN not in said:
            yield f"{said} is claimed, and it is not known"
    elif sent.by != "routing" and said != set(sent.given.get("over_all", sent.may)):
        yield f"{sorted(said)}, not {sorted(sent.given.get('over_all', sent.may))}"


NAMES = {
    "icmp-net-unreachable": "icmp 3/0", "icmp-host-unreachable": "icmp 3/1", "icmp-proto-unreachable": "icmp 3/2",
    "icmp-port-unreachable": "icmp 3/3", "icmp-net-prohibited": "icmp 3/9", "icmp-host-prohibited": "icmp 3/10",
    "icmp-admin-prohibited": "icmp 3/13", "tcp-reset": "rst", "icmp6-no-route": "icmp 1/0",
    "icmp6-adm-prohibited": "icmp 1/1", "icmp6-addr-unreachable": "icmp 1/3", "icmp6-port-unreachable": "icmp 1/4",
    "icmp6-policy-fail": "icmp 1/5", "icmp6-reject-route": "icmp 1/6", None: "",
}  # fmt: skip
"""The answers of REJECT by iptables' names (RFC 792, RFC 1812, RFC 4443)."""
