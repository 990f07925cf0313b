"""Header fields that targets write: what a test of the new value asks of the old one.

A field becomes ``old & ~mask ^ value``; what is written over that has the same form (xt_DSCP.c, ipt_ECN.c, xt_HL.c,
nft_payload.c).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fwproof.ruleset.asks import Bits, Constant, Within

_MOST = 255
"""The largest value of a field that targets write: TOS, TTL, the bits of TCP."""


class Written(NamedTuple):
    """A field, and how its value came of the packet's own."""

    field: str
    mask: int
    value: int

    def of(self, old: int) -> int:
        """Return the new value."""
        return (old & ~self.mask) ^ self.value

    def then(self, mask: int, value: int) -> Written:
        """Return what comes of writing over it."""
        return Written(self.field, self.mask | mask, (self.value & ~mask) ^ value)


Fields = frozenset[Written]


def written(fields: Iterable[Written], name: str) -> Written | None:
    """Return how a field was written, None where it is the packet's own."""
    return next((each for each in fields if each.field == name), None)


def asked_before(test: Within | Bits, change: Written) -> Within | Bits | Constant:
    """Return the test of the packet's own value that is the same as a test of the new one."""
    if isinstance(test, Bits):
        wanted = (test.value ^ change.value) & test.mask
        if test.value & ~test.mask or wanted & change.mask:
            return Constant(value=False)
        left = test.mask & ~change.mask
        return Bits(test.field, left, wanted) if left else Constant(value=True)
    if change.mask & _MOST == _MOST:
        return Constant(value=any(low <= change.value <= high for low, high in test.ranges))
    fitting = [old for old in range(_MOST + 1) if any(low <= change.of(old) <= high for low, high in test.ranges)]
    return Within(test.field, tuple((old, old) for old in fitting))
