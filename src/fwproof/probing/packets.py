"""Packets: scapy builds every probe from a Flow, and dissects what was captured.

A probe carries its identity three times: the source port (of a block that no kernel hands out by itself), the
run's cookie, and a checksum over both. TCP has them in the sequence number, UDP and ICMP echo in an inert
payload. The layout is the agent's (:mod:`fwproof.probing.agent`), which refuses to send anything else.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv6Address, ip_address
from types import SimpleNamespace
from typing import Any

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, Flow, protocol_name
from fwproof.forms import BODY_AT, DESTINATION, ESP, FRAGMENT, GRE, HOP_BY_HOP, ICMP_BODY_AT, PLAIN, ROUTING, SCTP, Form
from fwproof.probing.agent import marker, payload, tail

ECHO_REQUEST = {ICMP: 8, ICMPV6: 128}
FINGERPRINT_TOS = 0x28
"""A TOS that the kernel's own RST echoes and ``REJECT --reject-with tcp-reset`` does not (tcp_v4_send_reset)."""

_FLAG_LETTERS = {"FIN": "F", "SYN": "S", "RST": "R", "PSH": "P", "ACK": "A", "URG": "U", "ECE": "E", "CWR": "C"}
_FLAG_NAMES = {letter: name for name, letter in _FLAG_LETTERS.items()}
_LINUX_SYN = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]


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
            order = [name for name in _FLAG_LETTERS if name in self.flags]
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
def _scapy() -> SimpleNamespace:
    """Import what is needed of scapy, where it is needed: the import takes a third of a second."""
    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
    from scapy.layers import inet, inet6
    from scapy.packet import Raw

    return SimpleNamespace(inet=inet, inet6=inet6, Raw=Raw)


@cache
def _sctp() -> Any:
    from scapy.layers import sctp

    return sctp


def probe_frame(flow: Flow, cookie: int) -> bytes:
    """Return the IP packet that probes a flow in the plain form: see :func:`probe_frames`."""
    return probe_frames(flow, cookie)[0]


def probe_frames(flow: Flow, cookie: int, form: Form = PLAIN, ident: int | None = None) -> tuple[bytes, ...]:
    """Return the IP packets that probe a flow, in the order of sending; several where the form cuts it up.

    ``ident`` is the number of the probes' block that the probe is known by, its source port where not given. TCP
    gets exactly the flow's flags (a plain one without any is a SYN), and as many of Linux's usual options as
    ``flow.length`` has room for; UDP and echo payloads are padded with zeros up to it. Raises ValueError for what
    has no identity, and for other protocols.
    """
    known = flow.sport if ident is None else ident
    if known is None:
        raise ValueError(f"a probe needs a source port of its own: {flow}")
    rest = _transport(flow, cookie, known, form)
    if not form.cut:
        return (bytes(_ip_layer(flow, form.headers, marker(cookie, known)) / rest),)
    whole = bytes(_ip_layer(flow) / rest)[_ip_length(flow) :]
    return tuple(_piece(flow, marker(cookie, known), cut, ident=known) for cut in _cuts(whole, form))


def _transport(flow: Flow, cookie: int, ident: int, form: Form) -> Any:
    """Return the packet from its transport header on."""
    layers, mark = _scapy(), marker(cookie, ident)
    room = flow.length - _ip_length(flow) - 8 * len(form.headers)
    body = payload(cookie, ident).ljust(room - 8, b"\0")
    if flow.proto == TCP:
        letters = "".join(_FLAG_LETTERS[name] for name in sorted(flow.flags)) or ("" if form.name else "S")
        return layers.inet.TCP(
            sport=flow.sport, dport=flow.dport, seq=mark, flags=letters, window=64240, options=_tcp_options(room - 20)
        )
    if flow.proto == UDP:
        return layers.inet.UDP(sport=flow.sport, dport=flow.dport) / layers.Raw(body)
    if flow.proto in {ICMP, ICMPV6}:
        return _icmp(flow, ident, body, tail(cookie, ident))
    if flow.proto == SCTP:
        init = _sctp().SCTPChunkInit(init_tag=mark, a_rwnd=65536, n_out_streams=1, n_in_streams=1, init_tsn=1)
        return _sctp().SCTP(sport=ident, dport=flow.dport, tag=0) / init
    if flow.proto in BODY_AT:
        return layers.Raw(_bare(flow.proto, mark, ident) + tail(cookie, ident))
    raise ValueError(f"no probe has the protocol {protocol_name(flow.proto)}: {flow}")


def _icmp(flow: Flow, ident: int, echo: bytes, other: bytes) -> Any:
    layers, kind = _scapy(), flow.icmp_type if flow.icmp_type is not None else ECHO_REQUEST[flow.proto]
    offset = ICMP_BODY_AT.get((flow.proto, kind))
    if offset is None and kind != ECHO_REQUEST[flow.proto]:
        raise ValueError(f"no probe has the ICMP type {kind}: {flow}")
    if flow.proto == ICMPV6:
        if offset is None:
            return layers.inet6.ICMPv6EchoRequest(id=ident, seq=1, data=echo)
        return layers.inet6.ICMPv6Unknown(type=kind, code=0, msgbody=bytes(offset - 4) + other)
    if offset is None:
        return layers.inet.ICMP(type=8, id=ident, seq=1) / layers.Raw(echo)
    start = ident.to_bytes(2, "big") + b"\0\1" if kind in {13, 15, 17} else bytes(4)
    message = bytes((kind, 0, 0, 0)) + start.ljust(offset - 4, b"\0") + other
    return layers.Raw(message[:2] + checksum(message).to_bytes(2, "big") + message[4:])


