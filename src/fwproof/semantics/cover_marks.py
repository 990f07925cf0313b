"""The marks that packets may have before the first rule: as many as can make a difference to the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from fwproof.flow import CtState, Family
from fwproof.ruleset.asks import Bits, Within, atoms
from fwproof.ruleset.model import Rule
from fwproof.semantics.bdd_config import CONNMARK, MARK, Config
from fwproof.semantics.model import HostModel

_ALL = 0xFFFFFFFF
_BITS = 5
"""Bits that are tried in every combination."""
_MOST = 64
"""Marks that are tried where there are more bits than that."""


def all_tried(model: HostModel, family: Family) -> bool:
    """Whether the marks that are tried are all that rules can tell from one another."""
    rules = model.rules(family)
    tests = (atom for rule in rules for match in rule.matches for atom in atoms(match.test))
    if any(isinstance(test, Within) and test.field in {MARK, CONNMARK} for test in tests):
        return False
    if any({MARK, CONNMARK} & set(rule.target.changes) for rule in rules):
        return False
    return _used(_numbers(rules)).bit_count() <= _BITS


def marks_of(model: HostModel, family: Family, config: Config) -> Iterator[Config]:
    """Yield a config with every pair of marks that may matter but 0 and 0, those that have one of them 0 first.

    A connection's mark is 0 when it begins.
    """
    rules = model.rules(family)
    several = [0] if config.state is CtState.NEW else _values(rules, CONNMARK)
    pairs = [(mark, connmark) for mark in _values(rules, MARK) for connmark in several]
    for mark, connmark in sorted(pairs, key=lambda pair: bool(pair[0]) + bool(pair[1]))[1:]:
        yield config._replace(mark=mark, connmark=connmark)


def _values(rules: Iterable[Rule], field: str) -> list[int]:
    numbers = list(_numbers(rules))
    if not any(name == field for name, _ in numbers):
        return [0]
    used = _used(numbers)
    ones = [1 << at for at in range(32) if used >> at & 1]
    spare = next((1 << at for at in range(32) if not used >> at & 1), 0)
    if len(ones) <= _BITS:
        found = [sum(some) for count in range(len(ones) + 1) for some in combinations(ones, count)]
        return [*found, *((value | spare for value in found) if spare else ())]
    values = sorted({value & _ALL for _, value in numbers} - {0})
    return list(dict.fromkeys([0, *values, spare, *(a | b for a, b in combinations(values, 2))]))[:_MOST]


def _used(numbers: Iterable[tuple[str, int]]) -> int:
    found = 0
    for _, value in numbers:
        found |= value & _ALL
    return found


def _numbers(rules: Iterable[Rule]) -> Iterator[tuple[str, int]]:
    """Yield the numbers that rules compare marks with or make them of; a mask of all bits is no number."""
    for rule in rules:
        for test in (atom for match in rule.matches for atom in atoms(match.test)):
            name = getattr(test, "field", "")
            if name in {MARK, CONNMARK} and isinstance(test, Bits):
                yield from ((name, each) for each in (test.value, test.mask if test.mask != _ALL else 0))
            elif name in {MARK, CONNMARK} and isinstance(test, Within):
                yield from ((name, each) for low, high in test.ranges for each in (low, min(high + 1, _ALL)))
        if rule.target.mark is not None:
            _, mask, value, other = rule.target.mark
            yield from (("", each) for each in (mask, value, other) if each != _ALL)
