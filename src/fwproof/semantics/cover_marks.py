"""The marks that packets may have before the first rule: as many as can make a difference to the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from fwproof.flow import CtState
from fwproof.ruleset.asks import Bits, Within, atoms
from fwproof.ruleset.model import Rule
from fwproof.semantics.bdd_config import CONNMARK, MARK, Config

_ALL = 0xFFFFFFFF
_FIELDS = frozenset({MARK, CONNMARK})
_BITS = 5
"""Bits that are tried in every combination."""
_MOST = 64
"""Marks that are tried where there are more bits than that."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks that may make a difference to the rules of a host.

    ``complete``: they are all that rules can tell from one another.
    """

    marks: tuple[int, ...]
    connmarks: tuple[int, ...]
    complete: bool

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> Marks:
        """Return the marks that rules compare with, and all that they can make of others."""
        tested, numbers = set[str](), set[int]()
        spans, moved = False, False
        for rule in rules:
            for test in (atom for match in rule.matches for atom in atoms(match.test)):
                if getattr(test, "field", "") in _FIELDS and isinstance(test, Bits | Within):
                    tested.add(test.field)
                    numbers |= _numbers(test)
                    spans = spans or isinstance(test, Within)
            moved = moved or (rule.target.mark or ("",))[0] in {"save", "restore"}
            numbers |= {each for each in (rule.target.mark or ())[1:] if isinstance(each, int)}
            spans = spans or bool(_FIELDS & set(rule.target.changes))
        values = _values(numbers - {_ALL})
        told = {field: field in tested or (moved and bool(tested)) for field in _FIELDS}
        complete = not spans and _used(numbers - {_ALL}).bit_count() <= _BITS
        marks, connmarks = (values if told[field] else (0,) for field in (MARK, CONNMARK))
        return cls(marks, connmarks, complete)

    def on(self, config: Config) -> list[Config]:
        """Return a config with every pair of marks but 0 and 0, those that have one of them 0 first.

        A connection's mark is 0 when it begins.
        """
        several = (0,) if config.state is CtState.NEW else self.connmarks
        pairs = [(mark, connmark) for mark in self.marks for connmark in several]
        pairs.sort(key=lambda pair: bool(pair[0]) + bool(pair[1]))
        return [config._replace(mark=mark, connmark=connmark) for mark, connmark in pairs[1:]]


def _numbers(test: Bits | Within) -> set[int]:
    """Return the numbers that a test compares a mark with."""
    if isinstance(test, Bits):
        return {test.value, test.mask}
    return {each for low, high in test.ranges for each in (low, min(high + 1, _ALL))}


def _values(numbers: set[int]) -> tuple[int, ...]:
    """Return every combination of the bits that are used and one more, or a choice where they are too many."""
    used = _used(numbers)
    ones = [1 << at for at in range(32) if used >> at & 1]
    spare = next((1 << at for at in range(32) if not used >> at & 1), 0)
    if len(ones) <= _BITS:
        found = [sum(some) for count in range(len(ones) + 1) for some in combinations(ones, count)]
        return tuple(dict.fromkeys([*found, *(value | spare for value in found)]))
    values = sorted(numbers - {0})
    return tuple(dict.fromkeys([0, *values, spare, *(a | b for a, b in combinations(values, 2))]))[:_MOST]


def _used(numbers: set[int]) -> int:
    found = 0
    for value in numbers:
        found |= value
    return found
