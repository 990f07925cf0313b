"""Rules that accept every service from everywhere where the default is to deny."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Hook
from fwproof.ruleset.model import Act, Chain
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_taking import Met
from fwproof.semantics.lint_finding import REFUSES, Finding, Kind
from fwproof.semantics.lint_space import Space, Visit

_UNIVERSAL = {
    Hook.INPUT: ("src", "proto", "dport", "sport", "icmp", "flags"),
    Hook.OUTPUT: ("dst", "proto", "dport", "sport", "icmp", "flags"),
    Hook.FORWARD: ("src", "dst", "proto", "dport", "sport", "icmp", "flags"),
}


def over_broad(space: Space, chain: Chain, met: Iterable[tuple[Visit, Met]]) -> Finding | None:
    """Find an accept of every service from everywhere where the default is to deny."""
    for visit, each in met:
        hook, rule = visit.stage.context.hook, each.rule
        base = visit.stage.chain
        if rule.target.act is not Act.ACCEPT or hook not in _UNIVERSAL or not visit.stage.main:
            continue
        closing = _closing(base)
        if closing is None or each.before.state is not CtState.NEW:
            continue
        comes = visit.reached[chain.name] if chain is not base else {each.before: space.sets.all}
        faces = _open_faces(space, visit, each, space.sets.union(list(comes.values())), hook)
        if faces is not None:
            peer = "to anywhere" if hook is Hook.OUTPUT else "from anywhere"
            why = f"accepts every service {peer}{faces} in a chain that is meant to deny the rest"
            return Finding(kind=Kind.OVER_BROAD, rule=rule.ref, why=why, causes=(closing,))
    return None


def _closing(base: Chain) -> RuleRef | None:
    """Return what denies the rest in a base chain, None where nothing does."""
    last = base.rules[-1] if base.rules else None
    if last is not None and last.target.act in REFUSES and not last.matches:
        return last.ref
    if base.default == "DROP" and last is not None:
        return replace(last.ref, rule=None, text="DROP")
    return None


def _open_faces(space: Space, visit: Visit, met: Met, comes: Set, hook: Hook) -> str | None:
    """Return on which interfaces a rule takes everything, in words; None where it does on none but loopback."""
    sets = space.sets
    program, context = visit.program, visit.stage.context
    held = sets.must(program.matched(met.grown, met.at, context, met.before)[0] & comes)
    fields = [sets.fields[name] for name in _UNIVERSAL[hook] if name in sets.fields]
    universal = sets.cube(v for field in fields for v in range(field.first, field.first + field.width))
    open_ = held.forall(universal)
    face = "oif" if hook is Hook.OUTPUT else "iif"
    names = [sets.fields[face].words[low] for spans, _ in sets.pieces(sets.only(open_, [face]), face)
             for start, end in spans for low in range(start, end + 1)] if open_ != sets.none else []  # fmt: skip
    others = [name for name in names if name != "lo"]
    if not others:
        return None
    return "" if "" in others else f" on {', '.join(others)}"
