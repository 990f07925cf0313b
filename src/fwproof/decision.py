"""What a rule table does to a flow, with the rule that did it and the way there.

nftables calls accept and drop "verdict"; here that is always a *decision*, so that *verdict* can be the
outcome of a check.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Decision(StrEnum):
    """What happens to the packet.

    ``depends``: known up to the state of one or more oracles (a rate limit, say), which are named.
    ``unknown``: a rule on the way could not be read, so both accept and drop are possible.
    """

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    DEPENDS = "depends"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRef:
    """Where a rule stands: ``rule`` counts from 1 within its chain and is None for the chain's policy.

    The tables ``routing`` and ``conntrack`` are no tables of rules: the kernel's routing dropped the packet, or
    connection tracking translated it, and ``text`` says how.
    """

    family: str
    table: str
    chain: str
    rule: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    @property
    def place(self) -> str:
        """Where it stands, without its text: ``ip filter INPUT rule 3``, ``ip filter INPUT policy``."""
        if self.table == "routing":
            return f"{self.family} routing"
        if self.table == "conntrack":
            return f"{self.family} conntrack at {self.chain}"
        return f"{self.family} {self.table} {self.chain} {'policy' if self.rule is None else f'rule {self.rule}'}"

    def as_json(self) -> dict[str, Any]:
        """Return the ``by`` object of the explain contract."""
        return {"family": self.family, "table": self.table, "chain": self.chain, "rule": self.rule, "text": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule that the flow met: ``matched`` is ``yes``, ``no``, ``depends`` or ``unknown``."""

    rule: RuleRef
    matched: str
    action: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The decision on one flow; ``may`` holds every decision that some value of the oracles leads to."""

    decision: Decision
    by: RuleRef | None
    may: frozenset[Decision]
    depends_on: tuple[str, ...] = ()
    reject_with: str | None = None
    trace: tuple[Step, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the flow is accepted for every value of the oracles."""
        return self.may == {Decision.ACCEPT}

    @property
    def refused(self) -> bool:
        """Whether the flow is dropped or rejected for every value of the oracles."""
        return bool(self.may) and self.may <= {Decision.DROP, Decision.REJECT}
