"""What a way through a host is made of: base chains, routing decisions, and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fwproof.ruleset.model import Chain, Table
from fwproof.semantics.context import Context, Question

S = TypeVar("S")

PRIORITY = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
"""Priorities of the tables (netfilter_ipv4.h); nat differs by hook."""
NAT_PRIORITY = {"prerouting": -100, "output": -100, "input": 100, "postrouting": 100}
DEFRAG = -400
"""The priority at which fragments are put together, where that is done."""
CONNTRACK = -200
"""The priority at which conntrack looks at a packet."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One base chain of a route. ``blind`` is the reason why it cannot be read, where it cannot.

    ``nat``: the chain sees only the first packet of a connection. ``priority`` is its place at the hook; nat
    chains have one of their own among themselves behind it.
    """

    context: Context
    family: str
    table: Table
    chain: Chain
    nat: bool = False
    blind: str = ""
    priority: tuple[int, int] = (0, 0)

    @property
    def main(self) -> bool:
        """Whether this is where a host's rules usually decide: iptables' filter table, or a chain at its place."""
        if not self.chain.hook:
            return self.table.name == "filter"
        return self.chain.kind == "filter" and PRIORITY["mangle"] < self.priority[0] < PRIORITY["security"]


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


@dataclass(frozen=True, slots=True)
class Carry:
    """Where conntrack translates the later packets of a connection, which no rule of nat sees (nf_nat_packet())."""

    context: Context
    family: str


Route = Sequence[Stage | Carry | Turn | Exit]
