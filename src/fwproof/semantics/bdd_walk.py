"""Whole routes as sets: what comes to each base chain, what is accepted in the end, and what each rule takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Family, Hook
from fwproof.ruleset.asks import Ranges
from fwproof.ruleset.model import Act, Chain, Rule, Table
from fwproof.semantics import route
from fwproof.semantics.bdd import SECONDS, Set, Sets
from fwproof.semantics.bdd_calls import CALLS, callers_first
from fwproof.semantics.bdd_chains import Exits, Grown, Part, Program, Way, entering
from fwproof.semantics.bdd_tests import BASE, Asker, Config, Touches, fields_for, project
from fwproof.semantics.context import Context
from fwproof.semantics.model import HostModel
from fwproof.semantics.walk import Stage

Incoming = dict[Config, Set]
"""Packets on their way, by what is known of them beside their header."""


@dataclass(frozen=True, slots=True)
class Met:
    """A rule and packets that it takes: all of them come to it with one config, and are exactly those."""

    context: Context
    grown: Grown
    at: int
    before: Config
    after: Config
    taken: Set

    @property
    def rule(self) -> Rule:
        """The rule."""
        return self.grown.chain.rules[self.at]


@dataclass(slots=True)
class Ends:
    """What becomes of packets: the sets are disjoint, and what is in none of them is dropped."""

    accepted: Set
    rejected: dict[str, Set] = field(default_factory=dict)
    unknown: dict[str, Set] = field(default_factory=dict)


class Host:
    """One host's tables of one family in an engine."""

    def __init__(self, model: HostModel, family: Family, sets: Sets) -> None:
        self.model, self.family, self.sets = model, family, sets
        self.asker = Asker(sets, family, model.addresses)
        self._programs: dict[int, Program] = {}
        acts = (rule.target for rule in model.rules(family) if rule.target.act is Act.CHANGE)
        self._changes = frozenset(name for target in acts for name in target.changes)

    def program(self, table: Table) -> Program:
        """Return a table ready to be walked by sets."""
        if id(table) not in self._programs:
            self._programs[id(table)] = Program(table, self.asker, self._changes)
        return self._programs[id(table)]

    def packets(self) -> Set:
        """Return every packet that rules can see: conntrack puts fragments together before them (priority -400)."""
        if "fragment" in self.sets.fields and self.model.conntrack(self.family):
            return self.sets.words("fragment", lambda word: word == "no")
        return self.sets.all

    def route(self, path: route.Path) -> Route:
        """Return the base chains of a path."""
        blind = self.model.blind.get(self.family, ("its rules were not read",))
        rulesets = self.model.rulesets.get(self.family, ())
        stages = route.stages(path, self.family, rulesets, blind, conntrack=self.model.conntrack(self.family))
        return Route(self, stages)


