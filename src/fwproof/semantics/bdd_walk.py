"""Whole routes as sets: what comes to each base chain, what is accepted in the end, and what each rule takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Family, Hook
from fwproof.ruleset.asks import Ranges
from fwproof.ruleset.model import Act, Table
from fwproof.semantics import route
from fwproof.semantics.bdd import SECONDS, Set, Sets
from fwproof.semantics.bdd_chains import Exits, Program, Way
from fwproof.semantics.bdd_tests import Asker, Config, Touches, fields_for
from fwproof.semantics.model import HostModel
from fwproof.semantics.walk import Stage

Incoming = dict[Config, Set]
"""Packets on their way, by what is known of them beside their header."""


@dataclass(slots=True)
class Ends:
    """What becomes of packets: the sets are disjoint, and what is in none of them is dropped."""

    accepted: Set
    rejected: dict[str, Set] = field(default_factory=dict)
    unknown: dict[str, Set] = field(default_factory=dict)


class Host:
    """One host's tables of one family in an engine."""

    def __init__(self, model: HostModel, family: Family, sets: Sets, *, lenient: bool = False) -> None:
        self.model, self.family, self.sets, self.lenient = model, family, sets, lenient
        self.asker = Asker(sets, family, model.addresses)
        self._programs: dict[int, Program] = {}
        acts = (rule.target for rule in model.rules(family) if rule.target.act is Act.CHANGE)
        self._changes = frozenset(name for target in acts for name in target.changes)

    def program(self, table: Table) -> Program:
        """Return a table ready to be walked by sets."""
        if id(table) not in self._programs:
            self._programs[id(table)] = Program(table, self.asker, self._changes, lenient=self.lenient)
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


class Engine:
    """The tables of one or more hosts over one packet space, of one family.

    ``extra`` are the constants of a question; ``lenient`` as for :class:`Program`. Raises SpaceTooLarge from any of
    its parts.
    """

    def __init__(  # noqa: PLR0913 - what an engine is made of, most of it by name
        self, models: Sequence[HostModel], family: Family, extra: Iterable[tuple[str, Ranges]] = (),
        *, lenient: bool = False, seconds: float = SECONDS, nodes: int = 0,
    ) -> None:  # fmt: skip
        rules = [rule for model in models for rule in model.rules(family)]
        known = [name for model in models if model.addresses for name in model.addresses.interfaces]
        interfaces = (*(name for name in dict.fromkeys(known) if name != "lo"), "lo")
        local = [model.addresses for model in models if model.addresses is not None]
        self.family = family
        fields = fields_for(family, rules, extra, interfaces, local)
        self.sets = Sets(fields, len(rules), seconds=seconds, nodes=nodes)
        self.hosts = [Host(model, family, self.sets, lenient=lenient) for model in models]


def default_ref(stage: Stage) -> RuleRef:
    """Return the reference of a base chain's default."""
    default = stage.chain.default or "ACCEPT"
    return RuleRef(family=stage.family, table=stage.table.name, chain=stage.chain.name, rule=None, text=default)
