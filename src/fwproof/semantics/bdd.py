"""Sets of packets as decision diagrams: every field of a header is a few Boolean variables.

A field is cut at the constants that occur (:mod:`~fwproof.semantics.atoms`), and the variables spell the
number of the atom, so that IPv6 costs what IPv4 does. What no header decides is a variable of its own below all
others, one for each :class:`~fwproof.semantics.context.Question`. Fields come in an order in which tables stay
small: interfaces and protocol, addresses, then ports. Diagrams are oxidd's, with complement edges; functions of
two managers must never meet, which is why no function leaves its :class:`Sets`.
"""

from __future__ import annotations

import gc
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from oxidd.bcdd import BCDDFunction, BCDDManager

from fwproof.ruleset.ranges import merged
from fwproof.semantics.bdd_layout import Field, Spans
from fwproof.semantics.space import SpaceTooLarge

Set = BCDDFunction
T = TypeVar("T")

_ROOM = ((64, 1 << 23, 1 << 16), (3000, 1 << 23, 1 << 18), (1 << 63, 1 << 26, 1 << 20))
"""For how many rules, a manager's nodes and cache entries: nodes take memory as they are used, a cache at once."""
SECONDS = 120.0
"""Processor time that one engine may take to build sets before it gives up: a busy machine takes nothing of it."""
WALL_SECONDS = 600.0
"""How long it may take by the clock, where it waits for more than a processor: memory that is not there, say."""
_YOUNG = 50_000
"""New objects between two searches for garbage while sets are made: they are many, and nearly all of them stay."""


