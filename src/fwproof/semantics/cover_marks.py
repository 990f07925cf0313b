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


def marks_of(model: HostModel, family: Family, config: Config) -> Iterator[Config]:
    """Yield a config with every mark that may matter, 0 first; a connection's mark is 0 when it begins."""
    rules = model.rules(family)
    for mark in _values(rules, MARK):
        for connmark in [0] if config.state is CtState.NEW else _values(rules, CONNMARK):
            yield config._replace(mark=mark, connmark=connmark)


def _values(rules: Iterable[Rule], field: str) -> list[int]:
    numbers = list(_numbers(rules))
    if not any(name == field for name, _ in numbers):
        return [0]
    values = {value & _ALL for _, value in numbers}
    used = 0
    for value in values:
        used |= value
    ones = [1 << at for at in range(32) if used >> at & 1]
    spare = next((1 << at for at in range(32) if not used >> at & 1), 0)
    if len(ones) <= _BITS:
        found = [sum(some) for count in range(len(ones) + 1) for some in combinations(ones, count)]
    else:
        found = [0, *sorted(values - {0}), *(a | b for a, b in combinations(sorted(values), 2))][:_MOST]
    return list(dict.fromkeys([*found, *([spare] if spare else [])]))


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
