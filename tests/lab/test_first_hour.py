"""The first hour against real hosts: drafts close the loop, and a change that is named does what it says."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from fwproof.lab import Lab

from .auditing import INVENTORY, ROOT, Run, on

pytestmark = pytest.mark.lab
GOOD, BAD, PORT = "ai-server", "ai-server-published", 8080
CONNECT = "import socket; socket.create_connection(('10.0.0.10', 8080), 1).close()"


@pytest.fixture(scope="module")
def lab():
    with Lab(f"hour{os.getpid()}") as lab:
        yield lab


@pytest.fixture
def fwproof(lab):
    def fwproof(*words, before=(), home=None):
        environment = {**os.environ, "FWPROOF_LAB_NAME": lab.name, "PYTHONPATH": str(ROOT / "src")}
        environment |= {"HOME": str(home)} if home else {}
        done = subprocess.run(
            [*before, sys.executable, "-m", "fwproof", *map(str, words)], cwd=ROOT, text=True, capture_output=True,
            check=False, env=environment, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return fwproof


def audited(lab, folder, host):
    policy = folder / "checks" / f"{host}.policy.yaml"
    return Run(lab, folder / "reports", policy=policy, inventory=INVENTORY)


def test_an_audit_of_a_draft_finds_its_open_questions_and_nothing_else(lab, fwproof, tmp_path):
    assert "2 open questions" in fwproof("init", tmp_path, "--from-host", GOOD, "--inventory", INVENTORY)
    run = audited(lab, tmp_path, GOOD)
    open_ = {check["id"]: check["verdict"] for check in run.of(GOOD) if check["verdict"] != "pass"}
    asked = ("draft", "ask-bans-ollama-api", "ask-bans-sshd")  # logs without a failure; whose status sudo keeps
    assert open_ == {f"{name}[ai-server]": "inconclusive" for name in asked}
    assert len(run.of(GOOD, "rate")) == 6  # as the policy of the demo has it, in both families
    assert len(run.of(GOOD, "inbound")) > 20  # packets were sent, from every vantage
    assert run.status == 6
    assert "the policy is a draft" in run.out
    assert "this policy is a draft" in (run.folder / "summary.md").read_text(encoding="utf-8")


def test_a_draft_of_the_published_server_blesses_none_of_its_holes(lab, fwproof, tmp_path):
    fwproof("init", tmp_path, "--from-host", BAD, "--inventory", INVENTORY)
    text = (tmp_path / "checks" / f"{BAD}.policy.yaml").read_text(encoding="utf-8")
    assert "allow" not in yaml.safe_load(text)["inbound"]
    run = audited(lab, tmp_path, BAD)
    assert run.status == 1
    failed = {check["id"] for check in run.of(BAD) if check["verdict"] == "fail"}
    assert failed == {f"{kind}-default[{BAD}-{family}]" for kind, family in (
        ("inbound", "ipv4"), ("forward", "ipv4"), ("forward", "ipv6"))}  # fmt: skip
    asked = [check for check in run.of(BAD, "draft") if check["verdict"] == "inconclusive"]
    assert len(asked) > 5
    assert any("tcp 8080 from anywhere" in check["title"] for check in asked)


def test_a_host_that_nobody_has_listed_is_drafted_by_its_address(lab, fwproof, tmp_path):
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / ".ssh" / "known_hosts").write_bytes(lab.known_hosts.read_bytes())
    there = [sys.executable, "-m", "fwproof", "lab", "as", "admin", "--"]
    words = ("--from-host", "auditor@10.0.0.10", "--identity", lab.ssh_identity)
    fwproof("init", tmp_path / "new", *words, before=there, home=tmp_path / "home")
    inventory = yaml.safe_load((tmp_path / "new/fixtures/inventory.yaml").read_text(encoding="utf-8"))
    assert inventory["hosts"] == {GOOD: {
        "addresses": ["10.0.0.10", "fd00:0:0:1::10"], "access": "read",
        "ssh": {"address": "10.0.0.10", "user": "auditor", "identity_file": str(lab.ssh_identity)},
    }}  # fmt: skip
    assert inventory["zones"]["admin"] == ["10.0.0.1/32", "fd00:0:0:1::1/128"]


def of_topology(name, folder):
    return Lab(f"hour{name}{os.getpid()}", ROOT / "fixtures" / "lab" / f"{name}.yaml"), ROOT / "fixtures" / folder


def drafted_in(lab, inventory, host, folder):
    environment = {**os.environ, "FWPROOF_LAB_NAME": lab.name, "PYTHONPATH": str(ROOT / "src")}
    words = ["init", str(folder), "--from-host", host, "--inventory", str(inventory)]
    done = subprocess.run(
        [sys.executable, "-m", "fwproof", *words], cwd=ROOT, text=True, capture_output=True, check=False,
        env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return yaml.safe_load((folder / "checks" / f"{host}.policy.yaml").read_text(encoding="utf-8"))


def test_the_draft_of_a_router_passes_on_what_its_policy_does(tmp_path):
    made, folder = of_topology("routers", "routers")
    with made as lab:
        draft = drafted_in(lab, folder / "inventory.yaml", "gate", tmp_path)
        run = Run(lab, tmp_path / "reports", policy=tmp_path / "checks/gate.policy.yaml",
                  inventory=folder / "inventory.yaml")  # fmt: skip
    wanted = yaml.safe_load((folder / "routers.policy.yaml").read_text(encoding="utf-8"))
    ports = {**wanted["services"], "icmp/echo-request": "icmp/echo-request"}
    # for the one gateway, "inside" is the web server that it publishes
    as_meant = {
        (ports[a["service"]], a["from"], a["to"], ports.get(a.get("published"))) for a in wanted["forward"]["allow"]
    }
    as_drafted = {(a["service"], a["from"], a["to"], a.get("published")) for a in draft["forward"]["allow"]}
    assert {(s, f, "inside" if t == "web" else t, p) for s, f, t, p in as_drafted} == as_meant
    passing = [
        check for check in run.of("gate") if check["expectation"] in {a["id"] for a in draft["forward"]["allow"]}
    ]
    assert len(passing) > 8
    assert {check["verdict"] for check in passing} == {"pass"}


def test_a_jail_with_a_failure_in_its_log_is_drafted_and_holds(tmp_path):
    made, folder = of_topology("bans", "bans")
    with made as lab:
        on(lab, "guarded", 'echo "$(date "+%F %T") [auth] Invalid API key from 10.0.5.7" >> /var/log/ollama.log')
        draft = drafted_in(lab, folder / "inventory.yaml", "guarded", tmp_path)
        assert draft["bans"] == [{
            "jail": "api", "service": "tcp/11434", "maxretry": 5, "findtime": 600, "bantime": 3600, "usedns": "no",
            "increment": False,
        }]  # fmt: skip
        run = Run(lab, tmp_path / "reports", "-k", "bans or fail2ban", inventory=folder / "inventory.yaml",
                  policy=tmp_path / "checks/guarded.policy.yaml")  # fmt: skip
    found = {check["id"]: check["verdict"] for check in run.of("guarded") if check["kind"] != "draft"}
    assert found == dict.fromkeys(
        ("bans-api[guarded]", "bans-api:filter[guarded]", "bans-api:action[guarded]", "fail2ban[guarded]"), "pass"
    )


def reached(lab):
    words = ["lab", "as", "outside", "--", sys.executable, "-c", CONNECT]
    environment = {**os.environ, "FWPROOF_LAB_NAME": lab.name, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-m", "fwproof", *words], capture_output=True, env=environment, check=False)
    return done.returncode == 0


def test_the_change_that_is_named_opens_and_closes_in_the_kernel(lab, fwproof):
    why = ("explain", "--why", f"203.0.113.66 -> {GOOD}:tcp/{PORT}", "--inventory", INVENTORY)
    for before, verdict in ((False, "cannot"), (True, "can")):
        assert reached(lab) is before
        out = fwproof(*why)
        assert out.startswith(f"203.0.113.66 {verdict} reach tcp/8080 at 10.0.0.10")
        assert "Over all packets nothing else changes." in out
        smallest = out.partition("The smallest change")[2].partition("Checked")[0]
        commands = re.findall(r"^    (iptables .*)$", smallest, re.MULTILINE)
        assert commands
        for command in commands:
            on(lab, GOOD, command)
    assert reached(lab) is False
