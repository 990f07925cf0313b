"""What one family lets through of ordinary new connections, for each part of the address space.

A connection is opened by a TCP SYN, a first datagram, an echo request, or a packet of another protocol. The source
port, the length, the hop limit and the like are the sender's to choose: a service is open to an address if some
choice of them gets through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from fwproof.decision import RuleRef
from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, Family, Hook
from fwproof.ruleset.asks import Ranges
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_fields import fields_for
from fwproof.semantics.bdd_layout import Spans
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.deciders import rules_of
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import PORTED
from fwproof.semantics.parity_limits import Limits, Value
from fwproof.semantics.parity_zones import Key, Parts, odd, singles
from fwproof.semantics.plausible import atom_of
from fwproof.semantics.reach import asked_for, own_of

ECHO, OTHER = -1, -2
"""The pseudo-protocols of the two families' pings, and of all protocols without ports."""
_ONE_FAMILY = (0, 2, 43, 44, 59, 60, 135)
"""Protocols that only one family has: IGMP (MLD is ICMPv6), and IPv6's extension headers."""
_DHCP = ((67, 68), (546, 547))
"""Ports of DHCP, which are others in each family (RFC 2131, RFC 8415)."""
FACES = {Hook.INPUT: ("iif",), Hook.OUTPUT: ("oif",), Hook.FORWARD: ("iif", "oif")}
ENDS = {Hook.INPUT: ("src",), Hook.OUTPUT: ("dst",), Hook.FORWARD: ("src", "dst")}
"""The end of a packet, or both, that is not the host itself, at each hook."""

Where = tuple[Key, ...]
"""The parts that the ends of packets are in, one for each of :data:`ENDS`."""
Face = tuple[str, ...]
Rows = dict[int, list[tuple[Spans, Value]]]
"""Values by protocol and port; of the protocols without ports the number is the port."""


class Status(NamedTuple):
    """What all, and what some, addresses of a part can open, and whether a rule on the way is not understood."""

    all: Set
    some: Set
    unknown: Set


class Side:
    """One family's tables, cut where the other's are cut too."""

    def __init__(self, model: HostModel, family: Family, parts: Parts, cuts: Iterable[tuple[str, Ranges]]) -> None:
        self.model, self.family = model, family
        self.parts, self.edges = parts.spans[family], parts.edges[family]
        spans = [*self.edges, *(span for each in self.parts.values() for span in each)]
        extra: list[tuple[str, Ranges]] = [(end, (span,)) for end in ("src", "dst") for span in spans]
        extra += [(end, (span,)) for end in ("src", "dst") for span in (*singles(self.own()), *odd(family))]
        extra += [("dport", _DHCP), *cuts, ("icmp", ((self._echo, self._echo),))]
        extra += [("proto", ((number, number),)) for number in _ONE_FAMILY]
        self.engine = Engine([model], family, extra)
        self.host = self.engine.hosts[0]
        self.sets = self.engine.sets
        self.limits = Limits(model, family, self.sets)

    @property
    def _echo(self) -> int:
        return 256 * (8 if self.family is Family.IPV4 else 128)

    def own(self) -> tuple[Address, ...]:
        """Return the addresses of the host that its peers use."""
        return own_of(self.model, self.family)

    @cached_property
    def openers(self) -> Set:
        """The first packets of connections that both families can have."""
        sets = self.sets
        flags = sets.fields["flags"].largest
        tcp = sets.within("proto", ((TCP, TCP),)) & sets.bits("flags", flags, FLAGS["SYN"])
        udp = sets.within("proto", ((UDP, UDP),)) & ~sets.within("dport", _DHCP)
        echo = self.protocol(ECHO) & sets.within("icmp", ((self._echo, self._echo),))
        rest = self.protocol(OTHER) | sets.within("proto", [(p, p) for p in PORTED if p not in {TCP, UDP}])
        found = tcp | udp | echo | rest
        if "pkttype" in sets.fields:
            found &= sets.words("pkttype", lambda word: word == "host")
        if "fragment" in sets.fields:
            found &= sets.words("fragment", lambda word: word == "no")
        return found & ~sets.within("ttl", ((0, 1),))

    def protocol(self, number: int) -> Set:
        """Return the packets of a protocol or pseudo-protocol."""
        if number == ECHO:
            icmp = ICMP if self.family is Family.IPV4 else ICMPV6
            return self.sets.within("proto", ((icmp, icmp),))
        if number == OTHER:
            return ~self.sets.within("proto", [(p, p) for p in {ICMP, ICMPV6, *PORTED, *_ONE_FAMILY}])
        return self.sets.within("proto", ((number, number),))

    def addresses(self, end: str, key: Key) -> Set:
        """Return the packets with an end in a part."""
        return self.sets.within(end, self.parts[key])


def compared(number: int) -> Spans:
    """Return the ports of a protocol that are compared; of the protocols without ports their numbers."""
    if number == OTHER:
        gone, top = {ICMP, ICMPV6, *PORTED, *_ONE_FAMILY}, 255
    else:
        gone, top = {p for span in _DHCP for p in span} if number == UDP else set(), 65535
    ends = sorted((-1, *gone, top + 1))
    return tuple((low + 1, high - 1) for low, high in pairwise(ends) if low + 1 < high)


