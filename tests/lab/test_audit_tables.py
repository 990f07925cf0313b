"""Audits that ask of tables as a whole, on the lab: parity, rules and drift, on hosts that change meanwhile."""

import os
import subprocess
import sys

import pytest

from fwproof.lab import Lab

from .auditing import INVENTORY, ROOT, Run, on

pytestmark = pytest.mark.lab
HOST = "ai-server"
ADDRESSES = ("10.0.0.10", "fd00:0:0:1::10")
POLICY = """\
policy: tables
hosts: ai-server
ipv6: same
rules: true
baseline: "{host}"
"""
IDS = {f"{name}[{HOST}-{family}]" for name in ("rules", "drift") for family in ("ipv4", "ipv6")} | {
    f"ipv6:parity[{HOST}]"
}


CONNECT = """
import socket, sys
admitted = 0
for _ in range(int(sys.argv[2])):
    try:
        socket.create_connection((sys.argv[1], 11434), timeout=0.5).close()
        admitted += 1
    except TimeoutError:
        pass
print(admitted)
"""


def admitted(lab, source, address, number):
    """Return how many of some connections from a host are let in."""
    done = lab.run(source, ["/usr/bin/python3", "-c", CONNECT, address, str(number)])
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture(scope="module")
def lab():
    with Lab(f"tables{os.getpid()}") as lab:
        yield lab


@pytest.fixture(scope="module")
def audit(lab, tmp_path_factory):
    """Return a function that audits the host as it is now against a baseline of how the lab starts it."""
    place = tmp_path_factory.mktemp("tables")
    words = [sys.executable, "-m", "fwproof", "collect", HOST, "-o", str(place), "--inventory", str(INVENTORY)]
    env = {**os.environ, "FWPROOF_LAB_NAME": lab.name}
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True, check=False, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    (place / "tables.policy.yaml").write_text(POLICY, encoding="utf-8")
    return lambda: Run(lab, place / "reports", policy=place / "tables.policy.yaml")


def test_the_server_as_it_starts_passes(audit):
    run = audit()
    assert run.status == 0, run.out
    assert run.verdicts(HOST) == dict.fromkeys(IDS, "pass")
    assert all(check["artefacts"] for check in run.of(HOST))


def test_a_ban_is_neither_drift_nor_a_finding(lab, audit):
    on(lab, HOST, "fail2ban-client set ollama-api banip 203.0.113.66; sleep 1; iptables-save | grep f2b-")
    try:
        run = audit()
    finally:
        on(lab, HOST, "fail2ban-client set ollama-api unbanip 203.0.113.66")
    assert run.verdicts(HOST) == dict.fromkeys(IDS, "pass"), run.out
    assert "of fail2ban's own were left out" in run.checks[f"drift[{HOST}-ipv4]"]["reason"]


def test_a_door_opened_by_hand_in_one_family_is_told_three_ways_and_is_real(lab, audit):
    rule = "INPUT 1 -s fd00:0:0:1::100 -p tcp -m tcp --dport 11434 -j ACCEPT"
    on(lab, HOST, f"ip6tables -I {rule}; ip6tables -A INPUT -p udp -j ACCEPT")
    try:
        run = audit()
        parity, drift = run.checks[f"ipv6:parity[{HOST}]"], run.checks[f"drift[{HOST}-ipv6]"]
        # the kernel's word: the limit of 20 holds in IPv4, and is gone in IPv6
        let_in = {address: admitted(lab, "proxy", address, 25) for address in ADDRESSES}
    finally:
        on(lab, HOST, f"ip6tables -D {rule.replace(' 1 ', ' ', 1)}; ip6tables -D INPUT -p udp -j ACCEPT")
    assert run.status == 1, run.out
    assert run.verdicts(HOST) == dict.fromkeys(IDS, "pass") | {
        f"ipv6:parity[{HOST}]": "fail", f"drift[{HOST}-ipv6]": "fail", f"rules[{HOST}-ipv6]": "fail"}  # fmt: skip
    assert "tcp/11434 from proxies: IPv4 limited (recent rcheck: seen 20 times in 60 s, per source" in parity["reason"]
    assert "IPv6 open, let through by ip6 filter INPUT rule 1" in parity["reason"]
    assert "became reachable at input" in drift["reason"]
    assert "contradicted: ip6 filter INPUT rule 11" in run.checks[f"rules[{HOST}-ipv6]"]["reason"]
    assert let_in == dict(zip(ADDRESSES, (20, 25), strict=True))
