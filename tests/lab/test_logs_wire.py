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


OLDER = r"""
import gzip, os, shutil, time
line = "%s ai-server fw drop in: IN=eth0 OUT= MAC= SRC=203.0.113.66 DST=10.0.0.10 LEN=40 TOS=00 PREC=0x00 TTL=63 ID=%d"
line += " PROTO=TCP SPT=%d DPT=23 SEQ=1 ACK=0 WINDOW=1024 SYN URGP=0 MARK=0 \n"
for name, days, count in (("1", 2, 3000), ("2.gz", 5, 3000), ("3.gz", 40, 3000)):
    when = time.time() - days * 86400
    stamp = time.strftime("%b %e %H:%M:%S", time.gmtime(when - 60))
    text = "".join(line % (stamp, n, 1024 + n) for n in range(count))
    path = "/var/log/ulogd/drops.log." + name
    with (gzip.open if name.endswith("gz") else open)(path, "wt") as log:
        log.write(text)
    shutil.chown(path, "root", "adm")
    os.chmod(path, 0o640)
    os.utime(path, (when, when))
"""


def test_files_that_were_rotated_are_read_as_far_as_the_review_looks_back(lab):
    lab.run("ai-server", ["/bin/sh", "-c", "cat > /tmp/older.py"], input=OLDER)
    on(lab, "ai-server", "python3 /tmp/older.py")
    counted = int(on(lab, "ai-server", "wc -l < /var/log/ulogd/drops.log"))
    try:
        found = review(1)
        assert found["read"]["packet"] == counted + 6000
        assert "drops.log, drops.log.1, drops.log.2.gz, " in found["read"]["from"][0]
        assert found["not_known"] == []
        on(lab, "ai-server", "chmod 0600 /var/log/ulogd/drops.log.1")
        gap = review(1)
        assert gap["read"]["packet"] == counted + 3000
        assert "drops.log.1 cannot be read" in gap["not_known"][0]
    finally:
        on(lab, "ai-server", "rm /var/log/ulogd/drops.log.?*")
