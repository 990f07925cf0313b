"""The verbs over rule tables on live hosts of a lab, as they are called; and hosts that cannot be read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwproof.lab import Lab

from .auditing import on

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
NAME = "test-live"
WEB = "-s 10.0.0.0/24 -p tcp -m tcp --dport 9090 -j ACCEPT"
SSH = "src=10.0.0.1 dst=10.0.0.10 proto=tcp dport=22"
NFT = """table inet t {
  chain c { type filter hook input priority 10; policy accept;
    limit rate 5/minute counter
    tcp dport 81 drop
  }
}
table bridge b { chain c { type filter hook forward priority 0
    ip saddr 1.2.3.4 drop
  }
}
"""


@pytest.fixture(scope="module")
def lab():
    with Lab(name=NAME, topology=ROOT / "fixtures" / "lab" / "topology.yaml") as lab:
        yield lab


def fwproof(*words, name=NAME, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "fwproof", *map(str, words)], cwd=ROOT, text=True, capture_output=True, check=False,
        env={**os.environ, "FWPROOF_LAB_NAME": name}, timeout=120,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_live_host_answers_as_its_snapshot_does(lab, tmp_path):
    fwproof("collect", "ai-server", "-o", tmp_path)
    stored = ("--snapshot", tmp_path / "ai-server")
    for verb in (("query",), ("explain", "--packet", SSH), ("understood",), ("lint", "--ignore", "unused")):
        live = fwproof(*verb, "--host", "ai-server", "--format", "json").stdout
        assert live == fwproof(*verb, *stored, "--format", "json").stdout
        assert live.strip()
    assert json.loads(fwproof("explain", "--packet", SSH, "--host", "ai-server", "--format", "json").stdout)["by"] == {
        "family": "ip", "table": "filter", "chain": "INPUT", "rule": 4,
        "text": "-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack"
                " --ctstate NEW -j ACCEPT",
    }  # fmt: skip


def test_drift_is_the_difference_of_a_snapshot_and_the_host(lab, tmp_path):
    fwproof("collect", "ai-server", "-o", tmp_path)
    same = fwproof("diff", tmp_path / "ai-server", "host:ai-server").stdout
    assert same.count("same meaning") == 2
    on(lab, "ai-server", f"iptables -I INPUT {WEB}")
    try:
        drift = fwproof("diff", tmp_path / "ai-server", "host:ai-server", status=1).stdout
        assert "ipv4 input NEW/INVALID/UNTRACKED: became reachable: tcp 9090 from 10.0.0.0/24\n" in drift
        assert f"after: accept by ip filter INPUT rule 1: -A INPUT {WEB}" in drift
        assert "ipv6: same meaning" in drift
    finally:
        on(lab, "ai-server", f"iptables -D INPUT {WEB}")


def test_two_live_hosts_are_compared(lab):
    said = fwproof("diff", "host:ai-server", "host:ai-server-published", "--family", "ipv4", status=1).stdout
    assert "ipv4 input NEW: became reachable: tcp 8080 from 10.0.0.100\n" in said
    assert "-A OUTPUT -j DROP" in said


def test_every_source_of_a_host_is_counted_apart(lab):
    other = "iptables-legacy -A INPUT -p tcp --dport 23 -j DROP && iptables -A INPUT -p tcp --dport 24 -j DROP"
    script = f"cat > /tmp/fw.nft <<'END'\n{NFT}END\nnft -f /tmp/fw.nft && {other}"
    on(lab, "store-elastic", script)
    said = json.loads(fwproof("understood", "--host", "store-elastic", "--format", "json").stdout)
    rows = [(each["family"], each["source"], each["exact"], each["bounded"]) for each in said["sources"]]
    assert rows == [
        ("ipv4", "iptables-nft", 1, 0), ("ipv4", "iptables-legacy", 1, 0), ("ipv4", "nft", 1, 1), ("ipv6", "nft", 1, 1),
    ]  # fmt: skip
    notes = ["nft table bridge b (1 rule) sees frames, not routed packets: it is not asked"]
    assert [each["notes"] for each in said["sources"]] == [[], [], notes, notes]
    rules = {23: "-A INPUT -p tcp -m tcp --dport 23", 24: "-A INPUT -p tcp -m tcp --dport 24", 81: "tcp dport 81 drop"}
    asked = ("--host", "store-elastic")
    services = [word for port in rules for word in ("--service", f"tcp/{port}")]
    shut = fwproof("query", *asked, "--family", "ipv4", *services).stdout  # each source keeps something out
    assert shut == "ipv4 input: nothing gets through\n" * 3
    packets = [word for port in rules for word in ("--packet", f"src=10.0.0.1 dst=10.0.2.12 proto=tcp dport={port}")]
    answers = [json.loads(a) for a in fwproof("explain", *asked, *packets, "--format", "json").stdout.splitlines()]
    assert [(a["decision"], rule in a["by"]["text"]) for a, rule in zip(answers, rules.values(), strict=True)] == [
        ("drop", True)] * 3  # fmt: skip


def test_a_host_that_cannot_be_read_is_one_message(lab):
    lab.power_off("store-redis")
    on(lab, "store-postgres", "mv ~auditor/.ssh/authorized_keys /root/")
    on(lab, "outside", "rm /usr/sbin/ip6tables-save /usr/sbin/nft")
    rows = [("store-redis", "no connection to 10.0.2.11 port 22"), ("store-postgres", "refuses the key of auditor"),
            ("outside", "ip6tables-save: not installed (--family ipv4 asks about what was read)")]  # fmt: skip
    for host, says in rows:
        done = fwproof("query", "--host", host, status=6)
        assert (done.stdout, says in done.stderr, done.stderr.count("\n")) == ("", True, 1), done.stderr
    assert "let in by no rule at all" in fwproof("query", "--host", "outside", "--family", "ipv4").stdout
    said = fwproof("diff", "host:ai-server", "host:store-postgres", status=6).stderr
    assert "store-postgres: the host refuses the key" in said


def test_the_python_api_reads_live(lab):
    code = (
        "from fwproof import Family, Hook, openings, read_host\n"
        "host = read_host('ai-server')\n"
        "for each in openings(host, Hook.INPUT, Family.IPV4).openings: print(each.rooms[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False, timeout=60,
        env={**os.environ, "FWPROOF_LAB_NAME": NAME},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "tcp 22 from 10.0.0.1" in done.stdout.splitlines()


def test_a_lab_that_is_not_up_is_brought_up_and_taken_down():
    name = "test-live-own"
    assert "let in by" in fwproof("query", "--host", "admin", "--family", "ipv4", name=name).stdout
    assert not Lab(name=name).is_up()
    assert not Lab(name=name).state.exists()
