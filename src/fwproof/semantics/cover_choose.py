"""The fewest packets for many sets: a packet for each group of sets that have one in common, and a bound from below.

Finding the fewest is as hard as covering a graph by cliques, so it is not promised. Sets of which no two have a
packet in common need a packet each: where there are as many of those as groups, the groups are the fewest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.cover_reach import Region, Start

_MANY = 200
"""Sets with more neighbours than this are placed last, and their neighbours are not listed."""
_EJECTIONS = 400
"""Groups beyond the bound that are tried to be dissolved."""

_Kind = tuple[int, tuple[int, str] | None]
"""The number of a start, and the base chain that all packets leave at an element, if there is one."""
Where = dict[int, Set]
"""Packets by the number of the start that they set out from."""


@dataclass(frozen=True, slots=True)
class Option:
    """The packets that reach one element: for ``certain``, or only on some answers of the oracles."""

    certain: bool
    where: Where
    leaves: Mapping[int, tuple[int, str] | None]


@dataclass(slots=True)
class Bin:
    """Elements that one packet reaches, and the packets that do."""

    members: list[int]
    where: Where = field(default_factory=dict)


def options_of(
    sets: Sets, starts: Sequence[Start], reached: Sequence[Mapping[int, Region]], *, real: bool
) -> dict[int, Option]:  # fmt: skip
    """Return how each element is reached: for certain where some packet does, else on answers of the oracles.

    Elements that only packets reach which are not ``real`` are left out, where that is asked.
    """
    sure: dict[int, Where] = {}
    maybe: dict[int, Where] = {}
    oracles = sets.cube(range(sets.header, sets.header + len(sets.labels)))
    for at, (start, regions) in enumerate(zip(starts, reached, strict=True)):
        for number, region in regions.items():
            some = sets.plain(region.some)
            if some == sets.none:
                continue
            certain = some.forall(oracles)
            if certain != sets.none and (not real or certain & start.real != sets.none):
                sure.setdefault(number, {})[at] = certain
            elif real and some & start.real == sets.none:
                continue
            maybe.setdefault(number, {})[at] = some
    leaves = {number: {at: regions[number].leaves for at, regions in enumerate(reached) if number in regions}
              for number in maybe}  # fmt: skip
    return {number: Option(number in sure, sure.get(number, where), leaves[number]) for number, where in maybe.items()}


def loose(options: Mapping[int, Option], sets: Sets, reached: Sequence[Mapping[int, Region]]) -> dict[int, Option]:
    """Return the same elements with all packets that may reach them, whatever it depends on."""
    found = {}
    for number, option in options.items():
        where = {at: sets.plain(regions[number].some) for at, regions in enumerate(reached) if number in regions}
        found[number] = Option(option.certain, where, option.leaves)
    return found


class _Tree:
    """Sets as the leaves of a balanced tree of unions, which finds those that meet a set."""

    def __init__(self, sets: Sets, numbers: list[int], some: list[Set]) -> None:
        self._sets, self._numbers = sets, numbers
        self._levels: list[list[Set | None]] = [list(some)]
        while len(self._levels[-1]) > 1:
            self._levels.append([None] * ((len(self._levels[-1]) + 1) // 2))

    def _node(self, level: int, at: int) -> Set:
        known = self._levels[level][at]
        if known is None:
            known = self._node(level - 1, 2 * at)
            if 2 * at + 1 < len(self._levels[level - 1]):
                known |= self._node(level - 1, 2 * at + 1)
            self._levels[level][at] = known
        return known

    def meeting(self, some: Set, after: int = -1) -> Iterator[int]:
        """Yield the numbers of the sets that have something in common with one, of those behind a place."""
        pending = [(len(self._levels) - 1, 0, some)]
        while pending:
            level, at, rest = pending.pop()
            if (at + 1 << level) - 1 <= after:
                continue
            here = rest & self._node(level, at)
            if here == self._sets.none:
                continue
            if not level:
                yield self._numbers[at]
                continue
            if 2 * at + 1 < len(self._levels[level - 1]):
                pending.append((level - 1, 2 * at + 1, here))
            pending.append((level - 1, 2 * at, here))


class Chooser:
    """Divides elements into groups that one packet reaches."""

    def __init__(self, sets: Sets, starts: Sequence[Start], options: Mapping[int, Option], *, real: bool) -> None:
        self.sets, self.options = sets, options
        self._real = [start.real if real else sets.all for start in starts]
        grouped: dict[_Kind, list[int]] = {}
        for number, option in options.items():
            for at in option.where:
                grouped.setdefault((at, option.leaves[at]), []).append(number)
        self._trees = {
            key: _Tree(sets, numbers, [options[number].where[key[0]] for number in numbers])
            for key, numbers in grouped.items()
        }
        self._many: set[int] = set()
        self._near: dict[int, dict[int, None]] = {number: {} for number in options}
        kinds = sorted(grouped, key=lambda kind: len(grouped[kind]))
        for place, kind in enumerate(kinds):
            larger = [each for each in kinds[place + (kind[1] is not None) :] if each[0] == kind[0]]
            for at, number in enumerate(grouped[kind]):
                self._list(number, at, kind, larger)

    def _list(self, number: int, place: int, kind: _Kind, larger: Sequence[_Kind]) -> None:
        """Note which elements of other kinds, or of its own, some packet reaches together with one.

        Of those at which packets leave one base chain none has to be looked at; nor is any where there are very many.
        """
        self.sets.tick()
        near = self._near[number]
        for each in larger:
            # those before it in its own tree have found it already
            some, after = self.options[number].where[kind[0]], place if each == kind else -1
            for other in self._trees[each].meeting(some, after):
                if len(near) > _MANY:
                    self._many.add(number)
                    return
                near[other] = None
                self._near[other][number] = None

    def _meeting(self, number: int) -> Iterator[int]:
        """Yield the elements that some packet reaches together with one; some may come twice."""
        if number not in self._many:
            yield from self._near[number]
            return
        option = self.options[number]
        for at, some in option.where.items():
            for (start, leaves), tree in self._trees.items():
                if start == at and (leaves is None or leaves != option.leaves[at]):
                    yield from (other for other in tree.meeting(some) if other != number)

    def _rank(self, number: int) -> tuple[bool, int]:
        return number in self._many, len(self._near[number])

    def apart(self) -> list[int]:
        """Return elements of which no packet reaches two; the ones with the fewest neighbours come first."""
        chosen: set[int] = set()
        for number in sorted(self.options, key=self._rank):
            if not any(other in chosen for other in self._meeting(number)):
                chosen.add(number)
        return sorted(chosen)

    def groups(self, apart: Iterable[int]) -> list[Bin]:
        """Return groups that hold every element; each of ``apart`` begins one."""
        bins: list[Bin] = []
        home: dict[int, Bin] = {}
        for number in apart:
            self._begin(number, bins, home)
        rest = [number for number in sorted(self.options, key=self._rank) if number not in home]
        tried = 0
        for number in rest:
            if self._place(number, home):
                continue
            tried += 1
            if tried > _EJECTIONS or not self._eject(number, home):
                self._begin(number, bins, home)
        return bins

    def _begin(self, number: int, bins: list[Bin], home: dict[int, Bin]) -> None:
        home[number] = Bin([number], self.options[number].where)
        bins.append(home[number])

    def both(self, where: Where, number: int) -> Where:
        """Return the packets of a group that reach one more element as well; empty where none does."""
        mine, found = self.options[number].where, Where()
        for at, some in where.items():
            if at in mine:
                part = some & mine[at]
                if part != self.sets.none and part & self._real[at] != self.sets.none:
                    found[at] = part
        return found

    def _homes(self, number: int, home: Mapping[int, Bin]) -> Iterator[Bin]:
        """Yield the groups that an element may fit into, each once."""
        seen = set[int]()
        for other in self._meeting(number):
            group = home.get(other)
            if group is not None and id(group) not in seen:
                seen.add(id(group))
                yield group

    def _place(self, number: int, home: dict[int, Bin], but: Bin | None = None) -> bool:
        """Put an element into the first group that has room for it."""
        for group in self._homes(number, home):
            where = {} if group is but else self.both(group.where, number)
            if where:
                group.members.append(number)
                group.where = where
                home[number] = group
                return True
        return False

    def _eject(self, number: int, home: dict[int, Bin]) -> bool:
        """Make room for an element in a group by moving others out of it, into groups that have room for them."""
        for group in self._homes(number, home):
            where, kept, out = self.options[number].where, [number], list[int]()
            for member in group.members:
                after = self.both(where, member)
                (kept if after else out).append(member)
                where = after or where
            old = group.members, group.where
            group.members, group.where = kept, where
            if all(self._place(member, home, group) for member in out):
                home[number] = group
                return True
            for member in out:
                self._back(member, home, group)
            group.members, group.where = old
        return False

    def _back(self, number: int, home: dict[int, Bin], group: Bin) -> None:
        """Take an element out of the group that it was moved to."""
        other = home[number]
        home[number] = group
        if other is group:
            return
        other.members.remove(number)
        other.where = self.options[other.members[0]].where
        for member in other.members[1:]:
            other.where = self.both(other.where, member)
