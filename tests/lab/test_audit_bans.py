"""Bans that real fail2ban puts where packets meet them and where they do not, for one source and for too many."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from fwproof.lab import Lab

from .auditing import INVENTORY, ROOT, Run, on

pytestmark = pytest.mark.lab
HOST, JAIL = "ai-server", "ollama-api"
POLICY = """\
policy: bans
hosts: ai-server
inbound:
  default: unchecked
  allow:
    - {{id: ollama, service: tcp/11434, from: internal}}
    - {{id: dns, service: udp/53, from: proxies}}
bans:
  jail: ollama-api
  service: tcp/11434
  maxretry: 5
  findtime: 600
  bantime: 3600
  exercise: true
  blocks: {blocks}
  provoke: {{path: /api/tags, headers: {{Authorization: Bearer fwproof-wrong-key}}}}
"""
PORT = "-p tcp -m tcp --dport 11434 -j f2b-own"
WIDE = f"""\
[Definition]
actionstart = <iptables> -N f2b-own
              <iptables> -I INPUT {PORT}
actionstop =
actioncheck =
actionban = <iptables> -I f2b-own -s <ip>%s -j DROP
actionunban = %s
[Init]
iptables = iptables -w
[Init?family=inet6]
iptables = ip6tables -w
"""
UNDO = "<iptables> -D f2b-own -s <ip>%s -j DROP"


@pytest.fixture(scope="module")
def lab():
    with Lab(f"bans{os.getpid()}") as lab:
        # one ban after another would use up the limit of 20 connections a minute
        on(lab, HOST, "for t in iptables ip6tables; do $t -I OLLAMA -j ACCEPT; done")
        yield lab


@pytest.fixture
def audit(lab, tmp_path):
    def audit(family="ipv4", blocks="service"):
        (tmp_path / "bans.policy.yaml").write_text(POLICY.format(blocks=blocks), encoding="utf-8")
        run = Run(lab, tmp_path / "reports", "-k", f"exercise and {family}", policy=tmp_path / "bans.policy.yaml")
        assert run.status in {0, 1, 6}, run.out
        return next(iter(run.checks.values()))

    return audit


def test_an_audit_that_is_killed_leaves_no_ban(lab, tmp_path):
    (tmp_path / "bans.policy.yaml").write_text(POLICY.format(blocks="service"), encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-k", "exercise"]
    words += [str(tmp_path / "bans.policy.yaml"), "--inventory", str(INVENTORY), "--reports", str(tmp_path / "reports")]
    process = subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, "FWPROOF_LAB_NAME": lab.name}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        on(lab, HOST, f"until iptables -S f2b-{JAIL} 2>/dev/null | grep REJECT; do sleep 0.02; done")
    finally:
        process.kill()
        process.wait()
    # in the other family the ban may only be on its way
    gone = "for _ in $(seq 150); do pgrep -f [f]wproof-agent >/dev/null || exit 0; sleep 0.1; done; exit 1"
    on(lab, HOST, gone)
    status = on(lab, HOST, f"fail2ban-client status {JAIL}")
    assert "Total banned:\t0" not in status
    assert status.rstrip().endswith("Banned IP list:"), status
    assert "REJECT" not in on(lab, HOST, f"iptables -S f2b-{JAIL}; ip6tables -S f2b-{JAIL} 2>/dev/null || true")


@contextmanager
def acting(lab, action, definition=""):
    """Have the jail ban by another action; what it leaves in the tables is taken out by hand."""
    path = "/etc/fail2ban/jail.d/zz-test.conf"
    lab.run(HOST, ["/bin/sh", "-c", "cat > /etc/fail2ban/action.d/own.conf"], input=definition)
    on(lab, HOST, f"printf '[{JAIL}]\\naction = {action}\\n' > {path}; fail2ban-client reload --restart {JAIL}")
    try:
        yield
    finally:
        clean = f"for t in iptables ip6tables; do $t -D INPUT {PORT}; $t -F f2b-own; $t -X f2b-own; done"
        on(lab, HOST, f"rm {path}; fail2ban-client reload --restart {JAIL}; ({clean}) 2>/dev/null || true")


@pytest.mark.parametrize(
    ("action", "family", "words"),
    [
        ("nftables[type=multiport, port=11434]", "ipv6", "inet f2b-table f2b-chain rule 1"),
        ("iptables-ipset[type=allports]", "ipv4", "--match-set f2b-ollama-api src -j REJECT"),
    ],
)
def test_a_ban_is_found_in_whatever_tables_hold_it(lab, audit, action, family, words):
    with acting(lab, action):
        check = audit(family)
    assert check["verdict"] == "pass", check
    assert words in check["attributed"]
    assert "the ban keeps out the banned source only" in check["proved"]
    assert "after the unban they mean what they meant before" in check["proved"]


def test_a_ban_of_all_tcp_ports_lets_udp_through(lab, audit):
    rule = "INPUT -s 10.0.0.0/24 -p udp -m udp --dport 53 -j ACCEPT"
    on(lab, HOST, f"iptables -I {rule}")
    try:
        plain, strict = audit(), audit(blocks="everything")
    finally:
        on(lab, HOST, f"iptables -D {rule}")
    assert plain["verdict"] == "pass"
    assert "the banned source still gets in elsewhere: udp 53 from 10.0.0.100" in plain["reason"]
    assert strict["verdict"] == "fail"
    assert "the banned source still gets in: udp 53 from 10.0.0.100" in strict["reason"]
    assert "the banned source still reaches udp/53" in strict["reason"], "seen on the wire as well"
    assert "udp/53 from 10.0.0.100 is still let in" in strict["observed"]


def test_a_ban_where_the_traffic_does_not_pass(lab, audit):
    with acting(lab, "iptables[type=allports, chain=FORWARD]"):
        check = audit()
    assert (check["verdict"], check["cause"]) == ("fail", "a ban does not work as expected")
    assert "the banned source still gets through" in check["reason"]
    assert "the ban is in iptables-save, nft, and packets of the banned source are let in by" in check["reason"]


def test_a_ban_of_a_whole_network(lab, audit):
    with acting(lab, "own", WIDE % ("/16", UNDO % "/16")):
        check = audit()
    assert check["verdict"] == "fail"
    assert "another source was refused as well" in check["reason"]
    assert "it keeps out others as well: " in check["reason"]
    assert "f2b-own rule 1" in check["reason"]


def test_an_unban_that_does_nothing(lab, audit):
    with acting(lab, "own", WIDE % ("", "true")):
        check = audit()
    assert check["verdict"] == "fail"
    assert "the source stays refused after the unban" in check["reason"]
    assert "after the unban the address is still in iptables-save, nft" in check["reason"]
    assert "the tables are not what they were: stopped-being-reachable at input" in check["reason"]
