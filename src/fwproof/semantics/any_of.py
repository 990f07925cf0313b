"""Tests that are made of others: what they say of one packet, and how they divide a set of packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, Self, TypeVar

from fwproof.decision import RuleRef
from fwproof.ruleset.asks import AnyOf, Test
from fwproof.semantics.context import Answer, Question

Ask = Callable[[Test, bool], Answer | None]
"""Answers a test, with its negation; None where the packet lacks what it looks at."""


def answer(test: AnyOf, ask: Ask) -> Answer | None:
    """Return what a packet says: yes, no, a question, or None where it lacks what a part looks at.

    What hangs on several questions at once is a question of its own, as if the answers had nothing to do with one
    another.
    """
    open_: list[Question] = []
    for product in test.products:
        asked: list[Question] = []
        for part, negated in product:
            said = ask(part, negated)
            if said is None:
                return None
            if isinstance(said, Question):
                asked.append(said)
            elif not said:
                break
        else:
            if not asked:
                return True
            open_ += asked
    if not open_:
        return False
    if len(open_) == 1:
        return open_[0]
    names = " or ".join(dict.fromkeys(question.name for question in open_))
    return Question(f"{test.text}: {names}", names)


class Divisible(Protocol):
    """A set of packets that tests can divide."""

    def parts(self, test: Test, rule: RuleRef, visit: int, *, negated: bool) -> Sequence[tuple[Answer, Self]]:
        """Divide the set by a test that the context has settled."""
        ...


B = TypeVar("B", bound=Divisible)


def divide(box: B, test: AnyOf, rule: RuleRef, visit: int, *, negated: bool) -> list[tuple[Answer, B]]:
    """Divide a box by a test; the part for which an oracle has a say is a question as a whole."""
    parts: list[tuple[Answer, B]] = []
    rest = [box]
    for product in test.products:
        left: list[B] = []
        for each in rest:
            inside, outside, unsure = _product(each, product, rule, visit)
            parts += [(not negated, some) for some in inside]
            parts += [(replace(question, turned=negated), some) for question, some in unsure]
            left += outside
        rest = left
    return [*parts, *((negated, each) for each in rest)]


def _product(
    box: B, product: Sequence[tuple[Test, bool]], rule: RuleRef, visit: int
) -> tuple[list[B], list[B], list[tuple[Question, B]]]:
    """Return the parts of a box for which all tests hold, one does not, and an oracle has a say."""
    inside, outside = [box], list[B]()
    unsure: list[tuple[Question, B]] = []
    for test, negated in product:
        held = list[B]()
        for each in inside:
            for said, part in each.parts(test, rule, visit, negated=negated):
                if isinstance(said, Question):
                    unsure.append((Question(f"{test} in {product}", said.name), part))
                else:
                    (held if said else outside).append(part)
        inside = held
    return inside, outside, unsure
