"""Which packets reach each rule and each default of a host's tables, by where they set out and in which state."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fwproof.decision import RuleRef
from fwproof.flow import Family, Hook
from fwproof.ruleset.model import Act, Chain, Rule, Table
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_calls import CALLS, called_from
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_parts import Grown, Part, Way, view
from fwproof.semantics.bdd_taking import Met, Taking
from fwproof.semantics.bdd_walk import Host, Incoming, Route
from fwproof.semantics.lint_space import Visit
from fwproof.semantics.model import HostModel
from fwproof.semantics.stages import Stage

_VERDICTS = frozenset(
    {Act.ACCEPT, Act.DROP, Act.REJECT, Act.SOURCE_NAT, Act.DESTINATION_NAT, Act.UNKNOWN, Act.ELSEWHERE}
)
"""Acts after which a packet has left the base chain that it was in."""
_ENDING = _VERDICTS | {Act.RETURN, Act.JUMP, Act.GOTO, Act.NOTHING}
DEFAULT = -1
"""The place of a chain's default among its rules."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where packets set out, and what is known of them then.

    ``some`` are those that are looked at, ``real`` those of them that a network or a program really sends in this
    state, and ``best`` those of them that a person would take for an example. ``hook`` is known where the way does not
    depend on the destination.
    """

    hook: Hook | None
    config: Config
    route: Route
    some: Set
    real: Set
    best: Set


@dataclass(slots=True)
class Element:
    """A rule or a default that has to be reached; ``places`` are where it stands in chains of the model.

    A rule of nft is several rules of the model: it is reached where its last deeds are done, which are named by
    ``actions``, as steps of a walk name them.
    """

    ref: RuleRef
    table: Table
    places: list[tuple[str, int]] = field(default_factory=list)
    actions: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Region:
    """The packets of one start that reach an element.

    ``leaves`` is the base chain that all of them leave there, None where they do not: two elements at which packets
    leave one chain have no packet in common.
    """

    some: Set
    leaves: tuple[int, str] | None


class Elements:
    """The rules and defaults of a family's tables, numbered in the order of the texts."""

    def __init__(self, model: HostModel, family: Family) -> None:
        self.all: list[Element] = []
        self.numbers: dict[tuple[int, str, int], int] = {}
        self._known: dict[tuple[int, RuleRef], int] = {}
        for ruleset in model.rulesets.get(family, ()):
            for table in ruleset.tables.values():
                for chain in table.chains.values():
                    self._chain(table, chain, family)

    def _chain(self, table: Table, chain: Chain, family: Family) -> None:
        for at, rule in enumerate(chain.rules):
            if not table.family or _last(table, chain, at):
                self._add(table, chain.name, at, rule.ref, rule.target.text or "continue")
        if chain.default is not None and (chain.rules or chain.default == "DROP"):
            ref = RuleRef(
                family=table.family or family.table_family, table=table.name, chain=chain.name, rule=None,
                text=chain.default,
            )  # fmt: skip
            self._add(table, chain.name, DEFAULT, ref, chain.default)

    def _add(self, table: Table, chain: str, at: int, ref: RuleRef, action: str) -> None:
        key = (id(table), ref)
        if key not in self._known:
            self._known[key] = len(self.all)
            self.all.append(Element(ref, table))
        number = self.numbers[id(table), chain, at] = self._known[key]
        self.all[number].places.append((chain, at))
        self.all[number].actions.add(action)


def inner(table: Table, rule: Rule) -> bool:
    """Whether a rule of the model only leads to the rest of a rule of nft, in a chain that nft does not have."""
    return bool(table.family) and rule.target.act in CALLS and " " in rule.target.chain


def _last(table: Table, chain: Chain, at: int) -> bool:
    """Whether the part of a rule of nft is its last deed, rather than one on the way to it."""
    rule = chain.rules[at]
    if inner(table, rule):
        return False
    if rule.target.act in _ENDING:
        return True
    after = (each for each in chain.rules[at + 1 :] if each.ref == rule.ref)
    return not any(inner(table, each) or each.target.act in _ENDING for each in after)


