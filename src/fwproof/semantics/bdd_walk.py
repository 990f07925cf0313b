"""Whole routes as sets: what comes to each base chain, and what is accepted in the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Family, Hook
from fwproof.ruleset.asks import Ranges
from fwproof.ruleset.model import Act, Table
from fwproof.semantics import order, route
from fwproof.semantics.bdd import SECONDS, Set, Sets
from fwproof.semantics.bdd_chains import Program
from fwproof.semantics.bdd_config import CT, NAT, UNKNOWN, Config, Touches
from fwproof.semantics.bdd_fields import fields_for
from fwproof.semantics.bdd_parts import Exits, Way
from fwproof.semantics.bdd_tests import Asker
from fwproof.semantics.bdd_turn import turn_of
from fwproof.semantics.model import HostModel
from fwproof.semantics.stages import Exit, Stage, Turn

Incoming = dict[Config, Set]
"""Packets on their way, by what is known of them beside their header."""
PATHS = {
    Hook.INPUT: route.Path(route.THROUGH),
    Hook.FORWARD: route.Path(route.THROUGH),
    Hook.OUTPUT: route.Path(route.OUTBOUND),
}
"""Where the packets of the three questions set out; where those that came in go is for routing to say, after nat."""


@dataclass(slots=True)
class Ends:
    """What becomes of packets: the sets are disjoint, and what is in none of them is dropped.

    ``outside`` are packets that the routing keeps off the way that was asked about.
    """

    accepted: Set
    outside: Set
    rejected: dict[str, Set] = field(default_factory=dict)
    unknown: dict[str, Set] = field(default_factory=dict)


class Host:
    """One host's tables of one family in an engine."""

    def __init__(self, model: HostModel, family: Family, sets: Sets, *, lenient: bool = False) -> None:
        self.model, self.family, self.sets, self.lenient = model, family, sets, lenient
        self.router = model.router(family)
        rules = model.rules(family)
        self.asker = Asker(sets, self.router, frozenset() if lenient else _written(model, family))
        self._programs: dict[int, Program] = {}
        acts = (rule.target for rule in rules if rule.target.act is Act.CHANGE)
        self.changes = frozenset(name for target in acts for name in target.changes)

    def program(self, table: Table) -> Program:
        """Return a table ready to be walked by sets."""
        if id(table) not in self._programs:
            self._programs[id(table)] = Program(table, self.asker, self.changes, lenient=self.lenient)
        return self._programs[id(table)]

    def packets(self) -> Set:
        """Return every packet; where fragments are put together before the rules, a late one is as the whole."""
        return self.sets.all

    def asked(self, hook: Hook, chosen: order.Chosen | None = None) -> Route:
        """Return the route of a question about a hook, as for :func:`~fwproof.semantics.reach.openings`.

        ``chosen`` is one of the orders of base chains of equal priority; without it, those chains are blind.
        """
        make = self.model.chains(self.family, PATHS[hook].hooks, chosen)

        def decide(places: route.Places) -> Turn:
            return turn_of(self.asker, hook, places)

        return Route(self, route.leaving(make, decide) if hook is Hook.OUTPUT else route.arriving(make, decide))

    def ways(self, hook: Hook) -> Iterator[tuple[Route, Set]]:
        """Yield the route of a question for each order that base chains may have, with the answers that choose it."""
        tried = self.model.orders(self.family, PATHS[hook].hooks)
        for number, chosen in enumerate(tried):
            condition = self.sets.all
            for question, holds in order.given(number, len(tried)):
                asked = self.sets.oracle(question.key, question.name)
                condition &= asked if holds else ~asked
            yield self.asked(hook, chosen), condition

    def route(self, path: route.Path) -> Route:
        """Return the base chains of a path, without the routing between them."""
        return Route(self, self.model.chains(self.family, path.hooks)(path))


def _written(model: HostModel, family: Family) -> frozenset[str]:
    """Return the fields that nat writes where a later rule can see it: source nat comes last but for native chains."""
    acts = {rule.target.act for rule in model.rules(family)}
    native = any(table.family for ruleset in model.rulesets.get(family, ()) for table in ruleset.tables.values())
    found = {"dst", "dport", "oif"} if Act.DESTINATION_NAT in acts else set()
    return frozenset(found | ({"src", "sport"} if native and acts & {Act.SOURCE_NAT, Act.DESTINATION_NAT} else set()))


