"""``fwproof plan``: all of it is said, and nobody is contacted."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwproof.cli.plan import plan
from fwproof.errors import FwproofError
from fwproof.hosts.access import commands
from fwproof.policy.inventory_file import load_inventory

ROOT = Path(__file__).parents[3]
INVENTORY, POLICY = ROOT / "fixtures" / "inventory.yaml", ROOT / "checks" / "ai-server.policy.yaml"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    def never(*_args, **_more):
        raise AssertionError("somebody was contacted")

    monkeypatch.setattr(socket, "create_connection", never)
    monkeypatch.setattr(socket.socket, "connect", never)


def said(*words, status=0):
    done = CliRunner().invoke(plan, [str(word) for word in words])
    if isinstance(done.exception, FwproofError):
        assert done.exception.exit_code == status
        return str(done.exception)
    assert done.exit_code == status, done.output + repr(done.exception)
    return done.output


def planned(*words, status=0):
    return json.loads(said(POLICY, "--inventory", INVENTORY, "--format", "json", *words, status=status))


def test_the_document_is_whole_and_its_sums_hold():
    found = planned()
    assert set(found) == {
        "schema", "inventory", "policies", "checks", "authorisation", "hosts", "sends", "bounds", "left_out", "targets",
        "totals", "seconds", "beyond", "undone",
    }  # fmt: skip
    assert found["schema"] == "fwproof-plan-1"
    assert found["checks"] == 392
    assert found["totals"]["packets"] == sum(each["packets"] for each in found["sends"])
    assert found["totals"]["packets"] == sum(each["packets"] for each in found["targets"])
    assert found["totals"]["connections"] == sum(each["connections"] for each in found["sends"])
    assert {each["phase"] for each in found["sends"]} == {"flows", "forms", "essential", "drop-log", "bans", "bursts"}
    bounds = {each["kind"]: each["packets"] for each in found["bounds"]}
    assert bounds == {"coverage": 12240, "listeners": 64, "path": 96}, "what only live tables tell"
    assert 0 < found["seconds"]["least"] < found["seconds"]["most"]
    assert all(each["busiest_second"] <= each["max_pps"] for each in found["targets"])


def test_commands_are_those_that_are_run():
    inventory = load_inventory(INVENTORY)
    hosts = {host["name"]: host for host in planned()["hosts"]}
    wanted = [list(c.argv("auditor")) for c in commands(inventory.hosts["ai-server"], ["ollama-api"])]
    assert [c["argv"] for c in hosts["ai-server"]["commands"]] == wanted
    assert hosts["proxy"]["commands"] == []
    assert hosts["proxy"]["agent"][-1] == ["/usr/bin/sudo", "-n", "/usr/local/sbin/fwproof-agent"]
    assert hosts["store-elastic"]["agent"] == [], "tier read has none"


def test_without_exercises_nothing_is_provoked():
    found = planned("--no-exercise")
    assert {each["phase"] for each in found["sends"]} == {"flows", "forms", "essential"}
    assert {why for _, why in map(dict.values, found["left_out"])} == {"exercises are switched off"}


def policy(folder, text):
    (folder / "i.yaml").write_text(
        "authorisation: {by: Jane, hosts: [a]}\ndefaults: {access: root, max_pps: 100}\nzones: {z: 10.0.0.0/24}\n"
        "hosts:\n  a: {addresses: [10.0.0.1, 10.0.0.11]}\n  v: {addresses: [10.0.0.2, 10.0.0.12], vantage: true}\n"
        "  w: {addresses: [10.0.0.3, 10.0.0.13], vantage: true}\n", encoding="utf-8",
    )  # fmt: skip
    (folder / "p.policy.yaml").write_text(text, encoding="utf-8")
    return folder, "--inventory", folder / "i.yaml"


MEASURED = """\
policy: p
hosts: [{host}]
inbound:
  default: deny
  allow: [{{id: x, service: tcp/80, from: z, rate: {{limit: 5, per: 20s, by: source, measure: true}}}}]