class Reach:
    """The sets of packets that reach the elements. ``unknown`` collects why more packets may reach some.

    ``visits`` is what came to each base chain, and from there to the chains that were looked into.
    """

    def __init__(self, host: Host, elements: Elements) -> None:
        self.host, self.elements = host, elements
        self.unknown: dict[str, None] = {}
        self.visited: set[int] = set()
        self.visits: dict[tuple[int, str, tuple[bool, ...]], Visit] = {}
        self._known: dict[int, dict[str, list[tuple[str, int]]]] = {}

    def of(self, start: Start, wanted: Collection[int] | None = None) -> dict[int, Region]:
        """Return the elements that packets of a start reach, with those packets; ``wanted`` limits the search."""
        arrivals, ends = start.route.flow({start.config: start.some})
        self.unknown |= dict.fromkeys(ends.unknown)
        found: dict[int, Region] = {}
        for at, stage in start.route.stages():
            self.visited.add(id(stage.table))
            if not stage.blind and arrivals.get(at):
                for number, region in self._stage(start, stage, arrivals[at], wanted):
                    old = found.get(number)
                    found[number] = region if old is None else Region(old.some | region.some, None)
        return found

    def _stage(
        self, start: Start, stage: Stage, arrived: Incoming, wanted: Collection[int] | None
    ) -> Iterator[tuple[int, Region]]:
        numbers, table = self.elements.numbers, id(stage.table)
        parts: dict[int, list[Set]] = {}
        mixed: set[int] = set()

        def hit(met: Met) -> None:
            number = numbers.get((table, met.grown.chain.name, met.at))
            if number is not None and (wanted is None or number in wanted):
                parts.setdefault(number, []).append(met.taken)
                if met.rule.target.act not in _VERDICTS:
                    mixed.add(number)

        taking = _Seeking(self.host.program(stage.table), stage.context, hit)
        taking.places = None if wanted is None else self._places(stage.table, wanted)
        taking.run(stage.chain.name, arrived)
        self._note(stage, arrived, taking.reached)
        number = numbers.get((table, stage.chain.name, DEFAULT))
        if number is not None and (wanted is None or number in wanted):
            parts[number] = list(_at_the_end(start.route, stage, arrived))
        for number, some in parts.items():
            union = self.host.sets.union(some)
            if union != self.host.sets.none:
                yield number, Region(union, None if number in mixed else (table, stage.chain.name))

    def _note(self, stage: Stage, arrived: Incoming, reached: Mapping[str, Incoming]) -> None:
        key = id(stage.table), stage.chain.name, view(stage.context)
        visit = self.visits.setdefault(key, Visit(stage, self.host.program(stage.table)))
        for config, some in arrived.items():
            visit.incoming.setdefault(config, []).append(some)
        known = dict(visit.reached)
        for name, incoming in reached.items():
            known[name] = dict(known.get(name, {}))
            for config, some in incoming.items():
                known[name][config] = known[name].get(config, self.host.sets.none) | some
        visit.reached = known

    def _places(self, table: Table, wanted: Collection[int]) -> dict[str, list[int]]:
        """Return where in the chains of a table wanted rules stand, and rules that call chains with some."""
        found: dict[str, set[int]] = {}
        for number in wanted:
            element = self.elements.all[number]
            for chain, at in element.places if element.table is table else ():
                found.setdefault(chain, set()).add(at)
        callers = self._callers(table)
        pending = list(found)
        while pending:
            for chain, at in callers.get(pending.pop(), ()):
                if chain not in found:
                    found[chain] = set()
                    pending.append(chain)
                found[chain].add(at)
        return {chain: sorted(places) for chain, places in found.items()}

    def _callers(self, table: Table) -> dict[str, list[tuple[str, int]]]:
        if id(table) not in self._known:
            self._known[id(table)] = called_from(table)
        return self._known[id(table)]


def _at_the_end(route: Route, stage: Stage, arrived: Incoming) -> Iterator[Set]:
    for config, some in arrived.items():
        for exit_, left in route.exits(stage, config).items():
            if exit_.way in {Way.NEXT, Way.RETURN}:
                yield some & left


class _Seeking(Taking):
    """Looks only into the parts of chains that hold a wanted rule, or call a chain that may."""

    places: Mapping[str, Sequence[int]] | None = None

    def _worth(self, grown: Grown, part: Part, config: Config, some: Set) -> bool:
        del config
        if some == self.sets.none:
            return False
        if self.places is None:
            return True
        here = self.places.get(grown.chain.name, ())
        return bisect_left(here, part.high) > bisect_left(here, part.low)
