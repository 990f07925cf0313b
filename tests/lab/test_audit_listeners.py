"""Audits of listening sockets on the lab: real servers, rules and nat, and hosts whose ss does not tell the truth."""

import os
from contextlib import contextmanager

import pytest

from fwproof.lab import Lab

from .auditing import Run, on

pytestmark = pytest.mark.lab
HOST = "ai-server"
POLICY = """\
policy: sockets
hosts: ai-server
inbound:
  default: unchecked
  allow:
    - {id: ollama, service: tcp/11434, from: internal}
    - {id: web, service: tcp/8080, from: proxies}
    - {id: ssh, service: tcp/22, from: admin}
    - {id: nobody, service: tcp/9000, from: internal}
    - {id: stuck, service: tcp/9001, from: internal}
    - {id: mapped, service: tcp/9002, from: internal}
"""
SERVER = r"""
import os, socket, sys, time
held = []
for kind, address, port in (word.split("@") for word in sys.argv[1:]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, int(port)))
    if kind != "udp":
        made.listen(0 if kind == "full" else 8)
    held.append(made)
    if kind == "full":  # one more than the backlog: the kernel drops every further SYN
        held += [socket.create_connection((address, int(port)), timeout=2) for _ in range(1)]
with open("/tmp/ready", "w") as ready:
    ready.write(str(os.getpid()))
time.sleep(300)
"""


@pytest.fixture(scope="module")
def lab():
    with Lab(f"listen{os.getpid()}") as lab:
        lab.run(HOST, ["/bin/sh", "-c", "cat > /tmp/server.py"], input=SERVER)
        yield lab


@pytest.fixture
def audit(lab, tmp_path):
    def audit(*words, listeners="declared", more=()):
        policy = tmp_path / "sockets.policy.yaml"
        policy.write_text(f"{POLICY}listeners: {listeners}\n", encoding="utf-8")
        run = Run(lab, tmp_path / "reports", *(words or ("-k", "listeners")), policy=policy)
        assert run.status in {0, 1, 6}, run.out
        return [run.checks[f"listeners[{HOST}-{family}]"] for family in ("ipv4", "ipv6")]

    return audit


@contextmanager
def serving(lab, *sockets):
    """Serve on a host: ``tcp@ADDRESS@PORT``, ``udp@…``, or ``full@…``, whose backlog is used up."""
    script = "rm -f /tmp/ready; (exec setsid python3 /tmp/server.py {}) >/tmp/server.log 2>&1 &"
    wait = "for _ in $(seq 50); do [ -s /tmp/ready ] && exit 0; sleep 0.1; done; cat /tmp/server.log; exit 1"
    done = lab.run(HOST, ["/bin/bash", "-c", script.format(" ".join(sockets)) + wait])
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        yield
    finally:
        on(lab, HOST, "kill $(cat /tmp/ready)")


@contextmanager
def ruled(lab, *rules):
    """Put rules in front of a host's own."""
    for rule in rules:
        on(lab, HOST, f"iptables {rule.replace('-A', '-I', 1)}")
    try:
        yield
    finally:
        for rule in rules:
            on(lab, HOST, f"iptables {rule.replace('-A', '-D', 1)}")


@contextmanager
def lying(lab, change):
    """Have the host's ss pass what it prints through a filter of sed."""
    on(lab, HOST, "mv /usr/bin/ss /usr/bin/ss.aside")
    on(
        lab,
        HOST,
        f'printf \'#!/bin/sh\\n/usr/bin/ss.aside "$@" | sed "{change}"\\n\' > /usr/bin/ss; chmod 755 /usr/bin/ss',
    )
    try:
        yield
    finally:
        on(lab, HOST, "mv -f /usr/bin/ss.aside /usr/bin/ss")


def test_a_server_whose_sockets_are_all_declared(audit):
    for check in audit():
        assert check["verdict"] == "pass", check
        assert "is named by an expectation (3), and the wire agrees" in check["reason"]
        assert "only told: idle: nobody lets in tcp/9000, and nobody listens there" in check["reason"]
        assert "tcp/22: sshd" in check["attributed"]


def test_a_service_that_nobody_serves_fails_where_the_policy_says_so(audit):
    listeners = "{fail: [idle], accept: [{socket: tcp/9001, reason: it is being set up}]}"
    for check in audit(listeners=listeners):
        assert check["verdict"] == "fail"
        assert check["cause"] == "a service is let in that nobody serves"
        assert "accepted (it is being set up): idle: stuck lets in tcp/9001" in check["reason"]


