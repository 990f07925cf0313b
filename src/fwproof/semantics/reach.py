"""Who reaches what: everything that the tables let through, or keep out, as boxes, by the rule that decides.

Answers are exact. Each comes with packets that show it, and every one of these is asked of the single-packet walk as
well: a disagreement between the two is an error and never an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from fwproof.decision import Decision, RuleRef
from fwproof.errors import FwproofError
from fwproof.flow import Address, CtState, Family, Flow, Hook
from fwproof.ruleset.asks import Ranges
from fwproof.semantics import deciders
from fwproof.semantics.bdd import Set, guarded
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Ends, Engine, Incoming, Route
from fwproof.semantics.deciders import Decider
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach_text import Room, room_set, rooms
from fwproof.semantics.ruling import REFUSED
from fwproof.semantics.space import Claim
from fwproof.semantics.walk import TooLarge
from fwproof.semantics.witness import dressed, follow, pick

_REPORT = "This is a fault of fwproof; please report it with the rule tables."
_WITNESSED = 12
"""Rooms of one opening that get a packet each."""


class Disagreement(FwproofError):
    """The engine over sets and the walk of one packet differ: a fault of fwproof, so nothing may be claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Packets that one rule decides: that it lets through or, where refusals are asked for, keeps out.

    ``refused``: it is what is kept out. ``certainty``: ``accept`` or ``refused`` for every value of the oracles,
    ``depends`` (on those of ``depends_on``) or ``unknown`` (a rule could not be read; ``depends_on`` says why).
    ``rooms`` are disjoint, and ``witnesses`` has a packet of each of the first of them; ``more``: there are others
    that are not listed. ``narrowed`` names header fields beside those of the rooms that have a part in it. ``states``
    are the conntrack states of these packets, ``onto`` is where nat sends them, in words, empty where it does not.
    """

    family: Family
    hook: Hook
    by: RuleRef | None
    certainty: str
    rooms: tuple[Room, ...]
    more: bool
    narrowed: tuple[str, ...]
    witnesses: tuple[Flow, ...]
    depends_on: tuple[str, ...] = ()
    states: tuple[CtState, ...] = (CtState.NEW,)
    onto: str = ""
    refused: bool = False

    @property
    def witness(self) -> Flow:
        """One packet that shows it."""
        return self.witnesses[0]

    def lines(self) -> list[str]:
        """Return a line for each room that has a packet to show it, and one more for any others."""
        sent = f" (sent on to {self.onto} by nat)" if self.onto else ""
        how = f" ({self.certainty}: {', '.join(self.depends_on)})" if self.depends_on else ""
        verb = "refused by" if self.refused else "let in by"
        who = f"{verb} {self.by or 'no rule at all'}"
        found = [f"{room}{sent}{how}, {who}; for example {witness}"
                 for room, witness in zip(self.rooms, self.witnesses, strict=False)]  # fmt: skip
        hidden = len(self.rooms) - len(found)
        return [*found, f"and more packets {who}"] if hidden or self.more else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a question found; ``unlisted`` counts the openings beyond those that were asked for.

    ``unknown``: some packets, listed or not, meet a rule that could not be read.
    """

    openings: tuple[Opening, ...]
    unlisted: int = 0
    unknown: bool = False


@dataclass(slots=True)
class _Found:
    """What one rule decides, over all states and orders that were asked about."""

    by: RuleRef | None
    certainty: str
    some: Set
    reasons: tuple[str, ...] = ()
    onto: str = ""
    configs: dict[Config, Set] = field(default_factory=dict)


