"""Checks of what is allowed: each claim over the whole packet space, and a packet from every vantage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fwproof.farends import passes, permits
from fwproof.flow import Family
from fwproof.plan import Check, Kind
from fwproof.planning.asker import Asker
from fwproof.planning.limits import rates, standing
from fwproof.policy.model import Allow, Passing


def allows(ask: Asker) -> Iterator[Check]:
    """Yield the checks of all that is allowed in, out and through, each expectation with its limits."""
    for allow in ask.policy.inbound:
        for family in ask.families(allow):
            yield from _inbound(ask, allow, family)
        for family in ask.families(allow):
            yield from rates(ask, allow, family)
            yield from standing(ask, allow, family)
    for allow in ask.policy.outbound:
        for family in ask.families(allow):
            yield from _outbound(ask, allow, family)
    for passing in ask.policy.forward:
        for family in ask.families(passing):
            yield from _passing(ask, passing, family)


def _inbound(ask: Asker, allow: Allow, family: Family) -> Iterator[Check]:
    yield from _claim(ask, allow, family, "inbound")
    sources = [(vantage, vantage.address(family), "") for vantage in ask.field.vantages(family)]
    more = [(vantage, vantage.other_address(family)) for vantage in ask.field.vantages(family)]
    sources += [(vantage, other, str(other)) for vantage, other in more if other is not None]
    for vantage, address, name in sources:
        others = (other for other in ask.policy.inbound if other is not allow)
        if address not in allow.peers and any(permits(other, allow.service, address) for other in others):
            continue
        check = ask.check(
            Kind.INBOUND, allow, "allow" if address in allow.peers else "deny", family, name,
            vantage=vantage, service=allow.service, direction="inbound",
        )  # fmt: skip
        yield replace(check, peer=address)


def _claim(ask: Asker, allow: Allow, family: Family, direction: str) -> Iterator[Check]:
    """Yield the claim over the whole packet space: open to these peers and to nobody else.

    In a family of which the peers have no address it is open to nobody, which a default asks already.
    """
    default = ask.policy.inbound_default if direction == "inbound" else ask.policy.outbound_default
    there = bool(allow.peers.of(family))
    if there or default is None:
        expected = f"open to {allow.peers.name} only" if there else f"open to nobody in {family.display}"
        yield ask.check(Kind.CLAIM, allow, expected, family, service=allow.service, direction=direction)


def _outbound(ask: Asker, allow: Allow, family: Family) -> Iterator[Check]:
    yield from _claim(ask, allow, family, "outbound")
    for end in ask.field.ends(allow.peers, family):
        yield ask.check(Kind.OUTBOUND, allow, "allow", family, vantage=end, service=allow.service, direction="outbound")


def _passing(ask: Asker, passing: Passing, family: Family) -> Iterator[Check]:
    """Yield the claim, and a packet from every vantage: to the far ends, or to the port that is published.

    In a family of which the peers have no address nobody may pass, as in :func:`_claim`.
    """
    peers, there = passing.peers.of(family), passing.to.of(family)
    if (peers and there) or (not peers and (there or passing.published) and ask.policy.forward_default is None):
        whom = f"{passing.peers.name} only" if peers else f"nobody in {family.display}"
        where = f"{passing.to.name} open to {whom}"
        yield ask.check(Kind.CLAIM, passing, where, family, service=passing.asked, direction="forward")
    if not (peers and there):
        return
    if passing.published is not None:
        for vantage in ask.field.vantages(family):
            expected = "allow" if vantage.address(family) in passing.peers else "deny"
            yield ask.check(
                Kind.FORWARD, passing, expected, family, vantage=vantage, service=passing.asked, direction="forward"
            )
        return
    for vantage, end in ask.field.crossings(passing.to, family):
        ends = (vantage.address(family), end.address(family))
        mine = passes(passing, passing.service, *ends)
        if mine or not any(passes(other, passing.service, *ends) for other in ask.policy.forward):
            expected = "allow" if mine else "deny"
            service, both = passing.service, (vantage, end)
            yield ask.through(Kind.FORWARD, passing, expected, family, service=service, ends=both)
