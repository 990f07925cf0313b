"""Sets of packets in words: rooms of source, destination, service and interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from itertools import islice
from typing import Any

from fwproof.flow import ICMP, ICMPV6, Family, Hook, Network, protocol_name
from fwproof.ruleset.numbers import bits
from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.grouping import Cell, Services, Spans, Values, grouped
from fwproof.semantics.packet import PORTED

MOST_CELLS = 2000
"""Parts that a set is divided into before the rest is only said to exist."""
MOST_ROOMS = 50
_SHOWN = 6
_ICMPS = frozenset({ICMP, ICMPV6})


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A product of sources, destinations, services and interfaces; every packet in it is meant.

    ``services`` are protocols (spans of numbers) with the ports, or ICMP types * 256 + code, that are open.
    """

    family: Family
    sources: Values
    destinations: Values
    services: Services
    interfaces: tuple[str, ...] | None

    def __str__(self) -> str:
        parts = [service_text(self.services, self.family), "from", address_text(self.sources, self.family)]
        there = address_text(self.destinations, self.family)
        parts += [] if there == "anywhere" else ["to", there]
        parts += [] if self.interfaces is None else ["through", ", ".join(n or "any other" for n in self.interfaces)]
        return " ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return the room with networks and ports as lists; ``interfaces`` null is any but loopback."""
        return {
            "sources": networks(self.sources, self.family), "destinations": networks(self.destinations, self.family),
            "services": [_service_json(*service) for service in self.services],
            "interfaces": None if self.interfaces is None else [name or "any other" for name in self.interfaces],
        }  # fmt: skip


def rooms(sets: Sets, some: Set, family: Family, hook: Hook) -> tuple[tuple[Room, ...], bool, tuple[str, ...]]:
    """Return a set as disjoint rooms, whether there are more, and the other fields that have a part in it."""
    face = "oif" if hook is Hook.OUTPUT else "iif"
    keep = [name for name in (face, "proto", "dst", "src", "dport", "icmp") if name in sets.fields]
    shadow = sets.only(some, keep)
    narrowed = () if shadow == sets.may(some) else _narrowed(sets, some, keep)
    cells = list(islice(_cells(sets, shadow, keep), MOST_CELLS + 1))
    found = [
        Room(family=family, sources=group.src, destinations=group.dst, services=group.services,
             interfaces=_faces(sets, face, group.faces))
        for group in grouped(cells[:MOST_CELLS])
    ]  # fmt: skip
    return tuple(found[:MOST_ROOMS]), len(found) > MOST_ROOMS or len(cells) > MOST_CELLS, narrowed


def room_set(sets: Sets, room: Room, hook: Hook) -> Set:
    """Return every packet of a room of :func:`rooms`."""
    found = _ends(sets, "src", room.sources) & _ends(sets, "dst", room.destinations)
    if room.interfaces is not None:
        found &= sets.words("oif" if hook is Hook.OUTPUT else "iif", set(room.interfaces).__contains__)
    parts = []
    for protos, detail in room.services:
        part = sets.within("proto", protos)
        if detail is not None:
            part &= sets.within("icmp" if protos[0][0] in _ICMPS else "dport", detail)
        parts.append(part)
    return found & sets.union(parts)


def _ends(sets: Sets, field: str, values: Values) -> Set:
    spans, raw = values
    if not raw:
        return sets.within(field, spans)
    return sets.union([sets.bits(field, mask, value) for value, mask in spans])


def _cells(sets: Sets, some: Set, keep: Sequence[str]) -> Iterator[Cell]:
    """Divide by interface, protocol, destination, source, then ports or ICMP types, which is the fields' order."""
    for faces, below in sets.pieces(some, keep[0]):
        for protos, inner in sets.pieces(below, "proto"):
            for kind, part in _kinds(protos):
                for dst, there in sets.pieces(inner, "dst"):
                    for src, here in sets.pieces(there, "src"):
                        ends = (dst, sets.fields["dst"].raw), (src, sets.fields["src"].raw)
                        if kind:
                            for detail, _ in sets.pieces(sets.only(here, [kind]), kind):
                                yield Cell(faces, part, *ends, kind, detail)
                        elif here != sets.none:
                            yield Cell(faces, part, *ends, kind, None)


def _kinds(protos: Spans) -> Iterator[tuple[str, Spans]]:
    """Divide protocols into those with ports, those with ICMP types, and others."""
    special = sorted(PORTED | _ICMPS)
    for kind, members in (("dport", PORTED), ("icmp", _ICMPS)):
        inside = tuple((n, n) for n in sorted(members) if any(low <= n <= high for low, high in protos))
        if inside:
            yield kind, inside
    rest = []
    for low, high in protos:
        start = low
        for number in [n for n in special if low <= n <= high]:
            rest += [(start, number - 1)] if start < number else []
            start = number + 1
        rest += [(start, high)] if start <= high else []
    if rest:
        yield "", tuple(rest)


def _narrowed(sets: Sets, some: Set, keep: Sequence[str]) -> tuple[str, ...]:
    here = sets.may(some)
    others = [name for name in sets.fields if name not in keep]
    return tuple(n for n in others if sets.only(here, [*keep, *(o for o in others if o != n)]) != here)


