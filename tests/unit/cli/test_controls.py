"""``fwproof controls``: the catalogue, the coverage of a run and of policies, and baselines."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import FwproofError, InputError, UsageError
from fwproof.policy.catalogue import shipped
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


def run(*words, status=0):
    done = CliRunner().invoke(cli, ["controls", *words])
    if isinstance(done.exception, FwproofError):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.stdout


def test_frameworks_are_listed():
    text = run()
    for name, framework in shipped().items():
        assert f"  {name} " in text
        assert framework.title in text
    assert [one["framework"] for one in json.loads(run("--format", "json"))["frameworks"]] == list(shipped())


def test_one_framework_is_shown_with_what_no_check_can_show():
    text = run("--framework", "pci-dss-4.0.1")
    assert "Firewall rules are reviewed twice a year" in text
    assert "none shows: The dated review by people" in text
    assert "| `1.2.7` |" in run("--framework", "pci-dss-4.0.1", "--format", "markdown").replace("\\", "")
    (one,) = json.loads(run("--framework", "pci-dss-4.0.1", "--format", "json"))["frameworks"]
    assert {each["id"] for each in one["controls"]} == {each.id for each in shipped()["pci-dss-4.0.1"].controls}


def test_what_policies_plan_to_support():
    text = run("checks", "--framework", "pci-dss-4.0.1")
    assert "planned       1.2.8" in text
    assert "no checks     1.2.2" in text
    assert "passing" not in text
    (one,) = json.loads(run("checks/ai-server.policy.yaml", "--framework", "pci-dss-4.0.1", "--format", "json"))[
        "frameworks"
    ]
    assert {each["state"] for each in one["controls"]} == {"planned", "no checks", "beyond"}


@pytest.mark.parametrize("source", ["reports/sample", "reports/sample/results.json"])
def test_what_a_run_supports(source):
    found = json.loads(run(source, "--format", "json"))
    assert found["source"] == source
    assert "pci-dss-4.0.1" in {one["framework"] for one in found["frameworks"]}
    assert "failing       1.2.8" in run(source, "--framework", "pci-dss-4.0.1")
    assert run(source, "--format", "markdown").startswith("### Controls\n")


def test_a_baseline_is_a_policy(tmp_path):
    text = run("--baseline", "cis-debian-12-1.1.0", "--baseline", "pci-dss-4.0.1", "--manager", "iptables",
               "--hosts", "ai-server, ai-server-published", "--admins", "admin")  # fmt: skip
    path = tmp_path / "web.policy.yaml"
    path.write_text(text, encoding="utf-8")
    policy = load_policy(path, load_inventory(ROOT / "fixtures" / "inventory.yaml"))
    assert policy.hosts == ("ai-server", "ai-server-published")
    assert policy.managers.who == "iptables"
    assert policy.inbound_default.controls["cis-debian-12-1.1.0"] == ("4.4.2.1", "4.4.3.1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--framework", "pci-dss-4.0"], "did you mean 'pci-dss-4.0.1'?"),
        (["--baseline", "pci-dss-4"], "did you mean 'pci-dss-4.0.1'?"),
        (["--manager", "ufw"], "are about a --baseline"),
        (["--baseline", "pci-dss-4.0.1", "--format", "json"], "--baseline prints a policy"),
        (["--baseline", "pci-dss-4.0.1", "checks"], "--baseline prints a policy"),
        (["nowhere"], "there is no such file or folder"),
        (["docs"], "neither a run's results.json nor a policy is there"),
        (["reports/sample", "--framework", "hipaa"], "there is no framework 'hipaa' here; there are "),
    ],
)
def test_bad_words_get_one_message(words, said):
    with pytest.raises(UsageError) as caught:
        run(*words)
    assert said in str(caught.value)


def test_faults_of_a_policy_are_told(tmp_path):
    (tmp_path / "x.policy.yaml").write_text("policy: x\nhosts: [nobody]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.policy\.yaml:2"):
        run(str(tmp_path))
