"""Audits of hosts unlike the lab's two servers: one family, other limiters, the auditor's own host; and Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from fwproof.lab import Lab

from .auditing import INVENTORY, POLICY, ROOT, Run, on

pytestmark = pytest.mark.lab

ONE = """\
policy: one
hosts: [{host}]
services: {{thing: tcp/9000}}
inbound:
  default: deny
  allow:
    - {{id: thing, service: thing, from: internal, rate: {{limit: {limit}, per: {per}, by: source}}}}
essential: [loopback, established]
persistence: true
"""
TABLES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 10.0.0.1 -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 9000 {limiter} -j ACCEPT
COMMIT
"""


@pytest.fixture(scope="module")
def lab():
    with Lab(f"shapes{os.getpid()}") as lab:
        yield lab


@pytest.fixture
def audit(lab, tmp_path):
    def audit(host, *words, limit=5, per="60s", **changes):
        inventory = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))
        inventory["lab"] = str(INVENTORY.parent / inventory["lab"])
        inventory["hosts"][host] |= changes
        (tmp_path / "inventory.yaml").write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
        policy = tmp_path / "one.policy.yaml"
        policy.write_text(ONE.format(host=host, limit=limit, per=per), encoding="utf-8")
        run = Run(lab, tmp_path / "reports", *words, inventory=tmp_path / "inventory.yaml", policy=policy)
        assert run.status in {0, 1, 6}, run.out
        return run

    return audit


BY_SOURCE = "-m hashlimit --hashlimit-upto 5/min --hashlimit-burst 5 --hashlimit-mode srcip --hashlimit-name things"
LIMITERS = {
    "hashlimit": (f"-m conntrack --ctstate NEW {BY_SOURCE}", 5),
    "limit": ("-m conntrack --ctstate NEW -m limit --limit 5/min --limit-burst 5", 5),
    "limit that lets in 7": ("-m conntrack --ctstate NEW -m limit --limit 5/min --limit-burst 7", 7),
    "no limit": ("", 10),
}


@pytest.mark.parametrize(("limiter", "admitted"), LIMITERS.values(), ids=LIMITERS)
def test_limiters_of_other_kinds_on_a_host_with_one_family(lab, audit, limiter, admitted):
    lab.run("store-postgres", ["/usr/sbin/iptables-restore"], input=TABLES.format(limiter=limiter))
    try:
        run = audit("store-postgres", "-k", "rate", addresses=["10.0.2.10"])
    finally:
        on(lab, "store-postgres", "iptables -P INPUT ACCEPT; iptables -F")
        (lab.state / "bursts.json").unlink(missing_ok=True)  # these tables, and their buckets, are gone
    inside = [check for check in run.of("store-postgres", "rate") if check["expected"].startswith("5 of 10")]
    assert {check["family"] for check in inside} == {"ipv4"}
    first = inside[0]
    assert first["verdict"] == ("pass" if admitted == 5 else "fail"), first
    assert f"the tables admit {admitted}" in first["proved"]
    assert f"10 arrived, {admitted} let in" in first["observed"]
    outside = [check for check in run.of("store-postgres", "rate") if check["expected"] == "limited or denied"]
    assert {check["verdict"] for check in outside} == {"pass"}


def test_the_auditor_audits_its_own_host(lab, audit):
    run = audit("admin", "-m", "not exercise")
    assert {check["verdict"] for check in run.of("admin")} == {"pass", "fail"}, run.out
    told = {check["id"]: check for check in run.of("admin")}
    assert told["loopback[admin-ipv4]"]["verdict"] == "pass"
    assert told["inbound-default[admin-ipv4]"]["verdict"] == "fail"
    assert told["thing[admin-outside-ipv4]"]["reason"] == (
        "no firewall decides who gets in: should be refused, but is let in, as no rule says otherwise"
    )


def test_a_host_without_tables_programs_is_an_error_not_an_open_host(lab, audit):
    programs = ("ip6tables-save", "nft")  # either of them would tell of the tables of IPv6
    for name in programs:
        on(lab, "store-postgres", f"mv /usr/sbin/{name} /usr/sbin/{name}.aside")
    try:
        run = audit("store-postgres", "-m", "not exercise")
        alone = audit("store-postgres", "-m", "not exercise", addresses=["10.0.2.10"])
    finally:
        for name in programs:
            on(lab, "store-postgres", f"mv /usr/sbin/{name}.aside /usr/sbin/{name}")
    claims = [check for check in run.of("store-postgres") if check["kind"] == "inbound-default"]
    assert {check["verdict"] for check in claims} == {"error"}
    assert all("not installed" in check["reason"] for check in claims)
    assert "error" not in {check["verdict"] for check in alone.of("store-postgres")}, "IPv6 is nobody's question here"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_audit_that_is_stopped_lifts_its_ban_and_leaves_nothing(lab, tmp_path, number):
    command = ["env", "--default-signal=INT", sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += [
        "-p",
        "no:hypothesispytest",
        str(POLICY),
        "--inventory",
        str(INVENTORY),
        "--reports",
        str(tmp_path / "reports"),
        "-k",
        "bans",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "FWPROOF_LAB_NAME": lab.name},
    )  # fmt: skip
    seen = ""
    while "exercising bans" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    time.sleep(1.0)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2, seen + out
    deadline = time.monotonic() + 12  # the host's agent stays to lift a ban that comes after the end of the audit
    while "fwproof-agent" in on(lab, "ai-server", "ps -eo args="):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    status = on(lab, "ai-server", "fail2ban-client status ollama-api")
    assert status.rstrip().endswith("Banned IP list:"), status
    assert not (tmp_path / "reports").exists()
