"""A smallest-possible set of packets that reaches every rule that can be reached.

A rule is reached where all of its conditions hold for a packet, so that its counter moves. For each rule the set of
packets that reach it is made as a decision diagram, over the header as it comes in; rules whose sets meet share a
packet. Every packet that is chosen is followed rule by rule by the walk of single packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.semantics.bdd import Set, guarded
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.cover_choose import Chooser, Option, Where, loose, options_of
from fwproof.semantics.cover_confirm import Passed, Walks
from fwproof.semantics.cover_found import Cover, Limits, Missed, Source, Why, Witness
from fwproof.semantics.cover_ground import cuts
from fwproof.semantics.cover_origins import Origins, cuts_of
from fwproof.semantics.cover_pick import Picker
from fwproof.semantics.cover_reach import Elements, Reach, Start
from fwproof.semantics.cover_why import reasons
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Disagreement, own_of
from fwproof.semantics.walk import TooLarge
from fwproof.semantics.witness import dressed

__all__ = ["Cover", "Limits", "Missed", "Source", "Why", "Witness", "cover"]

_DRAWS = 24
"""Packets of a set that are tried one by one."""


def cover(model: HostModel, family: Family, limits: Limits | None = None) -> Cover:
    """Return few packets that reach every rule and default that packets within ``limits`` reach.

    Raises SpaceTooLarge, and Disagreement where a packet does not reach, alone, what it was chosen for.
    """
    return guarded(lambda: Search(model, family, limits or Limits()).run())


@dataclass(slots=True)
class _Found:
    """A packet with the elements that it was chosen for, and all that it reaches."""

    witness: Witness
    certain: set[int] = field(default_factory=set)
    depends: set[int] = field(default_factory=set)


class Search:
    """The search for a cover; ``reach``, ``elements`` and ``sets`` are there for the reasons of what is missed."""

    def __init__(self, model: HostModel, family: Family, limits: Limits) -> None:
        self.model, self.family, self.limits = model, family, limits
        engine = Engine([model], family, [*cuts(model, family), *cuts_of(limits, family)])
        self.host, self.sets = engine.hosts[0], engine.sets
        self.origins = Origins(self.host)
        self.elements = Elements(model, family)
        self.reach = Reach(self.host, self.elements)
        self.walks = Walks(model, family, self.elements)
        self.picker = Picker(self.sets, family, own_of(model, family))
        self._numbers: dict[RuleRef, list[int]] = {}
        for number, element in enumerate(self.elements.all):
            self._numbers.setdefault(element.ref, []).append(number)

    def run(self) -> Cover:
        """Search, and say of everything that was not found why."""
        starts = list(self.origins.starts(self.limits))
        reached = [self.reach.of(start) for start in starts]
        real = not self.limits.everything
        options = options_of(self.sets, starts, reached, real=real)
        chooser = Chooser(self.sets, starts, options, real=real)
        # where nat writes something, single packets show what sets do not know: nothing that may be is left out then
        vague = loose(options, self.sets, reached) if self.host.asker.written else None
        apart = (chooser if vague is None else Chooser(self.sets, starts, vague, real=real)).apart()
        found = self._chosen(starts, chooser, apart, options)
        lost = set(options).difference(*(each.certain | each.depends for each in found))
        kept = _reduced(found)
        self._hold_apart(kept, set(apart))
        certain = {number for each in kept for number in each.certain}
        missed = self._asked(kept, certain)
        rest = set(range(len(self.elements.all))) - certain - set(missed)
        missed |= reasons(self, rest, lost)
        assert rest <= missed.keys(), "a rule is neither reached nor has a reason why not"
        return Cover(
            family=self.family, witnesses=tuple(each.witness for each in kept),
            at_least=len([number for number in apart if number not in lost]),
            missed=tuple(missed[number] for number in sorted(missed)), total=len(self.elements.all),
        )  # fmt: skip

    def _chosen(
        self, starts: Sequence[Start], chooser: Chooser, apart: Sequence[int], options: Mapping[int, Option]
    ) -> list[_Found]:
        found: list[_Found] = []
        for group in chooser.groups(apart):
            self.sets.tick()
            each = self.witness(starts, group.where, group.members, options, len(found))
            if each is None:
                # the oracles of a set need not agree with one another, so what was put together is tried alone
                for n in group.members:
                    found += filter(None, [self.drawn(starts, options[n].where, n, options, len(found))])
            else:
                found.append(each)
        return found

    def drawn(
        self, starts: Sequence[Start], where: Where, member: int, options: Mapping[int, Option], number: int = 0
    ) -> _Found | None:  # fmt: skip
        """Return a packet that reaches one element; several are tried where sets do not know all of what nat writes."""
        for draw in range(_DRAWS if self.host.asker.written else 1):
            found = self.witness(starts, where, [member], options, number, draw)
            if found is not None:
                return found
        return None

    def witness(  # noqa: PLR0913, PLR0917 - what a packet is chosen for
        self, starts: Sequence[Start], where: Where, members: Sequence[int], options: Mapping[int, Option],
        number: int = 0, draw: int = 0,
    ) -> _Found | None:  # fmt: skip
        """Return a packet that reaches all of some elements, None where the oracles do not allow it after all.

        Raises Disagreement where elements that are reached whatever the oracles say are not.
        """
        start, some = self._liked(starts, where)
        first = start.config.state in {CtState.NEW, CtState.UNTRACKED}
        flow, given = self.picker.pick(some, number, sent=start.hook is Hook.OUTPUT, first=first, draw=draw)
        hook, flow = self._dressed(start, flow)
        certain = {n for n in members if options[n].certain}
        flow, source = self._sourced(flow, hook)
        depends = set(members) - certain
        try:
            ways = list(self.walks.passed(flow, hook))
        except TooLarge:
            refs = [tuple(self.elements.all[n].ref for n in sorted(each)) for each in (certain, depends)]
            unsure = Witness(flow=flow, hook=hook, reaches=refs[0], depends=refs[1], given=tuple(given.items()),
                             source=source, confirmed=False)  # fmt: skip
            return _Found(unsure, certain, depends)
        sure = {n for ref in ways[0].certain for n in self._numbers[ref]} if ways else set()
        if not certain <= sure:
            self._disagree(flow, hook, certain - sure)
        way = next((each for each in ways if depends <= self._maybe(each) | sure), None)
        if way is None:
            return None
        asked = tuple(ref for ref in way.maybe if any(n in depends for n in self._numbers[ref]))
        made = Witness(flow=flow, hook=hook, reaches=way.certain, depends=asked, given=tuple(given.items()),
                       source=source)  # fmt: skip
        return _Found(made, sure, depends - sure)

    def _sourced(self, flow: Flow, hook: Hook) -> tuple[Flow, str]:
        """Return a packet with the interface of its source, which no rule tells from the chosen one, and its name."""
        source = self.origins.source_of(self.limits, flow, hook)
        if source is not None and source.interface is not None and flow.iif is not None:
            flow = replace(flow, iif=source.interface)
        return flow, source.name if source is not None else ""

    def _maybe(self, way: Passed) -> set[int]:
        return {n for ref in way.maybe for n in self._numbers[ref]}

    def _disagree(self, flow: Flow, hook: Hook, missing: set[int]) -> None:
        names = "; ".join(str(self.elements.all[n].ref) for n in sorted(missing))
        raise Disagreement(
            f"fwproof contradicts itself about {flow} at {hook}: over all packets it reaches {names}, alone it does "
            "not. This is a fault of fwproof; please report it with the rule tables."
        )

    def _hold_apart(self, found: Iterable[_Found], apart: set[int]) -> None:
        for each in found:
            both = apart & (each.certain | each.depends)
            if len(both) > 1:
                names = "; ".join(str(self.elements.all[n].ref) for n in sorted(both))
                raise Disagreement(
                    f"fwproof contradicts itself about {each.witness.flow}: over all packets none reaches two of "
                    f"{names}, alone it does. This is a fault of fwproof; please report it with the rule tables."
                )

    def _liked(self, starts: Sequence[Start], where: Where) -> tuple[Start, Set]:
        """Return the start and the packets to choose from: real ones, and of those such as people like to see."""
        for best in (True, False):
            for at, some in where.items():
                part = some & (starts[at].best if best else starts[at].real)
                if part != self.sets.none:
                    return starts[at], part
        at, some = next(iter(where.items()))
        return starts[at], some

    def _dressed(self, start: Start, flow: Flow) -> tuple[Hook, Flow]:
        """Return the hook that a packet is for, and the packet with the state and the interfaces that it has there."""
        hook = start.hook
        if hook is None:
            own = self.origins.ground.router.is_own(flow.dst)
            hook = Hook.INPUT if own else Hook.FORWARD
        before = flow.oif
        flow = dressed(flow, start.config, hook)
        if self.origins.ground.addresses is None and self.host.asker.written:
            flow = replace(flow, oif=before)  # nat may send it on, and no route says by which interface
        return hook, flow

    def _asked(self, found: Sequence[_Found], certain: set[int]) -> dict[int, Missed]:
        """Return what is reached on some answers only, with the answers."""
        missed: dict[int, Missed] = {}
        for each in found:
            needs = tuple(f"{name}: {'yes' if value else 'no'}" for name, value in each.witness.given)
            for number in each.depends - certain - set(missed):
                text = "a packet reaches it where what no header shows is so"
                missed[number] = Missed(
                    rule=self.elements.all[number].ref, why=Why.ORACLE, text=text, needs=needs,
                    example=each.witness.flow,
                )  # fmt: skip
        return missed


def _reduced(found: Sequence[_Found]) -> list[_Found]:
    """Leave out packets that reach nothing that no other one reaches; those that reach the least go first."""
    times: dict[tuple[int, bool], int] = {}
    for each in found:
        for key in _keys(each):
            times[key] = times.get(key, 0) + 1
    gone: set[int] = set()
    for each in sorted(found, key=lambda each: len(each.certain) + len(each.depends)):
        keys = list(_keys(each))
        if all(times[key] > 1 or (not key[1] and times.get((key[0], True))) for key in keys):
            gone.add(id(each))
            for key in keys:
                times[key] -= 1
    return [each for each in found if id(each) not in gone]


def _keys(each: _Found) -> Iterator[tuple[int, bool]]:
    yield from ((number, True) for number in each.certain)
    yield from ((number, False) for number in each.depends)