def _faces(sets: Sets, face: str, codes: Spans) -> tuple[str, ...] | None:
    words = sets.fields[face].words
    inside = [words[at] for low, high in codes for at in range(low, min(high, len(words) - 1) + 1)]
    return None if set(words) - set(inside) <= {"lo"} and "" in inside else tuple(inside)


def networks(values: Values, family: Family) -> list[str]:
    """Return addresses as networks; those of a mask with holes as ``address/mask``."""
    spans, raw = values
    make = IPv4Address if family is Family.IPV4 else IPv6Address
    if not raw:
        return [_plain(n) for low, high in spans for n in summarize_address_range(make(low), make(high))]
    size = bits(family)
    texts = []
    for value, mask in spans:
        length = mask.bit_count()
        whole = mask == ((1 << length) - 1) << (size - length)
        texts.append(f"{make(value)}/{length if whole else make(mask)}".removesuffix(f"/{size}"))
    return texts


def _plain(network: Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def address_text(values: Values, family: Family) -> str:
    """Return addresses in a few words: as what they are not, where that is shorter."""
    spans, raw = values
    if raw:
        return "anywhere" if spans == ((0, 0),) else _shown(networks(values, family))
    top = (1 << bits(family)) - 1
    if spans == ((0, top),):
        return "anywhere"
    inside = networks(values, family)
    candidates = [("anywhere", _complement(spans, 0, top))]
    around = _around(spans, family)
    if around != (0, top):
        candidates.insert(0, (networks(((around,), False), family)[0], _complement(spans, *around)))
    for name, outside in candidates:
        without = networks((outside, False), family)
        if len(without) + (name != "anywhere") < len(inside):
            return f"{name} except {_shown(without)}"
    return _shown(inside)


def _around(spans: Spans, family: Family) -> tuple[int, int]:
    """Return the smallest network that holds all of these addresses."""
    if not spans:
        return 0, (1 << bits(family)) - 1
    free = (1 << (spans[0][0] ^ spans[-1][1]).bit_length()) - 1
    return spans[0][0] & ~free, spans[0][0] | free


def _complement(spans: Spans, bottom: int, top: int) -> Spans:
    found, start = [], bottom
    for low, high in spans:
        found += [(start, low - 1)] if start < low else []
        start = high + 1
    return tuple(found + ([(start, top)] if start <= top else []))


def _shown(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def service_text(services: Sequence[tuple[Spans, Spans | None]], family: Family) -> str:
    """Return services in a few words."""
    special = len(PORTED) + len(_ICMPS)
    named = {n for protos, _ in services for low, high in protos for n in range(low, high + 1)}
    whole = all(detail in {None, ((0, 65535),)} for _, detail in services)
    if len(named) == 256 and whole:
        return "every service"
    if (missing := _missing(services, named)) is not None:
        return f"every service except {service_text(missing, family)}"
    texts = []
    for protos, detail in services:
        numbers = [n for low, high in protos for n in range(low, high + 1)]
        if detail is None and len(numbers) == 256 - special:
            texts.append("every protocol without ports")
            continue
        names = [protocol_name(n) for n in numbers]
        if set(numbers) == _ICMPS:
            names = ["icmp" if family is Family.IPV4 else "icmpv6"]
        what = "/".join(sorted(names[:_SHOWN], key=lambda n: (n != "tcp", n != "udp", n)))
        what += f" and {len(names) - _SHOWN} more protocols" if len(names) > _SHOWN else ""
        ports = "" if detail is None or detail == ((0, 65535),) else f" {_detail(protos, detail)}"
        texts.append(what + ports)
    return ", ".join(sorted(texts, key=lambda text: (not text.startswith("tcp"), not text.startswith("udp"))))


def _missing(services: Sequence[tuple[Spans, Spans | None]], named: set[int]) -> Services | None:
    """Return the few services that are left out; None where they are not few."""
    gone = [(((n, n),), None) for n in range(256) if n not in named]
    if len(gone) > _SHOWN:
        return None
    found: list[tuple[Spans, Spans | None]] = [*gone]
    for protos, detail in services:
        if detail is not None and detail != ((0, 65535),):
            rest = _complement(detail, 0, 65535)
            if len(rest) > _SHOWN or len(rest) >= len(detail):
                return None
            found.append((protos, rest))
    return tuple(found)


def _detail(protos: Spans, detail: Spans) -> str:
    if protos[0][0] not in _ICMPS:
        return _shown(_numbers(detail)).replace(", ", ",")
    return "type " + _shown([_icmp(low, high) for low, high in detail]).replace(", ", ",")


def _icmp(low: int, high: int) -> str:
    if low % 256 == 0 and high % 256 == 255:
        return str(low >> 8) if low >> 8 == high >> 8 else f"{low >> 8}-{high >> 8}"
    ends = [f"{end >> 8}/{end & 255}" for end in (low, high)]
    return ends[0] if low == high else "-".join(ends)


def _numbers(spans: Spans) -> list[str]:
    return [str(low) if low == high else f"{low}-{high}" for low, high in spans]


def _service_json(protos: Spans, detail: Spans | None) -> dict[str, Any]:
    numbers = [n for low, high in protos for n in range(low, high + 1)]
    found: dict[str, Any] = {"protocols": ["any other"] if len(numbers) > 200 else [protocol_name(n) for n in numbers]}
    if detail is not None and protos[0][0] in _ICMPS:
        found["icmp"] = [_icmp(low, high) for low, high in detail]
    elif detail is not None:
        found["ports"] = _numbers(detail)
    return found
