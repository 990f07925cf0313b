"""Everything that can go wrong with a host: its own checks say so, within a bounded time, and no others change."""

import os
import subprocess
from contextlib import contextmanager

import pytest
import yaml

from fwproof.lab import Lab

from .auditing import INVENTORY, Run, on

pytestmark = pytest.mark.lab

GOOD, BAD = "ai-server", "ai-server-published"
SOME = (
    "-m",
    "not exercise",
    "-k",
    "webui-proxy or postgres or persistence or (loopback and ipv4) or (bans and not filter)",
)


@pytest.fixture(scope="module")
def lab():
    with Lab(f"faults{os.getpid()}") as lab:
        yield lab


@pytest.fixture(scope="module")
def usual(lab, tmp_path_factory):
    run = Run(lab, tmp_path_factory.mktemp("reports"), *SOME)
    assert set(run.verdicts(GOOD).values()) == {"pass"}
    return run


@pytest.fixture
def audit(lab, tmp_path):
    """Run an audit with an inventory in which some hosts are told otherwise."""

    def audit(*words, **hosts):
        inventory = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))
        inventory["lab"] = str(INVENTORY.parent / inventory["lab"])
        for name, changes in hosts.items():
            host = inventory["hosts"][name.replace("_", "-")]
            host |= {**changes, "ssh": {**host.get("ssh", {}), **changes.get("ssh", {})}}
        path = tmp_path / "inventory.yaml"
        path.write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
        run = Run(lab, tmp_path / "reports", *(words or SOME), inventory=path)
        assert run.status in {0, 1, 6}, run.out
        return run

    return audit


@contextmanager
def replaced(lab, host, path, script=None):
    """Put a shell script in place of a program of a host, or nothing at all."""
    on(lab, host, f"mv {path} {path}.aside")
    try:
        if script is not None:
            on(lab, host, f"cat > {path} <<'END'\n#!/bin/sh\n{script}\nEND\nchmod 755 {path}")
        yield
    finally:
        on(lab, host, f"mv -f {path}.aside {path}")


def errors(run, host, *words, but=()):
    """All checks of a host are errors, ``but`` some, each with the reason and what to do about it."""
    checks = [check for check in run.of(host) if check["id"] not in but]
    assert checks
    assert {check["verdict"] for check in checks} == {"error"}, [c["id"] for c in checks if c["verdict"] != "error"]
    for check in checks:
        for word in words:
            assert word in check["reason"], check["id"]
        assert check["fix"], check["id"]


def unchanged(run, usual, host=BAD):
    assert run.verdicts(host) == usual.verdicts(host)


# ---- the way in


def test_an_audited_host_that_is_off(lab, audit, usual):
    lab.power_off(GOOD)
    try:
        run = audit()
    finally:
        lab.reboot(GOOD)
    errors(run, GOOD, "ai-server: no connection to 10.0.0.10 port 22", "see that the host is up")
    unchanged(run, usual)
    assert run.status == 1
    assert run.seconds < 40
    record = next(host for host in run.results["run"]["hosts"] if host["name"] == GOOD)
    assert "no connection" in record["error"]


def test_a_vantage_that_is_off(lab, audit, usual):
    lab.power_off("outside")
    try:
        run = audit()
    finally:
        lab.reboot("outside")
    for name in (GOOD, BAD):
        for check in run.of(name):
            if check["vantage"] == "outside":
                assert check["verdict"] == "error"
                assert check["reason"].startswith("outside: no connection to 203.0.113.66")
            else:
                assert check["verdict"] == usual.checks[check["id"]]["verdict"], check["id"]
    assert run.seconds < 40


