"""Baselines: what ships in checks/baseline is what the catalogue says, loads and plans."""

import os
import re
from pathlib import Path

import pytest

from fwproof.errors import UsageError
from fwproof.planning.plan import plan
from fwproof.policy.baseline import baseline
from fwproof.policy.catalogue import METHODS, shipped
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "checks" / "baseline"
NAMES = tuple(shipped())


def made(name):
    return baseline([shipped()[name]], schema="../policy.schema.json")


def test_there_is_one_for_each_framework():
    if os.environ.get("FWPROOF_GOLDEN") == "write":
        FOLDER.mkdir(exist_ok=True)
        for name in NAMES:
            (FOLDER / f"{name}.yaml").write_text(made(name), encoding="utf-8")
    assert sorted(path.name for path in FOLDER.iterdir()) == [f"{name}.yaml" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_the_catalogue_says(name):
    assert (FOLDER / f"{name}.yaml").read_text(encoding="utf-8") == made(name)


@pytest.fixture(scope="module")
def inventory():
    return load_inventory(ROOT / "fixtures" / "inventory.yaml")


def filled(tmp_path, inventory, *names, **given):
    path = tmp_path / "web.policy.yaml"
    frameworks = [shipped()[name] for name in names]
    path.write_text(baseline(frameworks, hosts=["ai-server"], **given), encoding="utf-8")
    return load_policy(path, inventory)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_plans_once_hosts_are_filled_in(name, tmp_path, inventory):
    policy = filled(tmp_path, inventory, name)
    assert policy.hosts == ("ai-server",)
    kinds = {check.kind.value for check in plan(policy, inventory)}
    assert kinds >= {"inbound-default", "outbound-default", "forward-default", "parity", "loopback", "established",
                     "icmpv6-nd", "rules", "persistence", "drop-log", "listeners", "managers", "evasion"}  # fmt: skip
    assert [framework.id for framework in policy.frameworks] == [name]


def test_frameworks_can_be_joined_in_one_policy(tmp_path, inventory):
    policy = filled(tmp_path, inventory, "cis-debian-12-1.1.0", "pci-dss-4.0.1")
    assert dict(policy.persistence.controls) == {
        "cis-debian-12-1.1.0": ("4.3.9", "4.3.10"), "pci-dss-4.0.1": ("1.2.8",)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("manager", "who", "ids"),
    [("", "nftables", ("4.3.9", "4.3.10")), ("ufw", "ufw", ("4.2.3",)), ("iptables", "iptables", ("4.4.1.1",))],
)
def test_the_chapter_is_that_of_the_manager(tmp_path, inventory, manager, who, ids):
    policy = filled(tmp_path, inventory, "cis-debian-12-1.1.0", manager=manager)
    assert (policy.managers.who, policy.persistence.controls["cis-debian-12-1.1.0"]) == (who, ids)


def test_frameworks_of_two_managers_need_a_word():
    pair = [shipped()["cis-debian-12-1.1.0"], shipped()["stig-rhel-9"]]
    with pytest.raises(UsageError, match="firewalld and nftables: say which with --manager"):
        baseline(pair)
    assert "who: firewalld" in baseline(pair, manager="firewalld")


def test_what_the_template_does_not_expect_is_not_claimed(tmp_path, inventory):
    """Spoofing, limits, bans and drift are not in a baseline, so nothing that they alone support is."""
    absent = {"spoofing", "rate", "bans", "baseline", "coverage"}
    assert absent < set(METHODS)
    for name in NAMES:
        policy = filled(tmp_path, inventory, name)
        text = (tmp_path / "web.policy.yaml").read_text(encoding="utf-8")
        spoken = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        for control in policy.frameworks[0].controls:
            if control.by and set(control.by) <= absent:
                assert not re.search(rf"[\[ \"]{re.escape(control.id)}[\], \"]", spoken), control.id
