"""Where the packets of a cover set out: from the wire or the host, within limits, in each state, with each mark."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property

from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.ruleset.asks import Ranges
from fwproof.ruleset.model import Act
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Host
from fwproof.semantics.cover_found import Limits, Source
from fwproof.semantics.cover_ground import Ground
from fwproof.semantics.cover_marks import Marks
from fwproof.semantics.cover_reach import Elements, Reach, Region, Start
from fwproof.semantics.cover_roads import span
from fwproof.semantics.lint_space import CONFIGS
from fwproof.semantics.plausible import atom_of
from fwproof.semantics.witness import point

_STATES = (
    (CtState.NEW, "original"), (CtState.INVALID, "original"), (CtState.UNTRACKED, "original"),
    (CtState.ESTABLISHED, "original"), (CtState.ESTABLISHED, "reply"), (CtState.RELATED, "original"),
    (CtState.RELATED, "reply"),
)  # fmt: skip
"""Every state that conntrack gives, with the directions of its packets; first those that need no connection before."""
_TOGETHER = 32
"""Marks that are looked at with the same tables."""


def configs(states: Collection[CtState]) -> list[Config]:
    """Return what is known of packets of some states: their marks are 0."""
    return [Config(state, direction) for state, direction in _STATES if state in states]


def cuts_of(limits: Limits, family: Family) -> list[tuple[str, Ranges]]:
    """Return where the fields have to be cut for limits."""
    networks = [("src", n) for source in limits.sources or () for n in source.networks or ()]
    networks += [("dst", n) for source in limits.sources or () for n in source.destinations or ()]
    networks += [("dst", n) for n in limits.destinations or ()]
    shapes = [(name, ranges) for shape in limits.shapes or () for name, ranges in shape.items() if name != "flags"]
    return [(name, (span(n),)) for name, n in networks if Family.of(n) is family] + shapes


class Origins:
    """Makes the starts of packets for one host; ``ground`` is what they are made from."""

    def __init__(self, host: Host) -> None:
        self.model, self.family, self.sets = host.model, host.family, host.sets
        self.ground = self._grounded(host)

    def _grounded(self, host: Host) -> Ground:
        """Return the ground of a host; what it sends to itself comes in with the source that nat has written."""
        if any(rule.target.act is Act.SOURCE_NAT for rule in self.model.rules(self.family)):
            host.asker.written |= {"src", "sport"}
        return Ground(host)

    @cached_property
    def marks(self) -> Marks:
        """The marks that may make a difference."""
        return Marks.of(self.model.rules(self.family))

    def starts(
        self, limits: Limits, wanted: Iterable[Config] | None = None, ground: Ground | None = None
    ) -> Iterator[Start]:
        """Yield where packets within limits set out: from the wire for each hook that it may lead to, and from here.

        ``wanted`` is what is known of them, in place of the states of the limits.
        """
        ground = ground or self.ground
        every = ground.host.packets() & self._destinations(limits) & self._shapes(limits)
        wire, home = (self._sources(limits, itself=itself) & every for itself in (False, True))
        hooks = [None] if ground.addresses is not None else [Hook.INPUT, Hook.FORWARD]
        ways = [(hook, ground.arriving(hook), ground.at_wire(hook) & wire) for hook in hooks]
        ways.append((Hook.OUTPUT, ground.sent(), ground.at_home() & home))
        for config in configs(limits.states) if wanted is None else wanted:
            for hook, way, some in ways:
                if some != self.sets.none:
                    real = ground.real(config, hook)
                    yield Start(hook, config, way, some, real, real & ground.liked(config, hook))

    def marked(
        self, limits: Limits, left: set[int], reach: Reach, elements: Elements
    ) -> Iterator[tuple[Start, dict[int, Region]]]:
        """Yield starts that have a mark before the first rule, with what they reach of the elements ``left``.

        Those that are reached are taken out of ``left``; ``reach`` tells what some mark may reach at all.
        """
        for config in (each for each in CONFIGS if each.state in limits.states):
            marks = self.marks.on(config)
            hoped = {start.hook: set(reach.of(start, left)) for start in self.starts(limits, [config] if marks else [])}
            for at in range(0, len(marks), _TOGETHER):
                if not left & set().union(*hoped.values()):
                    break
                # what is known of each mark is kept in a host's tables, and would become too much
                ground = self._grounded(Host(self.model, self.family, self.sets))
                fresh = Reach(ground.host, elements)
                for start in self.starts(limits, marks[at : at + _TOGETHER], ground):
                    regions = fresh.of(start, hoped.get(start.hook, set()) & left)
                    left -= set(regions)
                    if regions:
                        yield start, regions

    def source_of(self, limits: Limits, flow: Flow, hook: Hook) -> Source | None:
        """Return the source that a packet is from, None where there are no limits to sources."""
        for source in limits.sources or ():
            if source.itself == (hook is Hook.OUTPUT) and (
                source.itself or point(self.sets, flow) & self._from(source) != self.sets.none):  # fmt: skip
                return source
        return None

    def _destinations(self, limits: Limits) -> Set:
        if limits.destinations is None:
            return self.sets.all
        return self.sets.within("dst", [span(n) for n in limits.destinations if Family.of(n) is self.family])

    def _shapes(self, limits: Limits) -> Set:
        if limits.shapes is None:
            return self.sets.all
        return self.sets.union([self._shape(shape) for shape in limits.shapes])

    def _shape(self, shape: Mapping[str, Ranges]) -> Set:
        found = self.sets.all
        for name, ranges in shape.items():
            found &= self.sets.within(name, ranges)
        return found

    def _sources(self, limits: Limits, *, itself: bool) -> Set:
        if limits.sources is None:
            return self.sets.all
        return self.sets.union([self._from(source) for source in limits.sources if source.itself == itself])

    def _from(self, source: Source) -> Set:
        found = self.sets.all
        if source.networks is not None:
            found = self.sets.within("src", [span(n) for n in source.networks if Family.of(n) is self.family])
        if source.interface is not None and not source.itself:
            at = atom_of(self.sets.fields["iif"], source.interface)
            found &= self.sets.none if at is None else self.sets.within("iif", ((at, at),))
        if source.destinations is not None:
            found &= self.sets.within("dst", [span(n) for n in source.destinations if Family.of(n) is self.family])
        return found