class Asked:
    """One question: its packets in an engine, and what was found so far, by rule."""

    def __init__(  # noqa: PLR0913 - what a question is made of
        self, model: HostModel, hook: Hook, family: Family, claim: Claim, outside: Iterable[Claim], *, loopback: bool
    ) -> None:  # fmt: skip
        inner, others = claim.ranges(family), [each.ranges(family) for each in outside]
        cuts = [item for ranges in (inner, *others) for item in ranges.items()]
        self.engine = Engine([model], family, cuts)
        self.host, self.sets, self.hook = self.engine.hosts[0], self.engine.sets, hook
        start = self.host.packets() & asked_for(self.engine, inner.items(), hook, loopback=loopback)
        if claim.interfaces is not None:
            start &= self.sets.words("oif" if hook is Hook.OUTPUT else "iif", claim.interfaces.__contains__)
        if claim.leaving is not None:
            start &= self.sets.words("oif", claim.leaving.__contains__)
        for ranges in others:
            start &= ~asked_for(self.engine, ranges.items(), hook, loopback=True)
        self.start = start
        self.expected: Collection[Decision] = {Decision.ACCEPT}
        self.found: dict[tuple[RuleRef | None, str, str, tuple[str, ...]], _Found] = {}

    def walked(self, config: Config) -> list[tuple[Route, dict[int, Incoming], Ends, Set]]:
        """Walk the packets of a config, in each order that base chains may have; with the packets of each walk."""
        walks = []
        for route, condition in self.host.ways(self.hook):
            start = self.start & condition
            walks.append((route, *route.flow({config: start}), start))
        return walks

    def add(self, config: Config, who: Decider, certainty: str, some: Set, reasons: tuple[str, ...] = ()) -> None:
        """Note packets of a rule; those of one kind are one finding."""
        if some == self.sets.none:
            return
        key = (who.by, certainty, who.onto, reasons if certainty == "unknown" else ())
        known = self.found.setdefault(key, _Found(who.by, certainty, self.sets.none, onto=who.onto))
        known.some |= some
        known.reasons = tuple(dict.fromkeys((*known.reasons, *reasons)))
        known.configs[config] = known.configs.get(config, self.sets.none) | some

    def answer(self, most: int) -> Answer:
        """Return what was found, with packets that the walk of single packets has confirmed."""
        found = list(self.found.values())
        return Answer(
            openings=tuple(self._opening(each) for each in found[:most]),
            unlisted=max(0, len(found) - most), unknown=any(each.certainty == "unknown" for each in found),
        )  # fmt: skip

    def _opening(self, found: _Found) -> Opening:
        sets, hook = self.sets, self.hook
        listed, more, narrowed = rooms(sets, found.some, self.host.family, hook)
        expected = {Decision.UNKNOWN} if found.certainty == "unknown" else self.expected
        vague = bool(sets.vague) and not sets.vague.isdisjoint(sets.asked(found.some))
        witnesses = []
        for room in listed[:_WITNESSED]:
            flow, plain = self._witness(found, room_set(sets, room, hook))
            # single packets have no extension headers, and show more of what nat writes than sets do
            if plain and not vague:
                # which rule of a ring of calls is to blame depends on where one enters it
                by = None if found.certainty == "unknown" else found.by
                confirm(self.host.model, flow, hook, expected, by)
            witnesses.append(flow)
        states = tuple(dict.fromkeys(config.state for config in found.configs))
        return Opening(
            family=self.host.family, hook=hook, by=found.by, certainty=found.certainty, rooms=listed, more=more,
            narrowed=narrowed, witnesses=tuple(witnesses), depends_on=found.reasons, states=states,
            onto=found.onto, refused=self.expected == REFUSED,
        )  # fmt: skip

    def _witness(self, found: _Found, room: Set) -> tuple[Flow, bool]:
        """Return a packet of a room, and whether it has no extension headers."""
        parts = [(config, some & room) for config, some in found.configs.items() if some & room != self.sets.none]
        if not parts:
            raise Disagreement(f"fwproof contradicts itself: no packet is in a box of {found.by}. {_REPORT}")
        plain = [(config, self.sets.plain(some)) for config, some in parts]
        real = [part for part in plain if part[1] != self.sets.none]
        config, some = (*real, *parts)[0]
        flow = pick(self.sets, some, self.host.router, self.hook, onto=bool(found.onto))
        return dressed(flow, config, self.hook), bool(real)


