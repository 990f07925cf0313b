"""Which rules of a chain may take packets that one of them takes, by addresses and ports alone.

The others need not be asked: where few rules overlap, that spares sets of everything that a long chain does.
"""

from __future__ import annotations

from collections.abc import Iterator

from fwproof.ruleset.model import Chain
from fwproof.semantics.bdd import Sets
from fwproof.semantics.lookup import Index

FEW = 32
"""Rules that are asked one by one; of more, the summary of their part is less work."""
EVERY = -1
"""All rules of a chain, as a bitset."""
SHORT = 64
"""Chains with fewer rules have no bitsets."""


class Near:
    """The bitsets of the chains of one table; the lowest bit is the first rule."""

    def __init__(self, sets: Sets) -> None:
        # of a late fragment without its ports, the port tests of several rules may hold
        self._fields = ("src", "dst") if "fragment" in sets.fields else ("src", "dst", "dport", "sport", "icmp")
        self._indexes: dict[str, Index] = {}

    def rules(self, chain: Chain, at: int) -> int:
        """Return the rules of a chain that may take packets that one of them takes, and maybe others."""
        if len(chain.rules) < SHORT:
            return EVERY
        if chain.name not in self._indexes:
            self._indexes[chain.name] = Index(chain)
        return self._indexes[chain.name].meeting(at, self._fields)


def places(rules: int) -> Iterator[int]:
    """Yield the places of the rules of a bitset, from the first on."""
    while rules:
        lowest = rules & -rules
        yield lowest.bit_length() - 1
        rules ^= lowest
