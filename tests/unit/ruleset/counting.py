"""Counts how much of a ruleset is understood. Not a test itself."""

from typing import NamedTuple

from fwproof.ruleset.asks import Sort
from fwproof.ruleset.model import worst


class Counted(NamedTuple):
    """How many rules are understood exactly, up to an oracle, and not; and the lines that are no rule at all."""

    exact: int
    oracle: int
    opaque: int
    unparsed: int


def counted(ruleset):
    """Count rules as they were printed: one that became several counts once, as the least understood part."""
    sorts = [worst(part.sort for part in parts) for parts in ruleset.printed().values()]
    return Counted(sorts.count(Sort.EXACT), sorts.count(Sort.ORACLE), sorts.count(Sort.OPAQUE), len(ruleset.unparsed))
