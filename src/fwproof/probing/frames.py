"""Frames: every probe as the bytes that go on the wire, built by scapy from a Flow.

A probe carries its identity three times: the source port (of a block that no kernel hands out by itself), the
run's cookie, and a checksum over both. TCP has them in the sequence number, UDP and ICMP echo in an inert
payload. The layout is the agent's (:mod:`fwproof.probing.agent`), which refuses to send anything else.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import IPv6Address
from typing import Any

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Flow, protocol_name
from fwproof.forms import BODY_AT, DESTINATION, ESP, FRAGMENT, GRE, HOP_BY_HOP, ICMP_BODY_AT, PLAIN, ROUTING, SCTP, Form
from fwproof.probing.agent import marker, payload, tail
from fwproof.probing.packets import FLAG_LETTERS, scapy_layers

ECHO_REQUEST = {ICMP: 8, ICMPV6: 128}
_LINUX_SYN = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]


@cache
def _sctp() -> Any:
    from scapy.layers import sctp

    return sctp


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
    layers, mark = scapy_layers(), marker(cookie, ident)
    room = flow.length - _ip_length(flow) - 8 * len(form.headers)
    body = payload(cookie, ident).ljust(room - 8, b"\0")
    if flow.proto == TCP:
        letters = "".join(FLAG_LETTERS[name] for name in sorted(flow.flags)) or ("" if form.name else "S")
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
    layers, kind = scapy_layers(), flow.icmp_type if flow.icmp_type is not None else ECHO_REQUEST[flow.proto]
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
    layers, (offset, data, more) = scapy_layers(), cut
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
    layers, known = scapy_layers(), (flow.sport or 0) if ident is None else ident
    mark = marker(cookie, known)
    rest = layers.inet.TCP(sport=flow.sport, dport=flow.dport, seq=(mark + 1) & 0xFFFFFFFF, flags="R")
    return bytes(_ip_layer(replace(flow, length=40), form.headers, mark) / rest)


def sweep_frame(flow: Flow, cookie: int, *, reset: bool = False) -> bytes:
    """Return the template of a sweep over destination ports, with 0 in its port and in the word that balances it.

    TCP has the balance in the low half of a timestamp, UDP after its marker; ``reset`` takes SYNs back. Raises
    ValueError for other protocols.
    """
    layers, port = scapy_layers(), flow.sport or 0
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
    layers = scapy_layers()
    group = IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + target.packed[13:])
    body = layers.inet6.ICMPv6ND_NS(tgt=str(target)) / layers.inet6.ICMPv6NDOptSrcLLAddr(lladdr=mac)
    return bytes(layers.inet6.IPv6(src=str(src), dst=str(group), hlim=255) / body)


def _ip_length(flow: Flow) -> int:
    return 20 if flow.dst.version == 4 else 40


def _ip_layer(flow: Flow, headers: tuple[int, ...] = (), mark: int = 0) -> Any:
    layers = scapy_layers()
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
