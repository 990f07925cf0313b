"""The summary on a terminal: causes first, then what was not tested, then one line of counts."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.report.terminal import render_summary
from fwproof.report.view import findings
from fwproof.results import Results, Verdict


def test_each_cause_once_with_what_it_takes_to_act(run):
    lines = render_summary(run, Path("reports/r1"), verbose=True)
    text = "\n".join(lines)
    assert sum(line.startswith("✖ FAIL") for line in lines) == 10
    assert sum(line.startswith("? INCONCLUSIVE") for line in lines) == 1
    block = text[text.index("✖ FAIL replies are dropped") :].split("\n\n")[0]
    for label in ("expected", "proved", "observed", "attributed", "deciding rule", "evidence", "how to mend", "repeat"):
        assert re.search(rf"^  {label}  ", block, re.MULTILINE), label
    assert "reports/r1/evidence/ai-server-published/iptables-save.txt" in block


def test_six_lines_a_cause_unless_verbose(run):
    blocks = "\n".join(render_summary(run)).split("\n\n")[:-1]
    assert len(blocks) == 11
    shown = findings(run, Verdict.FAIL, Verdict.INCONCLUSIVE)
    for block, finding in zip(blocks, shown, strict=True):
        labels = re.findall(r"^  (\w+)  ", block, re.MULTILINE)
        assert labels[0] == "where"
        assert [label in labels for label in ("rule", "mend")] == [bool(finding.lead.rule), bool(finding.lead.fix)]
        assert labels[-1] == "repeat"
        assert set(labels) <= {"where", "observed", "proved", "reason", "rule", "mend", "repeat"}
        assert "severity" in block
        assert "; expected: " in block
        assert len(block.splitlines()) <= 9, block
    assert len(render_summary(run)) < 0.6 * len(render_summary(run, verbose=True))


def test_a_long_rule_is_cut_with_a_sign_and_whole_in_verbose(run):
    check = next(check for check in run.checks if check.verdict is Verdict.FAIL)
    long = Results(run=run.run, checks=(replace(check, rule="-A INPUT " + "-m comment " * 30 + "-j DROP"),))
    brief = "\n".join(render_summary(long))
    assert "…" in brief
    assert "-j DROP" not in brief.split("  mend")[0].split("  rule")[1]
    assert "-j DROP" in "\n".join(render_summary(long, verbose=True)).split("deciding rule")[1]


def test_the_repeat_command_is_the_node_id(run):
    command = next(line for line in render_summary(run) if line.startswith("  repeat"))
    check = next(
        check for check in run.checks if check.id.startswith("default-deny-inbound") and check.verdict is Verdict.FAIL
    )
    assert shlex.split(command)[1:] == ["pytest", f"{check.file}::{check.id}"]


def test_the_last_lines(run):
    *_, missing, verdict, _, report, last = render_summary(run, Path("reports/r1"), width=100)
    assert missing == "not tested: 2 of 242 planned checks (2 deselected)"
    assert verdict.startswith("✖ ai-server-published does not do what the policy says; ai-server does. 49 of 240")
    assert report == "report: reports/r1/report.html"
    assert last == (
        "fwproof: planned 242 · run 240 · passed 190 · failed 49 · waived 0 · errors 0 · inconclusive 1 · "
        "not applicable 0"
    )


@pytest.mark.parametrize("width", [40, 72, 100, 200])
def test_width_is_kept_where_text_can_break(run, width):
    for line in render_summary(run, width=width)[:-1]:
        unbreakable = line.startswith(("  repeat", "not tested")) or " " not in line[12:].strip()
        assert len(line) <= width or unbreakable, line


def test_no_colour_unless_asked(run):
    assert "\x1b" not in "\n".join(render_summary(run))
    assert "\x1b[1;31m✖ FAIL" in "\n".join(render_summary(run, color=True))
    assert render_summary(run, color=True)[-1] == render_summary(run)[-1]


def test_only_the_first_hosts_are_named(run):
    check = next(check for check in run.checks if check.verdict is Verdict.FAIL)
    fleet = Results(run=run.run, checks=tuple(replace(check, host=f"web{number:03}") for number in range(300)))
    where = next(line for line in render_summary(fleet) if line.startswith("  where"))
    assert "300 checks on web000, web001, web002, web003, web004 and 295 more; severity" in where


def test_nothing_tested(run):
    lines = render_summary(Results(run=replace(run.run, planned=0), checks=()))
    assert lines[0] == "not tested: nothing was planned"
    assert lines[1].startswith("? Nothing was tested.")


def test_a_wrapped_host_name_cannot_pose_as_the_counts(run):
    check = next(check for check in run.checks if check.verdict is Verdict.FAIL)
    forged = replace(check, host="x " * 30 + "fwproof: planned 1 · run 1 · passed 1")
    for width in range(40, 110):
        lines = render_summary(Results(run=run.run, checks=(forged,)), width=width)
        assert [line for line in lines if line.startswith("fwproof:")] == lines[-1:]
