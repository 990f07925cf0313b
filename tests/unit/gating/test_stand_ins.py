"""Vantages of a twin where the inventory has none."""

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.flow import Family
from fwproof.gating.candidate import shape_of
from fwproof.gating.kernel import placed
from fwproof.gating.twin_field import as_twins
from fwproof.inventory import Access
from fwproof.plan import Kind
from fwproof.planning.plan import plan
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.semantics.model import HostModel

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


def shaped(tmp_path, families):
    """Return the twin of a host to which only IPv4 leads, and what has no place there."""
    own = [{"family": "inet", "local": "10.0.0.10", "prefixlen": 24}]
    addresses = json.dumps([{"ifname": "eth0", "addr_info": own}])
    routes = json.dumps([{"dst": "10.0.0.0/8", "dev": "eth0"}])
    model = HostModel.build(iptables_save="", addresses=addresses, routes=routes)
    (tmp_path / "inventory.yaml").write_text(INVENTORY.replace("[10.2.0.1]", '[10.2.0.1, "fd00:2::1"]'))
    known = load_inventory(tmp_path / "inventory.yaml")
    return known, *shape_of(model, known.hosts["web"], [known.hosts["there"]], families)


def test_a_host_to_which_one_family_leads_stands_there_in_that_one(tmp_path):
    _, shape, lost = shaped(tmp_path, tuple(Family))
    assert shape.others == {"there": ("eth0", (ip_address("10.2.0.1"),))}
    assert lost == ("there as fd00:2::1: no interface leads there",)
    assert shaped(tmp_path, [Family.IPV4])[1:] == (shape, ())
    assert shaped(tmp_path, [Family.IPV6])[2] == ("there: no one interface leads to its addresses",)


def test_a_check_has_its_place_where_both_ends_have_its_family(tmp_path):
    known, shape, _ = shaped(tmp_path, tuple(Family))
    (tmp_path / "web.policy.yaml").write_text(POLICY)
    policy = load_policy(tmp_path / "web.policy.yaml", known)
    here = {"there": replace(known.hosts["there"], addresses=shape.others["there"][1])}
    (check,) = [each for each in plan(policy, known) if each.vantage == "there" and each.kind is Kind.INBOUND][:1]
    assert placed(replace(check, family=Family.IPV4), here)
    assert not placed(replace(check, family=Family.IPV6), here)
    assert not placed(replace(check, vantage="elsewhere"), here)
