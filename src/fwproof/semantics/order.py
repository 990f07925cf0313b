"""The order of base chains at one hook (nf_tables(7) has priorities; net/netfilter/core.c inserts by them).

At equal priority the kernel runs first what was registered last, and no listing shows what that was. Where it makes
no difference to what becomes of a packet, one order stands for all; else every order is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice, permutations, product

from fwproof.flow import Hook
from fwproof.ruleset.model import Act, Rule
from fwproof.semantics.context import Question
from fwproof.semantics.stages import Stage

Chosen = Mapping[Hook, int]
"""Which of the orders of a hook's base chains is taken, by hook."""
UNORDERED = "base chains have one priority, and no listing shows their order"
MOST = 24
"""Orders that are tried one by one."""

_WRITES = frozenset({Act.MARK, Act.CONNMARK, Act.NOTRACK, Act.SOURCE_NAT, Act.DESTINATION_NAT})
_STOPS = frozenset({Act.DROP, Act.REJECT, Act.ELSEWHERE, Act.UNKNOWN})


def orders(base: Sequence[Stage]) -> list[tuple[Stage, ...]]:
    """Return every order of the base chains of one hook that may make a difference; one where there are too many.

    In that one the chains that it is about are blind.
    """
    found = [_group(list(same)) for _, same in groupby(sorted(base, key=_place), key=_place)]
    number = 1
    for group in found:
        number *= len(group)
    if number > MOST:
        return [tuple(stage for group in found for stage in _blinded(group))]
    return [tuple(stage for group in chosen for stage in group) for chosen in product(*found)]


def _blinded(group: Sequence[Sequence[Stage]]) -> Sequence[Stage]:
    if len(group) == 1:
        return group[0]
    return [replace(stage, blind=stage.blind or UNORDERED) for stage in group[0]]


def _place(stage: Stage) -> int:
    return stage.priority[0]


def _group(same: list[Stage]) -> list[Sequence[Stage]]:
    """Return the orders of chains of one priority; nat chains keep the order of their own priorities."""
    same.sort(key=lambda stage: stage.priority[1])
    pairs = [(a, b) for at, a in enumerate(same) for b in same[at + 1 :]]
    if not any(_differ(a, b) for a, b in pairs):
        return [same]
    return list(islice((each for each in permutations(same) if _kept(each)), MOST + 1))


def _kept(order: Sequence[Stage]) -> bool:
    own = [stage.priority[1] for stage in order if stage.nat]
    return own == sorted(own)


def _differ(a: Stage, b: Stage) -> bool:
    """Whether the order of two chains may make a difference to what becomes of a packet."""
    if a.nat and b.nat and a.priority[1] != b.priority[1]:
        return False
    if a.blind or b.blind:
        return False  # both are asked, and the answer is unknown either way
    first, second = _reached(a), _reached(b)
    if (_writes(first) and second) or (_writes(second) and first):
        return True
    stops, others = _stops(a, first), _stops(b, second)
    return bool(stops and others and len(stops | others) > 1)


def _writes(rules: Iterable[Rule]) -> bool:
    return any(r.target.act in _WRITES or (r.target.act is Act.CHANGE and r.target.changes) for r in rules)


def _stops(stage: Stage, rules: Iterable[Rule]) -> set[tuple[Act, str | None]]:
    found = {(r.target.act, r.target.reject_with) for r in rules if r.target.act in _STOPS}
    return found | ({(Act.DROP, None)} if stage.chain.default == "DROP" else set())


def _reached(stage: Stage) -> list[Rule]:
    """Return the rules of a base chain and of the chains that it calls."""
    pending, seen = [stage.chain], {stage.chain.name}
    found: list[Rule] = []
    while pending:
        chain = pending.pop()
        found += chain.rules
        for rule in chain.rules:
            called = rule.target.chain
            if called and called not in seen and called in stage.table.chains:
                seen.add(called)
                pending.append(stage.table.chains[called])
    return found


def combined(counts: Mapping[Hook, int]) -> list[Chosen | None]:
    """Return every combination of orders; None, which blinds the chains, where there are too many."""
    number = 1
    for count in counts.values():
        number *= count
    if number > MOST:
        return [None]
    return [dict(zip(counts, each, strict=True)) for each in product(*map(range, counts.values()))]


def given(number: int, count: int) -> tuple[tuple[Question, bool], ...]:
    """Return the answers that choose the order ``number`` of ``count``: at most one of the questions holds."""
    if count == 1:
        return ()
    asked = [
        Question(f"order {at}", f"the order of base chains of equal priority, which no listing shows (case {at + 1})")
        for at in range(count - 1)
    ]
    return tuple((question, at == number) for at, question in enumerate(asked[: number + 1]))
