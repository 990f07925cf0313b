"""What became reachable and what stopped being, from one set of tables to another: all packets, on every path.

Both sets of tables are in one engine, so that equal means equal: for every packet, in every conntrack state, with any
mark, and for every answer of what no header decides. A rate with other parameters is another rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from fwproof.decision import Decision, RuleRef
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.semantics.bdd import Set, guarded
from fwproof.semantics.bdd_config import CONNMARK, MARK, Config
from fwproof.semantics.bdd_walk import PATHS, Ends, Engine, Host, unread
from fwproof.semantics.deciders import rules_of
from fwproof.semantics.diff_effects import effects
from fwproof.semantics.lint_space import CONFIGS
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import asked_for, confirm
from fwproof.semantics.reach_text import Room, rooms
from fwproof.semantics.space import Claim
from fwproof.semantics.walk import TooLarge
from fwproof.semantics.witness import dressed, follow, pick


class Kind(StrEnum):
    """What changed. ``answer``: refused before and after, but the sender is told something else."""

    REACHABLE = "became-reachable"
    UNREACHABLE = "stopped-being-reachable"
    ANSWER = "refused-otherwise"
    UNKNOWN = "not-known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Packets that are decided otherwise than before: disjoint rooms, and one packet.

    ``states`` are the conntrack states for which it is so (a direction is named where it is not the original).
    ``before`` and ``after`` say what happens to the witness and by which rule; ``depends_on`` names what else has
    a part in it. ``chosen`` is the place of the selection that it belongs to.
    """

    kind: Kind
    family: Family
    hook: Hook
    states: tuple[str, ...]
    rooms: tuple[Room, ...]
    more: bool
    witness: Flow
    before: tuple[str, RuleRef | None]
    after: tuple[str, RuleRef | None]
    depends_on: tuple[str, ...] = ()
    chosen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Some changes: of a kind, by the text of the rule that lets packets in (or let them), within any of ``claims``.

    What it leaves open is any: an empty ``rule``, no ``hook``, no ``claims``. A change that goes beyond the claims is
    divided. What is not known is in no selection.
    """

    kind: Kind
    hook: Hook | None = None
    rule: str = ""
    claims: tuple[Claim, ...] = ()

    def fits(self, kind: Kind, hook: Hook, ref: RuleRef | None) -> bool:
        """Whether changes of a kind by a rule are meant, as far as the packets are."""
        by_rule = not self.rule or (ref is not None and ref.rule is not None and words(ref.text) == words(self.rule))
        return kind is self.kind and self.hook in {None, hook} and by_rule


def words(text: str) -> str:
    """Return a rule's text as it is compared: spaces do not count."""
    return " ".join(text.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that differs in one family.

    ``effects`` are rules that mark, log or translate, in words; ``blind`` is what was not read, of which nothing can
    be said.
    """

    family: Family
    changes: tuple[Change, ...]
    unlisted: int = 0
    effects: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both sets of tables mean the same, as far as rule tables tell."""
        return not (self.changes or self.unlisted or self.effects or self.blind)


def compare(
    old: HostModel, new: HostModel, family: Family, *, most: int = 50, selections: Sequence[Selection] = ()
) -> Comparison:  # fmt: skip
    """Return how two sets of tables differ in a family, at most ``most`` changes of them in full.

    What is in one of ``selections``, the first that fits, is a change of its own; those in none come first.

    Raises SpaceTooLarge, and Disagreement when a witness does not stand up to the single-packet walk.
    """
    blind = [reason for model in (old, new) for reason in model.blind.get(family, ("its rules were not read",))]
    if blind:
        return Comparison(family=family, changes=(), blind=tuple(dict.fromkeys(blind)))

    def work() -> Comparison:
        cuts = [item for one in selections for claim in one.claims for item in claim.ranges(family).items()]
        engine = Engine([old, new], family, cuts)
        found = [part for hook in PATHS for each in _at(engine, hook) for part in _divided(engine, each, selections)]
        found.sort(key=lambda each: each.chosen is not None)
        changes = tuple(_change(engine, each) for each in found[:most])
        parts = tuple(dict.fromkeys(reason for model in (old, new) for reason in unread(model, family)))
        unlisted = max(0, len(found) - most)
        return Comparison(family=family, changes=changes, unlisted=unlisted, blind=parts,
                          effects=tuple(effects(old, new, family)))  # fmt: skip

    return guarded(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    kind: Kind
    hook: Hook
    ref: RuleRef | None
    configs: tuple[Config, ...]
    some: Set
    chosen: int | None = None


def _at(engine: Engine, hook: Hook) -> Iterator[_Found]:
    """Yield what differs on a path, by the rule that lets it in; states that differ alike are one."""
    alike: dict[tuple[Kind, RuleRef | None, Set], list[Config]] = {}
    for config in CONFIGS:
        ends = [host.asked(hook).flow({config: host.packets()})[1] for host in engine.hosts]
        for kind, some in _kinds(engine, *ends):
            side = engine.hosts[kind is not Kind.UNREACHABLE]
            for ref, part in _by_rule(side, hook, config, some, kind):
                alike.setdefault((kind, ref, part), []).append(config)
    for (kind, ref, part), configs in alike.items():
        yield _Found(kind=kind, hook=hook, ref=ref, configs=tuple(configs), some=part)


def _divided(engine: Engine, found: _Found, selections: Sequence[Selection]) -> Iterator[_Found]:
    """Yield the parts of a change that selections take, and what is left of it."""
    sets, left = engine.sets, found.some
    for at, one in enumerate(selections):
        if one.fits(found.kind, found.hook, found.ref):
            claims = [asked_for(engine, claim.ranges(engine.family).items(), found.hook, loopback=True)
                      for claim in one.claims]  # fmt: skip
            taken = left & sets.union(claims) if claims else left
            if taken != sets.none:
                yield replace(found, some=taken, chosen=at)
                left &= ~taken
    if left != sets.none:
        yield replace(found, some=left)


def _kinds(engine: Engine, old: Ends, new: Ends) -> Iterator[tuple[Kind, Set]]:
    sets = engine.sets
    unclear = sets.none
    for detail in {*old.unknown, *new.unknown}:
        unclear |= old.unknown.get(detail, sets.none) ^ new.unknown.get(detail, sets.none)
    known = ~unclear
    answers = sets.none
    for detail in {*old.rejected, *new.rejected}:
        answers |= old.rejected.get(detail, sets.none) ^ new.rejected.get(detail, sets.none)
    found = (
        (Kind.REACHABLE, new.accepted & ~old.accepted & known),
        (Kind.UNREACHABLE, old.accepted & ~new.accepted & known),
        (Kind.ANSWER, answers & ~old.accepted & ~new.accepted & known), (Kind.UNKNOWN, unclear),
    )  # fmt: skip
    yield from ((kind, some) for kind, some in found if some != sets.none)


def _by_rule(
    host: Host, hook: Hook, config: Config, some: Set, kind: Kind
) -> Iterator[tuple[RuleRef | None, Set]]:  # fmt: skip
    if kind not in {Kind.REACHABLE, Kind.UNREACHABLE}:
        yield None, some
        return
    way = host.asked(hook)
    yield from rules_of(way, *way.flow({config: some})).items()


def _change(engine: Engine, found: _Found) -> Change:
    sets, family, kind, hook, configs, some = (
        engine.sets,
        engine.family,
        found.kind,
        found.hook,
        found.configs,
        found.some,
    )
    old, new = (host.model for host in engine.hosts)
    plain = sets.plain(some)
    shown = some if plain == sets.none else plain
    flow = dressed(pick(sets, shown, engine.hosts[1].router, hook), configs[0], hook)
    asked = sets.asked(some)
    marked = any(label in {f"{MARK} of the packet", f"{CONNMARK} of the packet"} for label in asked)
    if plain != sets.none and not marked and kind in {Kind.REACHABLE, Kind.UNREACHABLE}:
        confirm(new if kind is Kind.REACHABLE else old, flow, hook, {Decision.ACCEPT})
    listed, more, _ = rooms(sets, some, family, hook)
    return Change(
        kind=kind, family=family, hook=hook, states=tuple(map(_state, configs)), rooms=listed, more=more, witness=flow,
        before=_fate(old, flow, hook, kind, Kind.UNREACHABLE), after=_fate(new, flow, hook, kind, Kind.REACHABLE),
        depends_on=asked, chosen=found.chosen,
    )  # fmt: skip


def _state(config: Config) -> str:
    plain = config.direction == "original" or config.state is CtState.INVALID
    return config.state.value if plain else f"{config.state.value} ({config.direction})"


def _fate(model: HostModel, flow: Flow, hook: Hook, kind: Kind, accepting: Kind) -> tuple[str, RuleRef | None]:
    """Return what happens to a witness in one set of tables; where that depends, what makes the difference."""
    try:
        leaves = follow(model, flow, hook)
    except TooLarge:
        return "not known", None
    wanted = {Kind.UNKNOWN: {Decision.UNKNOWN}, Kind.ANSWER: {Decision.DROP, Decision.REJECT}}.get(
        kind, {Decision.ACCEPT} if kind is accepting else set(Decision) - {Decision.ACCEPT})  # fmt: skip
    leaf = next((leaf for leaf in leaves if leaf.decision in wanted), leaves[0])
    answer = f" with {leaf.reject_with}" if leaf.reject_with else ""
    return f"{leaf.decision.value}{answer}", leaf.by
