"""Waves: probes sent together so that a counter tells who decided.

In one wave, all probes to one host and family should be decided by one and the same rule. Its counter, read
before and after, must then account for every probe that arrived; two rules never share the blame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fwproof.decision import RuleRef, Ruling
from fwproof.flow import Family, Flow
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A single-flow check with its probe, and what the model says of the packet and of its reply.

    ``fresh`` is the ruling while every rate limit is unused, where ``ruling`` depends on one. ``counts`` is False for
    a packet that the kernel may discard before it meets a rule. ``after`` is the packet as it leaves a host that passes
    it on, None where the tables leave that open.
    """

    check: Check
    probe: Probe
    ruling: Ruling
    reply: Ruling | None
    fresh: Ruling | None = None
    counts: bool = True
    after: Flow | None = None

    @property
    def decider(self) -> RuleRef | None:
        """The rule that should decide about the probe, as long as no limit is used up."""
        return (self.fresh or self.ruling).by


def waves(asked: Iterable[Asked]) -> tuple[tuple[Asked, ...], ...]:
    """Group probes by host, family and deciding rule; the n-th groups of all hosts make the n-th wave."""
    groups: dict[tuple[str, Family], dict[RuleRef | None, list[Asked]]] = {}
    for one in asked:
        place = (one.check.host, one.probe.flow.family)
        groups.setdefault(place, {}).setdefault(one.decider, []).append(one)
    columns = [list(by_rule.values()) for by_rule in groups.values()]
    longest = max((len(column) for column in columns), default=0)
    return tuple(tuple(one for column in columns if n < len(column) for one in column[n]) for n in range(longest))


Counters = Mapping[RuleRef, int]


def expected_counts(wave: Sequence[Asked], seen: Mapping[str, Observation]) -> dict[RuleRef, int]:
    """Return how many packets each deciding rule of a wave must have counted, from what arrived.

    An inbound probe meets the host's tables when it arrives there; an outbound one when it is handed to them,
    which every sent packet is. Where nobody watched the host, every sent packet may have arrived: a counter that
    moved so far shows that all did, and one that did not tells nothing. A probe whose ruling depends on something
    counts only if it was let in: which rule it ends in otherwise is not known before.
    """
    counts: dict[RuleRef, int] = {}
    for one in wave:
        outcome = seen.get(one.probe.ref)
        if outcome is None or not one.counts or one.decider is None or (one.ruling.depends_on and not outcome.let_in):
            continue
        counts[one.decider] = counts.get(one.decider, 0) + _met(one, outcome)
    return {rule: count for rule, count in counts.items() if count}


def _met(one: Asked, outcome: Observation) -> int:
    """Return how many packets of a probe met the host's tables."""
    inbound = one.check.direction != "outbound"
    if outcome.passage is not None:
        return int(outcome.passage.came)
    if outcome.state is PortState.UNREACHABLE:
        return 0
    if inbound and outcome.met_at(one.check.host) is None:
        return outcome.sent
    if outcome.state is PortState.NO_ANSWER:
        return 0
    return int(bool(outcome.arrived)) if inbound else outcome.sent