class Sets:
    """A manager of diagrams over some fields, and the sets that tests are made of."""

    def __init__(self, fields: dict[str, Field], rules: int, *, seconds: float = SECONDS, nodes: int = 0) -> None:
        self.fields = fields
        most, cache = next((most, cache) for few, most, cache in _ROOM if rules <= few)
        self.manager = BCDDManager(nodes or most, cache, 1)
        self.header = sum(field.width for field in fields.values())
        self.manager.add_vars(self.header)
        self.all, self.none = self.manager.true(), self.manager.false()
        self.oracles: dict[str, int] = {}
        self.labels: list[str] = []
        self.rates: dict[int, bool] = {}
        self.vague: set[str] = set()
        self.extensions: dict[str, Set] = {}
        self._vars = [self.manager.var(at) for at in range(self.header)]
        self._not = [~each for each in self._vars]
        self._known: dict[tuple[str, Spans], Set] = {}
        self._ends: dict[tuple[str, int], Set] = {}
        self._cubes: dict[tuple[int, frozenset[str]], Set] = {}
        self.seconds = seconds
        self._ends_at = time.process_time() + seconds, time.monotonic() + WALL_SECONDS

    def tick(self) -> None:
        """Raise SpaceTooLarge when the time is up; called between operations."""
        worked, waited = self._ends_at
        if time.process_time() > worked:
            spent = f"{self.seconds:.0f} s of processor time"
        elif time.monotonic() > waited:
            spent = f"{WALL_SECONDS:.0f} s"
        else:
            return
        raise SpaceTooLarge(f"the tables are too entangled to be looked at as a whole in {spent}")

    def within(self, name: str, spans: Iterable[tuple[int, int]]) -> Set:
        """Return the packets whose field is inside spans of values; their ends are cuts."""
        return self.coded(name, self.fields[name].codes(spans))

    def words(self, name: str, holds: Callable[[str], bool]) -> Set:
        """Return the packets whose word field is one that ``holds``."""
        field = self.fields[name]
        return self.within(name, [(at, at) for at, word in enumerate(field.words) if holds(word)])

    def bits(self, name: str, mask: int, value: int) -> Set:
        """Return the packets with ``field & mask == value``, of a field that has every value as an atom."""
        field = self.fields[name]
        if value & ~mask:
            return self.none
        found = self.all
        for at in range(field.width - 1, -1, -1):
            bit = 1 << (field.width - 1 - at)
            if mask & bit:
                found = (self._vars if value & bit else self._not)[field.first + at] & found
        return found

    def coded(self, name: str, codes: Spans) -> Set:
        """Return the packets whose field has one of these codes."""
        key = (name, codes)
        if key not in self._known:
            field = self.fields[name]
            single = len(codes) == 1 and codes[0][0] == codes[0][1]
            self._known[key] = (
                self._single(field, codes[0][0], 0) if single else self._spans(field, codes, 0, 0, 0, len(codes))
            )
        return self._known[key]

    def _single(self, field: Field, code: int, first: int) -> Set:
        """Return the set of one code, from the bit ``first`` on; the last bits of many codes are the same."""
        half, last, found = field.width // 2, field.width, self.all
        if first < half:
            key = (field.name, code & ((1 << (field.width - half)) - 1))
            if key not in self._ends:
                self._ends[key] = self._single(field, code, half)
            last, found = half, self._ends[key]
        for at in range(last - 1, first - 1, -1):
            bit = 1 << (field.width - 1 - at)
            found = (self._vars if code & bit else self._not)[field.first + at] & found
        return found

    def _spans(self, field: Field, codes: Spans, at: int, low: int, first: int, last: int) -> Set:  # noqa: PLR0913, PLR0917
        """Build the set of ``codes[first:last]`` within the block of ``2 ** (width - at)`` codes from ``low``."""
        if first == last:
            return self.none
        size = 1 << (field.width - at)
        if last - first == 1 and codes[first][0] <= low and codes[first][1] >= low + size - 1:
            return self.all
        middle = low + size // 2
        split = bisect_left(codes, (middle, 0), first, last)
        right = split - 1 if split > first and codes[split - 1][1] >= middle else split
        above = self._spans(field, codes, at + 1, middle, right, last)
        below = self._spans(field, codes, at + 1, low, first, split)
        return self._vars[field.first + at].ite(above, below)

    def oracle(self, key: str, label: str, *, rate: bool | None = None, vague: bool = False) -> Set:
        """Return the packets for which the answer to a question is yes; equal keys are one question.

        ``rate``: it is about how many packets came before, and this is the answer while none did. ``vague``: sets do
        not know, but a single packet shows.
        """
        if key not in self.oracles:
            self.oracles[key] = self.header + len(self.labels)
            self.labels.append(label)
            self.manager.add_vars(1)
            if rate is not None:
                self.rates[self.oracles[key]] = rate
            if vague:
                self.vague.add(label)
        return self.manager.var(self.oracles[key])

    def plain(self, some: Set) -> Set:
        """Return the packets whose transport header comes first, as it does in a Flow."""
        for extended in self.extensions.values():
            some = some & ~extended
        return some

    def cube(self, variables: Iterable[int]) -> Set:
        """Return the conjunction of variables, which is how oxidd names a set of them."""
        found = self.all
        for variable in sorted(variables, reverse=True):
            found = self.manager.var(variable) & found
        return found

    def _all_but(self, keep: frozenset[str]) -> Set:
        """Return the variables of all fields but some, and of the oracles."""
        key = (len(self.labels), keep)
        if key not in self._cubes:
            gone = [v for f in self.fields.values() if f.name not in keep for v in range(f.first, f.first + f.width)]
            self._cubes[key] = self.cube([*gone, *range(self.header, self.header + len(self.labels))])
        return self._cubes[key]

    def _oracle_cube(self) -> Set:
        return self._all_but(frozenset(self.fields))

    def may(self, some: Set) -> Set:
        """Return the headers that are in a set for some answer of the oracles."""
        return some.exists(self._oracle_cube()) if self.labels else some

    def must(self, some: Set) -> Set:
        """Return the headers that are in a set whatever the oracles say."""
        return some.forall(self._oracle_cube()) if self.labels else some

    def whatever_rates(self, some: Set) -> Set:
        """Return what is in a set whatever the rates say."""
        return some.forall(self.cube(self.rates)) if self.rates else some

    def without_rates(self, some: Set) -> Set:
        """Return what is in a set for some answer of the rates."""
        return some.exists(self.cube(self.rates)) if self.rates else some

    def answered(self, some: Set, answers: Mapping[int, bool]) -> Set:
        """Return what is in a set where questions, by their variables, have these answers."""
        if not answers:
            return some
        held = self.all
        for variable in sorted(answers, reverse=True):
            asked = self.manager.var(variable)
            held = (asked if answers[variable] else ~asked) & held
        return (some & held).exists(self.cube(answers))

    def only(self, some: Set, names: Iterable[str]) -> Set:
        """Forget every field but some, and the oracles: the values that occur."""
        return some.exists(self._all_but(frozenset(names)))

    def asked(self, some: Set) -> tuple[str, ...]:
        """Return the labels of the questions that a set depends on, in the order in which they were first asked."""
        return tuple(dict.fromkeys(self.labels[at - self.header] for at in sorted(self.questions(some))))

    def questions(self, some: Set) -> set[int]:
        """Return the variables of the questions that a set depends on."""
        seen: set[Set] = set()
        found: set[int] = set()
        pending = [some]
        while pending:
            node = pending.pop()
            variable = node.node_var()
            if variable is None or node in seen:
                continue
            seen.add(node)
            seen.add(~node)
            if variable >= self.header:
                found.add(variable)
            children = node.cofactors()
            assert children is not None
            pending += children
        return found

    def union(self, parts: Sequence[Set]) -> Set:
        """Return the union, taken in pairs so that the intermediate sets stay small."""
        level = list(parts)
        while len(level) > 1:
            level = [a | b for a, b in zip(level[::2], [*level[1::2], self.none], strict=False)]
        return level[0] if level else self.none

    def pieces(self, some: Set, name: str) -> list[tuple[Spans, Set]]:
        """Divide a set by a field: its values, each with what is left to say of the fields below.

        The set must not depend on a field above. The parts are disjoint, and no two have the same rest. The
        values are spans; of a field without atoms they are (value, mask) pairs.
        """
        field = self.fields[name]
        found: dict[Set, list[tuple[int, int]]] = {}
        for low, high, rest in self._parts(some, field):
            found.setdefault(rest, []).append((low, high))
        if field.raw:
            return [(tuple(masks), rest) for rest, masks in found.items()]
        return [(field.values(merged(spans)), rest) for rest, spans in found.items()]

    def _parts(self, some: Set, field: Field) -> Iterator[tuple[int, int, Set]]:
        """Yield (first code, last code, rest), or (value, mask, rest) of a field without atoms."""
        bottom = field.first + field.width
        pending = [(some, 0, 0, 0)]
        while pending:
            node, at, low, mask = pending.pop()
            if node == self.none:
                continue
            variable = node.node_var()
            if variable is None or variable >= bottom:
                size = 1 << (field.width - at)
                yield (low, mask, node) if field.raw else (low, low + size - 1, node)
                continue
            half = 1 << (field.width - at - 1)
            if variable > field.first + at:
                pending += [(node, at + 1, low, mask)] if field.raw else [
                    (node, at + 1, low + half, 0), (node, at + 1, low, 0)]  # fmt: skip
            else:
                children = node.cofactors()
                assert children is not None
                pending += [(children[0], at + 1, low + half, mask | half), (children[1], at + 1, low, mask | half)]


def guarded(work: Callable[[], T]) -> T:
    """Do ``work``; what is too large for memory or the stack becomes SpaceTooLarge."""
    young, *older = gc.get_threshold()
    if young:
        gc.set_threshold(max(young, _YOUNG), *older)
    try:
        return work()
    except MemoryError as error:
        raise SpaceTooLarge("the tables are too entangled to be looked at as a whole: out of nodes") from error
    except RecursionError as error:
        raise SpaceTooLarge("the chains call one another too deeply to be looked at as a whole") from error
    finally:
        gc.set_threshold(young, *older)
