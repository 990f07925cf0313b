"""What a claim keeps for the list of what is allowed: peers, networks, rules, and counters from before any probe."""

from dataclasses import replace

import pytest

from fwproof.audit.allowance import allowance_of
from fwproof.errors import HostError
from fwproof.facts import Facts
from fwproof.judging import judge
from fwproof.plan import Kind
from fwproof.planning.plan import plan
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.results import Outcome, Verdict
from fwproof.semantics.model import HostModel

INVENTORY = """\
zones: {near: [192.0.2.0/24, "2001:db8::/64"]}
hosts:
  web:
    addresses: [192.0.2.1]
    ssh: {address: 127.0.0.1, port: 1, identity_file: key, known_hosts: known}
    access: root
"""
POLICY = """\
policy: small
hosts: [web]
inbound:
  default: deny
  allow:
    - {id: site, service: tcp/80, from: near, owner: the web team, justification: CHG-7}
"""
RULE = "-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 80 -j ACCEPT"
RULES = f"""\
*filter
:INPUT DROP [5:300]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
[12:720] {RULE}
COMMIT
"""


@pytest.fixture
def asked(tmp_path):
    """Return a function that judges every check of the policy with a model, and gives the allowances by kind."""
    for name, text in (("i.yaml", INVENTORY), ("p.yaml", POLICY)):
        (tmp_path / name).write_text(text)
    inventory = load_inventory(tmp_path / "i.yaml")
    checks = plan(load_policy(tmp_path / "p.yaml", inventory), inventory)

    def ask(model):
        facts = Facts(inventory=inventory, snapshots={}, models={"web": model}, agents={})
        whole = [check for check in checks if check.kind in {Kind.CLAIM, Kind.INBOUND_DEFAULT} and not check.vantage]
        return {check.kind: (check, allowance_of(check, judge(check, facts), facts)) for check in whole}

    return ask


def test_a_claim_keeps_who_may_by_which_rule_and_how_often_it_counted(asked):
    check, found = asked(HostModel.build(iptables_save=RULES))[Kind.CLAIM]
    assert (check.expectation.owner, check.expectation.justification) == ("the web team", "CHG-7")
    assert (found.service, found.peers, found.networks) == ("tcp/80", "near", ["192.0.2.0/24"])
    (rule,) = found.rules
    assert (rule.place, rule.text, rule.packets) == ("ip filter INPUT rule 1", RULE, 12)


def test_without_counters_hits_are_not_known(asked):
    plain = RULES.replace("[12:720] ", "")
    _, found = asked(HostModel.build(iptables_save=plain))[Kind.CLAIM]
    assert [rule.packets for rule in found.rules] == [None]


def test_only_a_claim_lists_a_service(asked):
    model = HostModel.build(iptables_save=RULES)
    claim, _ = asked(model)[Kind.CLAIM]
    facts = Facts(inventory=None, snapshots={}, models={"web": model}, agents={})
    assert asked(model)[Kind.INBOUND_DEFAULT][1] is None
    assert allowance_of(replace(claim, kind=Kind.RATE), Outcome(verdict=Verdict.PASS, reason=""), facts) is None


def test_a_host_that_could_not_be_looked_at_still_has_what_was_allowed(asked):
    model = HostModel.build(iptables_save=RULES)
    check, _ = asked(model)[Kind.CLAIM]
    facts = Facts(inventory=None, snapshots={}, models={"web": HostError("web", "gone")}, agents={})
    (ref,) = (rule.ref for rule in model.rules(check.family))
    found = allowance_of(check, Outcome(verdict=Verdict.ERROR, reason="gone", by=(ref,)), facts)
    assert found.networks == ["192.0.2.0/24"]
    assert [rule.packets for rule in found.rules] == [None]
