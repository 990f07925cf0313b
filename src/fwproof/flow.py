"""Flow: the header of one packet, as the rule tables and the wire both see it.

The value given to the model is the value given to the wire, so the two cannot be asked different
questions. Addresses are :mod:`ipaddress` objects, protocols IANA numbers, ports host order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Family(StrEnum):
    """An address family, in the words of the reports."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"

    @classmethod
    def of(cls, address: Address | Network) -> Family:
        """Return the family of an address or network."""
        return cls.IPV4 if address.version == 4 else cls.IPV6

    @property
    def display(self) -> str:
        """``IPv4`` or ``IPv6``, as people write it."""
        return "IPv4" if self is Family.IPV4 else "IPv6"

    @property
    def table_family(self) -> str:
        """``ip`` or ``ip6``, nft's word for the tables of this family."""
        return "ip" if self is Family.IPV4 else "ip6"


class Hook(StrEnum):
    """A netfilter hook, in the order in which a packet may meet them."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


class CtState(StrEnum):
    """Conntrack's state of a packet (nf_conntrack_common.h; ``iptables-extensions(8)``, conntrack)."""

    NEW = "NEW"
    ESTABLISHED = "ESTABLISHED"
    RELATED = "RELATED"
    INVALID = "INVALID"
    UNTRACKED = "UNTRACKED"


ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
ESP, AH = 50, 51
PROTOCOLS: dict[str, int] = {
    "icmp": ICMP, "igmp": 2, "ipencap": 4, "ipip": 4, "tcp": TCP, "egp": 8, "udp": UDP, "dccp": 33,
    "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
    "icmpv6": ICMPV6, "ipv6-icmp": ICMPV6, "ipv6-nonxt": 59, "ipv6-opts": 60, "mh": 135, "mobility-header": 135,
    "ospf": 89, "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
}  # fmt: skip
"""Names to IANA protocol numbers, as iptables and /etc/protocols spell them."""

_NAMES = {number: name for name, number in reversed(PROTOCOLS.items())} | {ICMPV6: "icmpv6", 4: "ipip"}


def protocol_name(number: int) -> str:
    """Return the usual name of an IANA protocol number, or the number itself as text."""
    return _NAMES.get(number, str(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One packet header and what the kernel knows about it.

    ``length`` is the whole IP packet in bytes and ``ttl`` the TTL or hop limit on arrival; ``flags`` are
    upper-case TCP flag names (``SYN``, ``ACK`` …); ``mac_src`` is lower-case ``aa:bb:…``; a port or ICMP field
    that the protocol does not have is None. ``spi`` is the security parameter index of ESP and AH, None where it is not
    known.
    """

    src: Address
    dst: Address
    proto: int
    sport: int | None = None
    dport: int | None = None
    flags: frozenset[str] = frozenset()
    icmp_type: int | None = None
    icmp_code: int | None = None
    iif: str | None = None
    oif: str | None = None
    ctstate: CtState = CtState.NEW
    ctdir: str = "original"
    mark: int = 0
    connmark: int = 0
    length: int = 60
    ttl: int = 64
    tos: int = 0
    mac_src: str | None = None
    pkttype: str = "host"
    fragment: bool = False
    spi: int | None = None

    @property
    def family(self) -> Family:
        """The address family, which follows from the destination."""
        return Family.of(self.dst)

    def __str__(self) -> str:
        def end(address: Address, port: int | None) -> str:
            text = f"[{address}]" if address.version == 6 and port is not None else str(address)
            return text if port is None else f"{text}:{port}"

        what = protocol_name(self.proto)
        if self.icmp_type is not None:
            what += f" type {self.icmp_type}"
        return f"{what} {end(self.src, self.sport)} -> {end(self.dst, self.dport)}"
