"""Judging parity: IPv4 and IPv6 let the same through, zone by zone of the inventory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwproof.facts import Facts
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict
from fwproof.semantics.parity import Difference, Parity, parity, standing_text
from fwproof.semantics.parity_zones import groups_of
from fwproof.semantics.space import SpaceTooLarge

_SHOWN = 3
CAUSE = "IPv4 and IPv6 let different packets through"


def judge_parity(check: Check, facts: Facts) -> Outcome:
    """Judge one host: every difference is a failure, and what is not known is never a pass."""
    model = facts.model(check.host)
    try:
        found = parity(model, groups_of(facts.inventory))
    except SpaceTooLarge as limit:
        return Outcome(verdict=Verdict.INCONCLUSIVE, reason=str(limit), cause="the tables are too large for this proof")
    told = (*(f"open to a part of a zone in both families: {text}" for text in found.partly),
            *(f"not compared: {text}" for text in found.alone),
            *(f"not known: {text}" for text in found.unknown))  # fmt: skip
    if found.differences:
        return _different(found, told)
    if found.unknown:
        return Outcome(
            verdict=Verdict.INCONCLUSIVE, reason=f"not all could be compared: {_listed(found.unknown)}",
            cause="the families could not be compared as a whole", proved=f"nothing that is known differs; {told[0]}",
            evidence=told,
        )  # fmt: skip
    zones = ", ".join(facts.inventory.zones) or "no zones are named"
    return Outcome(
        verdict=Verdict.PASS, proved=f"over the whole packet space, new connections of each zone ({zones}) and of"
        " elsewhere fare the same in both families, in, out and through; limits by their parameters",
        reason="; ".join(["IPv4 and IPv6 let the same through, zone by zone", *told]), evidence=told,
    )  # fmt: skip


def _different(found: Parity, told: tuple[str, ...]) -> Outcome:
    texts = [_text(each) for each in found.differences]
    first = found.differences[0]
    rulings = [standing.ruling for standing in first.sides.values() if standing.status != "closed"]
    rule = next((str(ruling.by) for ruling in rulings if ruling is not None and ruling.by is not None), "")
    return Outcome(
        verdict=Verdict.FAIL, reason=f"IPv4 and IPv6 differ: {_listed(texts)}", proved=_counted(found),
        rule=rule, cause=CAUSE,
        fix="Say the same in iptables and ip6tables, each with the addresses of its family, and load both at once;"
        " fwproof parity shows what is left.",
        evidence=(*(line for each in found.differences for line in _lines(each)), *told),
    )  # fmt: skip


def _counted(found: Parity) -> str:
    hooks = [each.hook.value for each in found.differences]
    return "differences over the whole packet space: " + ", ".join(
        f"{hooks.count(hook)} at {hook}" for hook in dict.fromkeys(hooks)
    )


def _text(found: Difference) -> str:
    """Return a difference in one sentence: where, and what each family makes of it."""
    more = f" (and {len(found.rooms) - 1} more kinds of packets)" if len(found.rooms) > 1 else ""
    sides = [f"{family.display} {standing_text(each, example=False)}" for family, each in found.sides.items()]
    return f"at {found.hook}, {found.rooms[0]}{more}: {', and '.join(sides)}"


def _lines(found: Difference) -> Iterator[str]:
    for room in found.rooms:
        yield f"differs at {found.hook}: {room}"
    for family, standing in found.sides.items():
        yield f"there {family.display} is {standing_text(standing)}"


def _listed(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
