"""Judging what is expected in an address family that a host does not have: it does not apply, if that is so."""

from __future__ import annotations

from ipaddress import ip_network

from fwproof.facts import Facts
from fwproof.farends import spoken_of
from fwproof.flow import ICMPV6, Family, Hook
from fwproof.judging.space import ND_IN
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings, own_of
from fwproof.semantics.space import Claim, SpaceTooLarge

_SHOWN = 4
_LINK_LOCAL = ip_network("fe80::/10")
"""The addresses that every interface with IPv6 has, and that its link alone reaches (RFC 4291, 2.5.6)."""


def _by_link(model: HostModel, family: Family) -> tuple[str, ...]:
    """Return, in lines, what neighbours get in to by the link-local addresses of a host that has no others."""
    own = () if model.addresses is None else model.addresses.of(family)
    if family is Family.IPV4 or not any(each.is_link_local for each in own):
        return ()
    needed = Claim(proto=ICMPV6, icmp_types=ND_IN)
    claim = Claim(sources=(_LINK_LOCAL,), destinations=(_LINK_LOCAL,))
    try:
        found = openings(model, Hook.INPUT, family, claim=claim, outside=[needed]).openings
    except SpaceTooLarge as limit:
        return (str(limit),)
    return tuple(line for each in found for line in each.lines())


def judge_absent(check: Check, facts: Facts) -> Outcome:
    """Judge that a host has no address of a family, as its inventory says by naming none; raises HostError.

    An address that the host has all the same leaves open what was not asked: whatever the policy expects there.
    """
    assert check.family is not None
    name = check.family.display
    found = own_of(facts.model(check.host), check.family)
    if not found and (lines := _by_link(facts.model(check.host), check.family)):
        return Outcome(
            verdict=Verdict.INCONCLUSIVE, cause=f"the host speaks {name} on its links, and nothing was asked there",
            reason=f"the host has {name} addresses on its own links only, and neighbours get in there: {lines[0]}",
            proved="; ".join(lines[:_SHOWN]), fix=f"Refuse {name} by default, or take it off the host.",
            evidence=lines,
        )  # fmt: skip
    if not found:
        ids = [one.id for one in spoken_of(check.policy, check.family)]
        few = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
        reason = f"the host has no {name} address, so in {name} nothing applies of {few}"
        return Outcome(
            verdict=Verdict.NOT_APPLICABLE, reason=reason, proved=f"no interface of it has an {name} address"
        )
    shown = ", ".join(map(str, found[:_SHOWN])) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    return Outcome(
        verdict=Verdict.INCONCLUSIVE, cause=f"the inventory names no {name} address of the host, which has one",
        reason=f"the inventory names no {name} address, but the host has {shown}: nothing was asked there",
        proved=f"its interfaces have {shown}", fix=f"Name the address in the inventory, or take {name} off the host.",
    )  # fmt: skip
