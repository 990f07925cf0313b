"""What of a packet the tests of a rule look at, as far as an index of rules can be made of it.

Numbers with many values (addresses, ports) are read as they are; what has few values is read as a key, and whatever
two packets of one key have in common is all that the tests of its group can see (:mod:`fwproof.semantics.packet`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from fwproof.flow import ICMP, ICMPV6, TCP
from fwproof.ruleset.asks import AnyOf, Bits, Conntrack, EitherPort, Fragment, Interface, OneOf, Test, Within, atoms
from fwproof.ruleset.model import STATE, TEMPLATE, ZONE
from fwproof.semantics.context import Context
from fwproof.semantics.packet import PORTED, Packet

LACKS, ASKED = -1, -2
"""In place of a number: the packet has no such field, so no test of it holds; and its value is a question."""


def _address(name: str) -> Callable[[Packet, Context], int]:
    source = name == "src"

    def read(packet: Packet, _context: Context) -> int:
        if name in packet.unknown:
            return ASKED
        return int(packet.flow.src if source else packet.flow.dst)

    return read


def _port(name: str) -> Callable[[Packet, Context], int]:
    source = name == "sport"

    def read(packet: Packet, context: Context) -> int:
        flow = packet.flow
        if flow.fragment and not context.whole:
            return ASKED if context.loads else LACKS
        if name in packet.unknown:
            return ASKED
        if flow.proto not in PORTED:
            return LACKS
        port = flow.sport if source else flow.dport
        return ASKED if port is None else port

    return read


def _icmp(packet: Packet, context: Context) -> int:
    flow = packet.flow
    if flow.fragment and not context.whole:
        return ASKED if context.loads else LACKS
    if "icmp" in packet.unknown:
        return ASKED
    if flow.proto not in {ICMP, ICMPV6}:
        return LACKS
    return ASKED if flow.icmp_type is None else flow.icmp_type * 256 + (flow.icmp_code or 0)


def _length(packet: Packet, _context: Context) -> int:
    return ASKED if "length" in packet.unknown else packet.flow.length


NUMBERS: dict[str, Callable[[Packet, Context], int]] = {
    "src": _address("src"), "dst": _address("dst"), "dport": _port("dport"), "sport": _port("sport"),
    "icmp": _icmp, "length": _length,
}  # fmt: skip
"""Reads a number that rules tell apart by intervals."""


def _proto(packet: Packet, _context: Context) -> Hashable:
    return packet.flow.proto, "proto" in packet.unknown


def _tos(packet: Packet, _context: Context) -> Hashable:
    return packet.flow.tos, "tos" in packet.unknown


def _ttl(packet: Packet, context: Context) -> Hashable:
    return packet.flow.ttl, context.hops_lost, "ttl" in packet.unknown


def _flags(packet: Packet, context: Context) -> Hashable:
    flow = packet.flow
    late = flow.fragment, context.whole, context.loads
    return flow.flags if flow.proto == TCP else None, late, "flags" in packet.unknown


def _mark(packet: Packet, _context: Context) -> Hashable:
    return packet.flow.mark, "mark" in packet.unknown


def _connmark(packet: Packet, context: Context) -> Hashable:
    return packet.flow.connmark, "connmark" in packet.unknown, _state(packet, context)


_WRITTEN = frozenset({STATE, TEMPLATE, ZONE})
_NOTHING = frozenset[str]()


def _state(packet: Packet, context: Context) -> Hashable:
    written = packet.unknown & _WRITTEN if packet.unknown else _NOTHING
    return packet.flow.ctstate, packet.flow.ctdir, packet.notrack, context.untracked_yet, written


def _iif(packet: Packet, context: Context) -> Hashable:
    return (packet.flow.iif, "iif" in packet.not_loopback) if context.has_iif else None


def _oif(packet: Packet, context: Context) -> Hashable:
    return (packet.flow.oif, "oif" in packet.not_loopback) if context.has_oif else None


def _pkttype(packet: Packet, _context: Context) -> Hashable:
    return packet.flow.pkttype


def _mac(packet: Packet, _context: Context) -> Hashable:
    return packet.flow.mac_src


def _fragment(packet: Packet, context: Context) -> Hashable:
    return packet.flow.fragment, context.whole


KEYS: dict[str, Callable[[Packet, Context], Hashable]] = {
    "proto": _proto, "tos": _tos, "ttl": _ttl, "flags": _flags, "mark": _mark, "connmark": _connmark,
    "ctstate": _state, "iif": _iif, "oif": _oif, "pkttype": _pkttype, "mac_src": _mac, "fragment": _fragment,
}  # fmt: skip
"""Reads everything that the tests of a group can see of a packet at a place."""

_WORDS = frozenset({"pkttype", "mac_src", "ctstate"})


def numbers_of(test: Test) -> tuple[str, ...] | None:
    """Return the numbers that alone decide a test, a question where one of them is not known; None for other tests."""
    if isinstance(test, Within | Bits) and test.field in NUMBERS:
        return (test.field,)
    return ("sport", "dport") if isinstance(test, EitherPort) else None


def group_of(test: Test) -> str | None:
    """Return the group whose key decides a test, which may be one made of others; None where there is none."""
    if isinstance(test, AnyOf):
        groups = {group_of(atom) for atom in atoms(test)}
        return groups.pop() if len(groups) == 1 else None
    if isinstance(test, Interface) or (isinstance(test, OneOf) and test.field in _WORDS):
        return test.field
    if isinstance(test, Within | Bits):
        return test.field if test.field in KEYS else None
    if isinstance(test, Conntrack):
        hidden = test.rest or (test.states and test.states & {"SNAT", "DNAT"})
        return None if hidden else "ctstate"
    return "fragment" if isinstance(test, Fragment) else None
