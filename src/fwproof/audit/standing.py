"""How many connections stand at once: opened for real from a vantage, and simulated on the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fwproof.audit import exercises
from fwproof.audit.holding import keep_open
from fwproof.audit.measuring import limiters_of, sources_of
from fwproof.decision import Decision
from fwproof.facts import StandingFacts, Untried
from fwproof.farends import one_of
from fwproof.flow import Flow
from fwproof.flows import request
from fwproof.inventory import Inventory
from fwproof.plan import Check
from fwproof.policy.model import Allow
from fwproof.probing.limit_schedule import Source
from fwproof.semantics.limits import Limiter
from fwproof.semantics.model import HostModel
from fwproof.semantics.walk import TooLarge

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

_GAP = 0.001
"""Seconds between two simulated connections, about what a connect takes."""


def stand(field: Field, prober: Prober, check: Check, model: HostModel, *, exercise: bool) -> StandingFacts:
    """Open one connection more than may stand, and one of another source; raises HostError."""
    assert isinstance(check.expectation, Allow)
    assert check.expectation.standing is not None
    sources, tried = sources_of(field, check), check.expectation.standing.limit + 1
    flow, limiters, found = foreseen(field.inventory, check, model, sources)
    if not sources or not exercise:
        return replace(found, untried=Untried.OFF if sources else Untried.NO_VANTAGE)
    exercises.ends_of(field, check)
    counted = any(each.kind == "connlimit" for each in limiters)
    rate = check.expectation.rate
    for source in sources[:2] if rate else ():
        field.memory.note(flow.dst, source.address, rate.per if rate else 0.0)
    return replace(found, held=keep_open(prober, flow, sources, tried, counted=counted))


def foreseen(
    inventory: Inventory, check: Check, model: HostModel, sources: Sequence[Source]
) -> tuple[Flow, tuple[Limiter, ...], StandingFacts]:
    """Return the connection that is opened, what limits it, and what the tables say of it; raises HostError."""
    assert isinstance(check.expectation, Allow)
    assert check.expectation.standing is not None
    assert check.family is not None
    assert check.service is not None
    own = exercises.own_in(inventory, check)
    flow = request(check.service, sources[0].address if sources else one_of(check.expectation.peers, check.family), own)
    limiters = limiters_of(model, check.host, flow)
    predicted, free = predict(model, flow, sources, check.expectation.standing.limit + 1)
    found = StandingFacts(
        predicted=predicted, free=free, limiter="; ".join(dict.fromkeys(str(each.rule) for each in limiters)),
        sources=tuple(f"{each.address} of {each.vantage}" for each in sources[:2]),
    )  # fmt: skip
    return flow, limiters, found


def predict(model: HostModel, flow: Flow, sources: Sequence[Source], tried: int) -> tuple[int | None, bool | None]:
    """Return how many connections stand by the tables, and whether one of another source does so beside them."""
    other = next(iter(sources[1:]), None)
    packets = [(number * _GAP, replace(flow, sport=40000 + number)) for number in range(tried)]
    if other is not None:
        packets.append((tried * _GAP, replace(flow, src=other.address, sport=40000)))
    try:
        decisions = model.simulate(packets)
    except TooLarge:
        return None, None
    if any(decision in {Decision.DEPENDS, Decision.UNKNOWN} for decision in decisions):
        return None, None
    first = [decision is Decision.ACCEPT for decision in decisions[:tried]]
    return first.index(False) if False in first else tried, None if other is None else decisions[-1] is Decision.ACCEPT
