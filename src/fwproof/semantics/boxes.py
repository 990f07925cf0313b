"""Boxes: sets of packets as a product of sets of values, one for each field that some rule or question looks at.

Every field is cut at the constants that occur, so that all values between two cuts, its *atoms*, are alike for
every test. A set of atoms is a bit mask; a box is a tuple of masks. Splitting a box by a test is exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from fwproof.decision import RuleRef
from fwproof.flow import ICMP, ICMPV6, TCP, Address, CtState, Family, Flow
from fwproof.ruleset.asks import (
    AddressType,
    Bits,
    Constant,
    EitherPort,
    Fragment,
    Interface,
    OneOf,
    Opaque,
    Oracle,
    Ranges,
    Rate,
    Recent,
    Test,
    Within,
)  # fmt: skip
from fwproof.ruleset.model import Act, Match, Rule, Target
from fwproof.ruleset.numbers import FLAGS, bits
from fwproof.semantics.context import Context, Question, question_of, settle
from fwproof.semantics.packet import PORTED

NUMBERS = {"proto": 255, "sport": 65535, "dport": 65535, "icmp": 65535, "flags": 255, "length": 65575, "ttl": 255,
           "tos": 255}  # fmt: skip
"""The largest value of each number field but the addresses."""

ORDINARY = {
    Family.IPV4: tuple(int(IPv4Address(a)) for a in ("203.0.113.7", "10.200.0.7")),
    Family.IPV6: tuple(int(IPv6Address(a)) for a in ("2001:db8:ffff::7", "fd00:200::7")),
}
"""Sources that a witness takes where it has the choice (RFC 5737, RFC 3849, private)."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Space:
    """The fields of a packet space, each cut into atoms.

    ``cuts`` holds the first value of each atom of a number field; ``names`` the interface names that occur, and
    one more for any other; a name that ends in ``*`` stands for the others with that beginning.
    """

    family: Family
    fields: tuple[str, ...]
    cuts: dict[str, tuple[int, ...]]
    names: dict[str, tuple[str, ...]]

    def largest(self, field: str) -> int:
        """Return the largest value of a number field."""
        return NUMBERS.get(field, (1 << bits(self.family)) - 1)

    def size(self, field: str) -> int:
        """Return the number of atoms of a field."""
        return len(self.names[field]) if field in self.names else len(self.cuts[field])

    def mask(self, field: str, ranges: Ranges) -> int:
        """Return the atoms inside ranges whose ends are cuts."""
        found, cuts = 0, self.cuts[field]
        for low, high in ranges:
            first, last = bisect_left(cuts, low), bisect_left(cuts, high + 1)
            found |= (1 << last) - (1 << first)
        return found

    def bits_mask(self, test: Bits) -> int:
        """Return the atoms whose values fit a bit test; all values of such a field are atoms of their own."""
        return sum(1 << at for at, value in enumerate(self.cuts[test.field]) if value & test.mask == test.value)

    def spans(self, field: str, mask: int) -> list[Span]:
        """Return the values of a set of atoms as maximal intervals."""
        cuts = self.cuts[field]
        spans: list[Span] = []
        for at, low in enumerate(cuts):
            if mask >> at & 1:
                high = cuts[at + 1] - 1 if at + 1 < len(cuts) else self.largest(field)
                if spans and spans[-1][1] + 1 == low:
                    spans[-1] = (spans[-1][0], high)
                else:
                    spans.append((low, high))
        return spans

    def everything(self) -> tuple[int, ...]:
        """Return the box of all packets."""
        return tuple((1 << self.size(field)) - 1 for field in self.fields)


def space_of(
    family: Family, rules: Iterable[Rule], extra: Iterable[tuple[str, Ranges]], interfaces: Iterable[str]
) -> Space:
    """Return the space that is cut by all tests of the rules and by ``extra`` (field, ranges) of a question."""
    ends: dict[str, set[int]] = {field: {0} for field in ("src", "dst", *NUMBERS)}
    names = {"iif": dict.fromkeys(interfaces), "oif": dict.fromkeys(interfaces)}
    wanted = [match.test for rule in rules for match in rule.matches]
    for test in [*wanted, *(Within(field, ranges) for field, ranges in extra)]:
        if isinstance(test, Within) and test.field in ends:
            for low, high in test.ranges:
                ends[test.field] |= {low, high + 1}
                if test.field == "ttl":
                    ends["ttl"] |= {low + 1, high + 2}  # as it was before the routing counted down
        elif isinstance(test, EitherPort):
            for low, high in test.ranges:
                ends["sport"] |= {low, high + 1}
                ends["dport"] |= {low, high + 1}
        elif isinstance(test, Bits) and test.field in {"flags", "tos"}:
            ends[test.field] |= set(range(64 if test.field == "flags" and test.mask < 64 else 256))
        elif isinstance(test, Interface):
            names[test.field][test.name.removesuffix("+") + ("*" if test.name.endswith("+") else "")] = None
    for proto in (ICMP, ICMPV6, *PORTED):
        ends["proto"] |= {proto, proto + 1}
    largest = {**NUMBERS, "src": (1 << bits(family)) - 1, "dst": (1 << bits(family)) - 1}
    cuts = {field: tuple(sorted(v for v in values if v <= largest[field])) for field, values in ends.items()}
    known = {field: (*(name for name in found if name), "") for field, found in names.items()}
    return Space(family, (*cuts, *known), cuts, known)


