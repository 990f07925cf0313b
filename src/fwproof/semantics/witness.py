"""One packet out of a set: ordinary values where there is a choice, and what single-packet rules say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, Family, Flow, Hook
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics import route
from fwproof.semantics.bdd import Field, Set, Sets
from fwproof.semantics.bdd_tests import Config
from fwproof.semantics.boxes import ORDINARY
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import PORTED, Packet
from fwproof.semantics.walk import Leaf, Walker

PATHS = {
    Hook.INPUT: route.Path(route.INBOUND),
    Hook.FORWARD: route.Path(route.THROUGH),
    Hook.OUTPUT: route.Path(route.OUTBOUND),
}
"""The way through the host that each of the three questions is about."""
_FLAGS = {name: bit for name, bit in FLAGS.items() if name not in {"ALL", "NONE"}}
_EMPTY = {"sport": 40000, "dport": 9, "icmp": 8 * 256, "flags": 2, "ttl": 64, "length": 60, "tos": 0, "proto": TCP}
_NICE: dict[str, tuple[int | str, ...]] = {
    "proto": (TCP, UDP, ICMP, ICMPV6), "flags": (2, 16, 18), "sport": (40000,), "ttl": (64,), "length": (60, 40),
    "tos": (0,), "icmp": (8 * 256, 128 * 256), "pkttype": ("host",), "mac": ("",), "fragment": ("no",),
    "dport": (9, 22, 80, 443, 53),
}  # fmt: skip


def pick(sets: Sets, some: Set, family: Family, own: Sequence[Address] = (), *, sent: bool = False) -> Flow:
    """Return one packet of a set that is not empty; ``own`` are the host's addresses, ``sent`` that it sends.

    The packet is in the set for some answer of the oracles. Its conntrack state and marks are Flow's defaults.
    """
    ordinary = ORDINARY[family]
    ends = (tuple(map(int, own)), ordinary) if own else (ordinary, ordinary[::-1])
    nice = {**_NICE, "src": ends[not sent], "dst": ends[sent]}
    rest = sets.may(some)
    values: dict[str, int | str] = {}
    for name in ("proto", "fragment", "iif", "oif", "src", "dst", *sets.fields):
        if name in sets.fields and name not in values:
            rest, values[name] = _choose(sets, rest, sets.fields[name], nice.get(name, ()))
    return _flow(values, family)


def _choose(sets: Sets, some: Set, field: Field, nice: Iterable[int | str]) -> tuple[Set, int | str]:
    for value in nice:
        part = some & _one(sets, field, value)
        if part != sets.none:
            return part, value
    spans = sets.pieces(sets.only(some, [field.name]), field.name)[0][0]
    if field.words:
        at = next((low for low, _ in spans if field.words[low]), spans[0][0])
        part = some & sets.within(field.name, ((at, at),))
        return part, _name(field, field.words[at])
    low, high = spans[0]
    if field.raw:
        return some & sets.bits(field.name, (1 << field.width) - 1, low), low
    # the first address of a network is no ordinary one, and 0 no ordinary number
    start = low + 1 if low < high and (field.name in {"src", "dst"} or not low) else low
    return some & _one(sets, field, start), start


def _one(sets: Sets, field: Field, value: int | str) -> Set:
    """Return the packets of the atom that a value is in."""
    if field.words:
        at = atom_of(field, str(value))
        return sets.none if at is None else sets.within(field.name, ((at, at),))
    assert isinstance(value, int)
    if value > field.largest:
        return sets.none
    if field.raw:
        return sets.bits(field.name, (1 << field.width) - 1, value)
    code = field.code(value)
    top = (1 << field.width) - 1
    return sets.coded(field.name, ((code, top if code == field.size - 1 else code),))


def atom_of(field: Field, word: str) -> int | None:
    """Return the atom of a word field that a word is in; of interfaces the narrowest pattern that fits."""
    if word in field.words:
        return field.words.index(word)
    fitting = [at for at, each in enumerate(field.words) if each.endswith("*") and word.startswith(each[:-1])]
    if fitting:
        return max(fitting, key=lambda at: len(field.words[at]))
    return field.words.index("") if "" in field.words else None


def _name(field: Field, word: str) -> str:
    """Return an interface name that stands for a group of names: ``eth*`` and, empty, any other."""
    if field.name not in {"iif", "oif"} or (word and not word.endswith("*")):
        return word
    stem = word[:-1] or "other"
    tries = (f"{stem}{number}" for number in ((99, "x0", "zz9", 1234567) if word else (0, 99, "x0", 1234567)))
    at = field.words.index(word)
    return next((name for name in tries if atom_of(field, name) == at), word)


def _flow(values: dict[str, int | str], family: Family) -> Flow:
    make = IPv4Address if family is Family.IPV4 else IPv6Address
    number = {name: int(values.get(name, empty)) for name, empty in _EMPTY.items()}
    proto = number["proto"]
    ported, icmp = proto in PORTED, number["icmp"] if proto in {ICMP, ICMPV6} else None
    flags = frozenset(name for name, bit in _FLAGS.items() if number["flags"] & bit) if proto == TCP else frozenset()
    return Flow(
        src=make(int(values["src"])), dst=make(int(values["dst"])), proto=proto,
        sport=number["sport"] if ported else None, dport=number["dport"] if ported else None, flags=flags,
        icmp_type=None if icmp is None else icmp >> 8, icmp_code=None if icmp is None else icmp & 255,
        iif=str(values["iif"]) or "other0", oif=str(values["oif"]) or "other0", ttl=number["ttl"],
        length=number["length"], tos=number["tos"], mac_src=str(values.get("mac", "")) or None,
        pkttype=str(values.get("pkttype", "host")), fragment=values.get("fragment") == "yes",
    )  # fmt: skip


def point(sets: Sets, flow: Flow) -> Set:
    """Return the set of the one packet, or of those that no rule tells from it."""
    found = sets.all
    for name, value in _values(flow).items():
        if name in sets.fields and value is not None:
            value = int(value) & sets.fields[name].largest if name == "flags" else value  # noqa: PLW2901
            found &= _one(sets, sets.fields[name], value)
    return found


def _values(flow: Flow) -> dict[str, int | str | None]:
    return {
        "src": int(flow.src), "dst": int(flow.dst), "proto": flow.proto, "sport": flow.sport, "dport": flow.dport,
        "icmp": None if flow.icmp_type is None else flow.icmp_type * 256 + (flow.icmp_code or 0),
        "flags": sum(FLAGS[name] for name in flow.flags), "ttl": flow.ttl, "length": flow.length, "tos": flow.tos,
        "iif": flow.iif, "oif": flow.oif, "mac": flow.mac_src, "pkttype": flow.pkttype,
        "fragment": "yes" if flow.fragment else "no",
    }  # fmt: skip


def follow(model: HostModel, flow: Flow, hook: Hook) -> list[Leaf[Packet]]:
    """Return every end of a packet's walk on the path through a hook, rule by rule; raises TooLarge."""
    family = flow.family
    blind = model.blind.get(family, ("its rules were not read",))
    conntrack = model.conntrack(family)
    stages = route.stages(PATHS[hook], family, model.rulesets.get(family, ()), blind, conntrack=conntrack)
    packet = Packet(replace(flow, fragment=flow.fragment and not conntrack), _kinds(model, family))
    return list(Walker[Packet](stages).walk(packet))


def _kinds(model: HostModel, family: Family) -> Callable[[int, frozenset[str]], bool | None]:
    known, make = model.addresses, IPv4Address if family is Family.IPV4 else IPv6Address
    return lambda address, kinds: None if known is None else known.is_kind(make(address), kinds)


def dressed(flow: Flow, config: Config, hook: Hook | None = None) -> Flow:
    """Give a packet the state and the marks of a walk, and only the interfaces that it has at a hook."""
    mark, connmark = (value if isinstance(value, int) else 0 for value in (config.mark, config.connmark))
    flow = replace(flow, ctstate=config.state, ctdir=config.direction, mark=mark, connmark=connmark)
    if hook is Hook.INPUT:
        return replace(flow, oif=None)
    return replace(flow, iif=None) if hook is Hook.OUTPUT else flow
