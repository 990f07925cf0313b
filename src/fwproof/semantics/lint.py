"""Rules that do nothing, contradict others, or allow too much; each with the rules that cause it.

Every claim holds for all packets, in every conntrack state, on every way through the host, and with any mark. What
is not understood may do anything, so it never makes a rule seem unreachable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fwproof.decision import RuleRef
from fwproof.flow import Family, Hook
from fwproof.ruleset.model import Chain, Rule, Table
from fwproof.semantics.bdd import guarded
from fwproof.semantics.bdd_parts import Way
from fwproof.semantics.bdd_taking import Met
from fwproof.semantics.lint_broad import over_broad
from fwproof.semantics.lint_dead import dead
from fwproof.semantics.lint_finding import MOST_CAUSES, Finding, Kind
from fwproof.semantics.lint_space import Space, Visit, chains_of
from fwproof.semantics.lint_stretch import Passage, next_takers, plain, same_without
from fwproof.semantics.model import HostModel
from fwproof.semantics.witness import dressed, pick


def lint(model: HostModel, family: Family) -> list[Finding]:
    """Return the findings about the tables of a family, in the order of the rules. Raises SpaceTooLarge."""
    return guarded(lambda: list(_lint(model, family)))


def _lint(model: HostModel, family: Family) -> Iterator[Finding]:
    space = Space(model, family)
    counted = any(rule.counters and rule.counters.packets for rule in model.rules(family))
    for number, table, name in chains_of(space):
        chain = table.chains[name]
        arrivals = [v for v in space.visits.values() if v.stage.table is table and name in v.reached]
        for at, rule in enumerate(chain.rules):
            space.sets.tick()
            met = space.met.get((number, name, at), [])
            found = _judge(space, table, chain, at, arrivals, met)
            packets = rule.counters.packets if rule.counters else None
            if found is None and met and counted and packets == 0:
                found = Finding(kind=Kind.UNUSED, rule=rule.ref, why="packets can reach it, but none has been counted")
            if found is not None:
                yield _finished(space, replace(found, packets=packets), met)


def _finished(space: Space, found: Finding, met: Sequence[tuple[Visit, Met]]) -> Finding:
    if not met:
        if found.packets:
            why = f"{found.why}; its counter says {found.packets} packets, from before the tables became as they are"
            return replace(found, why=why)
        return found
    host, first = space.host, met[0][1]
    flow = pick(space.sets, first.taken, host.router, _side(met[0][0]))
    return replace(found, witness=dressed(flow, first.before))


def _side(visit: Visit) -> Hook:
    """Return whose packets a base chain sees: those that the host gets, passes on, or sends."""
    hook = visit.stage.context.hook
    if visit.stage.context.forwarded:
        return Hook.INPUT if hook is Hook.PREROUTING else Hook.FORWARD
    return Hook.OUTPUT if hook in {Hook.OUTPUT, Hook.POSTROUTING} else Hook.INPUT


def _judge(  # noqa: PLR0913, PLR0917 - a rule, where it stands, and what comes to it
    space: Space, table: Table, chain: Chain, at: int, arrivals: Sequence[Visit], met: Sequence[tuple[Visit, Met]]
) -> Finding | None:  # fmt: skip
    if not met:
        return dead(space, table, chain, at, arrivals)
    return over_broad(space, chain, met) or _redundant(table, chain, at, met)


def _redundant(table: Table, chain: Chain, at: int, met: Sequence[tuple[Visit, Met]]) -> Finding | None:
    """Prove that a rule may be left out: whatever it takes fares the same without it."""
    rule = chain.rules[at]
    if table.name == "nat" or not all(plain(visit.program, rule) for visit, _ in met[:1]):
        return None
    if not all(same_without(visit, each) for visit, each in met):
        return None
    passages = [next_takers(visit, each, MOST_CAUSES) for visit, each in met]
    takers = dict.fromkeys(taker for passage in passages for taker in passage.takers)
    ends = any(_reaches_end(passage) for passage in passages)
    causes = [chain.rules[taker].ref for taker in sorted(takers)[:MOST_CAUSES]]
    if ends:
        causes += [_end_of(rule, chain)]
    deciders = (["the rules after it"] if takers else []) + ([f"the end of chain {chain.name}"] if ends else [])
    why = f"without it every packet that it takes is decided the same: by {' and '.join(deciders)}"
    return Finding(kind=Kind.REDUNDANT, rule=rule.ref, why=why, causes=tuple(causes))


def _reaches_end(passage: Passage) -> bool:
    return any(exit_.way is Way.NEXT for exit_ in passage.exits)


def _end_of(rule: Rule, chain: Chain) -> RuleRef:
    return replace(rule.ref, chain=chain.name, rule=None, text=chain.default or "RETURN")
