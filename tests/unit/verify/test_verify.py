"""A stored run verifies as it was written, and in no other way: every kind of change is named."""

import json
import os
import subprocess

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import UsageError
from fwproof.report.document import read_results
from fwproof.verify import files as files_module
from fwproof.verify.recompute import _from_the_difference
from fwproof.verify.verify import verify

from .stored_run import INVENTORY, Offline, edit, edit_facts, files, forge, write

PASSED = "ssh[web-near-ipv4]"


def kinds(folder):
    return {problem.kind for problem in verify(folder).problems}


def told(folder):
    return "\n".join(map(str, verify(folder).problems))


# ---- as it was written


def test_a_run_verifies_as_it_was_written(pristine):
    found = verify(pristine)
    assert found.problems == []
    assert found.status == 0
    checks = read_results(pristine).checks
    assert sorted(found.recomputed.same) == sorted(check.id for check in checks)
    assert {check.kind for check in checks} >= {
        "inbound",
        "claim",
        "inbound-default",
        "evasion",
        "rate",
        "bans",
        "ban-exercise",
        "drop-log",
        "rules",
        "coverage",
        "drift",
        "loopback",
        "established",
    }
    assert list(found.recomputed.as_recorded) == ["coverage[web-ipv4]"]
    assert found.recomputed.impossible == {}


