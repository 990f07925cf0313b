"""Packets: what was captured, dissected by scapy."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

from fwproof.flow import ICMP, ICMPV6, TCP, Address, protocol_name
from fwproof.forms import DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING

FINGERPRINT_TOS = 0x28
"""A TOS that the kernel's own RST echoes and ``REJECT --reject-with tcp-reset`` does not (tcp_v4_send_reset)."""

FLAG_LETTERS = {"FIN": "F", "SYN": "S", "RST": "R", "PSH": "P", "ACK": "A", "URG": "U", "ECE": "E", "CWR": "C"}
_FLAG_NAMES = {letter: name for name, letter in FLAG_LETTERS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A captured packet, dissected; ``quoted`` is the packet that an ICMP error is about.

    ``headers`` are IPv6 extension headers by number; ``fragment`` is a fragment's offset in bytes, and whether more
    follow.
    """

    src: Address
    dst: Address
    proto: int
    sport: int | None = None
    dport: int | None = None
    flags: frozenset[str] = frozenset()
    icmp_type: int | None = None
    icmp_code: int | None = None
    tos: int = 0
    ttl: int = 0
    target: Address | None = None
    quoted: Packet | None = None
    headers: tuple[int, ...] = ()
    fragment: tuple[int, bool] | None = None

    @property
    def kind(self) -> str:
        """What the packet is, in a few words: ``SYN/ACK``, ``RST``, ``UDP``, ``ICMP port unreachable``."""
        if self.proto == TCP and self.sport is not None:
            order = [name for name in FLAG_LETTERS if name in self.flags]
            return "RST" if "RST" in self.flags else "/".join(order) or "no flags"
        if self.icmp_type is None:
            return protocol_name(self.proto).upper()
        family = "ICMPv6" if self.proto == ICMPV6 else "ICMP"
        names = _ICMPV6_NAMES if self.proto == ICMPV6 else _ICMP_NAMES
        fallback = names.get((self.icmp_type, None), f"type {self.icmp_type} code {self.icmp_code}")
        return f"{family} {names.get((self.icmp_type, self.icmp_code), fallback)}"

    def __str__(self) -> str:
        def end(address: Address, port: int | None) -> str:
            host = f"[{address}]" if address.version == 6 and port is not None else str(address)
            return host if port is None else f"{host}:{port}"

        ends = f"{end(self.src, self.sport)} > {end(self.dst, self.dport)}"
        what = f"TCP {self.kind}" if self.proto == TCP and self.sport is not None else self.kind
        many = "s" if len(self.headers) > 1 else ""
        what += f" with {len(self.headers)} extension header{many}" if self.headers else ""
        what += f", fragment at {self.fragment[0]}" if self.fragment else ""
        about = f" about {self.quoted}" if self.quoted else f" for {self.target}" if self.target else ""
        return f"{ends} {what}{about}"


# RFC 792, RFC 1812 (5.2.7.1) and the IANA registry; RFC 4443 and RFC 4861 for ICMPv6
_ICMP_NAMES: dict[tuple[int, int | None], str] = {
    (0, None): "echo reply", (8, None): "echo request", (11, None): "time exceeded", (12, None): "parameter problem",
    (5, None): "redirect", (9, None): "router advertisement", (10, None): "router solicitation",
    (13, None): "timestamp request", (14, None): "timestamp reply", (15, None): "information request",
    (17, None): "address mask request", (18, None): "address mask reply",
    (3, 0): "network unreachable", (3, 1): "host unreachable", (3, 2): "protocol unreachable",
    (3, 3): "port unreachable", (3, 4): "fragmentation needed", (3, 9): "network administratively prohibited",
    (3, 10): "host administratively prohibited", (3, 13): "communication administratively prohibited",
}  # fmt: skip
_ICMPV6_NAMES: dict[tuple[int, int | None], str] = {
    (4, 1): "unrecognized next header", (133, None): "router solicitation", (134, None): "router advertisement",
    (137, None): "redirect",
    (1, 0): "no route", (1, 1): "administratively prohibited", (1, 3): "address unreachable",
    (1, 4): "port unreachable", (1, 5): "source address failed policy", (1, 6): "reject route",
    (2, None): "packet too big", (3, None): "time exceeded", (4, None): "parameter problem",
    (128, None): "echo request", (129, None): "echo reply",
    (135, None): "neighbour solicitation", (136, None): "neighbour advertisement",
}  # fmt: skip


@cache
def scapy_layers() -> SimpleNamespace:
    """Import what is needed of scapy, where it is needed: the import takes a third of a second."""
    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
    from scapy.layers import inet, inet6
    from scapy.packet import Raw

    return SimpleNamespace(inet=inet, inet6=inet6, Raw=Raw)


def dissect(raw: bytes) -> Packet | None:
    """Return the packet that captured bytes hold; None when they are not an IP packet that scapy can read."""
    layers = scapy_layers()
    if len(raw) < 20:
        return None
    try:
        four = raw[0] >> 4 == 4
        return _packet((layers.inet.IP if four else layers.inet6.IPv6)(raw))
    except Exception:  # noqa: BLE001 - whatever a hostile packet makes scapy raise, it is not a packet of ours
        return None


def _packet(ip: Any) -> Packet:
    four = ip.version == 4
    common: dict[str, Any] = {
        "src": ip_address(ip.src),
        "dst": ip_address(ip.dst),
        "proto": ip.proto if four else ip.nh,
        "tos": ip.tos if four else ip.tc,
        "ttl": ip.ttl if four else ip.hlim,
    }
    rest = ip.payload
    if four:
        offset, more = int(ip.frag) * 8, "MF" in str(ip.flags)
        common["fragment"] = (offset, more) if offset or more else None
    else:
        rest = _behind(rest, common)
    return _with_transport(rest, common)


_EXTENSIONS = {
    "IPv6ExtHdrHopByHop": HOP_BY_HOP, "IPv6ExtHdrRouting": ROUTING, "IPv6ExtHdrFragment": FRAGMENT,
    "IPv6ExtHdrDestOpt": DESTINATION,
}  # fmt: skip


def _behind(rest: Any, common: dict[str, Any]) -> Any:
    """Walk past IPv6 extension headers and note them; return the layer behind."""
    while (number := _EXTENSIONS.get(type(rest).__name__)) is not None:
        common["headers"] = (*common.get("headers", ()), number)
        common["proto"] = rest.nh
        if number == FRAGMENT and (rest.offset or rest.m):
            common["fragment"] = (int(rest.offset) * 8, bool(rest.m))
        rest = rest.payload
    return rest


def _with_transport(rest: Any, common: dict[str, Any]) -> Packet:
    name = type(rest).__name__
    if name in {"TCP", "TCPerror"}:
        flags = frozenset(_FLAG_NAMES[letter] for letter in str(rest.flags) if letter in _FLAG_NAMES)
        return Packet(**common, sport=rest.sport, dport=rest.dport, flags=flags)
    if name in {"UDP", "UDPerror", "SCTP", "SCTPerror"}:
        return Packet(**common, sport=rest.sport, dport=rest.dport)
    if common["proto"] in {ICMP, ICMPV6} and rest.fields.get("type") is not None:
        inner = rest.payload
        target = rest.fields.get("tgt")
        return Packet(
            **common,
            icmp_type=int(rest.type),
            icmp_code=int(rest.code),
            target=ip_address(target) if target else None,
            quoted=_packet(inner) if _quotes(common["proto"], rest.type, type(inner).__name__) else None,
        )
    return Packet(**common)


def _quotes(proto: int, kind: int, layer: str) -> bool:
    """Tell whether an ICMP message is an error, which quotes a packet."""
    errors = {3, 4, 11, 12} if proto == ICMP else set(range(1, 128))
    return kind in errors and layer in {"IPerror", "IPerror6"}
