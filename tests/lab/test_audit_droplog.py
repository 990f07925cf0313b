"""Drop logs of a real host under other traffic: a used-up limit is no failure, a dead daemon is one."""

import os
from contextlib import contextmanager

import pytest

from fwproof.lab import Lab

from .auditing import Run, on

pytestmark = pytest.mark.lab
HOST = "ai-server"
POLICY = """\
policy: drops
hosts: ai-server
inbound: {default: deny, samples: [tcp/9]}
drop_log: {inbound: true, exercise: true, prefix: fw drop in}
"""
FLOOD = """
import socket, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + 120
while time.monotonic() < end:
    out.sendto(b"", ("10.0.0.10", 7))
    time.sleep(0.002)
"""
RULE = '-j NFLOG --nflog-prefix "fw drop in: " --nflog-group 5'


@pytest.fixture(scope="module")
def lab():
    with Lab(f"drops{os.getpid()}") as lab:
        yield lab


@pytest.fixture
def audit(lab, tmp_path):
    def audit(family="ipv4"):
        (tmp_path / "drops.policy.yaml").write_text(POLICY, encoding="utf-8")
        run = Run(lab, tmp_path / "reports", "-k", f"drop-log and {family}", policy=tmp_path / "drops.policy.yaml")
        assert run.status in {0, 1, 6}, run.out
        return run.checks[f"drop-log[{HOST}-inbound-{family}]"]

    return audit


@contextmanager
def limited(lab, limit):
    """Give the rule that logs another limit."""
    on(lab, HOST, f"iptables -R DROP_IN 1 {limit} {RULE}")
    try:
        yield
    finally:
        on(lab, HOST, f"iptables -R DROP_IN 1 -m limit --limit 10/sec --limit-burst 20 {RULE}")


@contextmanager
def flooded(lab):
    """Drop 500 packets of others a second."""
    lab.run("outside", ["/bin/sh", "-c", "cat > /tmp/flood.py"], input=FLOOD)
    pid = on(lab, "outside", "setsid python3 /tmp/flood.py >/dev/null 2>&1 & echo $!").strip()
    try:
        yield
    finally:
        on(lab, "outside", f"kill {pid}")


def test_a_limit_that_others_use_up_is_no_failure(lab, audit):
    with limited(lab, "-m limit --limit 1/sec --limit-burst 1"), flooded(lab):
        check = audit()
    assert check["verdict"] in {"inconclusive", "pass"}, "now and then one of our packets is the lucky one"
    if check["verdict"] == "inconclusive":
        assert "the limit of the rule that logs (limit 1/sec burst 1) was used up by" in check["reason"]
        assert "packets of others that left their lines" in check["reason"]
        assert "the rules that log counted" in check["attributed"]


def test_a_limit_that_tells_nothing_is_told_in_numbers(lab, audit):
    with limited(lab, "-m limit --limit 3/hour --limit-burst 1"):
        first, second = audit(), audit()
    assert (first["verdict"], second["verdict"]) == ("pass", "inconclusive")
    for check in (first, second):
        assert "little of a scan is logged: 1 of 1,000 packets in 10 s (limit 3/hour burst 1)" in check["reason"]
    assert "was used up by earlier packets" in second["reason"]


def test_a_daemon_that_does_not_write_is_a_failure_with_a_limit_and_without(lab, audit):
    on(lab, HOST, "kill -STOP $(cat /run/ulogd/ulogd.pid 2>/dev/null || pidof ulogd)")
    try:
        found = audit(), audit("ipv6")
        with limited(lab, ""):
            found = (*found, audit())
    finally:
        on(lab, HOST, "kill -CONT $(cat /run/ulogd/ulogd.pid 2>/dev/null || pidof ulogd)")
    assert {check["verdict"] for check in found} == {"fail"}
    assert {check["cause"] for check in found} == {"dropped packets are not logged"}
    assert "packets that it logged, and none left a line in the log" in found[0]["reason"]
    assert "a rule logs it, but the dropped probe left no line" in found[2]["reason"]
