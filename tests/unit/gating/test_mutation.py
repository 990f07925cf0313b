"""Slips in rules: which there are, which mean the same, and which no expectation notices."""

from pathlib import Path

import pytest

from fwproof.audit.outcomes import outcome_of
from fwproof.flow import Family
from fwproof.gating.mutants import Slip, mutants
from fwproof.gating.mutation import score
from fwproof.gating.offline import TABLES, checks_of, facts_of
from fwproof.gating.twin_field import as_twins
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.ruleset.asks import Within
from fwproof.semantics.diff import compare
from fwproof.snapshot import Snapshot

TEXT = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 9 -j DROP
COMMIT
"""
INVENTORY = """
zones: {admins: [10.0.0.1]}
hosts:
  web: {addresses: [10.0.0.10]}
  admin: {addresses: [10.0.0.1], vantage: true, access: root}
"""
POLICY = """
policy: web
hosts: [web]
services: {ssh: tcp/22}
inbound:
  default: deny
  allow:
    - {id: ssh-admin, service: ssh, from: admins}
"""


@pytest.fixture
def asked(tmp_path):
    """A function that scores tables against a policy."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY)

    def run(model, policy=POLICY, seconds=60.0):
        (tmp_path / "web.policy.yaml").write_text(policy)
        known = load_inventory(tmp_path / "inventory.yaml")
        expected = load_policy(Path(tmp_path / "web.policy.yaml"), known)
        inventory = as_twins(known, "web", expected)
        checks = [c for c in checks_of(expected, inventory, "web", [Family.IPV4]) if c.kind in TABLES]
        empty = Snapshot(host="web", captures={}, faults={})
        judge = lambda check, tables: outcome_of(check, facts_of(inventory, "web", tables, empty, [check]))  # noqa: E731
        return score(model, [Family.IPV4], expected, checks, judge, seconds)

    return run


def test_every_rule_is_deleted_widened_and_exchanged(build):
    found = list(mutants(build(TEXT), Family.IPV4))
    assert [m.rule.rule for m in found if m.slip is Slip.DELETED] == [1, 2, 3, 4]
    assert [m.rule.rule for m in found if m.slip is Slip.SWAPPED] == [1, 2, 3]
    wide = [(m.rule.rule, m.text) for m in found if m.slip is Slip.WIDENED]
    assert wide == [
        (1, "without -i lo"), (2, "without --ctstate RELATED,ESTABLISHED"),
        (3, "-s 10.0.0.1/32 widened to 10.0.0.0/24"),
        (3, "without -p tcp"), (3, "without --dport 22"), (4, "without -p tcp"), (4, "without --dport 9"),
        (None, "policy ACCEPT"), (None, "policy ACCEPT"),
    ]  # fmt: skip


def test_a_rule_without_its_protocol_is_without_its_ports(build):
    mutant = next(m for m in mutants(build(TEXT), Family.IPV4) if m.text == "without -p tcp" and m.rule.rule == 3)
    tests = [match.test for match in mutant.model.rules(Family.IPV4)[2].matches]
    assert {test.field for test in tests if isinstance(test, Within)} == {"src"}


def test_a_mutant_changes_one_thing_and_the_tables_not_at_all(build):
    model = build(TEXT)
    before = model.rules(Family.IPV4)
    for mutant in mutants(model, Family.IPV4):
        assert mutant.model.rulesets[Family.IPV6] == model.rulesets[Family.IPV6]
        assert mutant.model.rulesets[Family.IPV4] != model.rulesets[Family.IPV4]
    assert model.rules(Family.IPV4) == before


def test_mutants_that_mean_the_same_count_for_nothing(build, asked):
    model = build(TEXT)
    found = asked(model)
    same = [m for m in mutants(model, Family.IPV4) if compare(model, m.model, Family.IPV4).same]
    assert "deleted" in {m.text for m in same if m.rule.rule == 4}  # the policy drops it all the same
    assert found.equivalent == len(same)
    assert found.tried == found.total == found.equivalent + found.noticed + len(found.survivors)


def test_a_policy_that_asks_more_notices_more(build, asked):
    model, forward = build(TEXT), "forward: {default: deny}\n"
    essential = "essential: [loopback, established]\n"
    little, much = asked(model), asked(model, POLICY + forward + essential)
    survived = {(each.mutant.rule.chain, each.mutant.rule.rule, each.mutant.text) for each in little.survivors}
    assert ("FORWARD", None, "policy ACCEPT") in survived
    assert ("INPUT", 1, "deleted") in survived
    assert little.score < much.score
    assert ("FORWARD", None, "policy ACCEPT") not in {
        (each.mutant.rule.chain, each.mutant.rule.rule, each.mutant.text) for each in much.survivors
    }


def test_what_is_suggested_is_what_notices(build, asked):
    model = build(TEXT)
    suggested = {each.mutant.rule.chain: each.suggestion for each in asked(model).survivors
                 if each.mutant.rule.rule is None}  # fmt: skip
    assert suggested == {"FORWARD": "forward: {default: deny}"}
    lo = next(each for each in asked(model).survivors if each.mutant.rule.rule == 1 and each.mutant.text == "deleted")
    assert lo.suggestion == "essential: [loopback]"
    assert lo.witness.iif == "lo"
    assert lo.mendable


def test_what_fails_already_notices_nothing(build, asked):
    open_to_all = TEXT.replace(":INPUT DROP", ":INPUT ACCEPT")
    found = asked(build(open_to_all))
    assert "inbound-default[web-ipv4]" not in found.killed
    assert not found.killed.get("ssh-admin[web-ipv4]")


def test_where_time_is_short_a_sample_is_tried_and_said(build, asked):
    found = asked(build(TEXT), seconds=1e-9)
    assert found.tried < found.total
    assert found.tried == found.equivalent + found.noticed + len(found.survivors)


def test_what_a_policy_asks_already_is_not_suggested_again(build, asked):
    model = build(TEXT)
    told = {each.suggestion for each in asked(model, POLICY + "essential: [loopback, established]\n").survivors}
    assert not [text for text in told if text.startswith("essential")]
    assert {text for text in told if not text.startswith("no expectation")} == {"forward: {default: deny}"}
