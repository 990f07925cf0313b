"""Options that change the exit status alone, further formats of a run, and what services of CI are told."""

import json
import re
from pathlib import Path

import pytest

from .small import IDS, POLICY

MILD = POLICY.replace("persistence: true", "persistence: {severity: low}")
SITE, LOOPBACK, PERSISTENCE = IDS[0], IDS[4], IDS[5]


@pytest.mark.parametrize(
    ("verdicts", "words", "status"),
    [
        ({PERSISTENCE: "fail"}, (), 1),
        ({PERSISTENCE: "fail"}, ("--fail-on", "medium"), 0),
        ({PERSISTENCE: "fail"}, ("--fail-on", "low"), 1),
        ({PERSISTENCE: "error"}, ("--fail-on", "medium"), 0),
        ({PERSISTENCE: "fail", SITE: "error"}, ("--fail-on", "medium"), 6),
        ({PERSISTENCE: "error", SITE: "fail"}, ("--fail-on", "medium"), 1),
        ({SITE: "fail"}, ("--exit-zero",), 0),
        ({SITE: "error"}, ("--exit-zero",), 0),
        ({"*": "not-applicable"}, ("--exit-zero",), 5),
    ],
    ids=str,
)
def test_the_status_changes_and_nothing_else(audit, verdicts, words, status):
    audit.file("checks/small.policy.yaml", MILD)
    audit.verdicts = verdicts
    found = audit.run("checks", *words)
    assert found.ret == status
    counts = audit.results["counts"]
    for verdict in ("fail", "error"):
        assert counts[verdict] == list(verdicts.values()).count(verdict)
        assert (f"the cause of {verdict}" in found.out) is (counts[verdict] > 0)


@pytest.mark.parametrize(("words", "status"), [((), 1), (("--fail-on", "medium"), 6), (("--exit-zero",), 0)], ids=str)
def test_checks_that_an_early_end_left_out_are_no_success(audit, words, status):
    audit.file("checks/small.policy.yaml", POLICY.replace("id: site,", "id: site, severity: low,"))
    audit.verdicts = {"*": "fail"}
    assert audit.run("checks", "-x", *words).ret == status
    assert audit.results["counts"]["run"] == 1


def test_bad_input_is_4_whatever_is_asked(audit):
    audit.file("checks/small.policy.yaml", "policy: small\n")
    assert audit.run("checks", "--exit-zero", "--fail-on", "critical").ret == 4


def test_a_test_of_somebody_else_s_that_fails_is_a_failure(audit):
    audit.file("checks/test_theirs.py", "def test_it():\n    assert False\n")
    audit.verdicts = {SITE: "error"}
    assert audit.run("checks", "--exit-zero").ret == 1


@pytest.mark.parametrize("words", [("--fail-on", "dreadful"), ("--fw-formats", "hdf,pdf"), ("--junit-dialect", "x")])
def test_words_that_are_none_of_the_choices(audit, words):
    found = audit.run("checks", *words)
    assert found.ret == 4
    assert words[1].rpartition(",")[2] in found.err
    assert not audit.gathered


def test_further_formats_and_the_dialect_of_junit(audit):
    audit.run("checks", "--fw-formats", "hdf,sarif,oscal-ar", "--junit-dialect", "rich")
    (folder,) = audit.runs
    written = {path.name for path in folder.iterdir()}
    assert written >= {"hdf.json", "fwproof.sarif", "oscal-ar.json", "findings.csv", "allowed.csv"}
    assert "gl-code-quality.json" not in written
    assert 'file="checks/small.policy.yaml"' in (folder / "junit.xml").read_text(encoding="utf-8")
    listed = (folder / "SHA256SUMS").read_text()
    assert all(f"  {name}\n" in listed for name in written - {"SHA256SUMS", "evidence", "policy"})


def test_github_gets_annotations_and_a_summary(audit, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(audit.pytester.path / "step.md"))
    audit.verdicts = {SITE: "fail"}
    found = audit.run("checks")
    assert sum(line.startswith("::error file=checks/small.policy.yaml,line=7,title=") for line in found.lines) == 1
    assert (audit.pytester.path / "step.md").read_text(encoding="utf-8").startswith("## web does not do what")
    assert found.ret == 1


def test_a_summary_that_cannot_be_written_is_told_and_changes_nothing(audit, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(audit.pytester.path / "no/such/folder.md"))
    found = audit.run("checks", "--fw-ci", "github")
    assert "the job summary cannot be written: No such file" in found.out
    assert found.ret == 0


def test_azure_gets_its_own_commands(audit, monkeypatch):
    monkeypatch.setenv("TF_BUILD", "True")
    audit.verdicts = {SITE: "fail", LOOPBACK: "inconclusive"}
    found = audit.run("checks")
    kinds = re.findall(r"^##vso\[task\.logissue type=(\w+);sourcepath=checks/small", found.out, re.MULTILINE)
    assert kinds == ["error", "warning"]
    path = re.search(r"^##vso\[task\.uploadsummary\](.*)$", found.out, re.MULTILINE)[1]
    assert Path(path).read_text(encoding="utf-8").startswith("## web")


def test_gitlab_gets_a_report(audit, monkeypatch):
    monkeypatch.setenv("GITLAB_CI", "true")
    audit.verdicts = {SITE: "fail"}
    audit.run("checks")
    (folder,) = audit.runs
    (issue,) = json.loads((folder / "gl-code-quality.json").read_text(encoding="utf-8"))
    assert issue["location"] == {"path": "checks/small.policy.yaml", "lines": {"begin": 7}}


@pytest.mark.parametrize("words", [("--fw-ci", "plain"), ("--fw-ci", "jenkins")])
def test_plain_where_asked_for(audit, monkeypatch, words):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(audit.pytester.path / "step.md"))
    audit.verdicts = {SITE: "fail"}
    found = audit.run("checks", *words)
    assert "::error" not in found.out
    assert not (audit.pytester.path / "step.md").exists()


def test_what_a_host_says_is_no_command_in_the_log(audit, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    said = "x\n::add-path::/tmp\n##vso[task.setvariable variable=a]b \x1b[31m"
    real = audit.judge

    def judge(check, facts):
        from dataclasses import replace

        return replace(real(check, facts), reason=said, cause=said, rule=said, observed=said, fix=said)

    monkeypatch.setattr("fwproof.audit.outcomes.judge", judge)
    audit.verdicts = {SITE: "fail", LOOPBACK: "error"}
    found = audit.run("checks", "--tb=short", "-v")
    commands = [line for line in found.out.splitlines() if line.lstrip("E ").startswith("::")]
    assert all(line.startswith(("::error ", "::warning ")) for line in commands)
    assert len(commands) == 2
    assert "##vso[" not in found.out
    assert "\x1b" not in found.out


def test_help_tells_of_all_of_them(audit):
    out = audit.run("--help").out
    for word in ("--fail-on", "--exit-zero", "--fw-formats", "--junit-dialect", "--fw-ci"):
        assert word in out
