"""What lint finds: one thing wrong with one rule, and the rules that cause it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fwproof.decision import RuleRef
from fwproof.flow import Flow
from fwproof.ruleset.model import Act

REFUSES = frozenset({Act.DROP, Act.REJECT})
MOST_CAUSES = 20
"""Causes named for one finding."""


class Kind(StrEnum):
    """What is wrong with a rule. ``unused`` is only a note: the rule can match, and has not."""

    NEVER = "never-matches"
    UNREACHABLE = "unreachable"
    SHADOWED = "shadowed"
    CONTRADICTED = "contradicted"
    REDUNDANT = "redundant"
    OVER_BROAD = "over-broad"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing wrong with one rule: why, in words that hold for every packet, and the rules that cause it.

    ``witness`` is a packet that the rule takes, where it takes any; ``packets`` is its counter, where known.
    """

    kind: Kind
    rule: RuleRef
    why: str
    causes: tuple[RuleRef, ...] = ()
    witness: Flow | None = None
    packets: int | None = None
