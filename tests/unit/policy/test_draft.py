"""Drafts: marked in the policy, planned as checks that no audit passes."""

from pathlib import Path

import pytest

from fwproof.errors import InputError
from fwproof.facts import Facts
from fwproof.judging import judge
from fwproof.plan import Kind
from fwproof.planning.plan import plan
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import policy_of
from fwproof.results import Verdict

INVENTORY = load_inventory(Path(__file__).parents[3] / "fixtures" / "inventory.yaml")
QUESTION = "questions: [{id: who, title: 'Who needs tcp/8080?', severity: critical}]\n"


def policy(text):
    whole = f"policy: x\nhosts: [ai-server]\ninbound: {{default: deny}}\n{text}"
    return policy_of(parse_document(whole.encode(), file="x", path=Path("x")), INVENTORY)


def test_a_draft_is_a_check_that_stays_open_and_so_is_each_question():
    checks = [check for check in plan(policy(f"status: draft\n{QUESTION}"), INVENTORY) if check.kind is Kind.DRAFT]
    assert [check.id for check in checks] == ["draft[ai-server]", "who[ai-server]"]
    facts = Facts(inventory=INVENTORY, snapshots={}, models={}, agents={})
    outcomes = [judge(check, facts) for check in checks]
    assert {outcome.verdict for outcome in outcomes} == {Verdict.INCONCLUSIVE}
    assert "1 question in it is open" in outcomes[0].reason
    assert "Who needs tcp/8080?" in outcomes[1].reason
    assert checks[1].expectation.severity == "critical"


@pytest.mark.parametrize("text", ["", "status: agreed\n"])
def test_what_is_agreed_is_no_draft(text):
    assert not [check for check in plan(policy(text), INVENTORY) if check.kind is Kind.DRAFT]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (QUESTION, "x:4:1: a policy with open questions is a draft: write 'status: draft', or answer and delete them"),
        ("status: draf\n", "x:4:9: 'status': expected draft or agreed, not 'draf'"),
        ("status: draft\nquestions: [{id: who}]\n", "x:5:13: key 'title' is missing"),
    ],
)
def test_a_half_draft_is_refused(text, message):
    with pytest.raises(InputError) as caught:
        policy(text)
    assert str(caught.value).startswith(message)
