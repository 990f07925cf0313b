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
from fwproof.probing.agent import marker, payload

ECHO_REQUEST = {ICMP: 8, ICMPV6: 128}
FINGERPRINT_TOS = 0x28
"""A TOS that the kernel's own RST echoes and ``REJECT --reject-with tcp-reset`` does not (tcp_v4_send_reset)."""

_FLAG_LETTERS = {"FIN": "F", "SYN": "S", "RST": "R", "PSH": "P", "ACK": "A", "URG": "U", "ECE": "E", "CWR": "C"}
_FLAG_NAMES = {letter: name for name, letter in _FLAG_LETTERS.items()}
_LINUX_SYN = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A captured packet, dissected; ``quoted`` is the packet that an ICMP error is about."""

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

    @property
    def kind(self) -> str:
        """What the packet is, in a few words: ``SYN/ACK``, ``RST``, ``UDP``, ``ICMP port unreachable``."""
        if self.proto == TCP:
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
        what = f"TCP {self.kind}" if self.proto == TCP else self.kind
        about = f" about {self.quoted}" if self.quoted else f" for {self.target}" if self.target else ""
        return f"{ends} {what}{about}"


# RFC 792, RFC 1812 (5.2.7.1) and the IANA registry; RFC 4443 and RFC 4861 for ICMPv6
_ICMP_NAMES: dict[tuple[int, int | None], str] = {
    (0, None): "echo reply", (8, None): "echo request", (11, None): "time exceeded", (12, None): "parameter problem",
    (3, 0): "network unreachable", (3, 1): "host unreachable", (3, 2): "protocol unreachable",
    (3, 3): "port unreachable", (3, 4): "fragmentation needed", (3, 9): "network administratively prohibited",
    (3, 10): "host administratively prohibited", (3, 13): "communication administratively prohibited",
}  # fmt: skip
_ICMPV6_NAMES: dict[tuple[int, int | None], str] = {
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


def probe_frame(flow: Flow, cookie: int) -> bytes:
    """Return the IP packet that probes a flow; its source port (or echo identifier) must be of the probes' block.

    TCP gets the flow's flags, SYN where it names none, and as many of Linux's usual options as ``flow.length``
    has room for; UDP and ICMP payloads are padded with zeros up to it. Raises ValueError for other protocols.
    """
    layers = _scapy()
    port = flow.sport
    if port is None:
        raise ValueError(f"a probe needs a source port of its own: {flow}")
    body = payload(cookie, port).ljust(flow.length - _ip_length(flow) - 8, b"\0")
    if flow.proto == TCP:
        letters = "".join(_FLAG_LETTERS[name] for name in sorted(flow.flags)) or "S"
        options = _tcp_options(flow.length - _ip_length(flow) - 20)
        rest = layers.inet.TCP(
            sport=port, dport=flow.dport, seq=marker(cookie, port), flags=letters, window=64240, options=options
        )
    elif flow.proto == UDP:
        rest = layers.inet.UDP(sport=port, dport=flow.dport) / layers.Raw(body)
    elif flow.proto == ICMP:
        rest = layers.inet.ICMP(type=8, id=port, seq=1) / layers.Raw(body)
    elif flow.proto == ICMPV6:
        rest = layers.inet6.ICMPv6EchoRequest(id=port, seq=1, data=body)
    else:
        raise ValueError(f"probes are TCP, UDP or ICMP echo, not {protocol_name(flow.proto)}: {flow}")
    return bytes(_ip_layer(flow) / rest)


def reset_frame(flow: Flow, cookie: int) -> bytes:
    """Return the RST that takes back a SYN, so that no half-open connection stays at the target."""
    layers, port = _scapy(), flow.sport or 0
    rest = layers.inet.TCP(sport=port, dport=flow.dport, seq=(marker(cookie, port) + 1) & 0xFFFFFFFF, flags="R")
    return bytes(_ip_layer(replace(flow, length=40)) / rest)


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


def _ip_layer(flow: Flow) -> Any:
    layers = _scapy()
    if flow.dst.version == 4:
        return layers.inet.IP(src=str(flow.src), dst=str(flow.dst), ttl=flow.ttl, tos=flow.tos, flags="DF", id=0)
    return layers.inet6.IPv6(src=str(flow.src), dst=str(flow.dst), hlim=flow.ttl, tc=flow.tos)


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
    name = type(rest).__name__
    if name in {"TCP", "TCPerror"}:
        flags = frozenset(_FLAG_NAMES[letter] for letter in str(rest.flags) if letter in _FLAG_NAMES)
        return Packet(**common, sport=rest.sport, dport=rest.dport, flags=flags)
    if name in {"UDP", "UDPerror"}:
        return Packet(**common, sport=rest.sport, dport=rest.dport)
    if common["proto"] in {ICMP, ICMPV6} and rest.fields.get("type") is not None:
        inner = rest.payload
        target = rest.fields.get("tgt")
        return Packet(
            **common,
            icmp_type=int(rest.type),
            icmp_code=int(rest.code),
            target=ip_address(target) if target else None,
            quoted=_packet(inner) if type(inner).__name__ in {"IPerror", "IPerror6"} else None,
        )
    return Packet(**common)
