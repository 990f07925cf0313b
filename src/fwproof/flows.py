"""From a check to the one packet that asks its question, and from a packet to its reply.

The packet that is made here goes to the model and to the wire alike.
"""

from __future__ import annotations

import dataclasses
from ipaddress import IPv6Address, ip_address

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, CtState, Family, Flow
from fwproof.policy.model import Service

ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
"""Echo request and reply by protocol (RFC 792, RFC 4443)."""
_ICMP_TYPES = {
    Family.IPV4: {"echo-request": 8, "timestamp-request": 13, "router-solicitation": 10},
    Family.IPV6: {"echo-request": 128, "router-solicitation": 133, "neighbour-solicitation": 135},
}
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
MODEL_PORT = 50000
"""A source port for flows that only the model sees: an ephemeral one that no rule is likely to name."""


def icmp_type(service: Service, family: Family) -> int:
    """Return the ICMP type number that a service names; raises KeyError for one the family does not have."""
    name = service.icmp or "echo-request"
    return int(name) if name.isdigit() else _ICMP_TYPES[family][name]


def request(service: Service, src: Address, dst: Address, sport: int = MODEL_PORT) -> Flow:
    """Return the first packet of a new connection to a service."""
    family = Family.of(dst)
    if service.proto == "icmp":
        proto = ICMP if family is Family.IPV4 else ICMPV6
        return Flow(src=src, dst=dst, proto=proto, icmp_type=icmp_type(service, family), icmp_code=0)
    if service.proto == "tcp":
        return Flow(src=src, dst=dst, proto=TCP, sport=sport, dport=service.port, flags=frozenset({"SYN"}))
    return Flow(src=src, dst=dst, proto=UDP, sport=sport, dport=service.port)


def reply(flow: Flow) -> Flow:
    """Return the first packet of the answer to a request: addresses, ports and interfaces swapped."""
    answer = dict(ECHO.values())
    return dataclasses.replace(
        flow, src=flow.dst, dst=flow.src, sport=flow.dport, dport=flow.sport, iif=flow.oif, oif=flow.iif,
        ctstate=CtState.ESTABLISHED, ctdir="reply",
        flags=frozenset({"SYN", "ACK"}) if flow.proto == TCP else frozenset(),
        icmp_type=None if flow.icmp_type is None else answer.get(flow.icmp_type, flow.icmp_type),
    )  # fmt: skip


def loopback(service: Service, family: Family) -> Flow:
    """Return a request of the host to itself over its loopback interface."""
    address = ip_address("127.0.0.1" if family is Family.IPV4 else "::1")
    return dataclasses.replace(request(service, address, address), iif="lo", oif="lo")


def neighbour_packets(own: IPv6Address, peer: IPv6Address, interface: str) -> dict[str, Flow]:
    """Return the four packets of neighbour discovery between a host and a peer on its link, by their role.

    Hop limit 255 (RFC 4861, 7.1); conntrack leaves them alone, so their state is UNTRACKED.
    """
    solicited = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | (int(own) & 0xFFFFFF))
    peers = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | (int(peer) & 0xFFFFFF))

    def packet(src: IPv6Address, dst: IPv6Address, kind: int, *, inbound: bool) -> Flow:
        return Flow(
            src=src, dst=dst, proto=ICMPV6, icmp_type=kind, icmp_code=0, ttl=255, length=72, ctstate=CtState.UNTRACKED,
            iif=interface if inbound else None, oif=None if inbound else interface,
            pkttype="multicast" if dst.is_multicast else "host",
        )  # fmt: skip

    return {
        "solicitation in": packet(peer, solicited, NEIGHBOUR_SOLICITATION, inbound=True),
        "advertisement out": packet(own, peer, NEIGHBOUR_ADVERTISEMENT, inbound=False),
        "solicitation out": packet(own, peers, NEIGHBOUR_SOLICITATION, inbound=False),
        "advertisement in": packet(peer, own, NEIGHBOUR_ADVERTISEMENT, inbound=True),
    }