def test_a_key_that_the_host_refuses(audit, usual, tmp_path):
    subprocess.run(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    run = audit(ai_server={"ssh": {"identity_file": str(tmp_path / "other")}})
    errors(run, GOOD, "the host refuses the key of auditor", "authorized_keys")
    unchanged(run, usual)


def test_an_unknown_host_key(audit, usual, tmp_path):
    (tmp_path / "empty").touch()
    run = audit(ai_server={"ssh": {"known_hosts": str(tmp_path / "empty")}})
    errors(run, GOOD, "unknown host key", "compare the fingerprint")
    unchanged(run, usual)


def test_a_changed_host_key(lab, audit, usual, tmp_path):
    lines = lab.known_hosts.read_text(encoding="utf-8").splitlines()
    other = next(line.split()[1:3] for line in lines if "10.0.0.100" in line.split()[0].split(","))
    (tmp_path / "changed").write_text(f"10.0.0.10 {' '.join(other)}\n", encoding="utf-8")
    run = audit(ai_server={"ssh": {"known_hosts": str(tmp_path / "changed")}})
    errors(run, GOOD, "changed host key", "somebody may be in between")
    unchanged(run, usual)


# ---- what the host does when asked


def test_no_sudo(lab, audit, usual):
    with replaced(lab, GOOD, "/etc/sudoers.d"):
        run = audit()
    errors(run, GOOD, "sudo", but=[f"persistence:boot[{GOOD}]"])  # units may be read by anybody
    unchanged(run, usual)
    assert run.seconds < 40


WITHOUT_IT = {f"bans-ollama-api[{GOOD}]", f"persistence:boot[{GOOD}]"}
"""Checks that need no iptables-save: fail2ban is asked, and units are read."""


def test_tables_that_hang(lab, audit, usual):
    with replaced(lab, GOOD, "/usr/sbin/iptables-save", "exec sleep 60"):
        run = audit()
    for check in run.of(GOOD):
        if check["id"] in WITHOUT_IT:
            assert check["verdict"] == "pass", "what can be looked at is"
        else:
            assert check["verdict"] == "error", check["id"]
            assert "in time" in check["reason"], check["reason"]
    unchanged(run, usual)
    assert run.seconds < 75


def test_tables_that_are_rubbish(lab, audit, usual):
    with replaced(lab, GOOD, "/usr/sbin/iptables-save", "echo '<b>hello</b>'; echo \"$(id)\""):
        run = audit()
    tables = [check for check in run.of(GOOD) if check["id"] not in WITHOUT_IT]
    assert {check["verdict"] for check in tables} == {"error"}
    assert all("a line that iptables-save never prints" in check["reason"] for check in tables)
    assert "<b>hello" not in (run.folder / "report.html").read_text(encoding="utf-8")
    unchanged(run, usual)


AGENT = "/usr/local/sbin/fwproof-agent"


def test_an_agent_that_was_changed_is_not_started(lab, audit, usual):
    with replaced(lab, GOOD, AGENT, "touch /tmp/started"):
        run = audit()
        assert on(lab, GOOD, "ls /tmp/started 2>/dev/null || echo no").strip() == "no"
    for check in run.of(GOOD):
        if check["vantage"] or check["kind"] == "loopback":
            assert check["verdict"] == "error", check["id"]
            assert "has SHA-256" in check["reason"]
            assert "find out who changed it" in check["fix"]
        else:
            assert check["verdict"] == "pass", "the tables are proved without an agent"
    unchanged(run, usual)


def test_an_agent_that_is_not_there(lab, audit, usual):
    with replaced(lab, GOOD, AGENT):
        run = audit()
    probed = [check for check in run.of(GOOD) if check["vantage"]]
    assert {check["verdict"] for check in probed} == {"error"}
    assert all(f"{AGENT} cannot be examined" in check["reason"] for check in probed)
    unchanged(run, usual)


def test_a_drop_log_that_the_auditor_may_not_read(lab, audit):
    log = "/var/log/ulogd/drops.log"
    mode = on(lab, GOOD, f"stat -c %a {log}").strip()
    on(lab, GOOD, f"chmod 600 {log}")
    try:
        run = audit("-k", "drop-log or (webui-proxy and outside)")
    finally:
        on(lab, GOOD, f"chmod {mode} {log}")
    logs = run.of(GOOD, "drop-log")
    assert {check["verdict"] for check in logs} == {"error"}
    assert all(f"{log} cannot be read" in check["reason"] and "group adm" in check["fix"] for check in logs)
    assert {check["verdict"] for check in run.of(GOOD, "inbound")} == {"pass"}, "a missing log spoils no flow"


# ---- fail2ban


def test_fail2ban_that_is_not_installed(lab, audit, usual):
    with replaced(lab, GOOD, "/usr/bin/fail2ban-client"):
        run = audit("-k", "bans")
    config, filters, actions, *exercises = run.of(GOOD)
    assert {filters["cause"], actions["cause"]} == {config["cause"]}
    assert (config["verdict"], config["cause"]) == ("fail", "fail2ban is not installed")
    assert [check["verdict"] for check in exercises] == ["fail", "fail"]
    assert all("fail2ban is not installed" in check["observed"] for check in exercises)


def test_fail2ban_that_does_not_run(lab, audit):
    on(lab, GOOD, "fail2ban-client stop")
    try:
        run = audit("-k", "bans")
    finally:
        on(lab, GOOD, "fail2ban-client start >/dev/null 2>&1; fail2ban-client status ollama-api")
    config, filters, actions, *exercises = run.of(GOOD)
    assert {filters["cause"], actions["cause"]} == {config["cause"]}
    assert (config["verdict"], config["cause"]) == ("fail", "fail2ban is not running")
    assert [check["verdict"] for check in exercises] == ["fail", "fail"]


# ---- less than everything


def test_without_exercises_nothing_is_provoked(lab, audit):
    lines = on(lab, GOOD, "wc -l < /var/log/ollama.log")
    run = audit("-m", "exercise or bans", "--no-exercise")
    assert on(lab, GOOD, "wc -l < /var/log/ollama.log") == lines
    provoking = [check for check in run.of(GOOD) if check["kind"] != "bans"]
    assert {check["verdict"] for check in provoking} == {"not-applicable"}
    assert all("exercises are switched off" in check["reason"] for check in provoking)
    limits = [check for check in run.of(BAD, "rate") if check["family"] == "ipv4"]
    assert {check["verdict"] for check in limits} == {"fail"}, "what the tables get wrong needs no burst"
    assert "the limiter admits 19, not 20" in limits[0]["reason"]


def test_tier_read_proves_and_counts_and_sees_one_end(audit, usual):
    run = audit(ai_server={"access": "read"})
    verdicts = run.verdicts(GOOD)
    outbound = [c for c in run.of(GOOD, "outbound") if c["vantage"]]
    assert {c["verdict"] for c in outbound} == {"inconclusive"}, "nothing can be sent from it"
    assert all("its access is read" in c["reason"] and "observe" in c["fix"] for c in outbound)
    others = {id_: verdict for id_, verdict in verdicts.items() if id_ not in {c["id"] for c in outbound}}
    assert set(others.values()) == {"pass"}, others
    refused = run.checks[f"webui-proxy[{GOOD}-outside-ipv4]"]
    assert "the counter of the rule shows that the packets arrived" in refused["reason"]
    assert "confirms it" in refused["attributed"]
    unchanged(run, usual)


def test_tier_read_and_what_has_to_be_provoked(audit):
    run = audit("-k", "rate or drop-log or exercise or icmpv6 or established", ai_server={"access": "read"})
    told = {check["id"]: check["verdict"] for check in run.of(GOOD)}
    bans = [id_ for id_ in told if ":exercise" in id_]
    assert {told.pop(id_) for id_ in bans} == {"inconclusive"}
    assert "could not be lifted" in run.checks[bans[0]]["reason"]
    sent = [id_ for id_ in told if "drop-log" in id_ and ":paths" not in id_ and "outbound" in id_]
    assert {told.pop(id_) for id_ in sent} == {"inconclusive"}
    assert set(told.values()) == {"pass"}, told
