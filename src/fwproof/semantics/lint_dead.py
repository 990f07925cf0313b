"""Why a rule takes no packet at all: nothing fits it, nothing comes to it, or rules before it take everything."""

from __future__ import annotations

from collections.abc import Sequence

from fwproof.decision import RuleRef
from fwproof.ruleset.model import Act, Chain, Rule, Table
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_calls import CALLS, called_from
from fwproof.semantics.bdd_config import BASE, Config
from fwproof.semantics.bdd_parts import Way
from fwproof.semantics.lint_finding import MOST_CAUSES, REFUSES, Finding, Kind
from fwproof.semantics.lint_space import CONFIGS, Space, Visit
from fwproof.semantics.lint_stretch import Stretch

_DECIDES = REFUSES | {Act.ACCEPT}


def dead(space: Space, table: Table, chain: Chain, at: int, arrivals: Sequence[Visit]) -> Finding:
    """Say why a rule takes no packet at all."""
    rule = chain.rules[at]
    if not _can_match(space, table, chain, at):
        return Finding(kind=Kind.NEVER, rule=rule.ref, why="no packet fits all of its conditions at once")
    callers = _callers(space, table, chain.name)
    if not arrivals:
        return _uncalled(rule, chain, _refs(table, callers))
    takers: set[int] = set()
    some = opposed = False
    for visit in arrivals:
        stretch, wanted = _before(visit, chain, at)
        if wanted:
            some = True
            for taker in stretch.takers(wanted, MOST_CAUSES):
                takers.add(taker)
                opposed = opposed or _opposes(visit, chain, taker, rule, wanted)
    if not some or not takers:
        why = f"no packet that comes to chain {chain.name} fits its conditions"
        blamed = _taken_before(arrivals, chain, at, callers) or _refs(table, callers)
        return Finding(kind=Kind.UNREACHABLE, rule=rule.ref, why=why, causes=tuple(blamed[:MOST_CAUSES]))
    causes = tuple(chain.rules[taker].ref for taker in sorted(takers)[:MOST_CAUSES])
    if opposed:
        why = "every packet that fits it was decided before, and otherwise than it says"
        return Finding(kind=Kind.CONTRADICTED, rule=rule.ref, why=why, causes=causes)
    why = "every packet that fits it was taken by rules before it"
    return Finding(kind=Kind.SHADOWED, rule=rule.ref, why=why, causes=causes)


def _uncalled(rule: Rule, chain: Chain, callers: Sequence[RuleRef]) -> Finding:
    if chain.default is not None:
        why = "no packet comes to this chain: everything is decided in tables before it"
    elif callers:
        why = f"no packet comes to chain {chain.name}: the rules that call it take none"
    else:
        why = f"no rule calls chain {chain.name}"
    return Finding(kind=Kind.UNREACHABLE, rule=rule.ref, why=why, causes=tuple(callers[:MOST_CAUSES]))


def _callers(space: Space, table: Table, name: str) -> list[tuple[str, int]]:
    """Return where the rules that call a chain stand; a part of a rule of nft stands elsewhere than its number says."""
    if id(table) not in space.callers:
        space.callers[id(table)] = called_from(table)
    return space.callers[id(table)].get(name, [])


def _refs(table: Table, places: Sequence[tuple[str, int]]) -> list[RuleRef]:
    return list(dict.fromkeys(table.chains[name].rules[at].ref for name, at in places))


def _taken_before(
    arrivals: Sequence[Visit], chain: Chain, at: int, callers: Sequence[tuple[str, int]]
) -> list[RuleRef]:
    """Return which rules of the base chain take what fits a rule and the rules that call its chain."""
    found: dict[RuleRef, None] = {}
    for visit in arrivals:
        base, program, context = visit.stage.chain, visit.program, visit.stage.context
        if base is chain:
            continue
        wanted: dict[Config, Set] = {}
        for config, arrived in visit.arrived().items():
            some = program.matched(program.grown(chain.name), at, context, config)[0] & arrived
            if some == program.sets.none:
                continue
            calls = program.sets.none
            for name, place in callers:
                calls |= program.matched(program.grown(name), place, context, config)[0]
            if some & calls != program.sets.none:
                wanted[config] = some & calls
        grown = program.grown(base.name)
        stretch = Stretch(program, grown, context, 0, len(base.rules))
        takers = stretch.takers(wanted, MOST_CAUSES) if wanted else []
        found |= {base.rules[taker].ref: None for taker in takers if base.rules[taker].target.act not in CALLS}
    return list(found)


def _can_match(space: Space, table: Table, chain: Chain, at: int) -> bool:
    """Whether some packet fits a rule where the table is used, whatever was decided before."""
    visits = [visit for visit in space.visits.values() if visit.stage.table is table]
    if chain.default is not None:
        visits = [visit for visit in visits if visit.stage.chain is chain]
    for visit in visits:
        grown = visit.program.grown(chain.name)
        for config in CONFIGS:
            if visit.program.matched(grown, at, visit.stage.context, config)[0] != space.sets.none:
                return True
    return not visits


def _before(visit: Visit, chain: Chain, at: int) -> tuple[Stretch, dict[Config, Set]]:
    """Return the stretch of a chain before a rule, and the packets that come to the chain and fit the rule."""
    program, context = visit.program, visit.stage.context
    grown = program.grown(chain.name)
    fitting = {
        config: some & program.matched(grown, at, context, config)[0]
        for config, some in visit.reached[chain.name].items()
    }
    wanted = {config: some for config, some in fitting.items() if some != program.sets.none}
    return Stretch(program, grown, context, 0, at, program.near.rules(chain, at)), wanted


def _opposes(visit: Visit, chain: Chain, taker: int, rule: Rule, wanted: dict[Config, Set]) -> bool:
    """Whether an earlier rule decides some of these packets the other way."""
    if rule.target.act not in _DECIDES:
        return False
    act, program = chain.rules[taker].target.act, visit.program
    grown, none = program.grown(chain.name), program.sets.none
    if act in _DECIDES and (act in REFUSES) == (rule.target.act in REFUSES):
        return False
    if not grown.leaves[taker].touches:
        if act in _DECIDES:  # it takes some of them
            return True
        coming = {BASE: program.sets.union(list(wanted.values()))}
    else:  # it looks at what rules before it may have changed, such as a mark
        before = Stretch(program, grown, visit.stage.context, 0, taker).run(wanted)
        coming = {way.config: some for way, some in before.exits.items() if way.way is Way.NEXT and way.config}
    for config, some in coming.items():
        accepted, kept = none, none
        for exit_, part in program.summary(grown, grown.leaves[taker], visit.stage.context, config).items():
            if exit_.way is Way.ACCEPT:
                accepted |= part
            elif exit_.way is not Way.REJECT:
                kept |= part
        refused = some & ~accepted & ~kept
        if (rule.target.act is Act.ACCEPT and refused != none) or (
            rule.target.act in REFUSES and some & accepted != none):  # fmt: skip
            return True
    return False
