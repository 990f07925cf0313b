"""The gate and what runs: scripts that look at the tables, files of nft that add to them, hosts of one family."""

import json
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from fwproof.flow import Family
from fwproof.gating.answers import Answers
from fwproof.gating.candidate import from_scripts
from fwproof.gating.loading import listed, load, through_kernel
from fwproof.gating.script import read_whole
from fwproof.lab.twin import Port, Shape, Twin
from fwproof.semantics.compare import same_meaning
from fwproof.semantics.model import HostModel

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
GATE = [sys.executable, "-c", "from fwproof.cli.main import main; main()", "gate", "--for", "ai-server", "--policy",
        str(ROOT / "checks" / "ai-server.policy.yaml"), "--inventory", str(ROOT / "fixtures" / "inventory.yaml"),
        "--mutation-seconds", "0", "--format", "json"]  # fmt: skip
AGAIN = """set -e
iptables -N WEB 2>/dev/null || iptables -F WEB
while iptables -D INPUT -p tcp --dport 80 -j WEB 2>/dev/null; do :; done
iptables -C INPUT -i lo -j ACCEPT 2>/dev/null || iptables -A INPUT -i lo -j ACCEPT
iptables -P INPUT DROP
while read -r source; do
  iptables -A WEB -s "$source" -j ACCEPT
done <<END
10.20.0.0/16
END
if ! iptables -C INPUT -p tcp --dport 80 -j WEB 2>/dev/null; then iptables -A INPUT -p tcp --dport 80 -j WEB; fi
iptables -L -n | cat
"""
RUNS = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:WEB - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 80 -j WEB
-A INPUT -p tcp -m tcp --dport 80 -j WEB
-A WEB -j ACCEPT
COMMIT
"""
OLD = "table inet old {\n chain c {\n  type filter hook input priority 0;\n  tcp dport 24 drop\n }\n}\n"
MORE = "add rule inet old c tcp dport 25 drop\n"


def gate(*words):
    done = subprocess.run([*GATE, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def a_twin():
    own = (ip_interface("10.0.0.10/24"), ip_interface("fd00:0:0:1::10/64"))
    return Twin(Shape(name="srv", ports=(Port(name="eth0", addresses=own),), others={}))


def test_a_script_that_looks_at_the_tables_ends_in_the_kernel_as_it_was_read():
    before = HostModel.build(iptables_save=RUNS, ip6tables_save="")
    read = from_scripts([read_whole(AGAIN, "again.sh", Answers(before))], before)
    with a_twin() as twin:
        assert load(twin, read) == ()
        kernel = HostModel.build(**listed(twin))
    assert [command.line for command in read.commands if command.status == 1] == [2, 3, 11]
    assert same_meaning(read.model.rulesets[Family.IPV4][0], kernel.rulesets[Family.IPV4][0]) == []


def test_a_command_that_answers_otherwise_in_the_kernel_is_a_fault():
    before = HostModel.build(iptables_save=RUNS, ip6tables_save="")
    read = from_scripts([read_whole(AGAIN, "again.sh", Answers(before))], before)
    with a_twin() as twin:
        (fault,) = load(twin, replace(read, under={}))  # the chain is not there, so that making it works
    assert (fault.line, fault.message.partition(" (")[0]) == (
        2, "it works, where the script was read as if it ended with 1 here",
    )  # fmt: skip


def test_a_file_of_nft_that_takes_nothing_away_is_loaded_onto_what_runs(tmp_path):
    runs, script = tmp_path / "runs", tmp_path / "more.nft"
    runs.mkdir()
    script.write_text(MORE)
    (now,) = through_kernel([("old.nft", OLD)], {"iptables_save": RUNS})
    (runs / "rules.v4").write_text(RUNS)
    (runs / "rules.v6").write_text("")
    (runs / "nft.json").write_text(now["nft_json"])
    found = gate("--nft", script, "--against", runs, "--no-twin")
    assert any("loaded onto what runs" in each for each in found["assumed"])
    changes = [change for change in found["difference"]["changes"] if change["hook"] == "input"]
    told = {(change["kind"], change["family"], "dport 25" in json.dumps(change["after"])) for change in changes}
    assert told == {("stopped-being-reachable", "ipv4", True), ("stopped-being-reachable", "ipv6", True)}
    assert json.dumps(found["difference"]).count("dport 24") == 0
