"""Which chains call which: rings of calls, and chains that one packet may go through more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fwproof.ruleset.model import Act, Table

CALLS = frozenset({Act.JUMP, Act.GOTO})


def calls(table: Table) -> dict[str, list[str]]:
    """Return the chains that each chain calls, once for each rule."""
    return {
        name: [rule.target.chain for rule in chain.rules if rule.target.act in CALLS]
        for name, chain in table.chains.items()
    }


def called_from(table: Table) -> dict[str, list[tuple[str, int]]]:
    """Return where the rules that call each chain stand: chain, and place among the rules that nft's became."""
    found: dict[str, list[tuple[str, int]]] = {}
    for chain in table.chains.values():
        for at, rule in enumerate(chain.rules):
            if rule.target.act in CALLS:
                found.setdefault(rule.target.chain, []).append((chain.name, at))
    return found


def rings(table: Table) -> dict[str, int]:  # noqa: C901 - one algorithm, best read in one piece
    """Return the ring of calls that each chain is in; chains of one ring call one another for ever (Tarjan 1972)."""
    called = calls(table)
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    ring: dict[str, int] = {}
    stack: list[str] = []
    pending: list[tuple[str, Iterator[str]]] = []

    def enter(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        pending.append((name, iter(called[name])))

    def leave(name: str) -> None:
        pending.pop()
        if pending:
            caller = pending[-1][0]
            low[caller] = min(low[caller], low[name])
        if low[name] == number[name]:
            while name not in ring:
                ring[stack.pop()] = number[name]

    for start in called:
        if start not in number:
            enter(start)
        while pending:
            name, rest = pending[-1]
            found = next(rest, None)
            if found is None:
                leave(name)
            elif found not in number:
                enter(found)
            elif found not in ring:
                low[name] = min(low[name], number[found])
    return ring


def call_sites(table: Table) -> Counter[str]:
    """Return how many ways lead to a chain, counting to two: what is called once by a chain that is called twice."""
    direct = calls(table)
    places = Counter(name for names in direct.values() for name in names)
    pending = [name for name, times in places.items() if times > 1]
    while pending:
        for called in direct[pending.pop()]:
            if places[called] < 2:
                places[called] = 2
                pending.append(called)
    return places


def callers_first(table: Table) -> list[str]:
    """Return the chains so that each comes after all that call it, as far as calls do not form a ring."""
    called = calls(table)
    done: set[str] = set()
    order: list[str] = []
    for start in called:
        pending = [(start, iter(called[start]))] if start not in done else []
        done.add(start)
        while pending:
            name, rest = pending[-1]
            found = next(rest, None)
            if found is None:
                order.append(name)
                pending.pop()
            elif found not in done:
                done.add(found)
                pending.append((found, iter(called[found])))
    return order[::-1]
