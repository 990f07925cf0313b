"""What is asked about the whole packet space: which packets."""

from __future__ import annotations

from dataclasses import dataclass

from fwproof.flow import TCP, Family, Network
from fwproof.flows import ECHO
from fwproof.ruleset.asks import Ranges

_SYN: Ranges = ((0x02, 0x02),)
"""The flags of the packet that opens a TCP connection (RFC 9293, 3.1)."""


class SpaceTooLarge(Exception):
    """The tables are too entangled to be looked at as a whole; the question stays open. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A set of packets; None stands for every value of a field.

    ``ports`` are destination ports, ``source_ports`` the others, ``icmp_types`` types with every code. ``opening``: of
    TCP only the packet that opens a connection, SYN and nothing else. ``interfaces`` are those that packets come in by,
    or leave by where the host sends them; ``leaving`` those by which the host passes them on. ``ordinary``: what is
    refused of them counts only where it has no IPv6 extension header, as the packets of ordinary connections have none.
    """

    proto: int | None = None
    ports: Ranges | None = None
    icmp_types: tuple[int, ...] | None = None
    sources: tuple[Network, ...] | None = None
    destinations: tuple[Network, ...] | None = None
    opening: bool = False
    source_ports: Ranges | None = None
    interfaces: tuple[str, ...] | None = None
    ordinary: bool = False
    leaving: tuple[str, ...] | None = None

    def answers(self) -> Claim:
        """Return the answers to these packets, as far as a claim can say."""
        kinds = dict(ECHO.values())
        types = None if self.icmp_types is None else tuple(kinds.get(kind, kind) for kind in self.icmp_types)
        return Claim(
            proto=self.proto, ports=self.source_ports, source_ports=self.ports, icmp_types=types,
            sources=self.destinations, destinations=self.sources, interfaces=self.interfaces, ordinary=self.ordinary,
        )  # fmt: skip

    def ranges(self, family: Family) -> dict[str, Ranges]:
        """Return the fields that the claim restricts; networks of the other family hold nothing."""
        found: dict[str, Ranges] = {}
        if self.proto is not None:
            found["proto"] = ((self.proto, self.proto),)
        if self.ports is not None:
            found["dport"] = self.ports
        if self.source_ports is not None:
            found["sport"] = self.source_ports
        if self.icmp_types is not None:
            found["icmp"] = tuple((kind * 256, kind * 256 + 255) for kind in self.icmp_types)
        if self.opening and self.proto == TCP:
            found["flags"] = _SYN
        for field, networks in (("src", self.sources), ("dst", self.destinations)):
            if networks is not None:
                mine = [n for n in networks if Family.of(n) is family]
                found[field] = tuple((int(n.network_address), int(n.broadcast_address)) for n in mine)
        return found
