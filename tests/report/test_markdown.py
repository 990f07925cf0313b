"""The Markdown summary: short, within a comment's limit, and honest about what it leaves out."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fwproof.report.markdown import COMMENT, JOB_SUMMARY, SMALLEST, render_markdown
from fwproof.results import Results, Verdict


def test_what_it_says(run):
    text = render_markdown(run)
    assert text.startswith("## ai\\-server\\-published does not do what the policy says; ai\\-server does\n")
    assert "| ai\\-server | pass | 121 | 0 | 0 | 0 | 0 |" in text
    assert "### 1\\. FAIL: ip INPUT has no default deny" in text
    assert "- deciding rule: `ip filter OUTPUT rule 5: -A OUTPUT -j DROP`" in text
    assert text.endswith("not applicable 0`\n")


def causes(run: Results, number: int, letter: str = "") -> Results:
    check = next(check for check in run.checks if check.verdict is Verdict.FAIL)
    words = {"reason": letter * 400, "proved": letter * 400} if letter else {}
    many = (replace(check, cause=f"cause {n}", host=f"{letter * 300}host{n}", **words) for n in range(number))
    return Results(run=replace(run.run, hosts=[]), checks=tuple(many))


def size(text: str) -> int:
    return len(text.encode("utf-8"))


def test_it_stays_within_a_comment_and_says_what_is_cut(run):
    text = render_markdown(causes(run, 500))
    assert COMMENT - 5000 < size(text) <= COMMENT
    shown = len(re.findall(r"^### \d", text, re.MULTILINE))
    assert f"{500 - shown} more findings ({500 - shown} checks) did not fit here; report.html has all." in text
    assert "| and 450 more hosts |" in text
    assert text.endswith("`\n")


@pytest.mark.parametrize("letter", ["", "e", "\N{EURO SIGN}", "\N{PILE OF POO}", "<", "\x00"], ids=ascii)
@pytest.mark.parametrize("limit", [SMALLEST, COMMENT, JOB_SUMMARY])
def test_limits_are_bytes_whatever_the_text(run, letter, limit):
    text = render_markdown(causes(run, 3000, letter), limit)
    assert size(text) <= limit
    cut = re.search(r"([\d,]+) more findings? \(", text)
    assert len(re.findall(r"^### \d", text, re.MULTILINE)) + int(cut[1].replace(",", "")) == 3000


def test_nothing_is_cut_where_all_fits(run):
    assert "did not fit" not in render_markdown(run)
    assert "more host" not in render_markdown(run)


@pytest.mark.parametrize("limit", [SMALLEST, COMMENT])
def test_limits_hold_where_every_text_is_hostile(run, limit):
    wild = "<\N{PILE OF POO}" * 1000
    words = ("id", "started", "ended", "operator")
    hosts = [replace(run.run.hosts[0], name=f"{wild}{n}") for n in range(60)]
    record = replace(run.run, **dict.fromkeys(words, wild), hosts=hosts, planned=10**9)
    check = replace(run.checks[0], verdict=Verdict.FAIL, host=wild, cause=wild, reason=wild, rule=wild, fix=wild)
    assert size(render_markdown(Results(run=record, checks=(check,) * 9), limit)) <= limit
