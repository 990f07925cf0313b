"""Boxes: sets of packets as a product of sets of values, one for each field that some rule or question looks at.

Every field is cut at the constants that occur, so that all values between two cuts, its *atoms*, are alike for
every test. A set of atoms is a bit mask; a box is a tuple of masks. Splitting a box by a test is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Hook
from fwproof.ruleset.asks import (
    AddressType,
    AnyOf,
    Bits,
    Constant,
    EitherPort,
    Fragment,
    Interface,
    OneOf,
    Opaque,
    Oracle,
    Rate,
    Recent,
    ReversePath,
    Test,
    Within,
)  # fmt: skip
from fwproof.ruleset.model import Act, Match, Target
from fwproof.semantics import any_of, boxes_nat, kinds, nat
from fwproof.semantics.context import Context, Question, question_of, settle
from fwproof.semantics.packet import PORTED
from fwproof.semantics.spaces import NUMBERS, ORDINARY, Space, Span, space_of
from fwproof.semantics.stages import Way

__all__ = ["NUMBERS", "ORDINARY", "Box", "Space", "Span", "space_of"]


@dataclass(frozen=True, slots=True)
class Box:
    """A set of packets of one conntrack state on its way through the tables.

    ``masks`` are the packets as they came in. ``mark`` and ``connmark`` start as 0; None is "not known any more".
    ``moved`` are the values that nat has written; ``listed``, ``settled``, ``translated``, ``own_dst`` and ``notrack``
    as for a single packet.
    """

    space: Space
    masks: tuple[int, ...]
    state: CtState = CtState.NEW
    direction: str = "original"
    mark: int | None = 0
    connmark: int | None = 0
    listed: frozenset[tuple[str, str]] = frozenset()
    unknown: frozenset[str] = frozenset()
    moved: tuple[tuple[str, int], ...] = ()
    settled: frozenset[str] = frozenset()
    translated: frozenset[str] = frozenset()
    own_dst: bool = False
    notrack: bool = False

    def meets_nat(self, context: Context) -> bool:
        """Whether a nat chain sees these packets: first packets whose side no other nat chain has dealt with."""
        side = "dst" if context.hook in {Hook.PREROUTING, Hook.OUTPUT} else "src"
        return self.first and side not in self.settled

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
        test, negated = settle(match, self.state, self.direction, context.after(notrack=self.notrack), self.translated)
        return self.parts(test, rule, visit, negated=negated)

    def parts(self, test: Test, rule: RuleRef, visit: int, *, negated: bool) -> Sequence[tuple[bool | Question, Box]]:
        """Divide the box by a test that the context has settled."""
        if isinstance(test, AnyOf):
            return any_of.divide(self, test, rule, visit, negated=negated)
        if isinstance(test, AddressType):
            test = kinds.plain(test, self.space.router)
        if isinstance(test, Constant):
            return ((test.value != negated, self),)
        if isinstance(test, Bits | Within) and test.field in {"mark", "connmark"}:
            value = self.mark if test.field == "mark" else self.connmark
            if value is not None:
                return ((_inside(value, test) != negated, self),)
        if isinstance(test, EitherPort):
            return self._either(test, rule, visit, negated=negated)
        if isinstance(test, Within) and test.field in nat.PORTS:
            return self._tuple_port(test, rule, visit, negated=negated)
        return self.number(test, rule, visit, negated=negated)

    def number(self, test: Test, rule: RuleRef, visit: int, *, negated: bool) -> Sequence[tuple[bool | Question, Box]]:
        """Divide the box by a test of one field, as nat has left it."""
        field = getattr(test, "field", "")
        base = nat.BASE.get(field, field)
        fixed = None if field.startswith("orig_") else dict(self.moved).get(base)
        if fixed is not None and isinstance(test, Within):
            return ((any(low <= fixed <= high for low, high in test.ranges) != negated, self),)
        if fixed is not None and isinstance(test, Bits):
            return (((fixed & test.mask == test.value) != negated, self),)
        mask = None if base in self.unknown and not field.startswith("orig_") else self._mask(test, base)
        if mask is None:
            return (self.ask(test, negated, rule, visit),)
        return self._divide(base, mask, negated=negated)

    def _mask(self, test: Test, base: str) -> int | None:
        """Return the atoms of a field in which a test holds; None where a question has to be asked."""
        if isinstance(test, Within) and base in self.space.cuts:
            return self.space.mask(base, test.ranges)
        if isinstance(test, Bits) and base in {"flags", "tos"}:
            return self.space.bits_mask(test)
        if isinstance(test, Interface):
            names = self.space.names[test.field]
            return sum(1 << at for at, name in enumerate(names) if test.covers(name))
        return None

    def _divide(self, field: str, mask: int, *, negated: bool) -> list[tuple[bool | Question, Box]]:
        inside, outside = self.only(field, mask), self.only(field, ~mask)
        parts: list[tuple[bool | Question, Box]] = []
        if inside is not None:
            parts.append((not negated, inside))
        if outside is not None:
            parts.append((negated, outside))
        return parts

    def _either(
        self, test: EitherPort, rule: RuleRef, visit: int, *, negated: bool
    ) -> list[tuple[bool | Question, Box]]:
        """Divide by "one of the two ports": what the source port does not settle, the destination port does."""
        if self.unknown & {"sport", "dport"}:
            return [self.ask(test, negated, rule, visit)]
        parts: list[tuple[bool | Question, Box]] = []
        for held, part in self.number(Within("sport", test.ranges), rule, visit, negated=False):
            if held is True:
                parts.append((not negated, part))
            else:
                parts += part.number(Within("dport", test.ranges), rule, visit, negated=negated)
        return parts

    def _tuple_port(
        self, test: Within, rule: RuleRef, visit: int, *, negated: bool
    ) -> list[tuple[bool | Question, Box]]:
        """Divide by a port of the conntrack tuple, which other protocols fill with something else."""
        ported = self.space.mask("proto", tuple((p, p) for p in PORTED))
        inside, outside = self.only("proto", ported), self.only("proto", ~ported)
        parts = [] if inside is None else list(inside.number(test, rule, visit, negated=negated))
        return parts + ([] if outside is None else [outside.ask(test, negated, rule, visit)])

    def ask(self, test: Test, negated: bool, rule: RuleRef, visit: int) -> tuple[bool | Question, Box]:  # noqa: FBT001
        """Return the box with the question that it answers; the lists that the rule itself fills are known."""
        if isinstance(test, Recent):
            spot = (test.list, test.side)
            if test.action == "set":
                return not negated, replace(self, listed=self.listed | {spot})
            if test.action in {"rcheck", "update"} and spot in self.listed and test.hitcount <= 1:
                return not negated, self
        if isinstance(test, Rate | Oracle | Opaque):
            question = question_of(test, rule, visit)
        else:
            assert isinstance(
                test, Within | Bits | AddressType | OneOf | Fragment | Interface | EitherPort | ReversePath
            )
            question = Question(str(test), f"{getattr(test, 'field', 'fragment')} of the packet", None)
        return replace(question, turned=negated), self

    def change(self, target: Target, context: Context) -> Box:  # noqa: PLR0911 - one return for each target
        """Return the box as a target leaves it."""
        if target.act is Act.NOTRACK:
            return replace(self, state=CtState.UNTRACKED, notrack=True) if context.untracked_yet else self
        if target.act is Act.CHANGE:
            mark = None if "mark" in target.changes else self.mark
            return replace(self, unknown=self.unknown | set(target.changes), mark=mark) if target.changes else self
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

    def translate(self, target: Target, context: Context, rule: RuleRef) -> Sequence[Way[Box]] | None:
        """Return what a nat target may make of the packets, as disjoint parts and choices of the kernel."""
        return boxes_nat.translate(self, target, context, rule)


def _inside(value: int, test: Bits | Within) -> bool:
    if isinstance(test, Bits):
        return value & test.mask == test.value
    return any(low <= value <= high for low, high in test.ranges)


def _mix(old: int | None, mask: int, new: int | None, keep: int) -> int | None:
    """Return ``old & ~mask ^ new & keep``, None where that cannot be known."""
    if old is None and mask == 0xFFFFFFFF:
        old = 0
    return None if old is None or new is None else (old & ~mask) ^ (new & keep)
