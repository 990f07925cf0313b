"""What a way through a host is made of: base chains, routing decisions, and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fwproof.ruleset.model import Chain, Table
from fwproof.semantics.context import Context, Question

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Stage:
    """One base chain of a route. ``blind`` is the reason why it cannot be read, where it cannot.

    ``nat``: the chain sees only the first packet of a connection.
    """

    context: Context
    family: str
    table: Table
    chain: Chain
    nat: bool = False
    blind: str = ""


@dataclass(frozen=True, slots=True)
class Way(Generic[S]):
    """One of the ways on from a routing decision or a nat target: for which part of the subject, on which answers.

    ``to`` is the place in the route where it goes on. ``dropped`` says why it ends here instead, ``note`` what
    happened.
    """

    subject: S
    to: int = 0
    given: tuple[tuple[Question, bool], ...] = ()
    dropped: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A routing decision in a route; it may divide the subject, and leave out parts that nobody asks about."""

    family: str
    decide: Callable[[Any], Iterable[Way[Any]]]


@dataclass(frozen=True, slots=True)
class Exit:
    """Where a way through the host ends: the packet has reached a program or left by an interface."""


Route = Sequence[Stage | Turn | Exit]
