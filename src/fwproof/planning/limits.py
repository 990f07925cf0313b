"""Checks of limits: bursts of new connections, measurements over time, and connections that stand at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

from fwproof.flow import Family
from fwproof.inventory import Host
from fwproof.measured import Part
from fwproof.plan import Check, Kind
from fwproof.planning.asker import Asker
from fwproof.policy.model import Allow, Rate


def burst_size(rate: Rate) -> int:
    """Return how many new connections a burst makes: a quarter more than the limit, at least 5 more."""
    return rate.limit + max(5, ceil(rate.limit / 4))


def _duration(rate: Rate) -> float:
    """Return how many seconds it takes to measure a limit: its window and a little, where that is measured.

    A bucket, which only the host's tables can show it to be, takes less.
    """
    return 1.5 + (rate.per if Part.WINDOW in rate.measure else 0.0)


def rates(ask: Asker, allow: Allow, family: Family) -> Iterator[Check]:
    """Yield a burst from inside the peers and one from outside, or the measurement where one is wanted."""
    if allow.rate is None or not allow.peers.of(family):
        return
    name, size = f"{allow.id}:rate", burst_size(allow.rate)
    expected = f"{allow.rate.limit} of {size} in {allow.rate.per:g} s"
    inside: list[Host | None] = [*ask.field.rated(allow, family)] or [None]
    if allow.rate.measure:
        yield _measure(ask, allow, allow.rate, family, inside[0])
        inside = []
    for vantage in inside:
        check = ask.check(
            Kind.RATE, allow, expected, family,
            vantage=vantage, name=name, service=allow.service, direction="inbound",
        )  # fmt: skip
        spare = vantage.spare_address(family) if vantage else None
        yield replace(check, peer=spare) if spare is not None and spare in allow.peers else check
    same = [other for other in ask.policy.inbound if str(other.service) == str(allow.service)]
    for vantage in ask.field.vantages(family):
        if not any(vantage.address(family) in other.peers for other in same):
            yield ask.check(
                Kind.RATE, allow, "limited or denied", family,
                vantage=vantage, name=name, service=allow.service, direction="inbound",
            )  # fmt: skip
            return


def standing(ask: Asker, allow: Allow, family: Family) -> Iterator[Check]:
    """Yield the check that opens one connection more than may stand, from a vantage that may open any."""
    if allow.standing is None or not allow.peers.of(family):
        return
    who = "each source" if allow.standing.by == "source" else "all sources"
    yield ask.check(
        Kind.CONNECTIONS, allow, f"{allow.standing.limit} connections stand at once for {who}", family,
        vantage=next(iter(ask.field.rated(allow, family)), None), name=f"{allow.id}:connections",
        service=allow.service, direction="inbound",
    )  # fmt: skip


def _measure(ask: Asker, allow: Allow, rate: Rate, family: Family, vantage: Host | None) -> Check:
    """Return the check that measures a limit, from all vantages that have a spare address among its peers."""
    who = "each source" if rate.by == "source" else "all sources"
    return ask.check(
        Kind.MEASURE, allow, f"{rate.limit} in {rate.per:g} s for {who}, measured in about {_duration(rate):.0f} s",
        family, vantage=vantage, name=f"{allow.id}:measure", service=allow.service, direction="inbound",
    )  # fmt: skip