def test_sha256sum_checks_it_without_fwproof(pristine):
    done = subprocess.run(["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=pristine, check=False)
    assert done.returncode == 0
    listed = {line.split("  ", 1)[1] for line in (pristine / "SHA256SUMS").read_text().splitlines()}
    assert listed == set(files(pristine)) - {"SHA256SUMS"}


def test_the_manifest_names_every_file_with_what_it_is(pristine):
    manifest = json.loads((pristine / "manifest.json").read_bytes())
    entries = {entry["path"]: entry for entry in manifest["files"]}
    assert set(entries) == set(files(pristine)) - {"SHA256SUMS", "manifest.json"}
    assert all(entry["what"] and entry["media_type"] for entry in entries.values())
    assert entries["evidence/probes/web.pcap"]["media_type"] == "application/vnd.tcpdump.pcap"
    assert PASSED in entries["evidence/probes/web.pcap"]["checks"]
    assert entries["policy/web.policy.yaml"]["redacted"] == 1


def test_the_command_says_so(pristine):
    done = CliRunner().invoke(cli, ["verify", str(pristine)])
    assert done.exit_code == 0, done.output
    number = len(read_results(pristine).checks)
    assert f"{number} of {number} verdicts worked out again, 1 of them with predictions as recorded" in done.output
    document = json.loads(CliRunner().invoke(cli, ["verify", str(pristine), "--format", "json"]).stdout)
    assert (document["status"], document["runs"][0]["recomputed"]) == (0, number)


def test_two_renders_hash_alike(tmp_path, pristine, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Offline(tmp_path)
    first = run.write()
    run.reports = tmp_path / "again"
    run.finish = lambda: None
    from fwproof.report.write import write_run

    results = read_results(first)
    evidence = {name: content for name, content in files(first).items() if name.startswith("evidence/")}
    inputs = {name: (tmp_path / name).read_bytes() for name in (results.run.inventory, *results.run.policies)}
    inputs["web.policy.yaml"] = (first / "policy/web.policy.yaml").read_bytes()
    second = write_run(results, evidence, tmp_path / "again", inputs=inputs)
    assert (second / "SHA256SUMS").read_bytes() == (first / "SHA256SUMS").read_bytes()


# ---- files


@pytest.mark.parametrize(
    "path",
    [
        "results.json",
        "junit.xml",
        "report.html",
        "summary.md",
        "results.schema.json",
        "manifest.json",
        "policy/web.policy.yaml",
        "policy/inventory.yaml",
        "evidence/web/iptables-save.txt",
        "evidence/facts.jsonl",
        "evidence/snapshots.json",
        "evidence/probes/web.pcap",
        "evidence/probes/web-exercises.pcap",
    ],
)
def test_an_altered_file_is_named(stored, path):
    write(stored, path, (stored / path).read_bytes() + b"\n")
    found = verify(stored)
    assert ("altered", path) in {(problem.kind, problem.where) for problem in found.problems}
    assert found.status == 1


@pytest.mark.parametrize(
    "path", ["report.html", "evidence/web/iptables-save.txt", "evidence/facts.jsonl", "manifest.json"]
)
def test_a_missing_file_is_named(stored, path):
    (stored / path).unlink()
    assert ("missing", path) in {(problem.kind, problem.where) for problem in verify(stored).problems}


def test_an_extra_file_is_named(stored):
    write(stored, "evidence/web/more.txt", "x")
    assert "extra: evidence/web/more.txt: is not in SHA256SUMS" in told(stored)


# ---- forged, with all hashes done again


def test_a_verdict_that_was_edited_is_caught(stored):
    def change(document):
        row = next(row for row in document["checks"] if row["verdict"] == "inconclusive")
        row["verdict"] = "pass"

    edit(stored, change)
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=stored, check=False).returncode == 0
    found = verify(stored)
    assert [(p.kind, p.where) for p in found.problems] == [("verdict", "coverage[web-ipv4]")]
    assert "results.json has 'pass', the evidence leads to 'inconclusive'" in found.problems[0].message


@pytest.mark.parametrize(
    "name", ["reason", "rule", "proved", "observed", "severity", "title", "expected", "line", "controls"]
)
def test_no_word_of_a_check_can_be_edited(stored, name):
    def change(document):
        row = next(row for row in document["checks"] if row["id"] == PASSED)
        row[name] = {"line": 1, "controls": {"a": ["b"]}}.get(name, "critical")

    edit(stored, change)
    assert [(p.kind, p.where) for p in verify(stored).problems] == [("verdict", PASSED)]


def test_a_check_that_was_taken_out_is_caught(stored):
    edit(stored, lambda document: document["checks"].pop(0))
    assert "was judged, and is not in the results" in told(stored)


def test_a_check_that_was_taken_out_everywhere_is_caught(stored):
    lines = (stored / "evidence/facts.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    gone = first["checks"].pop(0)
    kept = [json.dumps(first), *(line for line in lines[1:] if json.loads(line).get("check") != gone)]
    write(stored, "evidence/facts.jsonl", "\n".join(kept) + "\n")

    def change(document):
        document["checks"] = [row for row in document["checks"] if row["id"] != gone]
        document["run"]["planned"] -= 1
        document["counts"]["planned"] -= 1

    edit(stored, change)
    assert "the policies plan" in told(stored)


def test_tables_that_were_changed_lead_to_other_verdicts(stored):
    path = "evidence/web/iptables-save.txt"
    text = (stored / path).read_text().replace("--dport 22 -j ACCEPT", "--dport 22 -j DROP")
    index = json.loads((stored / "evidence/snapshots.json").read_bytes())
    from fwproof.report.manifest import digest

    old = digest((stored / path).read_bytes())
    write(stored, "evidence/snapshots.json", json.dumps(index).replace(old, digest(text.encode())))
    forge(stored, path, text)
    found = {(p.kind, p.where) for p in verify(stored).problems}
    assert ("verdict", PASSED) in found
    assert ("verdict", "ssh[web-ipv4]") in found


def test_a_text_that_the_index_does_not_have_is_refused(stored):
    forge(stored, "evidence/web/iptables-save.txt", "*filter\nCOMMIT\n")
    assert "is not what iptables-save printed" in told(stored)


def test_an_observation_that_was_changed_leads_to_another_verdict(stored):
    lines = (stored / "evidence/facts.jsonl").read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if f'"check":"{PASSED}","flows"' in line)
    lines[number] = (
        lines[number].replace('"state":"open"', '"state":"silent"').replace('"confirmed":true', '"confirmed":false')
    )
    forge(stored, "evidence/facts.jsonl", "\n".join(lines) + "\n")
    assert ("verdict", PASSED) in {(p.kind, p.where) for p in verify(stored).problems}


def test_a_prediction_that_was_changed_makes_no_difference(stored):
    content = (stored / "evidence/facts.jsonl").read_text()
    assert '"ruling":{"is":"Ruling","decision":"drop"' in content
    changed = content.replace(
        '"ruling":{"is":"Ruling","decision":"drop"', '"ruling":{"is":"Ruling","decision":"accept"'
    )
    forge(stored, "evidence/facts.jsonl", changed)
    assert verify(stored).problems == []


def test_an_observation_of_another_probe_is_refused(stored):
    lines = (stored / "evidence/facts.jsonl").read_text().splitlines()
    at = [n for n, line in enumerate(lines) if '"flows":{"is":"FlowFacts"' in line]
    first, other = lines[at[0]], next(lines[n] for n in at if '"dport":9' in lines[n])
    check = json.loads(first)["check"]
    lines[at[0]] = json.dumps({"check": check, "flows": json.loads(other)["flows"]})
    forge(stored, "evidence/facts.jsonl", "\n".join(lines) + "\n")
    assert f"verdict: {check}: cannot be worked out again: {check}: the stored observation is of" in told(stored)


def test_packets_that_no_observation_has_are_caught(stored):
    path = "evidence/probes/web.pcap"
    content = bytearray((stored / path).read_bytes())
    content[60] ^= 1
    forge(stored, path, bytes(content))
    assert told(stored) == f"evidence: {path}: does not hold the packets of the stored observations"


def test_a_report_that_says_something_else_is_caught(stored):
    html = (stored / "report.html").read_text().replace("inconclusive", "as expected")
    write(stored, "report.html", html)
    forge(stored, reports=False)
    assert told(stored) == "report: report.html: is not what results.json makes: one of them was changed"


def test_another_policy_is_caught(stored):
    text = (stored / "policy/inventory.yaml").read_text().replace("10.0.0.0/24", "10.0.0.0/16")
    forge(stored, "policy/inventory.yaml", text)
    assert "input: policy/inventory.yaml: is not what the audit read" in told(stored)


def test_what_is_said_of_a_host_must_be_what_it_printed(stored):
    edit(stored, lambda document: document["run"]["hosts"][0].update(kernel="Linux other"))
    assert told(stored) == "results: web: what results.json says of this host is not what it printed"


def test_the_schema_is_checked(stored):
    document = json.loads((stored / "results.json").read_bytes())
    del document["run"]["operator"]
    write(stored, "results.json", json.dumps(document))
    forge(stored, reports=False)
    assert "schema: results.json: run.operator: Field required" in told(stored)


# ---- hostile


def test_a_path_out_of_the_run_is_never_opened(stored, tmp_path):
    (tmp_path / "secret").write_text("x")
    with (stored / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../secret\n{'0' * 64}  /etc/passwd\nnot a line\n")
    text = told(stored)
    assert text.count("names a file outside of the run") == 2
    assert "is no line of sha256sum" in text


def test_a_path_out_of_the_run_in_the_index_is_never_opened(stored, tmp_path):
    (tmp_path / "secret").write_text("x")
    index = (stored / "evidence/snapshots.json").read_text()
    forge(stored, "evidence/snapshots.json", index.replace("evidence/web/uname.txt", "../secret"))
    assert "../secret: there is no such file in the run" in told(stored)


def test_links_are_not_followed(stored):
    place = stored / "evidence/web/uname.txt"
    place.unlink()
    place.symlink_to("/etc/passwd")
    text = told(stored)
    assert "extra: evidence/web/uname.txt: is a symbolic link, which no run has" in text
    assert "missing: evidence/web/uname.txt" in text


def test_a_pipe_does_not_block(stored):
    os.mkfifo(stored / "evidence/pipe")
    assert "extra: evidence/pipe: is no regular file, which no run has" in told(stored)


def test_a_giant_file_is_not_read(stored, monkeypatch):
    with (stored / "evidence/facts.jsonl").open("ab") as big:
        big.truncate(files_module.MOST_BYTES + 1)
    text = told(stored)
    assert "more than 536,870,912 are not read" in text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": "fwproof-facts-1"}', "[" * 100_000, "\xff\0"])
@pytest.mark.parametrize(
    "path",
    ["evidence/facts.jsonl", "evidence/snapshots.json", "manifest.json", "results.json", "policy/web.policy.yaml"],
)
def test_rubbish_is_told_in_one_message_each(stored, path, content):
    write(stored, path, content.encode("latin-1"))
    found = verify(stored)
    assert found.status == 1
    assert all(len(str(problem)) < 900 and "Traceback" not in str(problem) for problem in found.problems)


@pytest.mark.parametrize(("old", "new"), [
    ('"is":"Observation"', '"is":"Path"'), ('"state":"open"', '"state":"ajar"'), ('"src":"10.0.0.9"', '"src":"x"'),
    ('"sent":1', '"sent":"1"'), ('"fact":"agents"', '"fact":"models"'), ('"proto":6', '"proto":true'),
    ('"raw":"', '"raw":"*'), ('"is":"Seen"', '"is":"Seen","more":1'), ('"model":"web"', '"model":"other"'),
])  # fmt: skip
def test_facts_of_no_such_form_are_refused(stored, old, new):
    edit_facts(stored, old, new)
    found = verify(stored)
    assert [problem.kind for problem in found.problems] == ["evidence"]
    assert len(found.recomputed.impossible) == found.checks


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no run: expected a folder with SHA256SUMS in it"):
        verify(tmp_path)
    done = CliRunner().invoke(cli, ["verify", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert done.exception.exit_code == 4


def test_the_numbers_of_a_burst_are_counted_again(stored):
    lines = (stored / "evidence/facts.jsonl").read_text().splitlines()
    number = next(
        n for n, line in enumerate(lines) if '"exercised":{"is":"BurstFacts"' in line and '"admitted":5' in line
    )
    told = lines[number]
    lines[number] = told.replace('"admitted":5', '"admitted":50')
    forge(stored, "evidence/facts.jsonl", "\n".join(lines) + "\n")
    assert verify(stored).problems == []  # what was stored of the number makes no difference
    lines[number] = told.replace('"state":"silent"', '"state":"open"').replace('"confirmed":false', '"confirmed":true')
    forge(stored, "evidence/facts.jsonl", "\n".join(lines) + "\n")
    assert ("verdict", json.loads(told)["check"]) in {(p.kind, p.where) for p in verify(stored).problems}


def test_a_run_that_was_ended_early_verifies_as_far_as_it_went(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = verify(Offline(tmp_path).write(last=5))
    assert found.problems == []
    assert (found.checks, len(found.recomputed.same)) == (5, 5)


def test_hosts_that_other_files_have_a_part_in_are_taken_as_recorded(tmp_path, monkeypatch):
    """Ansible's and OpenSSH's own files are not stored: what they said of the hosts is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").write_text("Host web\n  Port 2222\n")
    folder = Offline(tmp_path, inventory=f"ssh_config: config\n{INVENTORY}").write()
    (tmp_path / "config").unlink()
    found = verify(folder)
    assert (found.status, found.problems) == (0, [])
    assert "the hosts are taken as recorded: the inventory has ssh_config, whose files stay there" in found.notes
    (folder / "evidence" / "inventory.json").unlink()
    assert verify(folder).status == 1


def test_texts_that_differ_late_are_shown_from_there():
    one, other = _from_the_difference("same " * 60 + "+5", "same " * 60 + "moved by 5")
    assert one.startswith("…")
    assert (one[-3:], other[-11:]) == (" +5", " moved by 5")
    assert _from_the_difference("pass", "fail") == ("pass", "fail")
