"""Tracing over SSH on the embedded lab: who allows it, what an audit says with it, and an auditor that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwproof.lab import Lab

from .auditing import INVENTORY, Run, on

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
NAME = "trace-test"
ALLOW = "echo 'auditor ALL=(root) NOPASSWD: /usr/local/sbin/fwproof-agent --trace' > /etc/sudoers.d/trace"
LOGS = "cat /proc/sys/net/netfilter/nf_log/2 /proc/sys/net/netfilter/nf_log/10"
SUDOERS = f"{ALLOW} && chmod 440 /etc/sudoers.d/trace"


@pytest.fixture(scope="module")
def lab():
    with Lab(NAME, ROOT / "fixtures" / "lab" / "topology.yaml") as lab:
        yield lab


def probe(*words):
    code = "from fwproof.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "probe",
        *words,
        "--inventory",
        str(INVENTORY),
        "--trace",
        "--format",
        "json",
    ]
    environment = {**os.environ, "FWPROOF_LAB_NAME": NAME}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment, timeout=60)


def test_what_the_administrator_did_not_allow_is_refused(lab):
    done = probe("ai-server", "--from", "workstation", "tcp/22")
    assert done.returncode == 6  # could not look
    assert "ai-server: tracing is not allowed there: sudo" in done.stderr
    assert "fwproof agent install --trace prints the line" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_audit_says_which_hosts_it_could_not_trace(lab, tmp_path):
    on(lab, "ai-server", SUDOERS)
    run = Run(lab, tmp_path, "-k", "ollama-internal and ipv4", "--no-exercise", "--trace-rules")
    limits = {host["name"]: " ".join(host["limits"]) for host in run.results["run"]["hosts"]}
    assert "not traced" not in limits["ai-server"]
    assert "not traced: tracing is not allowed there" in limits["ai-server-published"]
    for check in run.of("ai-server", "inbound"):
        rule = {"allow": "OLLAMA rule 2", "deny": "DROP_IN rule 2"}[check["expected"]]
        assert check["attributed"].startswith(f"trace: ip filter {rule}")
    assert {check["expected"] for check in run.of("ai-server", "inbound")} == {"allow", "deny"}
    assert not any("trace" in check["attributed"] for check in run.of("ai-server-published"))
    assert {check["verdict"] for check in run.of("ai-server", "inbound")} == {"pass"}


def test_a_probe_names_every_rule_that_it_met(lab):
    on(lab, "ai-server", SUDOERS)
    done = probe("ai-server", "--from", "workstation", "tcp/22", "tcp/11434")
    assert done.returncode == 0, done.stderr
    probes = json.loads(done.stdout)["probes"]
    told = {(each["packet"]["dport"], ":" in each["packet"]["src"]): each["traced"] for each in probes}
    assert len(told) == 4
    for (port, _), traced in told.items():
        chains = [met["rule"]["chain"] for met in traced["met"]]
        assert chains == (["INPUT", "DROP_IN", "DROP_IN"] if port == 22 else ["INPUT", "OLLAMA"])
        assert (traced["agrees"], traced["decision"]) == (True, "drop" if port == 22 else "accept")


def test_nothing_is_left_on_a_host_whose_auditor_is_killed(lab, tmp_path):
    """By sudo, sshd and all: the table is gone, and the log of legacy rules is what it was before."""
    on(lab, "ai-server", f"{SUDOERS}; iptables-legacy -N some")
    before = on(lab, "ai-server", LOGS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "checks", "-k", "ai-server", "--no-exercise",
               "--trace-rules", "--inventory", str(INVENTORY), "--reports", str(tmp_path)]  # fmt: skip
    auditor = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "FWPROOF_LAB_NAME": NAME}, stdout=subprocess.DEVNULL
    )
    try:
        assert within(30, lambda: "fwproof_trace" in on(lab, "ai-server", "nft list tables"))
        assert on(lab, "ai-server", LOGS).splitlines()[0] == "nfnetlink_log"
        os.kill(auditor.pid, signal.SIGKILL)
        assert within(5, lambda: "fwproof_trace" not in on(lab, "ai-server", "nft list tables"))
        assert within(5, lambda: on(lab, "ai-server", LOGS) == before)
        agents = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'fwproof[-]agent' || true"
        assert within(5, lambda: on(lab, "ai-server", agents) == "0\n")
    finally:
        auditor.kill()
        auditor.wait()


def within(seconds, holds):
    end = time.monotonic() + seconds
    while not (good := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return good