class Route:
    """A path through a host, walked by sets."""

    def __init__(self, host: Host, stages: Sequence[Stage]) -> None:
        self.host, self.sets, self.stages = host, host.sets, stages
        self._survive: dict[tuple[int, Config], Set] = {}

    def exits(self, at: int, config: Config) -> Exits:
        """Return where packets leave a base chain that come to it with a config."""
        stage = self.stages[at]
        program = self.host.program(stage.table)
        grown = program.grown(stage.chain.name) if stage.chain.name in stage.table.chains else None
        if grown is None:
            return {}
        return program.summary(grown, grown.root, stage.context, config)

    def seen(self, at: int, config: Config) -> Set:
        """Return the packets of a config that a base chain sees: nat only the first of a connection."""
        if not self.stages[at].nat or config.state is CtState.NEW:
            return self.sets.all
        return self.host.asker.not_icmp if config.state is CtState.RELATED else self.sets.none

    def expired(self, at: int) -> Set | None:
        """Return the packets that the routing drops before a base chain, None where it drops none."""
        first = self.stages[at].context.hook is Hook.FORWARD and (
            at == 0 or self.stages[at - 1].context.hook is not Hook.FORWARD)  # fmt: skip
        return self.sets.within("ttl", ((0, 1),)) if first and self._routed() else None

    def _routed(self) -> bool:
        return any(stage.context.forwarded for stage in self.stages)

    def passes(self, stage: Stage, exits: Exits) -> Iterable[tuple[Config, Set]]:
        """Yield what a base chain lets through, its default included."""
        default = (stage.chain.default or "ACCEPT") == "ACCEPT"
        for exit_, some in exits.items():
            if exit_.way is Way.ACCEPT or (default and exit_.way in {Way.NEXT, Way.RETURN}):
                assert exit_.config is not None
                yield exit_.config, some

    def flow(self, start: Incoming) -> tuple[list[Incoming], Ends]:
        """Return what comes to each base chain, and what becomes of it."""
        ends = Ends(self.sets.none)
        arrivals: list[Incoming] = []
        moving = start
        for at, stage in enumerate(self.stages):
            gone = self.expired(at)
            if gone is not None:
                moving = {config: some & ~gone for config, some in moving.items()}
            arrivals.append({c: some & self.seen(at, c) for c, some in moving.items()})
            moving = self._through(at, stage, moving, arrivals[-1], ends)
        ends.accepted = self.sets.union(list(moving.values()))
        return arrivals, ends

    def _through(self, at: int, stage: Stage, moving: Incoming, arrived: Incoming, ends: Ends) -> Incoming:
        after: dict[Config, list[Set]] = {}
        for config, some in arrived.items():
            if stage.blind:
                _gather(ends.unknown, stage.blind, some)
                continue
            rest = moving[config] & ~some
            if rest != self.sets.none:
                after.setdefault(config, []).append(rest)
            exits = self.exits(at, config)
            for later, passed in self.passes(stage, exits):
                after.setdefault(later, []).append(some & passed)
            for exit_, part in exits.items():
                if exit_.way in {Way.REJECT, Way.UNKNOWN}:
                    _gather(ends.rejected if exit_.way is Way.REJECT else ends.unknown, exit_.detail, some & part)
        united = {config: self.sets.union(parts) for config, parts in after.items()}
        return {config: some for config, some in united.items() if some != self.sets.none}

    def survive(self, at: int, config: Config) -> Set:
        """Return the packets that are accepted in the end when they come to a base chain with a config."""
        if at == len(self.stages):
            return self.sets.all
        key = (at, config)
        if key not in self._survive:
            stage, seen = self.stages[at], self.seen(at, config)
            if stage.blind:
                return self.sets.none
            parts = [passed & self.survive(at + 1, later) for later, passed in
                     self.passes(stage, self.exits(at, config))]  # fmt: skip
            found = seen.ite(self.sets.union(parts), self.survive(at + 1, config))
            gone = self.expired(at)
            self._survive[key] = found if gone is None else found & ~gone
        return self._survive[key]

    def later(self, at: int) -> Touches:
        """Return what the base chains from one on read or write."""
        found: frozenset[str] = frozenset()
        for stage in self.stages[at:]:
            program = self.host.program(stage.table)
            if stage.chain.name in stage.table.chains:
                found |= program.grown(stage.chain.name).root.touches
            found |= {"state"} if stage.nat else frozenset()
        return found


def _gather(found: dict[str, Set], key: str, some: Set) -> None:
    found[key] = found[key] | some if key in found else some


