"""What was agreed to: outside of it nothing begins, and nobody is connected to."""

import os
import signal
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from fwproof.audit import gather as gathering
from fwproof.audit.allowed import check_allowed, ended_by_signal, recorded
from fwproof.errors import UsageError
from fwproof.policy.inventory_file import load_inventory

FILE = """\
authorisation: {by: "Jane Doe, operations", reference: CHG-7, hosts: [web], \
from: 2026-03-01T22:00+01:00, to: 2026-03-02T04:00Z}
hosts:
  web1: {addresses: 10.0.0.1, groups: [web]}
  web2: {addresses: 10.0.0.2, groups: [web]}
  db: {addresses: 10.0.0.3}
"""
NOW = datetime(2026, 3, 1, 23, tzinfo=UTC)


@pytest.fixture
def inventory(tmp_path):
    path = tmp_path / "inventory.yaml"
    path.write_text(FILE, encoding="utf-8")
    return load_inventory(path)


def test_inside_of_it(inventory):
    check_allowed(inventory, ["web1", "web2"], NOW)
    check_allowed(inventory, ["web1"], datetime(2026, 3, 1, 22, tzinfo=timezone(timedelta(hours=1))))
    given = recorded(inventory.authorisation)
    assert given.hosts == ["web1", "web2"]
    assert (given.opens, given.closes) == ("2026-03-01T22:00+01:00", "2026-03-02T04:00+00:00")


@pytest.mark.parametrize(
    ("hosts", "now", "why"),
    [
        (["web1", "db"], NOW, "Jane Doe, operations does not cover db; it is for web1, web2: have it extended"),
        (["web1"], NOW - timedelta(hours=3), r"begins at 2026-03-01T22:00\+01:00, and it is 2026-03-01T20:00\+00:00"),
        (["web1"], NOW + timedelta(hours=5), r"ended at 2026-03-02T04:00\+00:00, and it is 2026-03-02T04:00"),
    ],
)
def test_outside_of_it(inventory, hosts, now, why):
    with pytest.raises(UsageError, match=why) as refused:
        check_allowed(inventory, hosts, now)
    assert refused.value.exit_code == 4


def test_nobody_is_connected_to_outside_of_it(inventory, monkeypatch):
    class Check:
        host = "web1"

    def never(*_args, **_more):
        raise AssertionError("an audit began")

    monkeypatch.setattr(gathering, "Lock", never)
    monkeypatch.setattr(gathering, "Field", never)
    with pytest.raises(UsageError, match="ended at"):
        gathering.gather([Check()], inventory, print, exercise=True)


def test_a_file_without_one_allows_all(tmp_path):
    path = Path(tmp_path / "inventory.yaml")
    path.write_text("hosts: {a: {addresses: 10.0.0.1}}\n", encoding="utf-8")
    inventory = load_inventory(path)
    check_allowed(inventory, ["a"])
    assert recorded(inventory.authorisation) is None
    assert inventory.hosts["a"].max_pps == 1000, "safe where nobody says otherwise"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_first_and_interrupts_then(number):
    told, before = [], signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_by_signal(told.append):
        os.kill(os.getpid(), number)
    assert told == [f"the audit was stopped by {number.name}"]
    assert signal.getsignal(number) is before
