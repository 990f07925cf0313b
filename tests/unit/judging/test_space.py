"""Words for who refuses and who lets through."""

from fwproof.decision import RuleRef
from fwproof.judging.space import refusal_cause


def test_what_the_routing_drops_is_not_blamed_on_a_policy():
    ref = RuleRef(family="ip", table="routing", chain="routing", rule=None, text="martian source 10.0.0.10")
    assert refusal_cause(ref) == "the host's own routing refuses what the policy allows: martian source 10.0.0.10"
    assert "its policy is DROP" in refusal_cause(
        RuleRef(family="ip", table="filter", chain="INPUT", rule=None, text="DROP")
    )
