"""What a set of packets is called: services, addresses and interfaces as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from fwproof.flow import ICMP, ICMPV6, Family, Network, protocol_name
from fwproof.semantics.boxes import Box, Space, Span
from fwproof.semantics.packet import PORTED

_SHOWN = 6
"""Intervals named in one line of a leak; the rest is counted."""

Cells = dict[int, int]
"""Atoms of the protocol, each with the atoms of its destination ports or ICMP types."""


def onto(box: Box) -> str:
    """Return where nat sends the packets of a box, in words; empty where it leaves them alone."""
    if "dst" not in box.translated:
        return ""
    new, make = dict(box.moved), IPv4Address if box.space.family is Family.IPV4 else IPv6Address
    where = "the host itself" if box.own_dst else "an address that it picks" if "dst" in box.unknown else ""
    if "dst" in new:
        where = str(make(new["dst"]))
    port = f"port {new['dport']}" if "dport" in new else "a port that it picks" if "dport" in box.unknown else ""
    return ", ".join(filter(None, [where, port]))


def detail(space: Space, proto: int) -> str:
    """Return the field that tells services of a protocol apart, empty where there is none."""
    number = space.cuts["proto"][proto]
    if number in PORTED:
        return "dport"
    return "icmp" if number == (ICMP if space.family is Family.IPV4 else ICMPV6) else ""


def services(space: Space, cells: Cells) -> str:
    """Return protocols with their ports or types in words."""
    named: dict[tuple[str, int], list[str]] = {}
    other = 0
    for proto, mask in sorted(cells.items()):
        own = detail(space, proto)
        if own:
            named.setdefault((own, mask), []).append(protocol_name(space.cuts["proto"][proto]))
        else:
            other |= 1 << proto
    texts = []
    whole = True
    for (own, mask), protocols in named.items():
        full = mask == (1 << space.size(own)) - 1
        whole &= full
        what = "/".join(sorted(protocols, key=lambda n: (n not in {"tcp", "udp"}, n)))
        texts.append(what if full else f"{what} {_numbers(space, own, mask)}")
    everything = sum(len(protocols) for protocols in named.values()) + other.bit_count() == space.size("proto")
    if everything and whole:
        return "every service"
    spans = space.spans("proto", other)
    plain = all(detail(space, at) or other >> at & 1 for at in range(space.size("proto")))
    if other:
        texts.append("every other protocol" if plain else f"protocol {_join(spans)}")
    return ", ".join(texts)


def _numbers(space: Space, field: str, mask: int) -> str:
    spans = space.spans(field, mask)
    if field == "dport":
        return _join(spans)
    return "type " + _join([(low >> 8, high >> 8) for low, high in spans])


def _join(spans: Sequence[Span]) -> str:
    texts = [str(low) if low == high else f"{low}-{high}" for low, high in spans[:_SHOWN]]
    return ",".join(texts) + (f" and {len(spans) - _SHOWN} more" if len(spans) > _SHOWN else "")


def interfaces(space: Space, field: str, mask: int) -> str:
    """Return interface names in words, empty where it is any."""
    names = space.names[field]
    inside = [name or "any other interface" for at, name in enumerate(names) if mask >> at & 1]
    outside = [name for at, name in enumerate(names) if name and not mask >> at & 1]
    if set(outside) <= {"lo"} and "any other interface" in inside:
        return ""
    return ", ".join(inside)


def addresses(space: Space, field: str, mask: int) -> str:
    """Return addresses in words: a few networks, or anywhere but a few."""
    whole = (1 << space.size(field)) - 1
    if mask == whole:
        return "anywhere"
    inside, outside = _networks(space, field, mask), _networks(space, field, whole & ~mask)
    if len(outside) < len(inside):
        return f"anywhere except {_shown(outside)}"
    return _shown(inside)


def _networks(space: Space, field: str, mask: int) -> list[Network]:
    make = IPv4Address if space.family is Family.IPV4 else IPv6Address
    return [n for low, high in space.spans(field, mask) for n in summarize_address_range(make(low), make(high))]


def _shown(networks: Sequence[Network]) -> str:
    texts = [str(n.network_address if n.prefixlen == n.max_prefixlen else n) for n in networks[:_SHOWN]]
    return ", ".join(texts) + (f" and {len(networks) - _SHOWN} more" if len(networks) > _SHOWN else "")
