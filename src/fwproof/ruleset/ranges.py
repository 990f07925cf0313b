"""Ranges of numbers: intervals by their first and last number."""

from __future__ import annotations

from collections.abc import Iterable

from fwproof.ruleset.asks import Ranges


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return intervals in order, with those that touch made one."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        elif low <= high:
            found.append((low, high))
    return tuple(found)
