"""Who decides: for each rule, the packets that it lets through in the end, or keeps out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_calls import CALLS
from fwproof.semantics.bdd_config import NAT, Nat, Touches
from fwproof.semantics.bdd_parts import Exit, Exits, Way
from fwproof.semantics.bdd_taking import Met, Taking
from fwproof.semantics.bdd_walk import Ends, Incoming, Route, default_ref
from fwproof.semantics.stages import Stage


class Decider(NamedTuple):
    """A rule or default, None for no rule at all, and where nat sends the packets, in words; empty where it does not.

    ``main``: it stands where a host's rules usually decide.
    """

    by: RuleRef | None
    onto: str = ""
    main: bool = False


Accepted = dict[Decider, Set]
Unknown = dict[tuple[RuleRef | None, str], Set]


def accepted(route: Route, arrivals: dict[int, Incoming], ends: Ends) -> tuple[Accepted, Unknown]:
    """Return what is accepted in the end by the rule that decides it, and what meets rules that are unknown.

    What no base chain sees on its way is accepted by nobody. Of several base chains that accept, the main one's
    decides, then a rule rather than a default, then the last, as for single packets.
    """
    sets = route.sets
    found: Accepted = {}
    unknown: Unknown = {}
    for at, stage in route.stages():
        if stage.blind:
            came = sets.union(list(arrivals.get(at, {}).values()))
            unknown[None, stage.blind] = unknown.get((None, stage.blind), sets.none) | came
            continue
        found = _decisive(route, found, _accepted(route, at, stage, arrivals.get(at, {}), unknown))
    nobody = ends.accepted & ~sets.union([some for came in arrivals.values() for some in came.values()])
    found[Decider(None)] = found.get(Decider(None), sets.none) | nobody
    return (
        {key: some for key, some in found.items() if some != sets.none},
        {key: some for key, some in unknown.items() if some != sets.none},
    )


def rules_of(route: Route, arrivals: dict[int, Incoming], ends: Ends) -> dict[RuleRef | None, Set]:
    """Return what is accepted in the end by the rule that decides it, wherever nat sends it."""
    found: dict[RuleRef | None, Set] = {}
    for decider, some in accepted(route, arrivals, ends)[0].items():
        found[decider.by] = found[decider.by] | some if decider.by in found else some
    return found


def _accepted(route: Route, at: int, stage: Stage, arrived: Incoming, unknown: Unknown) -> Accepted:
    """Return what a base chain lets through and all later ones accept, by rule."""
    sets, family = route.sets, route.host.family
    program = route.host.program(stage.table)
    found: dict[Decider, list[Set]] = {}

    def passed(ref: RuleRef, nat: Nat, some: Set) -> None:
        found.setdefault(Decider(ref, onto(nat, family), stage.main), []).append(some)

    def hit(met: Met) -> None:
        called = met.rule.target.act in CALLS and not program.misled(met.grown.chain.name, met.rule)
        for exit_, some in () if called else program.applied(met.grown, met.rule, stage.context, met.after):
            if exit_.way is Way.ACCEPT and exit_.config is not None:
                passed(met.rule.ref, exit_.config.nat, met.taken & some & route.survive(at + 1, exit_.config))
            elif exit_.way is Way.UNKNOWN:
                key = (met.rule.ref, exit_.detail)
                unknown[key] = unknown.get(key, sets.none) | (met.taken & some)

    def wanted(exits: Exits, some: Set) -> bool:
        return any(e.way in {Way.ACCEPT, Way.UNKNOWN} and f & some != sets.none for e, f in exits.items())

    Taking(program, stage.context, hit, keep=_kept(route, at), wanted=wanted).run(stage.chain.name, arrived)
    if (stage.chain.default or "ACCEPT") == "ACCEPT":
        for exit_, some in _ended(route, stage, arrived):
            if exit_.config is not None:
                passed(default_ref(stage), exit_.config.nat, some & route.survive(at + 1, exit_.config))
    return {key: sets.union(parts) for key, parts in found.items()}


def refused(route: Route, arrivals: dict[int, Incoming], asked: Set) -> dict[RuleRef | None, Set]:
    """Return which rules and defaults drop or reject the packets of ``asked``."""
    sets = route.sets
    found: dict[RuleRef | None, list[Set]] = {}
    for at, stage in route.stages():
        arrived = arrivals.get(at, {})
        if stage.blind or not arrived:
            continue
        hit, wanted = _refusing(route, stage, asked, found)
        Taking(route.host.program(stage.table), stage.context, hit, keep=_kept(route, at), wanted=wanted).run(
            stage.chain.name, arrived
        )
        if stage.chain.default == "DROP":
            for _, some in _ended(route, stage, arrived):
                found.setdefault(default_ref(stage), []).append(some & asked)
    united = {ref: sets.union(parts) for ref, parts in found.items()}
    return {ref: some for ref, some in united.items() if some != sets.none}


def _refusing(
    route: Route, stage: Stage, asked: Set, found: dict[RuleRef | None, list[Set]]
) -> tuple[Callable[[Met], None], Callable[[Exits, Set], bool]]:
    sets, program = route.sets, route.host.program(stage.table)

    def hit(met: Met) -> None:
        if met.rule.target.act in CALLS:
            return
        exits = program.applied(met.grown, met.rule, stage.context, met.after)
        passed = sets.union([some for exit_, some in exits if exit_.way is not Way.REJECT])
        found.setdefault(met.rule.ref, []).append(met.taken & asked & ~passed)

    def wanted(exits: Exits, some: Set) -> bool:
        passed = sets.union([part for exit_, part in exits.items() if exit_.way is not Way.REJECT])
        return some & asked & ~passed != sets.none

    return hit, wanted


def _ended(route: Route, stage: Stage, arrived: Incoming) -> Iterator[tuple[Exit, Set]]:
    """Yield what comes to the end of a base chain, where its default decides."""
    for config, some in arrived.items():
        for exit_, left in route.exits(stage, config).items():
            if exit_.way in {Way.NEXT, Way.RETURN}:
                yield exit_, some & left


def _kept(route: Route, at: int) -> Touches:
    return route.later(at + 1) | ({NAT} if route.host.asker.written else frozenset())


def _decisive(route: Route, before: Accepted, new: Accepted) -> Accepted:
    if not before:
        return new
    sets = route.sets
    kept = {key: some & ~sets.union([n for k, n in new.items() if _rank(k) >= _rank(key)])
            for key, some in before.items()}  # fmt: skip
    stronger: dict[tuple[bool, bool], Set] = {}
    for rank in {_rank(key) for key in new}:
        stronger[rank] = sets.union([some for key, some in before.items() if _rank(key) > rank])
    return kept | {key: some & ~stronger[_rank(key)] for key, some in new.items()}


def _rank(key: Decider) -> tuple[bool, bool]:
    return key.main, key.by is not None and key.by.rule is not None


def onto(nat: Nat, family: Family) -> str:
    """Return where nat sends packets, in words; empty where it leaves their destination alone."""
    if "dst" not in nat.translated:
        return ""
    make = IPv4Address if family is Family.IPV4 else IPv6Address
    address, port = nat.value("dst"), nat.value("dport")
    where = str(make(address)) if isinstance(address, int) else "" if address is None else "an address that it picks"
    if nat.own and not isinstance(address, int):
        where = "the host itself"
    there = f"port {port}" if isinstance(port, int) else "" if port is None else "a port that it picks"
    return ", ".join(filter(None, [where, there]))