@dataclass(frozen=True, slots=True)
class Box:
    """A set of packets of one conntrack state on its way through the tables.

    ``mark`` and ``connmark`` start as 0; None is "not known any more". ``listed`` as for a single packet.
    """

    space: Space
    masks: tuple[int, ...]
    state: CtState = CtState.NEW
    direction: str = "original"
    mark: int | None = 0
    connmark: int | None = 0
    listed: frozenset[tuple[str, str]] = frozenset()
    unknown: frozenset[str] = frozenset()

    @property
    def first(self) -> bool:
        """Whether the nat table sees these packets; RELATED ones are taken to be first packets."""
        return self.state in {CtState.NEW, CtState.RELATED}

    def get(self, field: str) -> int:
        """Return the atoms of a field."""
        return self.masks[self.space.fields.index(field)]

    def only(self, field: str, mask: int) -> Box | None:
        """Return the part of the box whose field is in a set of atoms, None when there is none."""
        at = self.space.fields.index(field)
        both = self.masks[at] & mask
        return replace(self, masks=(*self.masks[:at], both, *self.masks[at + 1 :])) if both else None

    def split(self, match: Match, context: Context, rule: RuleRef, visit: int) -> Iterable[tuple[bool | Question, Box]]:
        """Divide the box by a match; an oracle is a question for the whole box."""
        test, negated = settle(match, self.state, self.direction, context)
        if isinstance(test, Constant):
            return ((test.value != negated, self),)
        if isinstance(test, Bits) and test.field in {"mark", "connmark"}:
            value = self.mark if test.field == "mark" else self.connmark
            if value is not None:
                return (((value & test.mask == test.value) != negated, self),)
        if isinstance(test, EitherPort):
            return self._either(test, negated=negated)
        mask = self._mask(test)
        if mask is None:
            return (self._ask(test, negated, rule, visit),)
        return self._divide(*mask, negated=negated)

    def _mask(self, test: Test) -> tuple[str, int] | None:
        """Return the field and the atoms in which a test holds; None where a question has to be asked."""
        if isinstance(test, Within) and test.field in self.space.cuts and test.field not in self.unknown:
            return test.field, self.space.mask(test.field, test.ranges)
        if isinstance(test, Bits) and test.field in {"flags", "tos"} and test.field not in self.unknown:
            return test.field, self.space.bits_mask(test)
        if isinstance(test, Interface):
            names = self.space.names[test.field]
            return test.field, sum(1 << at for at, name in enumerate(names) if test.covers(name))
        return None

    def _divide(self, field: str, mask: int, *, negated: bool) -> list[tuple[bool | Question, Box]]:
        inside, outside = self.only(field, mask), self.only(field, ~mask)
        parts: list[tuple[bool | Question, Box]] = []
        if inside is not None:
            parts.append((not negated, inside))
        if outside is not None:
            parts.append((negated, outside))
        return parts

    def _either(self, test: EitherPort, *, negated: bool) -> list[tuple[bool | Question, Box]]:
        parts = []
        rest: Box | None = self
        for field in ("sport", "dport"):
            if rest is not None:
                mask = self.space.mask(field, test.ranges)
                inside, rest = rest.only(field, mask), rest.only(field, ~mask)
                parts += [] if inside is None else [(not negated, inside)]
        return [*parts, *([] if rest is None else [(negated, rest)])]

    def _ask(self, test: Test, negated: bool, rule: RuleRef, visit: int) -> tuple[bool | Question, Box]:  # noqa: FBT001
        if isinstance(test, Recent):
            spot = (test.list, test.side)
            if test.action == "set":
                return not negated, replace(self, listed=self.listed | {spot})
            if test.action in {"rcheck", "update"} and spot in self.listed and test.hitcount <= 1:
                return not negated, self
        if isinstance(test, Rate | Oracle | Opaque):
            question = question_of(test, rule, visit)
        else:
            assert isinstance(test, Within | Bits | AddressType | OneOf | Fragment)
            question = Question(str(test), f"{getattr(test, 'field', 'fragment')} of the packet", None)
        return replace(question, turned=negated), self

    def change(self, target: Target, context: Context) -> Box:  # noqa: PLR0911 - one return for each target
        """Return the box as a target leaves it."""
        if target.act is Act.NOTRACK:
            return replace(self, state=CtState.UNTRACKED) if context.untracked_yet else self
        if target.act is Act.CHANGE:
            return replace(self, unknown=self.unknown | set(target.changes)) if target.changes else self
        tracked = not context.untracked_yet and self.state not in {CtState.INVALID, CtState.UNTRACKED}
        if target.act is Act.CONNMARK and not tracked:
            return self
        assert target.mark is not None
        operation, mask, value, other = target.mark
        if operation == "save":
            return replace(self, connmark=_mix(self.connmark, other, self.mark, mask))
        if operation == "restore":
            return replace(self, mark=_mix(self.mark, mask, self.connmark, other))
        if target.act is Act.MARK:
            return replace(self, mark=_mix(self.mark, mask, value, 0xFFFFFFFF))
        return replace(self, connmark=_mix(self.connmark, mask, value, 0xFFFFFFFF))

    def minus(self, other: Sequence[int]) -> list[Box]:
        """Return the packets of this box that are not in a product of atom sets, as disjoint boxes."""
        if any(not mine & theirs for mine, theirs in zip(self.masks, other, strict=True)):
            return [self]
        parts, inside = [], self.masks
        for at, theirs in enumerate(other):
            outside = inside[at] & ~theirs
            if outside:
                parts.append(replace(self, masks=(*inside[:at], outside, *inside[at + 1 :])))
            inside = (*inside[:at], inside[at] & theirs, *inside[at + 1 :])
        return parts

    def witness(self, own: Sequence[Address], *, sent: bool) -> Flow:
        """Return one packet of the box, an ordinary one where there is a choice.

        ``own`` are the host's addresses, ``sent`` whether it is the sender.
        """
        ordinary = ORDINARY[self.space.family]
        ends = (tuple(map(int, own)), ordinary)
        make = IPv4Address if self.space.family is Family.IPV4 else IPv6Address
        nice = {"proto": (6, 17, 1, 58), "sport": (40000,), "dport": (9,), "ttl": (64,), "length": (60,), "tos": (0,),
                "flags": (2,), "icmp": (8 * 256, 128 * 256), "src": ends[not sent], "dst": ends[sent]}  # fmt: skip
        value = {field: self._pick(field, nice[field]) for field in nice}
        names = {f: next((n for at, n in enumerate(self.space.names[f]) if self.get(f) >> at & 1), "") for f in
                 ("iif", "oif")}  # fmt: skip
        proto, ported = value["proto"], value["proto"] in PORTED
        icmp = value["icmp"] if proto in {ICMP, ICMPV6} else None
        flags = frozenset(n for n, bit in FLAGS.items() if n not in {"ALL", "NONE"} and value["flags"] & bit)
        return Flow(
            src=make(value["src"]), dst=make(value["dst"]), proto=proto, sport=value["sport"] if ported else None,
            dport=value["dport"] if ported else None, flags=flags if proto == TCP else frozenset(),
            icmp_type=None if icmp is None else icmp >> 8, icmp_code=None if icmp is None else icmp & 255,
            iif=_real(names["iif"]), oif=_real(names["oif"]), ctstate=self.state, ctdir=self.direction,
            ttl=value["ttl"], length=value["length"], tos=value["tos"],
        )  # fmt: skip

    def _pick(self, field: str, nice: Sequence[int]) -> int:
        spans = self.space.spans(field, self.get(field))
        found = next((v for v in nice if any(low <= v <= high for low, high in spans)), None)
        if found is not None:
            return found
        if field in {"src", "dst"}:  # the first address of a network is no ordinary one
            return next((low + 1 for low, high in spans if low < high), spans[0][0])
        return next((low for low, _ in spans if low), spans[0][0])


def _real(name: str) -> str:
    """Return an interface name that stands for a group of names: ``eth*`` and, empty, any other."""
    return name.replace("*", "99") or "other0"


def _mix(old: int | None, mask: int, new: int | None, keep: int) -> int | None:
    """Return ``old & ~mask ^ new & keep``, None where that cannot be known."""
    if old is None and mask == 0xFFFFFFFF:
        old = 0
    return None if old is None or new is None else (old & ~mask) ^ (new & keep)
