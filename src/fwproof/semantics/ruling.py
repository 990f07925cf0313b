"""From the ends of a packet's walk to one ruling: the decision, what it depends on, and who decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fwproof.decision import Decision, Ruling
from fwproof.semantics.context import Question
from fwproof.semantics.walk import Leaf

REFUSED = frozenset({Decision.DROP, Decision.REJECT})


@dataclass(frozen=True, slots=True)
class Fork:
    """A question that matters: the two answers lead to different decisions."""

    question: Question
    yes: Fork | Decision
    no: Fork | Decision


def outcome(leaves: Sequence[Leaf[Any]], depth: int = 0) -> Fork | Decision:
    """Return the decision as a tree of the questions that matter to it."""
    if len(leaves) == 1 or all(leaf.decision is leaves[0].decision for leaf in leaves):
        return leaves[0].decision
    question = next(leaf.choices[depth][0] for leaf in leaves)
    yes = outcome([leaf for leaf in leaves if leaf.choices[depth][1]], depth + 1)
    no = outcome([leaf for leaf in leaves if not leaf.choices[depth][1]], depth + 1)
    return yes if yes == no else Fork(question, yes, no)


def questions(tree: Fork | Decision) -> tuple[Question, ...]:
    """Return the questions of a tree in the order in which a walk asks them, each once."""
    if not isinstance(tree, Fork):
        return ()
    return tuple(dict.fromkeys((tree.question, *questions(tree.yes), *questions(tree.no))))


def rule_on(leaves: Sequence[Leaf[Any]]) -> Ruling:
    """Return the ruling of a packet's walk. For ``depends``, ``by`` is the rule that refuses it."""
    may = frozenset(leaf.decision for leaf in leaves)
    if Decision.UNKNOWN in may:
        leaf = next(leaf for leaf in leaves if leaf.decision is Decision.UNKNOWN)
        reasons = tuple(dict.fromkeys(leaf.reason for leaf in leaves if leaf.reason))
        both = may | {Decision.ACCEPT, Decision.DROP}
        return Ruling(decision=Decision.UNKNOWN, by=leaf.by, may=both, depends_on=reasons, trace=leaf.trace)
    if len(may) == 1:
        leaf = leaves[0]
        return Ruling(decision=leaf.decision, by=leaf.by, may=may, reject_with=leaf.reject_with, trace=leaf.trace)
    names = tuple(dict.fromkeys(question.name for question in questions(outcome(leaves))))
    leaf = next(leaf for leaf in leaves if leaf.decision in REFUSED)
    return Ruling(
        decision=Decision.DEPENDS, by=leaf.by, may=may, depends_on=names, reject_with=leaf.reject_with,
        trace=leaf.trace,
    )  # fmt: skip
