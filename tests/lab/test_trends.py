"""A host that changes between two audits, and back: what `fwproof diff` and `fwproof index` say of the runs."""

import json
import os

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.lab import Lab

from .auditing import Run, on

pytestmark = pytest.mark.lab
HOST = "ai-server"
POLICY = """\
policy: trend
hosts: ai-server
services: {ollama: tcp/11434, ssh: tcp/22, web: tcp/8080}
inbound:
  default: {decision: deny, title: Nothing else gets in, severity: critical}
  allow:
    - {id: ollama, title: Ollama answers the internal network, service: ollama, from: internal, severity: high}
    - {id: ssh, service: ssh, from: admin}
    - {id: web, service: web, from: proxy}
"""
OPENED = "INPUT -s 203.0.113.0/24 -p tcp --dport 11434 -j ACCEPT"


def asked(*words, status):
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Audit the host as it is, opened to a network outside, and closed again."""
    place = tmp_path_factory.mktemp("trends")
    (policy := place / "trend.policy.yaml").write_text(POLICY)
    with Lab(f"trends{os.getpid()}") as lab:
        steps = (None, f"iptables -I {OPENED}", f"iptables -D {OPENED}")
        made = []
        for step in steps:
            if step:
                on(lab, HOST, step)
            made.append(Run(lab, place / "reports", policy=policy).folder)
        return place / "reports", *made


def test_what_was_opened_is_new_and_told_by_tables_and_wire(runs):
    _, before, opened, _ = runs
    said = json.loads(asked("diff", before, opened, "--format", "json", status=1))
    new = {check["id"] for check in said["checks"] if check["sort"] == "new"}
    assert {f"ollama[{HOST}-ipv4]", f"ollama[{HOST}-outside-ipv4]"} <= new
    (cell,) = said["reachability"]
    assert [cell[key] for key in ("peer", "service", "family", "change", "expected")] == [
        "outside", "ollama", "ipv4", "opened", "deny"]  # fmt: skip
    assert cell["proved"] == cell["observed"] == ["out", "in"]
    (rules,) = said["rules"]
    assert rules["same"] is False
    assert [(change["kind"], change["boxes"]) for change in rules["changes"]] == [
        ("became-reachable", ["tcp 11434 from 203.0.113.0/24"])]  # fmt: skip
    assert said["not_comparable"] == []


def test_what_was_closed_again_is_fixed_and_nothing_else_is_told(runs):
    _, before, opened, closed = runs
    said = json.loads(asked("diff", opened, closed, "--format", "json", status=0))
    assert said["sorts"]["fixed"] >= 2
    assert [cell["change"] for cell in said["reachability"]] == ["closed"]
    same = json.loads(asked("diff", before, closed, "--format", "json", status=0))
    assert {sort for sort, number in same["sorts"].items() if number} <= {"unchanged", "stands"}
    assert same["reachability"] == []
    assert [rules["same"] for rules in same["rules"]] == [True]


def test_the_index_has_the_finding_from_its_beginning_to_its_end(runs):
    reports, _, opened, closed = runs
    asked("index", reports, status=0)
    found = json.loads((reports / "index.json").read_text())
    assert [run["stored"] for run in found["runs"]] == ["as stored", "as stored, chained", "as stored, chained"]
    ended = {each["id"]: each for each in found["ended"]}[f"ollama[{HOST}-outside-ipv4]"]
    assert (ended["first_run"], ended["last_run"], ended["state"], ended["at_least"]) == (
        opened.name, opened.name, "fixed", False)  # fmt: skip
    assert closed.name in (reports / "index.html").read_text()