"""


def test_a_measurement_is_planned_from_its_schedule(tmp_path):
    found = json.loads(said(*policy(tmp_path, MEASURED.format(host="a")), "--format", "json"))
    mine = [each for each in found["sends"] if each["phase"] == "measures"]
    assert {each["from"] for each in mine} == {"v", "w"}
    assert max(each["seconds"] for each in mine) > 20
    assert found["seconds"]["least"] > 20
    assert found["authorisation"]["by"] == "Jane"
    text = said(*policy(tmp_path, MEASURED.format(host="a")))
    assert "authorised: by Jane; hosts a" in text
    assert "that is over" not in text
    assert "measures" in text


def test_a_window_that_has_closed_is_said(tmp_path):
    words = policy(tmp_path, MEASURED.format(host="a"))
    inventory = tmp_path / "i.yaml"
    inventory.write_text(inventory.read_text().replace("hosts: [a]}", "hosts: [a], to: 2026-01-31T06:00+01:00}"))
    assert "to 2026-01-31T06:00+01:00; that is over: nothing would be sent" in said(*words)


def test_what_was_cut_is_marked(tmp_path):
    lines = said(*policy(tmp_path, MEASURED.format(host="a"))).splitlines()
    assert "a          10.0.0.1:22  auditor  root" in next(line for line in lines if line.startswith("a "))
    assert any(line.startswith("  /bin/sh -c ") and line.endswith(" …") for line in lines)


def capped(folder, limit, pps):
    text = f"""policy: p
hosts: [a]
inbound:
  default: deny
  allow: [{{id: x, service: tcp/80, from: z, rate: {{limit: {limit}, per: 20s, by: source}}}}]
"""
    words = policy(folder, text)
    path = folder / "i.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("max_pps: 100", f"max_pps: {pps}"), encoding="utf-8")
    return json.loads(said(*words, "--format", "json")), said(*words)


def test_a_burst_that_a_host_may_not_get_is_said_to_be_an_error(tmp_path):
    found, text = capped(tmp_path, 20, 40)  # 25 packets and as many resets
    (target,) = found["targets"]
    assert target["refused"] == [each["check"] for each in found["sends"] if each["phase"] == "bursts"]
    assert "bursts need more than the 38 packets a second that a may get by its max_pps" in text
    assert "x:rate: not sent, and errors" in text
    found, text = capped(tmp_path, 20, 60)
    assert found["targets"][0]["refused"] == []
    assert "bursts need more" not in text


def test_probes_that_are_held_back_take_longer(tmp_path):
    slow, text = capped(tmp_path, 5, 10)
    fast, _ = capped(tmp_path, 5, 1000)
    assert fast["targets"][0]["held_back_seconds"] == 0
    held = slow["targets"][0]["held_back_seconds"]
    assert held == pytest.approx(1.05, abs=0.1)  # two SYNs take 4 permits, two connections 12, and 9 are given a second
    assert slow["seconds"]["least"] - fast["seconds"]["least"] == pytest.approx(held, abs=0.2)
    assert f"held back to 9 a second by its max_pps: about {held:.0f} s more" in text


def test_hosts_are_opened_as_many_at_once_as_the_inventory_allows(tmp_path):
    words = policy(tmp_path, MEASURED.format(host="a"))
    path = tmp_path / "i.yaml"
    plain, before = path.read_text(encoding="utf-8"), {}
    for limits in ("", "limits: {at_once: 1}\n", "limits: {zones: {z: {at_once: 1}}}\n"):
        path.write_text(limits + plain, encoding="utf-8")
        before[limits] = json.loads(said(*words, "--format", "json"))["seconds"]["least"]
    one, *others = before.values()
    assert others == [pytest.approx(one + 2 * 0.6, abs=0.05)] * 2  # three hosts, one after the other


def test_refusals(tmp_path):
    assert "does not cover v" in said(*policy(tmp_path, MEASURED.format(host="v")), status=4)
    assert "there is no such file" in said(tmp_path / "none", status=4)
    faults = said(*policy(tmp_path, "policy: p\nhosts: [b]\n"), status=4)
    assert "p.policy.yaml:2:" in faults
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty: there is no policy (a file that ends in .policy.yaml)" in said(
        empty, "--inventory", tmp_path / "i.yaml", status=5
    )


def test_connections_that_are_kept_open_are_said(tmp_path):
    text = (
        "policy: p\nhosts: ai-server\ninbound:\n  default: deny\n  allow:\n"
        "    - {id: a, service: tcp/11434, from: internal, connections: 20}\n"
    )
    path = tmp_path / "p.policy.yaml"
    path.write_text(text, encoding="utf-8")
    sends = json.loads(said(path, "--inventory", INVENTORY, "--format", "json"))["sends"]
    kept = [each for each in sends if each["form"] == "kept open"]
    assert [each["connections"] for each in kept] == [22, 1, 22, 1], "one more, one after them, one of another"
    assert {each["to"] for each in kept} == {"ai-server"}
