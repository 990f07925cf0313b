"""``fwproof probe`` over real SSH on the embedded lab, as it is called."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.utils import rdpcap

from fwproof.lab import Lab

from .auditing import on

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
NAME = "sweep-test"
OPEN = {  # by vantage and target: the open TCP ports, in either family
    ("workstation", "ai-server"): [[11434, 11434]],
    ("admin", "ai-server"): [[22, 22], [11434, 11434]],
    ("outside", "ai-server"): [],
    ("proxy", "ai-server"): [[8080, 8080], [11434, 11434]],
}


@pytest.fixture(scope="module")
def lab():
    with Lab(name=NAME, topology=ROOT / "fixtures" / "lab" / "topology.yaml") as lab:
        yield lab


def probe(*words, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "fwproof", "probe", *map(str, words), "--format", "json"], cwd=ROOT, text=True,
        capture_output=True, check=False, env={**os.environ, "FWPROOF_LAB_NAME": NAME}, timeout=300,
    )  # fmt: skip
    assert done.returncode == status, done.stdout[-2000:] + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def ports_of(sweep, state):
    return sorted(ends for each in sweep["outcomes"] if each["state"] == state for ends in each["ports"])


@pytest.mark.parametrize("vantage", ["workstation", "admin", "outside", "proxy"])
def test_the_open_set_is_exact(lab, vantage, tmp_path):
    said = probe("ai-server", "--from", vantage, "--sweep", "tcp,udp", "--rate", 20000, "--pcap", tmp_path / "p.pcap")
    assert [(each["family"], each["proto"]) for each in said["sweeps"]] == [
        ("ipv4", "tcp"), ("ipv4", "udp"), ("ipv6", "tcp"), ("ipv6", "udp")]  # fmt: skip
    for sweep in said["sweeps"]:
        expected = OPEN[vantage, "ai-server"] if sweep["proto"] == "tcp" else []
        assert ports_of(sweep, "open") == expected, (sweep["family"], sweep["proto"])
        counted = sum(high - low + 1 for each in sweep["outcomes"] for low, high in each["ports"])
        assert counted == sweep["asked"] == 65535
        assert {each["agreement"] for each in sweep["outcomes"]} == {"agrees"}
        assert {each["state"] for each in sweep["outcomes"]} <= {"open", "silent"}
        assert sweep["sent"] <= 65535 * 1.01
    assert said["status"] == 0
    assert len(rdpcap(str(tmp_path / "p.pcap"))) >= 8


def test_single_probes_agree_with_the_tables_as_they_are_now(lab):
    said = probe("ai-server", "--from", "workstation", "tcp/22", "tcp/11434", "udp/53", "icmp/echo-request")
    assert [each["agreement"] for each in said["probes"]] == ["agrees"] * 8
    on(lab, "ai-server", "iptables -t nat -A PREROUTING -p tcp --dport 2222 -j REDIRECT --to-ports 11434")
    try:
        said = probe("ai-server", "--from", "workstation", "--family", "ipv4", "tcp/2222")
        assert said["probes"][0]["state"] == "open", "what nat opens is seen, and the tables say so"
    finally:
        on(lab, "ai-server", "iptables -t nat -F PREROUTING")


def test_a_burst_ends_where_the_limit_does(lab):
    said = probe("ai-server", "--from", "workstation", "--family", "ipv4", "--burst", 25, "tcp/11434")
    (burst,) = said["bursts"]
    assert burst["predicted"].index("drop") == burst["let_in"].index(False)
    assert burst["agreement"] == "agrees"
    assert burst["packet"]["src"] == "10.0.5.8", "from the spare address"


def test_nothing_stays_behind(lab):
    probe("ai-server", "--from", "workstation", "--sweep", "tcp", "--ports", "1-100", "--family", "ipv4")
    for host in ("ai-server", "workstation"):
        running = on(lab, host, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
        assert "b64decode" not in running
        assert "fwproof-agent" not in running
