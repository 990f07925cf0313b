"""One claim over the whole packet space: who else passes, and which of those who should pass do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fwproof.decision import Decision
from fwproof.flow import TCP, CtState, Family, Hook
from fwproof.ruleset.asks import Ranges, Rate
from fwproof.semantics.boxes import Box, Space
from fwproof.semantics.model import HostModel
from fwproof.semantics.ruling import REFUSED
from fwproof.semantics.space import (
    Claim,
    Group,
    Leak,
    by_rule,
    leaks_of,
    outside,
    product_of,
    space_for,
    start_of,
    walk_boxes,
)
from fwproof.semantics.walk import Leaf

_SYN: Ranges = ((0x02, 0x02),)
"""The flags of the packet that opens a TCP connection (RFC 9293, 3.1)."""


def accepted_for_others(
    model: HostModel, hook: Hook, family: Family, service: Claim, peers: Iterable[Claim]
) -> list[Leak]:
    """Return which new connections to ``service`` pass that are in none of ``peers``; raises SpaceTooLarge."""
    claims = [service.ranges(family), *(claim.ranges(family) for claim in peers)]
    space = space_for(model, family, claims)
    products = [product_of(space, claim) for claim in claims[1:]]
    found: Group = []
    for leaf, part in _within(model, hook, family, space, claims[0]):
        if leaf.decision in {Decision.ACCEPT, Decision.UNKNOWN}:
            rest = outside(part, products)
            if rest:
                found.append((leaf, rest))
    return [leak for group in by_rule(found) for leak in leaks_of(model, hook, group)]


def refused_to_peers(model: HostModel, hook: Hook, family: Family, claim: Claim) -> list[Leak]:
    """Return which new connections of ``claim`` are refused, whatever a rate limit says; raises SpaceTooLarge.

    A new TCP connection begins with SYN and nothing else. ``depends`` are those that an oracle other than a rate
    may refuse.
    """
    ranges = claim.ranges(family)
    if claim.proto == TCP:
        ranges["flags"] = _SYN
    space = space_for(model, family, [ranges])
    found: Group = []
    for leaf, part in _within(model, hook, family, space, ranges):
        limited = any(isinstance(question.test, Rate) for question, _ in leaf.choices)
        if leaf.decision is Decision.UNKNOWN or (leaf.decision in REFUSED and not limited):
            found.append((leaf, [part]))
    return [leak for group in by_rule(found) for leak in leaks_of(model, hook, group)]


def _within(
    model: HostModel, hook: Hook, family: Family, space: Space, ranges: dict[str, Ranges]
) -> Iterable[tuple[Leaf[Box], Box]]:
    """Walk only the packets of some ranges, which is exact as well and quicker."""
    start = start_of(space, CtState.NEW, hook, loopback=False)
    masks = tuple(mine & wanted for mine, wanted in zip(start.masks, product_of(space, ranges), strict=True))
    if not all(masks):
        return
    for leaf in walk_boxes(model, hook, family, replace(start, masks=masks)):
        yield leaf, leaf.subject
