"""Who reaches what: everything a path lets through, by the rule that lets it in, over the whole packet space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fwproof.decision import Decision, RuleRef
from fwproof.errors import FwproofError
from fwproof.flow import Address, CtState, Family, Flow, Hook
from fwproof.semantics.bdd import Set, guarded
from fwproof.semantics.bdd_calls import CALLS
from fwproof.semantics.bdd_chains import Exits, Way
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_taking import Met, Taking
from fwproof.semantics.bdd_walk import Engine, Host, Incoming, Route, default_ref
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach_text import Room, rooms
from fwproof.semantics.space import Claim
from fwproof.semantics.stages import Stage
from fwproof.semantics.walk import TooLarge
from fwproof.semantics.witness import dressed, follow, pick


class Disagreement(FwproofError):
    """The engine over sets and the walk of one packet differ: a fault of fwproof, so nothing may be claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Packets that one rule lets through.

    ``certainty``: ``accept``, ``depends`` (on the oracles of ``depends_on``) or ``unknown`` (a rule could not be
    read; ``depends_on`` says why). ``rooms`` are disjoint; ``more``: there are others that are not listed.
    ``narrowed`` names header fields beside those of the rooms that have a part in it. ``witness`` is one packet.
    """

    family: Family
    hook: Hook
    by: RuleRef | None
    certainty: str
    rooms: tuple[Room, ...]
    more: bool
    narrowed: tuple[str, ...]
    witness: Flow
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a question found; ``unlisted`` counts the openings beyond those that were asked for.

    ``unknown``: some packets, listed or not, meet a rule that could not be read.
    """

    openings: tuple[Opening, ...]
    unlisted: int = 0
    unknown: bool = False


def openings(  # noqa: PLR0913 - a question has these parts, all but three by name
    model: HostModel, hook: Hook, family: Family, *, claim: Claim | None = None, state: CtState = CtState.NEW,
    loopback: bool = False, most: int = 100,
) -> Answer:  # fmt: skip
    """Return what a path lets through of the packets of ``claim``, at most ``most`` openings of them in full.

    Marks start as 0. Raises SpaceTooLarge, and Disagreement when a witness does not stand up to the single-packet
    walk.
    """

    def work() -> Answer:
        ranges = (claim or Claim()).ranges(family)
        engine = Engine([model], family, ranges.items())
        host = engine.hosts[0]
        route = host.asked(hook)
        config = Config(state)
        start = host.packets() & asked_for(engine, ranges.items(), hook, loopback=loopback)
        arrivals, ends = route.flow({config: start})
        certain = engine.sets.must(ends.accepted)
        found = list(_found(route, arrivals, certain))
        shown = [_opening(host, hook, config, each) for each in found[:most]]
        unknown = any(each.certainty == "unknown" for each in found)
        return Answer(openings=tuple(shown), unlisted=max(0, len(found) - most), unknown=unknown)

    return guarded(work)


def asked_for(
    engine: Engine, ranges: Iterable[tuple[str, tuple[tuple[int, int], ...]]], hook: Hook, *, loopback: bool
) -> Set:
    """Return the packets that a question is about."""
    sets = engine.sets
    found = sets.all
    for field, spans in ranges:
        found &= sets.within(field, spans)
    if not loopback:
        found &= sets.words("oif" if hook is Hook.OUTPUT else "iif", lambda name: name != "lo")
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    by: RuleRef | None
    certainty: str
    some: Set
    reasons: tuple[str, ...] = ()


def _found(route: Route, arrivals: dict[int, Incoming], certain: Set) -> Iterator[_Found]:
    """Yield what each rule lets in: for certain, then what depends; and what meets a rule that is not understood."""
    sets = route.sets
    accepted, unknown = deciders(route, arrivals)
    for ref, some in accepted.items():
        if not sets.labels:
            yield _Found(ref, "accept", some)
            continue
        sure, rest = some & certain, some & ~certain
        if sure != sets.none:
            yield _Found(ref, "accept", sure)
        if rest != sets.none:
            yield _Found(ref, "depends", rest, sets.asked(rest))
    for (ref, reason), some in unknown.items():
        yield _Found(ref, "unknown", some, (reason,))


Accepted = dict[RuleRef | None, Set]
Unknown = dict[tuple[RuleRef | None, str], Set]
_Ranked = dict[tuple[RuleRef | None, bool], Set]
"""What is accepted by a rule of a base chain that is, or is not, where a host's rules usually decide."""


def deciders(route: Route, arrivals: dict[int, Incoming]) -> tuple[Accepted, Unknown]:
    """Return what is accepted in the end by the rule that decides it, and what meets rules that are unknown.

    Of several base chains that accept, the main one's decides, then a rule rather than a default, then the last, as
    for single packets.
    """
    sets = route.sets
    ranked: _Ranked = {}
    unknown: Unknown = {}
    looked_at = False
    for at, stage in route.stages():
        looked_at = True
        if stage.blind:
            came = sets.union(list(arrivals.get(at, {}).values()))
            unknown[None, stage.blind] = unknown.get((None, stage.blind), sets.none) | came
            continue
        ranked = _decisive(route, ranked, _stage(route, at, stage, arrivals.get(at, {}), unknown))
    accepted: Accepted = {} if looked_at else {None: sets.all}
    for (ref, _), some in ranked.items():
        accepted[ref] = accepted.get(ref, sets.none) | some
    return (
        {ref: some for ref, some in accepted.items() if some != sets.none},
        {key: some for key, some in unknown.items() if some != sets.none},
    )


