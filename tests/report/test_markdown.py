"""The Markdown summary: short, within a comment's limit, and honest about what it leaves out."""

from __future__ import annotations

import re
from dataclasses import replace

from fwproof.report.markdown import LIMIT, render_markdown
from fwproof.results import Results, Verdict


def test_what_it_says(run):
    text = render_markdown(run)
    assert text.startswith("## ai\\-server\\-published does not do what the policy says; ai\\-server does\n")
    assert "| ai\\-server | pass | 121 | 0 | 0 | 0 | 0 |" in text
    assert "### 1\\. FAIL: ip INPUT has no default deny" in text
    assert "- deciding rule: `ip filter OUTPUT rule 5: -A OUTPUT -j DROP`" in text
    assert text.endswith("not applicable 0`\n")


def test_it_stays_within_a_comment(run):
    check = next(check for check in run.checks if check.verdict is Verdict.FAIL)
    many = tuple(replace(check, cause=f"cause {number}", host=f"host{number}") for number in range(500))
    text = render_markdown(Results(run=replace(run.run, hosts=[]), checks=many))
    assert LIMIT - 5000 < len(text) <= LIMIT
    shown = len(re.findall(r"^### \d", text, re.MULTILINE))
    assert f"{500 - shown} more findings in report.html." in text
    assert "| and 450 more hosts |" in text
