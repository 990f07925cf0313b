"""What a claim allows, for the list of allowed services: peers as networks, and the rules with their counters."""

from __future__ import annotations

from fwproof.decision import RuleRef
from fwproof.facts import Facts
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow
from fwproof.results import Allowance, AllowedRule, Outcome
from fwproof.semantics.model import HostModel


def allowance_of(check: Check, outcome: Outcome, facts: Facts) -> Allowance | None:
    """Return what a claim allows; None for every other check, so that each service is listed once a family."""
    allow = check.expectation
    if check.kind is not Kind.CLAIM or not isinstance(allow, Allow) or check.family is None:
        return None
    counted = _counters(check, facts)
    return Allowance(
        service=str(allow.service),
        peers=allow.peers.name,
        networks=[str(network) for network in allow.peers.of(check.family)],
        rules=[AllowedRule(place=by.place, text=by.text, packets=counted.get(by)) for by in outcome.by],
    )


def _counters(check: Check, facts: Facts) -> dict[RuleRef, int]:
    model = facts.models.get(check.host)
    if not isinstance(model, HostModel) or check.family is None:
        return {}
    return {rule.ref: rule.counters.packets for rule in model.rules(check.family) if rule.counters}
