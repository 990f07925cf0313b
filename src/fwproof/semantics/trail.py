"""What is known at each moment of a walk, and at its ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from fwproof.decision import Decision, RuleRef, Step
from fwproof.ruleset.asks import Recent
from fwproof.ruleset.model import Act, Chain, Rule
from fwproof.semantics.context import Question
from fwproof.semantics.stages import Way
from fwproof.semantics.subject import Subject

S = TypeVar("S", bound=Subject)


class Frame(NamedTuple):
    """A position in a chain; ``back`` is where RETURN and the end of the chain lead.

    ``path`` holds the chains that led here, by jump or goto; ``visit`` counts the earlier calls of this chain.
    """

    chain: Chain
    at: int
    back: Frame | None
    path: frozenset[str]
    visit: int = 0


class Link(NamedTuple):
    """A list that grows at its end and shares its beginning, so that branches are cheap."""

    before: Link | None
    item: Any


@dataclass(frozen=True, slots=True)
class Leaf(Generic[S]):
    """One end of the walk: what happened, to which part of the subject, with which answers given on the way."""

    decision: Decision
    by: RuleRef | None
    subject: S
    choices: tuple[tuple[Question, bool], ...] = ()
    trace: tuple[Step, ...] = ()
    reject_with: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The rule or default that let the subject pass, and whether it stands in the main chain."""

    by: RuleRef
    main: bool


class Missed(NamedTuple, Generic[S]):
    """A rule did not take the subject, by its match at this place; what it asked before may have left a trace."""

    subject: S
    match: int


class State(NamedTuple, Generic[S]):
    """Where a walk is, what of the subject is there, and how it came to be there."""

    stage: int
    frame: Frame
    match: int
    subject: S
    choices: Link | None
    trace: Link | None
    accepted: Accepted | None
    calls: Link | None = None
    asked: str = ""


def items(link: Link | None) -> tuple[Any, ...]:
    """Return the items of a list, the first first."""
    if link is None:
        return ()
    items = []
    while link is not None:
        items.append(link.item)
        link = link.before
    return tuple(reversed(items))


def agree(choices: Link | None, way: Way[Any]) -> tuple[Link | None, bool]:
    """Return the answers with those of a way, and whether they agree."""
    for question, value in way.given:
        known = given(choices, question)
        if known is None:
            choices = Link(choices, (question, value))
        elif known != value:
            return choices, False
    return choices, True


def given(choices: Link | None, question: Question) -> bool | None:
    """Return the answer that was given to a question, None where it was not asked."""
    while choices is not None:
        asked, value = choices.item
        if asked == question:
            return bool(value)
        choices = choices.before
    return None


def harmless(rule: Rule, index: int) -> bool:
    """Whether it is all the same if a rule matches: it only counts or logs, and lists nothing on the way."""
    target = rule.target
    quiet = target.act in {Act.NOTHING, Act.LOG} or (target.act is Act.CHANGE and not target.changes)
    return quiet and not any(isinstance(match.test, Recent) for match in rule.matches[index + 1 :])


def decisive(before: Accepted | None, now: Accepted) -> Accepted:
    """Of several base chains that accept, name the main one, then a rule rather than a default."""
    if before is None:
        return now
    old, new = ((each.main, each.by.rule is not None) for each in (before, now))
    return now if new >= old else before
