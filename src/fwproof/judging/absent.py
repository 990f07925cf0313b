"""Judging what is expected in an address family that a host does not have: it does not apply, if that is so."""

from __future__ import annotations

from fwproof.facts import Facts
from fwproof.farends import spoken_of
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict
from fwproof.semantics.reach import own_of

_SHOWN = 4


def judge_absent(check: Check, facts: Facts) -> Outcome:
    """Judge that a host has no address of a family, as its inventory says by naming none; raises HostError.

    An address that the host has all the same leaves open what was not asked: whatever the policy expects there.
    """
    assert check.family is not None
    name = "IPv6" if check.family == "ipv6" else "IPv4"
    found = own_of(facts.model(check.host), check.family)
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
