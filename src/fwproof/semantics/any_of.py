"""Tests that are made of others: what they say of one packet."""

from __future__ import annotations

from collections.abc import Callable

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
    keys = " or ".join(dict.fromkeys(question.key for question in open_))
    return Question(f"{test.text}: {keys}", " or ".join(dict.fromkeys(question.name for question in open_)))
