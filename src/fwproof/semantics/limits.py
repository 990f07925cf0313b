"""The rates and the logs that a flow meets on its way, as values."""

from __future__ import annotations

from dataclasses import dataclass

from fwproof.decision import RuleRef
from fwproof.ruleset.asks import ConnLimit, HashLimit, Limit, Rate, Recent, Sort, sort_of
from fwproof.ruleset.model import Rule


class NotSettled(Exception):
    """What becomes of a flow cannot be told, so neither can the rates and logs on its way; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiter:
    """A rate that decides about a flow.

    ``limit`` events in ``seconds`` (None where it counts open connections), counted by ``by`` (``source``,
    ``destination``, ``total`` or the modes of hashlimit); ``mask`` is the network mask that groups addresses.
    ``admits``: NEW connections let in of many that one source sends at once, None where that depends on more.
    """

    kind: str
    list: str
    limit: int
    seconds: int | None
    by: str
    mask: int | None
    name: str
    rule: RuleRef
    admits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAct:
    """A rule that logs a flow before it is dropped.

    ``limit`` names the rates of the rule itself, which let the first packets through, and ``buckets`` are those that
    fill again. It is ``certain`` where nothing else than those decides whether the flow is logged.
    """

    kind: str
    prefix: str
    group: int | None
    certain: bool
    limit: str
    rule: RuleRef
    buckets: tuple[Limit | HashLimit, ...] = ()

    @property
    def refill(self) -> float:
        """Seconds in which a rate that was used up lets a packet through again; 0 without one."""
        return max((bucket.seconds / bucket.count for bucket in self.buckets), default=0.0)

    def lines(self, packets: int, seconds: float) -> int:
        """Return how many lines so many packets of one source leave, that come in so many seconds."""
        return min([packets, *(bucket.burst + int(seconds / bucket.seconds * bucket.count) for bucket in self.buckets)])


def only_limited(rule: Rule) -> bool:
    """Whether nothing but rates keeps a rule from matching packets that its header tests fit."""
    return all(sort_of(m.test) is Sort.EXACT or isinstance(m.test, Limit | HashLimit) for m in rule.matches)


def unused(test: Rate) -> bool:
    """Return whether a rate's test holds for a first packet, while nothing was counted."""
    if isinstance(test, HashLimit | ConnLimit):
        return not test.above
    return isinstance(test, Limit)


def log_act(rule: Rule, *, certain: bool) -> LogAct:
    """Return a logging rule as a value."""
    limits = [match.test.name for match in rule.matches if isinstance(match.test, Rate)]
    target = rule.target
    return LogAct(
        kind=target.name, prefix=target.prefix, group=target.group, certain=certain, limit=", ".join(limits),
        rule=rule.ref, buckets=tuple(m.test for m in rule.matches if isinstance(m.test, Limit | HashLimit)),
    )  # fmt: skip


def limiter(test: Rate, ref: RuleRef, admits: int | None) -> Limiter:
    """Return a rate as a value; ``ref`` is the rule that asks for it."""
    side = {"src": "source", "dst": "destination"}
    facts: tuple[str, str, int, int | None, str, int | None]
    if isinstance(test, Recent):
        facts = ("recent", test.list, test.hitcount, test.seconds or None, side[test.side], test.mask)
    elif isinstance(test, Limit):
        facts = ("limit", "", test.count, test.seconds, "total", None)
    elif isinstance(test, HashLimit):
        by = {("srcip",): "source", ("dstip",): "destination", (): "total"}.get(test.mode, ",".join(test.mode))
        facts = ("hashlimit", test.list, test.count, test.seconds, by, test.srcmask)
    else:
        assert isinstance(test, ConnLimit)
        facts = ("connlimit", "", test.limit, None, side[test.side], test.mask)
    kind, name, limit, seconds, by, mask = facts
    return Limiter(
        kind=kind, list=name, limit=limit, seconds=seconds, by=by, mask=mask, name=test.name, rule=ref, admits=admits
    )
