"""What walks through the tables: one packet, or a set of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self

from fwproof.decision import RuleRef
from fwproof.ruleset.model import Match, Target
from fwproof.semantics.context import Answer, Context
from fwproof.semantics.stages import Way


class Subject(Protocol):
    """What walks through the tables: one packet, or a set of them."""

    def split(self, match: Match, context: Context, rule: RuleRef, visit: int) -> Iterable[tuple[Answer, Self]]:
        """Divide the subject by a match: each part with its answer; the parts are disjoint and make up the whole."""
        ...

    def change(self, target: Target, context: Context) -> Self:
        """Return the subject as a target such as MARK leaves it."""
        ...

    def translate(self, target: Target, context: Context, rule: RuleRef) -> Sequence[Way[Self]] | None:
        """Return what a nat target makes of the subject; None where the target means nothing here."""
        ...

    def meets_nat(self, context: Context) -> bool:
        """Whether a nat chain sees the subject: first packets only, and each side is translated once."""
        ...

    def carried(self, context: Context) -> tuple[Self, str]:
        """Return the subject as conntrack translates it here, and what it did in words, empty where nothing."""
        ...


class Place(NamedTuple):
    """Where a question is asked: the rule, its visit, and how often the packet was changed before."""

    rule: RuleRef
    visit: int
    version: int