class Taking:
    """Finds what each rule of a base chain, and of the chains that it calls, takes of what comes in.

    ``wanted`` leaves out parts of chains: it gets the exits of a part and what may come to it. ``keep`` names
    what is told apart of configs although the chain does not look at it.
    """

    def __init__(
        self, program: Program, context: Context, hit: Callable[[Met], None],
        *, keep: Touches = frozenset(), wanted: Callable[[Exits, Set], bool] | None = None,
    ) -> None:  # fmt: skip
        self.program, self.context, self.hit = program, context, hit
        self.sets, self.keep, self.wanted = program.sets, keep, wanted
        self._calls: dict[str, dict[Config, list[Set]]] = {}

    def run(self, name: str, incoming: Mapping[Config, Set]) -> None:
        """Report every rule that takes something of what comes to a base chain."""
        self._calls = {name: {config: [some] for config, some in incoming.items()}}
        for each in callers_first(self.program.table):
            arrived = self._calls.pop(each, {})
            if arrived:
                grown = self.program.grown(each)
                parts = {config: self.sets.union(some) for config, some in arrived.items()}
                if grown.chain.rules:
                    self._down(grown, grown.root, parts)

    def _down(self, grown: Grown, part: Part, incoming: Incoming) -> None:
        """Go down to the rules; packets that are alike to a part are taken together."""
        merged: dict[Config, list[Set]] = {}
        for config, some in incoming.items():
            merged.setdefault(project(config, part.touches | self.keep), []).append(some)
        here = {config: self.sets.union(some) for config, some in merged.items()}
        here = {config: some for config, some in here.items() if self._worth(grown, part, config, some)}
        if not here:
            return
        if part.halves is None:
            for config, some in here.items():
                self._leaf(grown, part.low, config, some)
        elif not part.touches:
            for config, some in here.items():
                self._flat(grown, part, config, some, [])
        else:
            first, second = part.halves
            self._down(grown, first, here)
            after: dict[Config, list[Set]] = {}
            for config, some in here.items():
                for exit_, left in self.program.summary(grown, first, self.context, config).items():
                    if exit_.way is Way.NEXT and exit_.config is not None:
                        after.setdefault(exit_.config, []).append(some & left)
            self._down(grown, second, {config: self.sets.union(some) for config, some in after.items()})

    def _worth(self, grown: Grown, part: Part, config: Config, some: Set) -> bool:
        if some == self.sets.none:
            return False
        return self.wanted is None or self.wanted(self.program.summary(grown, part, self.context, config), some)

    def _flat(self, grown: Grown, part: Part, config: Config, some: Set, before: list[Set]) -> None:
        """Go down where nothing but the header matters: what is left of a rule's match by those before it.

        That starts with the rule, which is small, and not with all packets that are left, which are not.
        """
        if not self._worth(grown, part, config, some):
            return
        if part.halves is None:
            self._left(grown, part.low, config, some, before)
            return
        first, second = part.halves
        self._flat(grown, first, config, some, before)
        left = [f for e, f in self.program.summary(grown, first, self.context, config).items() if e.way is Way.NEXT]
        if left:
            self._flat(grown, second, config, some, [*before, left[0]])

    def _left(self, grown: Grown, at: int, config: Config, some: Set, before: list[Set]) -> None:
        self.sets.tick()
        held, after, _ = self.program.matched(grown, at, self.context, config)
        for each in reversed(before):
            held &= each
            if held == self.sets.none:
                return
        self._report(grown, at, config, after, held & some)

    def _leaf(self, grown: Grown, at: int, config: Config, some: Set) -> None:
        self.sets.tick()
        held, after, _ = self.program.matched(grown, at, self.context, config)
        self._report(grown, at, config, after, held & some)

    def _report(self, grown: Grown, at: int, before: Config, after: Config, taken: Set) -> None:
        if taken == self.sets.none:
            return
        rule = grown.chain.rules[at]
        self.hit(Met(self.context, grown, at, before, after, taken))
        if rule.target.act in CALLS and not self.program.misled(grown.chain.name, rule):
            called = self.program.grown(rule.target.chain)
            inside = project(entering(called, after), called.root.touches | self.keep)
            self._calls.setdefault(rule.target.chain, {}).setdefault(inside, []).append(taken)


class Engine:
    """The tables of one or more hosts over one packet space, of one family.

    ``extra`` are the constants of a question. Raises SpaceTooLarge from any of its parts.
    """

    def __init__(
        self, models: Sequence[HostModel], family: Family, extra: Iterable[tuple[str, Ranges]] = (),
        *, seconds: float = SECONDS, nodes: int = 0,
    ) -> None:  # fmt: skip
        rules = [rule for model in models for rule in model.rules(family)]
        known = [name for model in models if model.addresses for name in model.addresses.interfaces]
        interfaces = (*(name for name in dict.fromkeys(known) if name != "lo"), "lo")
        local = [model.addresses for model in models if model.addresses is not None]
        self.family = family
        self.sets = Sets(fields_for(family, rules, extra, interfaces, local), len(rules), seconds=seconds, nodes=nodes)
        self.hosts = [Host(model, family, self.sets) for model in models]


def default_ref(stage: Stage) -> RuleRef:
    """Return the reference of a base chain's default."""
    default = stage.chain.default or "ACCEPT"
    return RuleRef(family=stage.family, table=stage.table.name, chain=stage.chain.name, rule=None, text=default)


__all__ = ["BASE", "Chain", "Ends", "Engine", "Host", "Incoming", "Met", "Route", "Taking", "default_ref"]
