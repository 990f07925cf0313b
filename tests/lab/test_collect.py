"""``fwproof collect`` on the lab: what was read is stored whole, and a host that is down costs only itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwproof.flow import Family
from fwproof.hosts import replay
from fwproof.lab import Lab
from fwproof.ruleset.iptables import parse

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
NAME = "test-collect"


@pytest.fixture(scope="module")
def lab():
    with Lab(name=NAME, topology=ROOT / "fixtures" / "lab" / "topology.yaml") as lab:
        yield lab


def collect(*words):
    return subprocess.run(
        [sys.executable, "-m", "fwproof", "collect", *words], cwd=ROOT, text=True, capture_output=True, check=False,
        env={**os.environ, "FWPROOF_LAB_NAME": NAME}, timeout=120,
    )  # fmt: skip


def test_a_group_is_collected_and_reads_back_as_it_was(lab, tmp_path):
    done = collect("ai-servers", "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    snapshot = replay.load(tmp_path / "ai-server")
    live = lab.run("ai-server", ["/usr/sbin/iptables-save"]).stdout
    stored = [rule.ref for rule in parse(snapshot.text("iptables-save"), Family.IPV4).rules()]
    assert stored == [rule.ref for rule in parse(live, Family.IPV4).rules()]
    assert "rules.v4" in replay.load(tmp_path / "ai-server-published").faults


def test_a_host_that_is_down_is_told_and_leaves_the_others_alone(lab, tmp_path):
    lab.power_off("store-redis")
    done = collect("store-redis", "proxy", "-o", str(tmp_path))
    assert done.returncode == 6
    assert "store-redis" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "proxy" / "snapshot.json").is_file()
    assert not (tmp_path / "store-redis").exists()


def test_an_unknown_name_is_refused_before_anything_is_connected(tmp_path):
    done = collect("nobody", "-o", str(tmp_path))
    assert (done.returncode, "nobody" in done.stderr) == (4, True)