def openings(  # noqa: PLR0913 - a question has these parts, all but three by name
    model: HostModel, hook: Hook, family: Family, *, claim: Claim | None = None, outside: Iterable[Claim] = (),
    states: Sequence[CtState] = (CtState.NEW,), loopback: bool = False, most: int = 100,
) -> Answer:  # fmt: skip
    """Return what a path lets through of the packets of ``claim`` that are in no claim of ``outside``.

    At most ``most`` openings are told in full. Marks start as 0. Raises SpaceTooLarge, and Disagreement when a witness
    does not stand up to the single-packet walk.
    """

    def work() -> Answer:
        asked = Asked(model, hook, family, claim or Claim(), outside, loopback=loopback)
        sets = asked.sets
        for config in map(Config, states):
            walks = asked.walked(config)
            certain = sets.must(sets.union([ends.accepted for _, _, ends, _ in walks]))
            for route, arrivals, ends, _ in walks:
                accepted, unknown = deciders.accepted(route, arrivals, ends)
                for decider, some in accepted.items():
                    asked.add(config, decider, "accept", some & certain)
                    rest = some & ~certain
                    asked.add(config, decider, "depends", rest, sets.asked(rest))
                for (ref, reason), some in unknown.items():
                    asked.add(config, Decider(ref), "unknown", some, (reason,))
        return asked.answer(most)

    return guarded(work)


def refusals(  # noqa: PLR0913 - a question has these parts, all but four by name
    model: HostModel, hook: Hook, family: Family, claim: Claim, *, answers: bool = False, most: int = 100
) -> Answer:
    """Return which packets of ``claim`` are refused, whatever a rate says, by the rule that refuses them.

    They are those of new connections or, with ``answers``, of answers in connections that stand. ``depends`` are
    those that an oracle other than a rate may refuse. Raises as :func:`openings`.
    """
    config = Config(CtState.ESTABLISHED, "reply", connmark="given") if answers else Config()

    def work() -> Answer:
        asked = Asked(model, hook, family, claim, (), loopback=False)
        asked.expected, sets = REFUSED, asked.sets
        walks = asked.walked(config)
        kept_out = sets.union([
            start & ~sets.union([ends.accepted, ends.outside, *ends.unknown.values()]) for _, _, ends, start in walks
        ])  # fmt: skip
        always = sets.whatever_rates(kept_out)
        certain = sets.must(always)
        for route, arrivals, ends, start in walks:
            for ref, some in deciders.refused(route, arrivals, always & start).items():
                told = sets.plain(some) if claim.ordinary else some
                asked.add(config, Decider(ref), "refused", told & certain)
                rest = some & ~certain
                asked.add(config, Decider(ref), "depends", told & rest, sets.asked(sets.without_rates(rest)))
            for (ref, reason), some in deciders.accepted(route, arrivals, ends)[1].items():
                asked.add(config, Decider(ref), "unknown", some, (reason,))
        return asked.answer(most)

    return guarded(work)


def asked_for(engine: Engine, ranges: Iterable[tuple[str, Ranges]], hook: Hook, *, loopback: bool) -> Set:
    """Return the packets that a question is about."""
    sets = engine.sets
    found = sets.all
    for name, spans in ranges:
        found &= sets.within(name, spans)
    if not loopback:
        found &= sets.words("oif" if hook is Hook.OUTPUT else "iif", lambda name: name != "lo")
    return found


def own_of(model: HostModel, family: Family) -> tuple[Address, ...]:
    """Return the addresses of a host that its peers use."""
    if model.addresses is None:
        return ()
    return tuple(a for a in model.addresses.of(family) if not (a.is_loopback or a.is_link_local))


def confirm(
    model: HostModel, flow: Flow, hook: Hook, expected: Collection[Decision], by: RuleRef | None = None
) -> None:
    """Ask the walk of single packets about a witness; raises Disagreement when it says something else."""
    try:
        leaves = follow(model, flow, hook)
    except TooLarge:
        return  # one packet meets more combinations than that walk follows; it says nothing against it
    said = [leaf for leaf in leaves if leaf.decision in expected]
    if not said or (by is not None and by not in {leaf.by for leaf in said}):
        found = sorted({f"{leaf.decision} by {leaf.by}" for leaf in leaves})
        wanted = " or ".join(sorted(expected))
        raise Disagreement(
            f"fwproof contradicts itself about {flow} at {hook}: over all packets it is {wanted} by {by}, alone it "
            f"is {'; '.join(found)}. {_REPORT}"
        )
