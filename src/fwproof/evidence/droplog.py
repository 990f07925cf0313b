"""Lines of a packet log, as the kernel's LOG and ulogd's LOGEMU write them, to be compared with packets that were sent.

:mod:`packet_line` reads what a line says of its packet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from fwproof.evidence import packet_line
from fwproof.flow import ICMP, ICMPV6, Address, Flow

_STAMP = re.compile(
    r"^(?:\w{3}\s+\d+ [\d:]+|\d{4}-\d\d-\d\d[T ][\d:.,+\-Z]+)\s+\S+\s+(?:kernel:\s*)?(?:\[\s*[\d.]+\]\s*)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropLine:
    """One logged packet. Ports are None where the protocol has none; ``text`` is the whole line."""

    text: str
    prefix: str
    iif: str
    oif: str
    src: Address
    dst: Address
    proto: int
    sport: int | None
    dport: int | None
    icmp_type: int | None

    def is_of(self, flow: Flow) -> bool:
        """Whether this line is about that very packet: addresses, protocol and both ports (or the ICMP type)."""
        mine = (self.src, self.dst, self.proto)
        if mine != (flow.src, flow.dst, flow.proto):
            return False
        if self.proto in (ICMP, ICMPV6):
            return self.icmp_type == flow.icmp_type
        return (self.sport, self.dport) == (flow.sport, flow.dport)


def parse_line(line: str) -> DropLine | None:
    """Return what a line says, None when it is not a packet log line."""
    parts = packet_line.place(line.rstrip("\n"))
    found = None if parts is None else packet_line.packet_of(_STAMP.sub("", parts[0]), *parts[1:])
    if found is None:
        return None
    return DropLine(
        text=line.rstrip("\n"), prefix=found.prefix, iif=found.iif, oif=found.oif,
        src=ip_address(found.src.text), dst=ip_address(found.dst.text),
        proto=found.proto, sport=found.sport, dport=found.dport, icmp_type=found.icmp_type,
    )  # fmt: skip


def parse_log(text: str) -> Iterator[DropLine]:
    """Yield every packet log line of a text, in order."""
    for line in text.splitlines():
        found = parse_line(line)
        if found is not None:
            yield found
