"""Ruleset: the rule tables of one address family as one program printed them, with every line kept.

A chain's policy is called its *default*, so that Policy can be the YAML file. A line that is neither table,
chain, rule nor comment is kept as :class:`Unparsed` and weakens every answer that its table has a part in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.ruleset.asks import Sort, Test, sort_of
from fwproof.ruleset.translation import Translation


class Act(StrEnum):
    """What a target does to the walk of a packet."""

    NOTHING = "continue"
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"
    LOG = "log"
    MARK = "mark"
    CONNMARK = "connmark"
    NOTRACK = "notrack"
    SOURCE_NAT = "source-nat"
    DESTINATION_NAT = "destination-nat"
    CHANGE = "change"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a rule does with a packet that matches; ``text`` is the target as printed, without ``-j``.

    ``chain`` is the chain jumped to; ``reject_with`` the answer of REJECT; ``prefix`` and ``group`` belong to
    LOG and NFLOG. ``mark`` is (operation, mask, value, other mask) for MARK and CONNMARK; ``changes`` names what is
    not known any more afterwards: header fields, and :data:`TEMPLATE`, :data:`ZONE` and ``set NAME``. ``rewrites`` are
    those of the fields whose new value is known: (field, mask, value) makes it ``old & ~mask ^ value``. ``nat`` is
    what a nat target writes; ``reason`` says why an act is unknown.
    """

    act: Act
    name: str
    text: str
    chain: str = ""
    reject_with: str | None = None
    prefix: str = ""
    group: int | None = None
    mark: tuple[str, int, int, int] | None = None
    changes: tuple[str, ...] = ()
    rewrites: tuple[tuple[str, int, int], ...] = ()
    nat: Translation | None = None
    reason: str = ""

    @property
    def lost(self) -> tuple[str, ...]:
        """What is not known any more afterwards, without the fields whose new value is."""
        known = {name for name, _, _ in self.rewrites}
        return tuple(name for name in self.changes if name not in known)


TEMPLATE = "template"
"""What CT leaves with a packet before conntrack: it looks tracked, and a later NOTRACK does nothing (xt_CT.c)."""
STATE = "conntrack state"
"""What conntrack looks at was rewritten before it looked, so the state may be another than the packet came with."""
ZONE = "zone"
"""Conntrack looks for the packet's connection in a zone of its own, where it may not find what it else would."""


NO_TARGET = Target(act=Act.NOTHING, name="", text="")
"""A rule without ``-j``: it counts, and the walk goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One condition of a rule: its module (empty for the base options), its text, and what it asks."""

    module: str
    text: str
    test: Test
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Counters:
    """Packets and bytes, as ``iptables-save -c`` prints them."""

    packets: int
    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``ref.text`` is its line exactly as printed, without the counters; ``line`` counts from 1."""

    ref: RuleRef
    matches: tuple[Match, ...]
    target: Target
    line: int
    counters: Counters | None = None
    comment: str = ""

    @property
    def sort(self) -> Sort:
        """The least understood part of the rule decides how much of it is understood."""
        sorts = {sort_of(match.test) for match in self.matches}
        if Sort.OPAQUE in sorts or self.target.act is Act.UNKNOWN:
            return Sort.OPAQUE
        beyond = self.target.act is Act.ELSEWHERE or self.target.lost
        return Sort.ORACLE if Sort.ORACLE in sorts or beyond else Sort.EXACT


def worst(sorts: Iterable[Sort]) -> Sort:
    """Return the sort that stands for several: of the least understood one."""
    found = set(sorts)
    return next((sort for sort in (Sort.OPAQUE, Sort.ORACLE) if sort in found), Sort.EXACT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain; ``default`` (ACCEPT, DROP) is None for a user chain, which returns at its end.

    ``hook``, ``priority`` and ``kind`` (filter, nat, route) are those of a base chain of nftables; the base
    chains of iptables go by their names.
    """

    name: str
    rules: tuple[Rule, ...]
    default: str | None = None
    counters: Counters | None = None
    hook: str = ""
    priority: int | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of iptables: filter, nat, mangle, raw or security; any other is kept, and weakens its answers.

    A table of nftables has a ``family`` (ip, ip6, inet, netdev) and any name.
    """

    name: str
    chains: Mapping[str, Chain]
    family: str = ""


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A line that was not understood, or something that is missing: what it means for the answers is unknown.

    ``table`` is the table in which it stands, None when it is about the whole text.
    """

    line: int
    text: str
    reason: str
    table: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """Everything that one ``iptables-save`` or ``ip6tables-save`` printed, or, where ``native``, nft's own list.

    ``backend`` is ``nft`` or ``legacy`` where the text says so, else empty. ``lines`` is the number of lines
    of the text: blank lines, comments and table marks included. ``beside`` says which other tables there are, that
    were not read.
    """

    family: Family
    source: str
    tables: Mapping[str, Table]
    unparsed: tuple[Unparsed, ...] = ()
    comments: tuple[str, ...] = ()
    backend: str = ""
    lines: int = 0
    mentions_legacy: bool = False
    beside: str = ""
    native: bool = False

    def rules(self) -> tuple[Rule, ...]:
        """Return every rule of every chain, in the order of the text."""
        return tuple(rule for table in self.tables.values() for chain in table.chains.values() for rule in chain.rules)

    def printed(self) -> dict[RuleRef, tuple[Rule, ...]]:
        """Return each rule as it was printed, with what it became: a rule of nft may become several."""
        found: dict[RuleRef, list[Rule]] = {}
        for rule in self.rules():
            if rule.ref.rule is not None:  # else it stands for a chain's default
                found.setdefault(rule.ref, []).append(rule)
        return {ref: tuple(parts) for ref, parts in found.items()}

    def chain(self, table: str, name: str) -> Chain | None:
        """Return a chain, None when there is none of that name."""
        found = self.tables.get(table)
        return None if found is None else found.chains.get(name)
