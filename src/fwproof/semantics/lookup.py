"""Which rule of a chain can concern a packet next, without looking at the rules between.

For each field that the rules of a chain look at, and each value that they tell apart, there is a bitset of the rules
that the value fits; the packet's bitsets intersected hold the rules that it meets (the bit vectors of Lakshman and
Stiliadis, SIGCOMM 1998). Only what the header alone decides is in them, and of a rule only its first matches, up to
one that asks something else: what has an effect or is a question is left to the walk, which goes there in any case.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Hashable, Iterable
from itertools import chain as joined
from typing import NamedTuple, Protocol, TypeVar

from fwproof.decision import RuleRef
from fwproof.ruleset.asks import Constant, Recent, Within, atoms
from fwproof.ruleset.model import Act, Chain, Match, Rule
from fwproof.ruleset.ranges import merged
from fwproof.semantics.context import Context, Question
from fwproof.semantics.lookup_fields import ASKED, KEYS, LACKS, NUMBERS, group_of, numbers_of
from fwproof.semantics.packet import Packet
from fwproof.semantics.subject import Subject

S_contra = TypeVar("S_contra", bound=Subject, contravariant=True)

ROOM = 1 << 25
"""Bytes that the bitsets of one number in one chain may take; with more rules fewer of them are kept ready."""
MOST_KEYS = 4096
"""Keys of one group whose bitsets are kept."""
_BLOCK = 32
"""Cuts whose rules are united."""
_NOBODY = RuleRef(family="", table="", chain="", rule=None, text="")
"""In place of the rule that asks, which makes a difference to oracles only."""


class Candidates(NamedTuple):
    """The rules of a chain that a packet may meet, as a bitset: the lowest bit is the first rule.

    ``asked`` are those that have to be asked from their first match on; of another rule the first ``known`` matches
    hold.
    """

    rules: int
    asked: int
    known: list[int]


class Lookup(Protocol[S_contra]):
    """Finds the rules of a chain that a subject may meet."""

    def candidates(self, chain: Chain, subject: S_contra, context: Context, *, idle: bool) -> Candidates:
        """Return the rules that are not ruled out, and how much of each is known; ``idle`` ones only if asked for."""
        ...


class Indexes:
    """The indexes of a host's chains, each made when the first packet comes to its chain."""

    def __init__(self) -> None:
        self._made: dict[int, Index] = {}

    def candidates(self, chain: Chain, subject: Packet, context: Context, *, idle: bool) -> Candidates:
        """Return the rules of a chain that a packet may meet."""
        index = self._made.get(id(chain))
        if index is None:
            index = self._made[id(chain)] = Index(chain)
        return index.candidates(subject, context, idle=idle)


class Index:
    """The bitsets of one chain, which it keeps alive, so that its id stays its own."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.known: list[int] = []
        self._numbers: dict[str, _Number] = {}
        self._groups: dict[str, _Group] = {}
        never = [at for at, rule in enumerate(chain.rules) if self._never(at, rule)]
        every = (1 << len(chain.rules)) - 1
        self._rules = every & ~bitset(never)
        self._busy = every & ~bitset(at for at, rule in enumerate(chain.rules) if _idle(rule))
        parts: list[_Number | _Group] = [*self._numbers.values(), *self._groups.values()]
        for part in parts:
            part.close(every)
        self._parts = list(self._numbers.values())
        self._keyed = list(self._groups.values())

    def meeting(self, at: int, fields: Collection[str]) -> int:
        """Return the rules whose packets may be among those of one rule, as far as some number fields tell."""
        rules = self._rules
        for match in self.chain.rules[at].matches:
            test = match.test
            if isinstance(test, Within) and test.field in fields and test.field in self._numbers and not match.negated:
                number, found = self._numbers[test.field], 0
                for low, high in test.ranges:
                    found |= number.within(low, high)
                rules &= found
        return rules

    def _never(self, at: int, rule: Rule) -> bool:
        """Enter a rule's first matches; say whether one of them never holds."""
        known = 0
        for place, match in enumerate(rule.matches):
            if isinstance(match.test, Constant):
                if match.test.value == match.negated:
                    self.known.append(0)
                    return True
                decided = True
            else:
                decided, goes_on = self._enter(at, match)
                if not goes_on:
                    break
            known += decided and known == place
        self.known.append(known)
        return False

    def _enter(self, at: int, match: Match) -> tuple[bool, bool]:
        """Enter a match: whether the bitsets decide it, and whether the header does, so that what follows counts."""
        group = group_of(match.test)
        if group is not None:
            self._groups.setdefault(group, _Group(KEYS[group])).enter(at, match)
            return True, True
        fields = numbers_of(match.test)
        if fields is None:
            return False, False
        parts = [self._numbers.setdefault(field, _Number(NUMBERS[field])) for field in fields]
        return [part.enter(at, match) for part in parts] == [True], True

    def candidates(self, packet: Packet, context: Context, *, idle: bool) -> Candidates:
        """Return the rules of the chain that a packet may meet.

        Unless ``idle``, those that only log or count are left out; a simulation counts what they see, though.
        """
        rules, asked = self._rules, 0
        for part in self._parts:
            value = part.read(packet, context)
            if value >= 0:
                rules &= part.fitting(value)
            elif value == LACKS:
                rules &= part.lacking
            else:
                assert value == ASKED
                asked |= part.users
        for group in self._keyed:
            fitting, open_ = group.fitting(packet, context)
            rules &= fitting
            asked |= open_
        if asked:
            rules |= asked
        if not idle and packet.simulate is None:
            rules &= self._busy
        return Candidates(rules, asked, self.known)