def _bare(proto: int, mark: int, ident: int) -> bytes:
    """Return the few bytes before the marker, in a protocol without ports: nothing that anybody takes up."""
    if proto == GRE:
        return bytes(4)  # version 0, of the reserved protocol 0 (RFC 2784)
    if proto == ESP:
        return mark.to_bytes(4, "big") + ident.to_bytes(4, "big")  # SPI and sequence number (RFC 4303)
    return bytes(8)  # IGMP of the reserved type 0


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of bytes whose checksum field is zero."""
    words = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return ~words & 0xFFFF


def _cuts(whole: bytes, form: Form) -> list[tuple[int, bytes, bool]]:
    """Return offset, data and "more follow" of each fragment, in the order of sending."""
    pieces = []
    for start in range(0, len(whole), form.cut):
        offset = max(start - 8, 0) if form.order == "overlapping" else start
        pieces.append((offset, whole[offset : start + form.cut], start + form.cut < len(whole)))
    return pieces[::-1] if form.order == "reversed" else pieces


def _piece(flow: Flow, mark: int, cut: tuple[int, bytes, bool], *, ident: int) -> bytes:
    layers, (offset, data, more) = _scapy(), cut
    if flow.dst.version == 4:
        ip = _ip_layer(flow)
        ip.flags, ip.frag, ip.id, ip.proto = "MF" if more else 0, offset // 8, ident, flow.proto
        return bytes(ip / layers.Raw(data))
    header = layers.inet6.IPv6ExtHdrFragment(nh=flow.proto, offset=offset // 8, m=int(more), id=mark)
    ip = _ip_layer(flow)
    ip.nh = FRAGMENT
    return bytes(ip / header / layers.Raw(data))


def reset_frame(flow: Flow, cookie: int, form: Form = PLAIN, ident: int | None = None) -> bytes:
    """Return the RST that takes back a SYN, so that no half-open connection stays at the target.

    It has the extension headers that the SYN had, lest a rule that those got past stops it.
    """
    layers, known = _scapy(), (flow.sport or 0) if ident is None else ident
    mark = marker(cookie, known)
    rest = layers.inet.TCP(sport=flow.sport, dport=flow.dport, seq=(mark + 1) & 0xFFFFFFFF, flags="R")
    return bytes(_ip_layer(replace(flow, length=40), form.headers, mark) / rest)


def sweep_frame(flow: Flow, cookie: int, *, reset: bool = False) -> bytes:
    """Return the template of a sweep over destination ports, with 0 in its port and in the word that balances it.

    TCP has the balance in the low half of a timestamp, UDP after its marker; ``reset`` takes SYNs back. Raises
    ValueError for other protocols.
    """
    layers, port = _scapy(), flow.sport or 0
    if flow.proto == TCP:
        options = [(name, (1 << 16, 0) if name == "Timestamp" else value) for name, value in _LINUX_SYN]
        rest = layers.inet.TCP(
            sport=port, dport=0, seq=(marker(cookie, port) + reset) & 0xFFFFFFFF, flags="R" if reset else "S",
            window=0 if reset else 64240, options=options,
        )  # fmt: skip
    elif flow.proto == UDP:
        rest = layers.inet.UDP(sport=port, dport=0) / layers.Raw(payload(cookie, port) + bytes(2))
    else:
        raise ValueError(f"sweeps are TCP or UDP, not {protocol_name(flow.proto)}")
    return bytes(_ip_layer(flow) / rest)


def solicitation_frame(src: IPv6Address, target: IPv6Address, mac: str) -> bytes:
    """Return a neighbour solicitation to the target's solicited-node group (RFC 4861, 4.3 and 7.2.2)."""
    layers = _scapy()
    group = IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + target.packed[13:])
    body = layers.inet6.ICMPv6ND_NS(tgt=str(target)) / layers.inet6.ICMPv6NDOptSrcLLAddr(lladdr=mac)
    return bytes(layers.inet6.IPv6(src=str(src), dst=str(group), hlim=255) / body)


def _ip_length(flow: Flow) -> int:
    return 20 if flow.dst.version == 4 else 40


def _ip_layer(flow: Flow, headers: tuple[int, ...] = (), mark: int = 0) -> Any:
    layers = _scapy()
    if flow.dst.version == 4:
        packet = layers.inet.IP(src=str(flow.src), dst=str(flow.dst), ttl=flow.ttl, tos=flow.tos, flags="DF", id=0)
        packet.proto = flow.proto
        return packet
    six = layers.inet6
    makers = {
        HOP_BY_HOP: six.IPv6ExtHdrHopByHop, DESTINATION: six.IPv6ExtHdrDestOpt,
        ROUTING: lambda: six.IPv6ExtHdrRouting(type=0, segleft=0, addresses=[]),
        FRAGMENT: lambda: six.IPv6ExtHdrFragment(id=mark),
    }  # fmt: skip
    packet = six.IPv6(src=str(flow.src), dst=str(flow.dst), hlim=flow.ttl, tc=flow.tos, nh=(*headers, flow.proto)[0])
    for number, following in zip(headers, (*headers, flow.proto)[1:], strict=True):
        header = makers[number]()
        header.nh = following
        packet = packet / header
    return packet


def _tcp_options(room: int) -> list[tuple[str, Any]]:
    if room >= 20:
        return list(_LINUX_SYN)
    return [("MSS", 1460)] if room >= 4 else []


def dissect(raw: bytes) -> Packet | None:
    """Return the packet that captured bytes hold; None when they are not an IP packet that scapy can read."""
    layers = _scapy()
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
