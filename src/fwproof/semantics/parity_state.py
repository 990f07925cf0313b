"""How two families stand to the same services: laid over one another, compared, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fwproof.semantics.bdd_layout import Spans
from fwproof.semantics.parity_limits import Limited, Value

State = tuple[Value, Value, bool]
"""What all and what some addresses of a part can open, and whether a rule that is not understood has a part in it."""
Pair = tuple[State, State]


def overlaid(rows: Sequence[Sequence[tuple[Spans, Value]]]) -> dict[Pair, Spans]:
    """Lay the six rows of a protocol over one another: all, some and unknown of each family."""
    flat = [sorted((low, high, value) for spans, value in row for low, high in spans) for row in rows]
    ends = sorted({end for row in flat for low, high, _ in row for end in (low, high + 1)})
    found: dict[Pair, list[tuple[int, int]]] = {}
    places = [0] * len(flat)
    for low, after in pairwise(ends):
        values: list[Value] = []
        for at, row in enumerate(flat):
            while places[at] < len(row) and row[places[at]][1] < low:
                places[at] += 1
            here = places[at] < len(row) and row[places[at]][0] <= low
            values.append(row[places[at]][2] if here else False)
        pair = ((values[0], values[1], values[2] is not False), (values[3], values[4], values[5] is not False))
        if any(value is not False for value in values):
            spans = found.setdefault(pair, [])
            if spans and spans[-1][1] + 1 == low:
                spans[-1] = (spans[-1][0], after - 1)
            else:
                spans.append((low, after - 1))
    return {pair: tuple(spans) for pair, spans in found.items()}


def limits(pair: Pair) -> list[Limited]:
    """Return what the two families depend on."""
    return [value for state in pair for value in state[:2] if isinstance(value, Limited)]


def incomparable(pair: Pair) -> bool:
    """Whether both families depend on something whose meaning is not known, so that neither same nor other holds."""
    if not all(any(isinstance(value, Limited) for value in state[:2]) for state in pair):
        return False
    if any(value.accepted is None for value in limits(pair)):
        return True
    return pair[0] != pair[1] and not all(value.rates for value in limits(pair))


def rank(state: State) -> tuple[int, ...]:
    """Order states by how much is open."""
    return tuple(2 if value is True else 1 if isinstance(value, Limited) else 0 for value in (state[1], state[0]))


def status(state: State) -> str:
    """Return a state in a word or three."""
    every, some, _ = state
    if every is True:
        return "open"
    if some is False:
        return "closed"
    return "limited" if every == some else "open in part"
