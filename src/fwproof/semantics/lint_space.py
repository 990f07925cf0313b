"""What comes to each rule of a host's tables, by any way and in any state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fwproof.flow import CtState, Family
from fwproof.ruleset.model import Act, Table
from fwproof.semantics import route
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_chains import Program
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_parts import Way, view
from fwproof.semantics.bdd_taking import Met, Taking
from fwproof.semantics.bdd_walk import Engine, Host, Incoming, Route
from fwproof.semantics.model import HostModel
from fwproof.semantics.stages import Stage

PATHS = (
    route.Path(route.INBOUND), route.Path(route.THROUGH), route.Path(route.OUTBOUND),
    route.Path((*route.OUTBOUND, *route.INBOUND)),
)  # fmt: skip
"""Every way that a packet can take: in, through, out, and from the host to itself."""
CONFIGS = tuple(
    Config(state, direction, "given", 0 if state is CtState.NEW else "given")
    for state, direction in (
        (CtState.NEW, "original"), (CtState.ESTABLISHED, "original"), (CtState.ESTABLISHED, "reply"),
        (CtState.RELATED, "original"), (CtState.RELATED, "reply"), (CtState.INVALID, "original"),
        (CtState.UNTRACKED, "original"),
    )
)  # fmt: skip
"""Every state that conntrack gives, with any mark: programs on the host set marks too."""


@dataclass(slots=True)
class Visit:
    """A base chain in one context, what comes to it, and what comes to each chain that it leads to."""

    stage: Stage
    program: Program
    incoming: dict[Config, list[Set]] = field(default_factory=dict)
    reached: Mapping[str, Incoming] = field(default_factory=dict)

    def arrived(self) -> Incoming:
        """Return all that comes to the base chain; its parts are united once, in place."""
        for parts in self.incoming.values():
            parts[:] = [self.program.sets.union(parts)]
        return {config: parts[0] for config, parts in self.incoming.items()}


class Space:
    """Everything that the rules of a family meet. Raises SpaceTooLarge.

    ``blind`` are the tables that were not read whole: of their rules nothing is said.
    """

    def __init__(self, model: HostModel, family: Family) -> None:
        self.engine = Engine([model], family, lenient=True)
        self.host: Host = self.engine.hosts[0]
        self.sets = self.engine.sets
        self.visits: dict[tuple[int, str, tuple[bool, ...]], Visit] = {}
        self.met: dict[tuple[int, str, int], list[tuple[Visit, Met]]] = {}
        self.tables: dict[int, Table] = {}
        self.blind: set[int] = set()
        self.callers: dict[int, dict[str, list[tuple[str, int]]]] = {}
        for path in PATHS:
            self._arrive(self.host.route(path))
        for visit in self.visits.values():
            self._take(visit)

    def _arrive(self, way: Route) -> None:
        every = self.host.packets()
        for config in CONFIGS:
            arrivals, _ = way.flow({config: every}, last=False)
            unclear = False
            for at, stage in way.stages():
                program = self.host.program(stage.table)
                self.tables[id(stage.table)] = stage.table
                self.blind |= {id(stage.table)} if stage.blind else set()
                key = (id(stage.table), stage.chain.name, view(stage.context))
                visit = self.visits.setdefault(key, Visit(stage, program))
                # what a target that is not followed makes of a packet may be anything
                came = dict.fromkeys(CONFIGS, every) if unclear else arrivals.get(at, {})
                for each, some in came.items():
                    visit.incoming.setdefault(each, []).append(some)
                unclear = unclear or bool(stage.blind) or writes(stage.table)
                if at + 1 < len(way.items) and not unclear:
                    unclear = any(exit_.way is Way.UNKNOWN for exit_ in way.exits(stage, config))

    def _take(self, visit: Visit) -> None:
        def hit(met: Met) -> None:
            key = (id(visit.stage.table), met.grown.chain.name, met.at)
            self.met.setdefault(key, []).append((visit, met))

        taking = Taking(visit.program, visit.stage.context, hit, afterwards=True)
        taking.run(visit.stage.chain.name, visit.arrived())
        visit.reached = taking.reached


def writes(table: Table) -> bool:
    """Whether a table translates addresses."""
    acts = {rule.target.act for chain in table.chains.values() for rule in chain.rules}
    return bool(acts & {Act.SOURCE_NAT, Act.DESTINATION_NAT})


def chains_of(space: Space) -> Iterator[tuple[int, Table, str]]:
    """Yield every chain of every table that some way leads through."""
    for number, table in space.tables.items():
        if number in space.blind:
            continue
        for name in table.chains:
            yield number, table, name