def _stage(route: Route, at: int, stage: Stage, arrived: Incoming, unknown: Unknown) -> _Ranked:
    """Return what a base chain lets through and all later ones accept, by rule."""
    sets = route.sets
    program = route.host.program(stage.table)
    found: dict[RuleRef | None, list[Set]] = {}

    def hit(met: Met) -> None:
        called = met.rule.target.act in CALLS and not program.misled(met.grown.chain.name, met.rule)
        for exit_, some in () if called else program.applied(met.grown, met.rule, stage.context, met.after):
            if exit_.way is Way.ACCEPT and exit_.config is not None:
                through = met.taken & some & route.survive(at + 1, exit_.config)
                found.setdefault(met.rule.ref, []).append(through)
            elif exit_.way is Way.UNKNOWN:
                key = (met.rule.ref, exit_.detail)
                unknown[key] = unknown.get(key, sets.none) | (met.taken & some)

    def wanted(exits: Exits, some: Set) -> bool:
        return any(e.way in {Way.ACCEPT, Way.UNKNOWN} and f & some != sets.none for e, f in exits.items())

    Taking(program, stage.context, hit, keep=route.later(at + 1), wanted=wanted).run(stage.chain.name, arrived)
    if (stage.chain.default or "ACCEPT") == "ACCEPT":
        for config, some in arrived.items():
            for exit_, left in route.exits(stage, config).items():
                if exit_.way in {Way.NEXT, Way.RETURN} and exit_.config is not None:
                    through = some & left & route.survive(at + 1, exit_.config)
                    found.setdefault(default_ref(stage), []).append(through)
    return {(ref, stage.main): sets.union(parts) for ref, parts in found.items()}


def _decisive(route: Route, before: _Ranked, new: _Ranked) -> _Ranked:
    if not before:
        return new
    sets = route.sets
    kept = {key: some & ~sets.union([n for k, n in new.items() if _rank(k) >= _rank(key)])
            for key, some in before.items()}  # fmt: skip
    stronger: dict[tuple[bool, bool], Set] = {}
    for rank in {_rank(key) for key in new}:
        stronger[rank] = sets.union([some for key, some in before.items() if _rank(key) > rank])
    return kept | {key: some & ~stronger[_rank(key)] for key, some in new.items()}


def _rank(key: tuple[RuleRef | None, bool]) -> tuple[bool, bool]:
    ref, main = key
    return main, ref is not None and ref.rule is not None


def own_of(model: HostModel, family: Family) -> tuple[Address, ...]:
    """Return the addresses of a host that its peers use."""
    if model.addresses is None:
        return ()
    return tuple(a for a in model.addresses.of(family) if not (a.is_loopback or a.is_link_local))


def _opening(host: Host, hook: Hook, config: Config, found: _Found) -> Opening:
    sets, family = host.sets, host.family
    own = () if hook is Hook.FORWARD else own_of(host.model, family)
    plain = sets.plain(found.some)
    shown = found.some if plain == sets.none else plain
    flow = dressed(pick(sets, shown, family, own, sent=hook is Hook.OUTPUT), config, hook)
    if plain != sets.none:  # a single packet has no extension headers, so nothing can be asked of others
        unknown = found.certainty == "unknown"
        # which rule of a ring of calls is to blame depends on where one enters it
        by = None if unknown else found.by
        confirm(host.model, flow, hook, Decision.UNKNOWN if unknown else Decision.ACCEPT, by)
    listed, more, narrowed = rooms(sets, found.some, family, hook)
    return Opening(
        family=family, hook=hook, by=found.by, certainty=found.certainty, rooms=listed, more=more,
        narrowed=narrowed, witness=flow, depends_on=found.reasons,
    )  # fmt: skip


def confirm(model: HostModel, flow: Flow, hook: Hook, expected: Decision, by: RuleRef | None = None) -> None:
    """Ask the walk of single packets about a witness; raises Disagreement when it says something else."""
    try:
        leaves = follow(model, flow, hook)
    except TooLarge:
        return  # one packet meets more combinations than that walk follows; it says nothing against it
    said = [leaf for leaf in leaves if leaf.decision is expected]
    if not said or (by is not None and by not in {leaf.by for leaf in said}):
        found = sorted({f"{leaf.decision} by {leaf.by}" for leaf in leaves})
        raise Disagreement(
            f"fwproof contradicts itself about {flow} at {hook}: over all packets it is {expected} by {by}, alone it "
            f"is {'; '.join(found)}. This is a fault of fwproof; please report it with the rule tables."
        )
