"""What the members of an IP set mean for a packet, by the type of the set (ipset(8), *SET TYPES*)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from fwproof.flow import ICMP, ICMPV6, Family
from fwproof.ruleset import numbers
from fwproof.ruleset.asks import AnyOf, Constant, Literal, OneOf, Ranges, Test, Within
from fwproof.ruleset.ranges import merged

TYPES: dict[str, tuple[str, ...]] = {
    "bitmap:ip": ("ip",), "bitmap:port": ("port",), "hash:ip": ("ip",), "hash:net": ("net",),
    "hash:ip,port": ("ip", "port"), "hash:net,port": ("net", "port"), "hash:net,net": ("net", "net"),
    "hash:ip,port,ip": ("ip", "port", "ip"), "hash:ip,port,net": ("ip", "port", "net"), "hash:mac": ("mac",),
    "list:set": ("set",),
}  # fmt: skip
"""The types that are modelled, by the parts of a member."""
_PORTED = frozenset({6, 17, 132, 136})
"""The protocols whose ports ip_set_get_ip4_port() reads; DCCP's it does not."""
_DEEPEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class IpSet:
    """A set: its members in order, each with whether it is a hole (``nomatch``).

    ``doubt`` is why its members are not known; ``netmask`` groups the addresses of ``hash:ip``.
    """

    name: str
    kind: str
    six: bool = False
    netmask: int | None = None
    members: tuple[tuple[str, bool], ...] = ()
    doubt: str = ""


Sets = Mapping[str, IpSet]


def member_test(found: IpSet, sides: Sequence[str], family: Family, sets: Sets, depth: int = 0) -> Test:
    """Return the test that a packet's ``sides`` (src, dst; one for each part) are in a set; ValueError if unknown.

    A set of the other family and one with more parts than sides hold nothing (ip_set_test()).
    """
    if found.doubt or depth > _DEEPEST or not set(sides) <= {"src", "dst"}:
        raise ValueError(found.name)
    parts = TYPES[found.kind]
    if parts == ("set",):
        inner = [member_test(sets[name], sides, family, sets, depth + 1) for name, _ in found.members]
        return _any([[(test, False)] for test in inner], found.name)
    if found.six is not (family is Family.IPV6) and not {"port", "mac"} & {parts[0]}:
        return Constant(value=False)
    if len(sides) < len(parts):
        return Constant(value=False)
    if parts == ("mac",):
        return OneOf("mac_src", frozenset(member.lower() for member, _ in found.members))
    if len(parts) == 1 and parts[0] in {"ip", "net"}:
        return Within(sides[0], _ranges([(text, hole) for text, hole in found.members], found, family))
    return _any(list(_products(found, parts, sides, family)), found.name)


def _any(products: Sequence[Sequence[Literal]], name: str) -> Test:
    return AnyOf(tuple(tuple(product) for product in products), f"set {name}")


def _ranges(members: Sequence[tuple[str, bool]], found: IpSet, family: Family) -> Ranges:
    """Return the addresses of networks, of which the longest that fits decides (``nomatch`` punches holes)."""
    spans = [(*_span(text, found.netmask, family), hole) for text, hole in members]
    spans.sort(key=lambda span: span[0] - span[1])  # the widest first, so that longer prefixes overwrite them
    inside: Ranges = ()
    if not any(hole for *_, hole in spans):
        return merged((low, high) for low, high, _ in spans)
    for low, high, hole in spans:
        rest = [part for a, b in inside for part in ((a, min(b, low - 1)), (max(a, high + 1), b)) if part[0] <= part[1]]
        inside = merged(rest if hole else [*rest, (low, high)])
    return inside


def _span(text: str, netmask: int | None, family: Family) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    if dash:
        return int(ip_address(low)), int(ip_address(high))
    network = ip_network(f"{text}/{netmask}" if netmask is not None and "/" not in text else text, strict=False)
    if Family.of(network) is not family:
        raise ValueError(text)
    return int(network.network_address), int(network.broadcast_address)


def _products(found: IpSet, parts: Sequence[str], sides: Sequence[str], family: Family) -> list[list[Literal]]:
    """Return one product for each group of members that differ in their first part only."""
    groups: dict[tuple[str, ...], list[tuple[str, bool]]] = {}
    for text, hole in found.members:
        first, *rest = text.split(",")
        if len(rest) != len(parts) - 1:
            raise ValueError(text)
        groups.setdefault(tuple(rest), []).append((first, hole))
    if any(hole for _, hole in found.members) and "net" in parts[1:]:
        raise ValueError(found.name)  # holes of several dimensions
    products = []
    for others, firsts in groups.items():
        if parts[0] == "port":
            products += [_port(text, sides[0], with_proto=False) for text, _ in firsts]
            continue
        product: list[Literal] = [(Within(sides[0], _ranges(firsts, found, family)), False)]
        for part, side, text in zip(parts[1:], sides[1:], others, strict=False):
            product += _port(text, side, with_proto=True) if part == "port" else [
                (Within(side, (_span(text, None, family),)), False)]  # fmt: skip
        products.append(product)
    return products


def _port(text: str, side: str, *, with_proto: bool) -> list[Literal]:
    """Return the tests of ``tcp:80``, ``80``, ``icmp:8/0`` and ``gre:0``; bitmap:port takes TCP and UDP alike."""
    field = "sport" if side == "src" else "dport"
    if not with_proto:
        return [
            (Within("proto", ((6, 6), (17, 17))), False),
            (Within(field, numbers.ports(text.replace("-", ":"))), False),
        ]
    name, colon, value = text.partition(":")
    number = numbers.protocol(name) if colon else 6
    value = value if colon else name
    if number is None:
        raise ValueError(text)
    head: list[Literal] = [(Within("proto", ((number, number),)), False)]
    if number in {ICMP, ICMPV6}:
        family = Family.IPV4 if number == ICMP else Family.IPV6
        low, high = numbers.icmp(value, family)[0]
        # a name such as echo-request is one type with code 0 here
        return [*head, (Within("icmp", ((low, low if high - low == 255 else high),)), False)]
    if number in _PORTED:
        return [*head, (Within(field, numbers.ports(value.replace("-", ":"))), False)]
    if value != "0":
        raise ValueError(text)
    return head
