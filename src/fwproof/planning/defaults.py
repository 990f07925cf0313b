"""Checks of what no expectation allows: the defaults, samples of them on the wire, and evasive forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fwproof.farends import passes, permits
from fwproof.flow import Family
from fwproof.forms import Group
from fwproof.inventory import Access
from fwproof.plan import Check, Kind
from fwproof.planning.asker import Asker
from fwproof.policy.model import Default, Evasion, Sample


def defaults(ask: Asker) -> Iterator[Check]:
    """Yield the claim of every default, and its samples."""
    policy = ask.policy
    for kind, default, direction in (
        (Kind.INBOUND_DEFAULT, policy.inbound_default, "inbound"),
        (Kind.OUTBOUND_DEFAULT, policy.outbound_default, "outbound"),
        (Kind.FORWARD_DEFAULT, policy.forward_default, "forward"),
    ):
        if default is None:
            continue
        for family in ask.families(default):
            yield ask.check(kind, default, "deny", family, direction=direction)
        for family in ask.families(default):
            for sample in default.samples:
                yield from samples(ask, kind, default, sample, family)


def samples(ask: Asker, kind: Kind, default: Default, sample: Sample, family: Family) -> Iterator[Check]:
    """Yield a sample from every vantage; what an allow lets through for a vantage is that allow's check."""
    if kind is Kind.FORWARD_DEFAULT:
        yield from _crossing(ask, kind, default, sample, family)
        return
    inbound = kind is Kind.INBOUND_DEFAULT
    allows = ask.policy.inbound if inbound else ask.policy.outbound
    service = sample.service
    for vantage in ask.field.vantages(family) if inbound else ask.field.ends(sample.to, family):
        if not any(permits(allow, service, vantage.address(family)) for allow in allows):
            parts = (service.proto, str(service.port if service.port is not None else service.icmp))
            direction = "inbound" if inbound else "outbound"
            yield ask.check(
                kind, default, "deny", family, *parts, vantage=vantage, service=service, direction=direction
            )


def _crossing(ask: Asker, kind: Kind, default: Default, sample: Sample, family: Family) -> Iterator[Check]:
    """Yield a sample of what must not pass through the host, from every vantage to the hosts at its far end."""
    service = sample.service
    for vantage, end in ask.field.crossings(sample.to, family) if sample.to else ():
        ends = (vantage.address(family), end.address(family))
        if not any(passes(passing, service, *ends) for passing in ask.policy.forward):
            parts = (service.proto, str(service.port or service.icmp))
            yield ask.through(kind, default, "deny", family, *parts, service=service, ends=(vantage, end))


def evasions(ask: Asker, evasion: Evasion) -> Iterator[Check]:
    """Yield each form from every vantage that can send it, in the families that have it."""
    for form in map(Group, evasion.forms):
        for family in ask.families(evasion):
            if form is Group.EXTENSION_HEADERS and family is Family.IPV4:
                continue
            able = [
                vantage
                for vantage in ask.field.vantages(family)
                if (evasion.peers is None or vantage.address(family) in evasion.peers)
                and (form is not Group.SPOOFING or vantage.access is Access.ROOT)
            ]
            for vantage in able or (None,):
                check = ask.check(
                    Kind.EVASION, evasion, "denied in every form", family,
                    vantage=vantage, name=f"{evasion.id}:{form.value}", direction="inbound",
                )  # fmt: skip
                yield replace(check, group=form)
