"""What of an inventory an audit was about."""

import pytest

from fwproof.audit.allowed import recorded
from fwproof.audit.scope import outside, standing_in
from fwproof.policy.inventory_file import load_inventory

FILE = """\
authorisation: {by: Jane, hosts: [web1, far], tester: "Ada, OSCP", independence: Internal audit}
zones: {inner: [10.0.0.0/24, "fd00::/64"], six: "fd00::/64", empty: 192.0.2.0/24}
hosts:
  web1: {addresses: [10.0.0.1, "fd00::1"]}
  far: {addresses: 203.0.113.5, vantage: true, access: root}
  db: {addresses: 10.0.0.3}
"""


@pytest.fixture
def inventory(tmp_path):
    path = tmp_path / "inventory.yaml"
    path.write_text(FILE, encoding="utf-8")
    return load_inventory(path)


def test_hosts_left_out_have_a_reason(inventory):
    assert outside(inventory, ["web1"]) == {
        "far": "that only probes came from", "db": "that the authorisation does not cover"
    }  # fmt: skip
    assert outside(inventory, ["far", "db"]) == {"web1": "that no check of this run is about"}
    assert outside(inventory, ["web1", "far", "db"]) == {}


def test_hosts_stand_in_every_zone_that_has_one_of_their_addresses(inventory):
    assert standing_in(inventory) == {"inner": ["web1", "db"], "six": ["web1"], "empty": []}


def test_the_tester_and_their_independence_are_recorded(inventory):
    given = recorded(inventory.authorisation)
    assert (given.tester, given.independence) == ("Ada, OSCP", "Internal audit")
