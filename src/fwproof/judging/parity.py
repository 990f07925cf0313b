"""Judging parity: IPv4 and IPv6 let the same through, zone by zone of the inventory."""

from __future__ import annotations

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
    texts = [text for each in found.differences for text in _texts(each)]
    first = found.differences[0]
    rulings = [standing.ruling for standing in first.sides.values() if standing.status != "closed"]
    rule = next((str(ruling.by) for ruling in rulings if ruling is not None and ruling.by is not None), "")
    return Outcome(
        verdict=Verdict.FAIL, reason=f"IPv4 and IPv6 differ: {_listed(texts)}", proved=_listed(texts),
        rule=rule, cause=CAUSE,
        fix="Say the same in iptables and ip6tables, each with the addresses of its family, and load both at once;"
        " fwproof parity shows what is left.",
        evidence=(*(line for each in found.differences for line in _lines(each)), *told),
    )  # fmt: skip


def _texts(found: Difference) -> list[str]:
    """Return each room with what the two families make of it."""
    sides = []
    for family, standing in found.sides.items():
        ruling = standing.ruling
        by = f" ({ruling.by})" if ruling is not None and ruling.by is not None else ""
        limits = f" by {'; '.join(standing.depends_on)}" if standing.depends_on else ""
        sides.append(f"{standing.status}{limits} in {'IPv4' if family == 'ipv4' else 'IPv6'}{by}")
    return [f"{found.hook} of {room}: {', '.join(sides)}" for room in found.rooms]


def _lines(found: Difference) -> list[str]:
    rooms = "; ".join(f"{found.hook}: {room}" for room in found.rooms)
    return [f"{rooms}: {family}: {standing_text(standing)}" for family, standing in found.sides.items()]


def _listed(texts: list[str] | tuple[str, ...]) -> str:
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