def cuts_of(model: HostModel, family: Family) -> list[tuple[str, Ranges]]:
    """Return the spans of ports and of protocols that a family's tables tell apart."""
    fields = fields_for(family, model.rules(family), (), (), ())
    found: list[tuple[str, Ranges]] = []
    for name in ("dport", "proto"):
        ends = (*fields[name].starts, fields[name].largest + 1)
        found += [(name, ((low, after - 1),)) for low, after in pairwise(ends)]
    return found


class View:
    """What becomes of the openers at one hook of one family."""

    def __init__(self, side: Side, hook: Hook) -> None:
        self.side, self.hook = side, hook
        sets = self.sets = side.sets
        self.route = side.host.asked(hook)
        start = side.host.packets() & side.openers & asked_for(side.engine, (), hook, loopback=False)
        if hook is Hook.FORWARD:
            start &= sets.words("oif", lambda name: name != "lo")
        self.start = start & self._own_end()
        self.arrivals, self.ends = self.route.flow({Config(): self.start})
        self.accepted = self._plain(self.ends.accepted)
        self.unclear = {reason: some for reason, some in self.ends.unknown.items() if some != sets.none}
        kept = {*FACES[hook], *ENDS[hook], "proto", "dport"}
        self._gone = self._cube(name for name in sets.fields if name not in kept)
        self._addresses = self._cube(ENDS[hook])
        # a limit that depends on the source port, say, is open if some port is let through by some answer
        self.open = self.accepted.exists(self._gone)
        unknown = sets.union([sets.may(some) for some in self.unclear.values()])
        self.unknown = unknown.exists(self._gone)
        self._rows: dict[Set, Rows] = {}

    def _own_end(self) -> Set:
        """Return the packets whose other end is the host itself; where its addresses are not known, an ordinary one."""
        own = singles(self.side.own())
        if self.hook is Hook.INPUT:
            return self.sets.within("dst", own) if own else ~self.sets.within("dst", odd(self.side.family))
        return self.sets.within("src", own) if own and self.hook is Hook.OUTPUT else self.sets.all

    def _cube(self, names: Iterable[str]) -> Set:
        fields = [self.sets.fields[name] for name in names]
        return self.sets.cube(at for field in fields for at in range(field.first, field.first + field.width))

    def _plain(self, some: Set) -> Set:
        """Leave out packets with extension headers, and the question whether they have any."""
        for extended in self.sets.extensions.values():
            some = (some & ~extended).exists(extended)
        return some

    def inside(self, where: Where) -> Set:
        """Return the packets whose ends are in these parts."""
        found = self.sets.all
        for end, key in zip(ENDS[self.hook], where, strict=True):
            found &= self.side.addresses(end, key)
        return found

    def status(self, where: Where) -> Status:
        """Return what the addresses of some parts can open, by interface, protocol and port."""
        inside = self.inside(where)
        every = (self.open | ~inside).forall(self._addresses) & self.asked
        return Status(
            every, (self.open & inside).exists(self._addresses), (self.unknown & inside).exists(self._addresses)
        )  # fmt: skip

    @cached_property
    def asked(self) -> Set:
        """The interfaces, protocols and ports that are asked about."""
        return self.start.exists(self._gone).exists(self._addresses)

    def faces(self, words: Sequence[Face]) -> Iterator[tuple[Face, Set]]:
        """Yield each choice of interfaces, by the words of both families, with the packets that use them."""
        for face in words:
            found = self.sets.all
            for name, word in zip(FACES[self.hook], face, strict=True):
                at = atom_of(self.sets.fields[name], word)
                found &= self.sets.none if at is None else self.sets.within(name, ((at, at),))
            yield face, found

    @cached_property
    def _faces(self) -> Set:
        return self._cube(FACES[self.hook])

    def rows(self, some: Set, face: Set) -> Rows:
        """Return what is open on some interfaces, by protocol and port."""
        left = (some & face).exists(self._faces)
        if left not in self._rows:
            self._rows[left] = {number: list(self._ports(left, number)) for number in (*sorted(PORTED), ECHO, OTHER)}
        return self._rows[left]

    def _ports(self, some: Set, number: int) -> Iterator[tuple[Spans, Value]]:
        field = "proto" if number == OTHER else "dport"
        part = some & self.side.protocol(number)
        other = self._cube({"proto", "dport"} - {field})
        for spans, rest in self.sets.pieces(part.exists(other), field):
            yield spans, self.side.limits.value(rest)

    @cached_property
    def deciders(self) -> dict[RuleRef | None, Set]:
        """What is accepted, by the rule that decides it."""
        return rules_of(self.route, self.arrivals, self.ends)

    def service(self, number: int, spans: Spans) -> Set:
        """Return the packets of a row's protocol and ports."""
        found = self.side.protocol(number)
        if number == OTHER:
            return found & self.sets.within("proto", spans)
        return found if number == ECHO else found & self.sets.within("dport", spans)

    def by_rule(self, region: Set, number: int) -> Iterator[tuple[RuleRef | None, Spans]]:
        """Yield the rules that let a region in, each with the ports (or protocols) that it is the first for."""
        rest = region
        field = "proto" if number == OTHER else "dport"
        keep = self._cube(name for name in self.sets.fields if name != field)
        for ref, some in self.deciders.items():
            part = self.sets.may(self._plain(some) & rest)
            if part == self.sets.none:
                continue
            shadow = part.exists(keep)
            for spans, _ in self.sets.pieces(shadow, field):
                yield ref, spans
            rest &= ~shadow
