"""One packet out of a set: ordinary values where there is a choice, and what single-packet rules say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, Family, Flow, Hook
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics import route
from fwproof.semantics.bdd import Field, Set, Sets
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import PATHS
from fwproof.semantics.boxes import ORDINARY
from fwproof.semantics.context import Question
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import PORTED, Packet
from fwproof.semantics.routing import Router
from fwproof.semantics.stages import Turn, Way
from fwproof.semantics.walk import Leaf, Walker

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
    """Return every end of a packet's walk for the question about a hook, without its steps; raises TooLarge.

    Where packets that nat left alone go is for the question to say, as it is for sets.
    """
    router = model.router(flow.family)
    make = model.chains(flow.family, PATHS[hook].hooks)
    decide = partial(_turn, router, hook)
    way = route.leaving(make, decide) if hook is Hook.OUTPUT else route.arriving(make, decide)
    whole = flow.fragment and not model.conntrack(flow.family)
    packet = Packet(replace(flow, fragment=whole), _kinds(model, flow.family), router=router)
    return list(Walker[Packet](way, lookup=model.indexes).walk(packet))


def _turn(router: Router, hook: Hook, places: route.Places) -> Turn:
    """Return the routing decision on one packet for a question about ``hook``, as :mod:`bdd_turn` on sets."""

    def decide(packet: Packet) -> Iterator[Way[Packet]]:
        expired = packet.flow.ttl <= 1 and hook is not Hook.OUTPUT
        on = Way(packet, places.away, dropped="the packet has no hops left" if expired else "")
        if "dst" not in packet.translated:
            yield Way(packet, places.here) if hook is Hook.INPUT else on
            return
        if hook is Hook.OUTPUT:
            yield Way(replace(packet, flow=replace(packet.flow, oif=None)), places.away)
            return
        own = True if packet.own_dst else None if "dst" in packet.unknown else router.is_own(packet.flow.dst)
        asked = Question("own new destination", "whether the address that nat writes is the host's own")
        if own is not False and hook is Hook.INPUT:
            yield Way(packet, places.here, given=((asked, True),) if own is None else ())
        before, name = (packet.original or packet.flow).dst, router.out(packet.flow.dst)
        if name is not None and "dst" not in packet.unknown:
            on = replace(on, subject=replace(packet, flow=replace(packet.flow, oif=name)))
        if own is not True and (hook is Hook.FORWARD or router.addresses is None or router.addresses.is_local(before)):
            yield replace(on, given=((asked, False),) if own is None else ())

    return Turn(router.family.table_family, decide)


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