def test_sockets_that_no_expectation_names(lab, audit):
    sockets = ("tcp@0.0.0.0@7001", "udp@0.0.0.0@7002", "tcp@0.0.0.0@7003", "tcp@127.0.0.1@7004", "udp@0.0.0.0@7005")
    rules = ("INPUT -p tcp --dport 7001", "INPUT -s 10.0.5.0/24 -p udp --dport 7002", "INPUT -p udp --dport 7005")
    with serving(lab, *sockets), ruled(lab, *(f"-A {rule} -j ACCEPT" for rule in rules)):
        four, six = audit()
    assert (four["verdict"], six["verdict"]) == ("fail", "pass")
    assert four["cause"] == "a socket can be reached that no expectation names"
    assert "tcp/7001 on every address (python3) can be reached, and no expectation names it: tcp 7001" in four["reason"]
    assert "let in by ip filter INPUT rule" in four["reason"]
    assert "udp 7002 from 10.0.5.0/24" in four["reason"]
    assert four["rule"].startswith("ip filter INPUT rule")
    assert "3 sockets that can be reached and are not, 1 socket that the rules keep" in four["proved"]
    assert "1 socket on loopback only left out" in four["proved"]
    assert any("the rules keep everybody out: tcp/7003" in line for line in four["evidence"])


def test_a_socket_that_nat_makes_reachable(lab, audit):
    rules = ("-t nat -A PREROUTING -p tcp --dport 7010 -j REDIRECT --to-ports 7003",
             "-A INPUT -p tcp -m conntrack --ctstate DNAT -j ACCEPT")  # fmt: skip
    with serving(lab, "tcp@0.0.0.0@7003"), ruled(lab, *rules):
        four, _ = audit()
    assert four["verdict"] == "fail"
    assert "tcp/7003 on every address (python3) can be reached" in four["reason"]
    assert "7010" in four["reason"]
    assert "sent on to" in four["reason"]


def test_a_port_that_nat_hands_to_another_host_needs_no_socket(lab, audit):
    rules = ("-t nat -A PREROUTING -p tcp --dport 9002 -j DNAT --to-destination 10.0.2.11:6379",
             "-t nat -A POSTROUTING -d 10.0.2.11 -p tcp --dport 6379 -j MASQUERADE",
             "-A FORWARD -j ACCEPT")  # fmt: skip
    on(lab, HOST, "sysctl -qw net.ipv4.ip_forward=1")
    try:
        with ruled(lab, *rules):
            four, _ = audit("-k", "listeners or mapped", listeners="{fail: [idle, unexplained]}")
    finally:
        on(lab, HOST, "sysctl -qw net.ipv4.ip_forward=0")
    assert "idle: mapped" not in four["reason"]
    assert "unexplained" not in four["reason"]
    assert any("tcp/9002 is open on the wire: nat sends it on to 10.0.2.11 tcp/6379" in e for e in four["evidence"])


def test_a_server_whose_backlog_is_full(lab, audit):
    with serving(lab, "full@10.0.0.10@9001"), ruled(lab, "-A INPUT -p tcp --dport 9001 -j ACCEPT"):
        four, _ = audit()
    assert (four["verdict"], four["cause"]) == ("fail", "a socket that is let in does not answer")
    assert "unanswered: tcp/9001 on 10.0.0.10 (python3) listens, and the tables let" in four["reason"]


def test_a_process_that_hides_from_ss(lab, audit):
    with lying(lab, "/:8080 /d"):
        four, six = audit("-k", "listeners or web")
    for check in (four, six):
        assert (check["verdict"], check["cause"]) == ("fail", "a port answers where no socket listens")
        assert "unexplained: tcp" in check["reason"]
        assert ":8080 was answered" in check["reason"]


def test_a_line_that_cannot_be_read_is_no_pass(lab, audit):
    with lying(lab, "s/:8080 .*/:80/"):
        four, six = audit()
    for check in (four, six):
        assert check["verdict"] == "inconclusive"
        assert "a line of ss was not understood" in check["reason"]


def test_a_host_without_ss_is_an_error(lab, audit):
    on(lab, HOST, "mv /usr/bin/ss /usr/bin/ss.aside")
    try:
        checks = audit()
    finally:
        on(lab, HOST, "mv /usr/bin/ss.aside /usr/bin/ss")
    assert {check["verdict"] for check in checks} == {"error"}
