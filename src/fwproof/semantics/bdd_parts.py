"""Chains as balanced trees of parts, and what is noted of each part once it is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from fwproof.flow import Hook
from fwproof.ruleset.model import Chain
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_config import NOTHING, READABLE, Config, Touches
from fwproof.semantics.bdd_near import FEW, places
from fwproof.semantics.context import Context


class Way(StrEnum):
    """How packets leave a part of a chain; what leaves in no way is dropped."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNKNOWN = "unknown"
    NEXT = "next"
    RETURN = "return"


class Exit(NamedTuple):
    """A way out; ``detail`` is the answer of REJECT, or why a rule is unknown; ``config`` what is known then."""

    way: Way
    detail: str
    config: Config | None


Exits = Mapping[Exit, Set]
Matched = tuple[Set, Config, list[tuple[Config, Set]]]


class Part:
    """A run of rules of a chain, as a balanced tree; a leaf is one rule."""

    __slots__ = ("halves", "high", "known", "low", "matches", "restored", "through", "touches")

    def __init__(self, low: int, high: int, touches: Touches, halves: tuple[Part, Part] | None) -> None:
        self.low, self.high, self.touches, self.halves = low, high, touches, halves
        self.known: dict[tuple[tuple[bool, ...], Config], Exits] = {}
        self.matches: dict[tuple[tuple[bool, ...], Config, int], Matched] = {}
        self.restored: dict[tuple[tuple[bool, ...], Config], Exits] = {}
        self.through: dict[tuple[bool, ...], Set] = {}

    def among(self, rules: int) -> int:
        """Return those rules of a bitset that are in the part, all of them where it may change what others look at."""
        mask = (1 << (self.high - self.low)) - 1
        return rules >> self.low & mask if self.touches <= READABLE else mask

    def crowded(self, rules: int) -> bool:
        """Whether the summary of the part is less work than the rules of a bitset that are in it."""
        return self.among(rules).bit_count() > min(FEW, self.high - self.low - 1)

    def leaves(self, leaves: Sequence[Part], rules: int) -> Iterator[Part]:
        """Yield those leaves of a chain that are in the part and in a bitset, the first first."""
        return (leaves[self.low + place] for place in places(self.among(rules)))


class Grown:
    """A chain with its tree; ``counted``: visits are told apart; ``nth`` tells apart equal rates of a chain.

    ``leaves`` are its rules; ``marks`` is free for a caller's notes about them.
    """

    __slots__ = ("chain", "counted", "leaves", "marks", "nth", "root")

    def __init__(
        self, chain: Chain, leaves: list[Part], *, counted: bool, nth: Mapping[tuple[int, int], int]
    ) -> None:  # fmt: skip
        self.chain, self.leaves, self.counted, self.nth = chain, leaves, counted, nth
        # what touches the same stands together: a long run that looks at the header alone is one part
        runs = [_balanced(list(run)) for _, run in groupby(leaves, key=lambda leaf: leaf.touches)]
        self.root = _balanced(runs) if runs else Part(0, 0, NOTHING, None)
        self.marks: list[int] = []


@lru_cache(maxsize=256)
def view(context: Context) -> tuple[bool, ...]:
    """Return what of a context tests can see."""
    early = context.hook is Hook.PREROUTING
    return (
        context.has_iif, context.has_oif, bool(context.hops_lost), context.untracked_yet, early, context.whole,
        context.loads,
    )  # fmt: skip


def _balanced(parts: list[Part]) -> Part:
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        joined = [Part(a.low, b.high, a.touches | b.touches, (a, b)) for a, b in pairs]
        parts = joined + parts[len(joined) * 2 :]
    return parts[0]


def add(found: dict[Exit, Set], exit_: Exit, some: Set) -> None:
    """Add packets to a way out."""
    found[exit_] = found[exit_] | some if exit_ in found else some
