"""Vantages of a twin where the inventory has none."""

from ipaddress import ip_address

import pytest

from fwproof.flow import Family
from fwproof.gating.twin_field import as_twins
from fwproof.inventory import Access
from fwproof.planning.plan import plan
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy

INVENTORY = """
zones:
  office: [10.1.0.0/16, "fd00:1::/48"]
  one: [192.0.2.7]
  known: [10.2.0.0/24]
hosts:
  web: {addresses: [10.0.0.10, "fd00::10"]}
  there: {addresses: [10.2.0.1], vantage: true, access: root}
"""
POLICY = """
policy: web
hosts: [web]
inbound:
  default: deny
  allow: [{id: app, service: tcp/80, from: office}]
outbound:
  default: deny
  allow: [{id: database, service: tcp/5432, to: 10.3.0.5}, {id: far, service: tcp/443, to: 0.0.0.0/0}]
"""


@pytest.fixture
def twins(tmp_path):
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "web.policy.yaml").write_text(POLICY)
    inventory = load_inventory(tmp_path / "inventory.yaml")
    policy = load_policy(tmp_path / "web.policy.yaml", inventory)
    return as_twins(inventory, "web", policy), policy


def test_every_zone_and_every_end_that_a_policy_names_has_a_host(twins):
    hosts = twins[0].hosts
    assert list(hosts) == ["web", "there", "in-office", "in-one", "in-database"]
    assert [str(a) for a in hosts["in-office"].addresses] == ["10.1.0.1", "10.1.0.2", "fd00:1::1", "fd00:1:0:1::1"]
    assert hosts["in-office"].spare_address(Family.IPV6) == ip_address("fd00:1:0:1::1")
    assert [str(a) for a in hosts["in-one"].addresses] == ["192.0.2.7"]
    assert [str(a) for a in hosts["in-database"].addresses] == ["10.3.0.5"]
    assert all(host.access is Access.ROOT and host.vantage for name, host in hosts.items() if name != "web")


def test_checks_are_planned_from_there(twins):
    inventory, policy = twins
    ids = {check.id for check in plan(policy, inventory)}
    assert {"app[web-in-office-ipv4]", "app[web-in-office-ipv6]", "app[web-in-one-ipv4]",
            "database[web-in-database-ipv4]"} <= ids  # fmt: skip