class Route:
    """A way through a host, walked by sets; ``items`` are base chains, routing decisions and ends."""

    def __init__(self, host: Host, items: Sequence[Stage | Turn | Exit]) -> None:
        self.host, self.sets, self.items = host, host.sets, items
        self._survive: dict[tuple[int, Config], Set] = {}

    def stages(self) -> Iterator[tuple[int, Stage]]:
        """Yield the base chains with their places."""
        for at, item in enumerate(self.items):
            if isinstance(item, Stage):
                yield at, item

    def exits(self, stage: Stage, config: Config) -> Exits:
        """Return where packets leave a base chain that come to it with a config."""
        program = self.host.program(stage.table)
        if stage.chain.name not in stage.table.chains:
            return {}
        grown = program.grown(stage.chain.name)
        return program.summary(grown, grown.root, stage.context, config)

    def seen(self, stage: Stage, config: Config) -> Set:
        """Return the packets of a config that a base chain sees: nat only a first packet, and each side once."""
        if not stage.nat:
            return self.sets.all
        side = "dst" if stage.context.hook in {Hook.PREROUTING, Hook.OUTPUT} else "src"
        if side in config.nat.settled:
            return self.sets.none
        if config.state is CtState.NEW:
            return self.sets.all
        return self.host.asker.not_icmp if config.state is CtState.RELATED else self.sets.none

    def passes(self, stage: Stage, exits: Exits) -> Iterable[tuple[Config, Set]]:
        """Yield what a base chain lets through, its default included."""
        default = (stage.chain.default or "ACCEPT") == "ACCEPT"
        for exit_, some in exits.items():
            if exit_.way is Way.ACCEPT or (default and exit_.way in {Way.NEXT, Way.RETURN}):
                assert exit_.config is not None
                yield exit_.config, some

    def flow(self, start: Incoming, *, last: bool = True) -> tuple[dict[int, Incoming], Ends]:
        """Return what comes to each base chain, by its place, and what becomes of it.

        Unless ``last``, what a base chain at the very end of the way makes of it is left out.
        """
        ends = Ends(self.sets.none, self.sets.none)
        arrivals: dict[int, Incoming] = {}
        pending: dict[int, dict[Config, list[Set]]] = {0: {config: [some] for config, some in start.items()}}
        for at in range(len(self.items) + 1):
            united = {config: self.sets.union(some) for config, some in pending.pop(at, {}).items()}
            moving = {config: some for config, some in united.items() if some != self.sets.none}
            item = self.items[at] if at < len(self.items) else Exit()
            if isinstance(item, Exit):
                ends.accepted |= self.sets.union(list(moving.values()))
            elif isinstance(item, Turn):
                for config, some in moving.items():
                    rest = some
                    for to, later, part in _ways(item, config):
                        pending.setdefault(to, {}).setdefault(later, []).append(some & part)
                        rest &= ~part
                    ends.outside |= rest
            else:
                arrivals[at] = {config: some & self.seen(item, config) for config, some in moving.items()}
                if last or at + 1 < len(self.items):
                    self._through(item, moving, arrivals[at], pending.setdefault(at + 1, {}), ends)
        return arrivals, ends

    def _through(
        self, stage: Stage, moving: Incoming, arrived: Incoming, after: dict[Config, list[Set]], ends: Ends
    ) -> None:
        for config, some in arrived.items():
            if stage.blind:
                _gather(ends.unknown, stage.blind, some)
                continue
            after.setdefault(config, []).append(moving[config] & ~some)
            exits = self.exits(stage, config)
            for later, passed in self.passes(stage, exits):
                after.setdefault(later, []).append(some & passed)
            for exit_, part in exits.items():
                if exit_.way in {Way.REJECT, Way.UNKNOWN}:
                    _gather(ends.rejected if exit_.way is Way.REJECT else ends.unknown, exit_.detail, some & part)

    def survive(self, at: int, config: Config) -> Set:
        """Return the packets that are accepted in the end when they come to a place with a config."""
        item = self.items[at] if at < len(self.items) else Exit()
        if isinstance(item, Exit):
            return self.sets.all
        key = (at, config)
        if key not in self._survive:
            self._survive[key] = self._surviving(at, item, config)
        return self._survive[key]

    def _surviving(self, at: int, item: Stage | Turn, config: Config) -> Set:
        if isinstance(item, Turn):
            return self.sets.union([part & self.survive(to, later) for to, later, part in _ways(item, config)])
        seen = self.seen(item, config)
        if item.blind:
            return self.sets.none
        passed = self.passes(item, self.exits(item, config))
        through = self.sets.union([some & self.survive(at + 1, later) for later, some in passed])
        return through if seen == self.sets.all else seen.ite(through, self.survive(at + 1, config))

    def later(self, at: int) -> Touches:
        """Return what is read or written from a place on."""
        found: frozenset[str] = frozenset()
        for item in self.items[at:]:
            if isinstance(item, Turn):
                found |= {NAT} if self.host.asker.written else frozenset()
                found |= {UNKNOWN} if "ttl" in self.host.changes else frozenset()
            elif isinstance(item, Stage):
                program = self.host.program(item.table)
                if item.chain.name in item.table.chains:
                    found |= program.grown(item.chain.name).root.touches
                found |= {CT, NAT} if item.nat else frozenset()
        return found


def _ways(turn: Turn, config: Config) -> Iterable[tuple[int, Config, Set]]:
    for way in turn.decide(config):
        later, some = way.subject
        yield way.to, later, some


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
        routers = [model.router(family) for model in models]
        self.family = family
        fields = fields_for(family, rules, extra, interfaces, routers)
        self.sets = Sets(fields, len(rules), seconds=seconds, nodes=nodes)
        self.hosts = [Host(model, family, self.sets, lenient=lenient) for model in models]


def default_ref(stage: Stage) -> RuleRef:
    """Return the reference of a base chain's default."""
    default = stage.chain.default or "ACCEPT"
    return RuleRef(family=stage.family, table=stage.table.name, chain=stage.chain.name, rule=None, text=default)


def unread(model: HostModel, family: Family) -> tuple[str, ...]:
    """Return which tables of a family were not read whole, with the reasons, each once; what is known is asked."""
    found: dict[str, None] = {}
    for path in (*PATHS.values(), route.Path(route.INBOUND)):
        for stage in model.chains(family, path.hooks)(path):
            if stage.blind:
                where = f"table {stage.table.name}: " if stage.table.name else ""
                found[f"{where}{stage.blind}"] = None
    return tuple(found)