def _idle(rule: Rule) -> bool:
    """Whether it is all the same to a packet if it meets a rule: it only logs or counts, and fills no list."""
    quiet = rule.target.act is Act.NOTHING or rule.target.act is Act.LOG
    return quiet and not any(isinstance(atom, Recent) for match in rule.matches for atom in atoms(match.test))


class _Number:
    """The bitsets of one number: one for each interval between two values at which some rule begins or ends to fit.

    Of many only some are kept; another is made of the one before, by the rules that begin or end to fit on the way.
    """

    def __init__(self, read: Callable[[Packet, Context], int]) -> None:
        self.read = read
        self._uses: list[int] = []
        self._positive: list[int] = []
        self._changes: dict[int, list[int]] = {}
        self._within: dict[tuple[int, int], int] = {}
        self._blocks: list[int] = []

    def enter(self, at: int, match: Match) -> bool:
        """Enter a match of a rule that looks at the number; say whether the bitsets decide it."""
        test = match.test
        again = bool(self._uses) and self._uses[-1] == at
        self._uses.append(at)
        if again or not isinstance(test, Within):
            return False
        if not match.negated:
            self._positive.append(at)
        for low, high in merged(test.ranges):
            self._changes.setdefault(low, []).append(at)
            self._changes.setdefault(high + 1, []).append(at)
        return True

    def close(self, every: int) -> None:
        """Make the bitsets, once all rules are in."""
        self.users = bitset(self._uses)
        self.lacking = every & ~self.users
        self._cuts = sorted(self._changes)
        self._turns = [self._changes[cut] for cut in self._cuts]
        changes = sum(map(len, self._turns))
        self._keep(every & ~bitset(self._positive), changes * (every.bit_length() // 8) // ROOM)
        self._changes.clear()

    def _keep(self, rules: int, most: int) -> None:
        """Keep a bitset wherever more than ``most`` rules would have to be turned on the way from the one before."""
        self._kept, self._from, turned = {0: rules}, [0], 0
        for number, turns in enumerate(self._turns, 1):
            rules, turned = _turned(rules, turns), turned + len(turns)
            if turned > most:
                self._kept[number], turned = rules, 0
                self._from.append(number)
            else:
                self._from.append(self._from[-1])

    def fitting(self, value: int) -> int:
        """Return the rules that a value fits."""
        at = bisect_right(self._cuts, value)
        start = self._from[at]
        rules = self._kept[start]
        if start != at:
            for turns in self._turns[start:at]:
                rules = _turned(rules, turns)
        return rules

    def within(self, low: int, high: int) -> int:
        """Return the rules that some value of a span fits, and maybe others."""
        found = self._within.get((low, high))
        if found is None:
            if len(self._within) >= MOST_KEYS:
                self._within.clear()
            first, last = bisect_right(self._cuts, low), bisect_right(self._cuts, high)
            found = self._within[low, high] = self.fitting(low) | self._turning(first, last)
        return found

    def _turning(self, first: int, last: int) -> int:
        """Return the rules that begin or end to fit between two cuts; whole blocks of cuts are united once."""
        low, high = -(-first // _BLOCK), last // _BLOCK
        if low >= high:
            return bitset(joined.from_iterable(self._turns[first:last]))
        if not self._blocks:
            starts = range(0, len(self._turns), _BLOCK)
            self._blocks = [bitset(joined.from_iterable(self._turns[at : at + _BLOCK])) for at in starts]
        edges = (self._turns[first : low * _BLOCK], self._turns[high * _BLOCK : last])
        found = bitset(at for edge in edges for turns in edge for at in turns)
        for block in self._blocks[low:high]:
            found |= block
        return found


def _turned(rules: int, turns: Iterable[int]) -> int:
    for at in turns:
        rules ^= 1 << at
    return rules


class _Group:
    """The bitsets of one group of tests: one for each key that came by, which the packet itself is asked for."""

    def __init__(self, key: Callable[[Packet, Context], Hashable]) -> None:
        self._key = key
        self._matches: dict[tuple[object, bool], tuple[Match, list[int]]] = {}
        self._known: dict[Hashable, tuple[int, int]] = {}

    def enter(self, at: int, match: Match) -> None:
        """Enter a match of a rule."""
        self._matches.setdefault((match.test, match.negated), (match, []))[1].append(at)

    def close(self, every: int) -> None:
        """Make the bitsets of the rules that ask the same, once all rules are in."""
        self._every = every
        self._asking = [(match, bitset(rules)) for match, rules in self._matches.values()]

    def fitting(self, packet: Packet, context: Context) -> tuple[int, int]:
        """Return the rules that a packet fits, and those to which it answers with a question."""
        key = self._key(packet, context)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST_KEYS:
                self._known.clear()
            found = self._known[key] = self._ask(packet, context)
        return found

    def _ask(self, packet: Packet, context: Context) -> tuple[int, int]:
        out = asked = 0
        for match, rules in self._asking:
            ((answer, _),) = packet.split(match, context, _NOBODY, 0)
            if isinstance(answer, Question):
                asked |= rules
            elif not answer:
                out |= rules
        return self._every & ~out, asked


def bitset(places: Iterable[int]) -> int:
    """Return a number with a bit set at each of the places."""
    found = bytearray()
    for at in places:
        if at >> 3 >= len(found):
            found.extend(bytes((at >> 3) + 1 - len(found)))
        found[at >> 3] |= 1 << (at & 7)
    return int.from_bytes(found, "little")
