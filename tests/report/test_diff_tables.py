"""The tables in two runs' evidence: compared as text and by meaning, and only if they are what was stored."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.report.document import read_results, render_json
from fwproof.trends.compare import compare_runs
from fwproof.trends.tables import host_rules

SAMPLE = Path(__file__).parents[2] / "reports" / "sample"
HOST = "ai-server"
INDEX = "evidence/snapshots.json"


@pytest.fixture
def copy(tmp_path):
    """Return a function that copies the recorded run with what some commands had printed otherwise."""

    def made(edits=None, host=HOST):
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        shutil.copytree(SAMPLE, folder)
        index = json.loads((folder / INDEX).read_text())
        changed = {}
        wanted = {"nft": lambda _: '{"nftables": []}'} | edits if edits else {}  # which shows iptables' tables as well
        for capture in index["snapshots"][host]["captures"]:
            if capture["name"] in wanted:
                path = folder / capture["file"]
                text = wanted[capture["name"]](path.read_text())
                path.write_text(text)
                capture["sha256"] = hashlib.sha256(text.encode()).hexdigest()
                changed[capture["file"]] = capture["sha256"]
        (folder / INDEX).write_text(json.dumps(index))
        changed[INDEX] = hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()
        results = read_results(folder)
        artefacts = [replace(a, sha256=changed.get(a.path, a.sha256)) for a in results.run.artefacts]
        results = replace(results, run=replace(results.run, artefacts=artefacts))
        (folder / "results.json").write_bytes(render_json(results))
        return folder

    return made


def with_rule(rule):
    """Return an edit that puts a rule before the first one of INPUT."""

    def edit(text):
        first = first_rule(text)
        return text.replace(first, f"[0:0] {rule}\n{first}", 1)

    return edit


def first_rule(text):
    return next(line for line in text.splitlines() if "-A INPUT" in line)


SAME = {"ipset-save": str}
"""An edit that changes nothing: what the others are compared with, without nft's view of iptables' tables."""


def rules_of(old, new, most=50, host=HOST):
    found = host_rules(read_results(old), read_results(new), (old, new), most)
    return next(each for each in found if each.host == host)


def test_the_same_tables_are_the_same_and_counters_do_not_count(copy):
    moved = copy({"iptables-save": lambda text: text.replace("[0:0]", "[7:420]").replace("# Gen", "# gen")})
    for old, new in ((SAMPLE, SAMPLE), (copy(SAME), moved)):
        found = rules_of(old, new)
        assert (found.same, found.texts, found.changes, found.not_compared) == (True, [], [], [])


def test_a_rule_that_lets_more_in_is_told_with_text_and_witness(copy):
    new = copy({"iptables-save": with_rule("-A INPUT -s 203.0.113.0/24 -p tcp -m tcp --dport 11434 -j ACCEPT")})
    found = rules_of(copy(SAME), new)
    assert found.same is False
    opened = [change for change in found.changes if change.kind == "became-reachable" and change.family == "ipv4"]
    assert any("tcp 11434 from 203.0.113.0/24" in box for change in opened for box in change.boxes)
    assert all(
        change.after.startswith("accept by ip filter INPUT rule 1: -A INPUT -s 203.0.113.0/24") for change in opened
    )
    assert opened[0].before.startswith("drop")
    assert "203.0.113." in opened[0].witness
    (text,) = found.texts
    assert text.file == "iptables-save"
    assert [line for line in text.lines if line[0] in "+-"] == [
        "+ -A INPUT -s 203.0.113.0/24 -p tcp -m tcp --dport 11434 -j ACCEPT"]  # fmt: skip
    back = rules_of(new, copy(SAME))
    assert {change.kind for change in back.changes} == {"stopped-being-reachable"}
    assert rules_of(SAMPLE, SAMPLE, host="ai-server-published").same is True


def test_another_wording_is_the_same_meaning(copy):
    new = copy({"iptables-save": with_rule("-A INPUT -s 203.0.113.0/24 -m comment --comment x")})
    found = rules_of(copy(SAME), new)
    assert (found.same, len(found.texts), found.changes) == (True, 1, [])


def test_what_is_not_understood_is_never_the_same(copy):
    new = copy({"iptables-save": lambda text: text.replace("COMMIT", "-X what is this\nCOMMIT", 1)})
    for old in (copy(SAME), new):
        found = rules_of(old, new)
        assert found.same is None
        assert any("ipv4" in said for said in found.not_compared)


def test_most_limits_the_changes_and_counts_the_rest(copy):
    def many(text):
        rules = [f"-A INPUT -s 198.51.{n}.0/24 -p tcp -m tcp --dport {n} -j ACCEPT" for n in range(1, 6)]
        first = first_rule(text)
        return text.replace(first, "\n".join([*rules, first]), 1)

    found = rules_of(copy(SAME), copy({"iptables-save": many}), most=2)
    assert (len([c for c in found.changes if c.family == "ipv4"]), found.unlisted) == (2, 3)


def test_evidence_that_was_altered_is_not_compared_and_is_told(copy):
    new = copy()
    place = new / "evidence" / HOST / "iptables-save.txt"
    place.write_text(place.read_text().replace("DROP", "ACCEPT"))
    results = read_results(new)
    rules = list(host_rules(results, results, (new, new), 50))
    found = next(each for each in rules if each.host == HOST)
    assert found.same is None
    assert all(said.endswith("was altered since it was stored") for said in found.altered)
    assert found.altered
    whole = compare_runs(results, results, rules=rules)
    assert whole.altered
    assert whole.status == 6


def test_evidence_that_is_not_here_is_not_compared(copy):
    new = copy()
    (new / "evidence" / HOST / "nft.txt").unlink()
    found = rules_of(SAMPLE, new)
    assert (found.same, found.altered) == (None, [])
    assert "nft.txt of run" in found.not_compared[0]
    (new / INDEX).unlink()
    assert "snapshots.json of run" in rules_of(SAMPLE, new).not_compared[0]
    outside = copy()
    secret = outside.parent / "secret"
    shutil.move(outside / "evidence" / HOST / "nft.txt", secret)
    (outside / "evidence" / HOST / "nft.txt").symlink_to(secret)
    assert "is not here" in rules_of(SAMPLE, outside).not_compared[0]


def test_native_tables_are_compared_object_by_object(copy):
    rule = {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 3, "expr": [
        {"counter": {"packets": 1, "bytes": 2}}, {"accept": None}]}}  # fmt: skip
    extra = [{"table": {"family": "inet", "name": "t", "handle": 1}}, {"chain": {
        "family": "inet", "table": "t", "name": "c", "handle": 2}}, rule]  # fmt: skip

    def added(packets):
        def edit(text):
            document = json.loads(text)
            rule["rule"]["expr"][0]["counter"]["packets"] = packets
            document["nftables"] += json.loads(json.dumps(extra))
            return json.dumps(document)

        return edit

    one, two = copy({"nft": added(1)}), copy({"nft": added(9)})
    assert rules_of(one, two).texts == []
    (text,) = rules_of(SAMPLE, one).texts
    assert text.file == "nft"
    assert len([line for line in text.lines if line.startswith("+ ")]) == 3
