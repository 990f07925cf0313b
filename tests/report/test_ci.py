"""What services of continuous integration are told: annotations, limits, escapes, fingerprints, and who is asking."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.plugin_reports import SERVICES
from fwproof.report.ci import (
    PER_KIND,
    Service,
    annotation_lines,
    recognised,
    render_azure,
    render_github,
    render_gitlab,
)
from fwproof.report.clean import no_command
from fwproof.report.markdown import JOB_SUMMARY, SMALLEST
from fwproof.report.terminal import render_summary
from fwproof.report.view import findings
from fwproof.report.write import append_job_summary
from fwproof.results import Results, Verdict

COMMAND = re.compile(r"::(error|warning|notice) (?:file=([^,:]*),line=(\d+),)?title=([^,:]*)::(.*)")
LOGISSUE = re.compile(r"##vso\[task\.logissue type=(error|warning);sourcepath=([^;\]]*);linenumber=(\d+);"
                      r"code=([^;\]]*)\]([^\]]*)")  # fmt: skip
COMMANDS = ["::set-env name=PATH::/tmp/x", "##vso[task.setvariable variable=x]y", "##[error]x", "::stop-commands::x"]
OPEN = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)


def github(results: Results) -> list[tuple[str, ...]]:
    lines = render_github(results).decode().splitlines()
    found = [COMMAND.fullmatch(line) for line in lines]
    assert all(found), lines
    return [match.groups() for match in found if match]


def decoded(text: str) -> str:
    for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, letter)
    return text


def causes(run: Results, number: int, verdict: Verdict = Verdict.FAIL) -> Results:
    check = replace(run.checks[0], verdict=verdict)
    return replace(run, checks=tuple(replace(check, id=f"c{n}", cause=f"cause {n}") for n in range(number)))


@pytest.mark.parametrize(
    ("environment", "service"),
    [
        ({"GITHUB_ACTIONS": "true"}, "github"),
        ({"GITLAB_CI": "true"}, "gitlab"),
        ({"TF_BUILD": "True"}, "azure"),
        ({"JENKINS_URL": "x"}, "jenkins"),
        ({"CI": "true"}, "plain"),
        ({"GITHUB_ACTIONS": ""}, "plain"),
    ],
)
def test_who_runs_the_job(environment, service):
    assert recognised(environment) is Service(service)


def test_a_finding_is_one_annotation_at_its_expectation(run):
    shown = findings(run, *OPEN)
    told = github(run)
    assert [kind for kind, *_ in told].count("error") == min(len(findings(run, Verdict.FAIL)), PER_KIND)
    kind, file, line, title, text = told[0]
    lead = shown[0].lead
    assert (kind, file, line) == ("error", lead.file, str(lead.line))
    assert decoded(title).startswith("fail: ")
    assert lead.reason in decoded(text)


@pytest.mark.parametrize(("number", "shown"), [(1, 1), (10, 10), (11, 10), (300, 10)])
@pytest.mark.parametrize(("verdict", "kind"), [("fail", "error"), ("error", "warning"), ("waived", "notice")])
def test_at_most_ten_of_a_kind_and_the_last_says_how_many_more(run, number, shown, verdict, kind):
    told = github(causes(run, number, Verdict(verdict)))
    assert [each[0] for each in told] == [kind] * shown
    assert ("more finding" in told[-1][-1]) is (number > 10)
    if number > 10:
        assert f"{number - 9} more findings in the report. fwproof: planned" in told[-1][-1]


def test_hostile_text_stays_within_its_annotation(hostile):
    (told,) = github(hostile)
    assert told[0] == "error"
    assert len(render_github(hostile).decode("utf-8").splitlines()) == 1
    lines = render_azure(hostile).decode("utf-8").splitlines()
    assert len(lines) == 1
    assert LOGISSUE.fullmatch(lines[0]), lines[0]


@pytest.mark.parametrize("text", [*COMMANDS, "a\n::error::b", "a,title=x::b", "100%0A::error::x", "x];type=warning]y"])
def test_a_command_within_a_text_is_none(run, text):
    check = replace(run.checks[0], verdict=Verdict.FAIL, cause=text, reason=text, rule=text, file=text, fix=text)
    results = replace(run, checks=(check,))
    (told,) = github(results)
    assert no_command(" ".join(text.split())) in decoded(told[4])
    assert "##" not in render_github(results).decode()
    (line,) = render_azure(results).decode().splitlines()
    assert LOGISSUE.fullmatch(line), line
    assert line.count("##vso[") == 1
    assert "##[" not in line


def test_azure_is_shown_the_summary(run, tmp_path):
    *_, last = annotation_lines(run, Service.AZURE, tmp_path)
    assert last == f"##vso[task.uploadsummary]{tmp_path / 'summary.md'}"


@pytest.mark.parametrize("service", ["gitlab", "jenkins", "plain"])
def test_others_are_told_nothing_in_the_log(run, service):
    assert annotation_lines(run, Service(service), Path()) == []


def test_gitlab_gets_every_open_check_with_a_fingerprint_of_its_own(run):
    doubled = replace(run, checks=run.checks + run.checks)
    issues = json.loads(render_gitlab(doubled))
    assert len(issues) == sum(check.verdict in OPEN for check in doubled.checks)
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert issue["location"]["lines"]["begin"] >= 1
        assert not issue["location"]["path"].startswith("./")


def test_gitlab_s_fingerprints_outlive_a_moved_line(run):
    moved = replace(run, checks=tuple(replace(check, line=check.line + 5) for check in run.checks))
    before, after = ([i["fingerprint"] for i in json.loads(render_gitlab(each))] for each in (run, moved))
    assert before == after


@pytest.mark.parametrize("text", COMMANDS)
def test_the_summary_in_a_log_holds_no_command(run, text):
    words = ("cause", "reason", "proved", "observed", "rule", "fix", "expected", "host")
    wild = replace(run.checks[0], verdict=Verdict.FAIL, **dict.fromkeys(words, f"{'x ' * 20}{text} " * 6))
    for width in range(40, 120, 7):
        for color in (False, True):
            for line in render_summary(replace(run, checks=(wild,)), width=width, color=color, verbose=True):
                bare = re.sub(r"\x1b\[[\d;]*m", "", line).strip()
                assert not bare.startswith("::"), line
                assert "##[" not in bare
                assert "##vso[" not in bare


def test_words_that_are_no_command_stay():
    for text in ("a::b", "fe80::1 is near", "## heading", "#[x]", "[::1]:22"):
        assert no_command(text) == text
    assert no_command("  ::1 is loopback") == "  :\\x3a1 is loopback"


def test_the_job_summary_fills_what_is_left_of_a_mebibyte(run, tmp_path):
    path = tmp_path / "summary"
    path.write_bytes(b"x" * (JOB_SUMMARY - SMALLEST))
    assert append_job_summary(causes(run, 3000), path)
    assert path.stat().st_size <= JOB_SUMMARY
    text = path.read_text("utf-8")
    assert re.search(r"[\d,]+ more findings \([\d,]+ checks\) did not fit here", text)
    assert not append_job_summary(run, path), "full"
    assert path.read_text("utf-8") == text
    fresh = tmp_path / "fresh"
    append_job_summary(run, fresh)
    assert fresh.read_text("utf-8").startswith("## ")


def test_command_lines_know_every_service():
    assert list(SERVICES) == [service.value for service in Service]
