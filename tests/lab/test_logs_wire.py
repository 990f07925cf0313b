"""The review of the drop log that a host really writes, of packets that were really dropped, read over SSH."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwproof.lab import Lab

from .auditing import on

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
NAME = "test-logs"
REFUSE = "INPUT -s 10.0.0.100 -p tcp --dport 8080 -j DROP_IN"
POLICY = ("--policy", "checks/ai-server.policy.yaml")


@pytest.fixture(scope="module")
def lab():
    with Lab(name=NAME, topology=ROOT / "fixtures" / "lab" / "topology.yaml") as lab:
        yield lab


def review(status):
    done = subprocess.run(
        [sys.executable, "-m", "fwproof", "logs", "--host", "ai-server", *POLICY, "--format", "json"],
        cwd=ROOT, text=True, capture_output=True, check=False, env={**os.environ, "FWPROOF_LAB_NAME": NAME},
        timeout=120,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def send(kind, address, ports, times=1):
    family = "socket.AF_INET6" if ":" in address else "socket.AF_INET"
    each = (
        f"s = socket.socket({family}, socket.SOCK_STREAM); s.setblocking(False); s.connect_ex(('{address}', port))"
        if kind == "tcp"
        else f"s = socket.socket({family}, socket.SOCK_DGRAM); s.sendto(b'x', ('{address}', port))"
    )
    return f'python3 -c "import socket\nfor port in {list(ports)} * {times}: {each}"'


def test_a_day_s_drops_are_reviewed_as_they_happened(lab):
    assert review(6)["not_known"] == ["no line of the log tells of a packet"]
    on(lab, "ai-server", f"iptables -I {REFUSE}")
    try:
        on(lab, "outside", send("tcp", "10.0.0.10", range(1001, 1013)))
        on(lab, "workstation", send("tcp", "fd00:0:0:1::10", range(2001, 2013)))
        on(lab, "proxy", send("tcp", "10.0.0.10", [8080]))
        on(lab, "ai-server", send("udp", "198.51.100.9", [123]) + " || true")
        time.sleep(3)  # the log's own limit fills up again
        on(lab, "store-redis", send("udp", "10.0.0.10", [9], times=200))
        found = review(1)
    finally:
        on(lab, "ai-server", f"iptables -D {REFUSE}")
    assert found["not_known"] == []
    findings = {each["kind"]: each for each in found["findings"]}
    allowed = findings["allowed-dropped"]
    assert (allowed["expectation"], allowed["peers"][0]["address"]) == ("webui-proxy", "10.0.0.100")
    assert allowed["tables"] == ["the tables drop it: ip filter DROP_IN rule 2: -A DROP_IN -j DROP"]
    assert findings["knocking"]["title"].startswith("fd00:0:0:5::7 (workstation) scans 12 ports")
    assert [(each["address"], each["tried"]) for each in found["sources"]] == [("203.0.113.66", 12)]
    assert [(each["to"], each["service"]) for each in found["outbound"]] == [("198.51.100.9", "udp/123")]
    rules = {each["name"]: each["count"] for each in found["totals"]["rule"]}
    assert set(rules) == {
        "“fw drop in:” ip filter DROP_IN rule 1", "“fw drop in:” ip6 filter DROP_IN rule 1",
        "“fw drop out:” ip filter DROP_OUT rule 1",
    }  # fmt: skip
    assert found["log_limits"][0]["limit"] == "limit 10/sec burst 20"
    assert found["log_limits"][0]["rule"].startswith("ip filter DROP_IN rule 1")
    assert found["unknown_prefixes"] == []
    counted = on(lab, "ai-server", "wc -l < /var/log/ulogd/drops.log")
    assert found["read"]["packet"] == int(counted)
