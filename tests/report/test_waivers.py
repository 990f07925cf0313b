"""Waivers in the reports: all of them, with whom and for how long, and nothing in them that a page would run."""

import json
from dataclasses import replace

import pytest

from fwproof.report.hdf import render_hdf
from fwproof.report.html import render_html
from fwproof.report.junit import render_junit
from fwproof.report.markdown import render_markdown
from fwproof.report.oscal import render_oscal
from fwproof.results import Verdict
from fwproof.run_record import WaiverRecord

from .sample_run import results as sample_results

HOSTILE = "<script>alert(1)</script>|\x1b[31m"


def waiver(**changed):
    fields = {
        "id": "W-1", "file": "checks/waivers.yaml", "line": 2, "policy": "ai-server", "checks": ["ssh-admin"],
        "hosts": ["ai-server"], "cause": "", "owner": "Ada", "approver": "Grace", "ticket": "RISK-7",
        "reason": "Moved next month", "compensating_control": "watched hourly", "created": "2026-11-01",
        "expires": "2026-12-31", "state": "in force", "days_left": 36,
    }  # fmt: skip
    return WaiverRecord(**{**fields, **changed})


def with_waivers(*waivers):
    results = sample_results()
    first, *rest = results.checks
    waived = replace(first, verdict=Verdict.WAIVED, waiver="W-1", reason="it deviates. Waived by W-1", cause="c")
    return replace(results, run=replace(results.run, waivers=list(waivers)), checks=(waived, *rest))


def text_of(html):
    return " ".join(html.split())


def test_the_page_says_who_accepted_what_until_when():
    page = text_of(render_html(with_waivers(waiver(), waiver(id="W-2", state="expired", days_left=-3))))
    for words in (
        "W-1",
        "Ada; Grace, RISK-7",
        "ssh-admin of ai-server on ai-server",
        "watched hourly",
        ">36<",
        "EXPIRED",
    ):
        assert words in page, words
    assert '<a href="#waivers">' in page


def test_a_run_without_waivers_has_no_such_part():
    assert "waivers" not in render_html(sample_results()).split("<main>")[1].split('id="methods"')[0]


def test_the_summary_lists_them():
    (row,) = [line for line in render_markdown(with_waivers(waiver())).splitlines() if "in force" in line]
    assert row.replace("\\", "") == "| W-1 | in force | 36 | Ada | Grace (RISK-7) |"


@pytest.mark.parametrize(
    "field", ["id", "owner", "approver", "ticket", "reason", "compensating_control", "cause", "policy"]
)
def test_hostile_words_stay_words(field):
    results = with_waivers(waiver(**{field: HOSTILE}))
    assert "<script>alert" not in render_html(results)
    assert "<script>" not in render_markdown(results)
    rows = [line for line in render_markdown(results).splitlines() if "in force" in line]
    assert all(line.replace("\\|", "").count("|") == 6 for line in rows)


def test_junit_skips_what_is_waived_with_its_reason():
    text = render_junit(with_waivers(waiver())).decode()
    assert "Waived by W-1" in text


def test_the_formats_for_other_tools_have_the_last_day():
    results = with_waivers(waiver())
    (profile,) = json.loads(render_hdf(results))["profiles"]
    data = [control["waiver_data"] for control in profile["controls"] if "waiver_data" in control]
    assert [each["expiration_date"] for each in data] == ["2026-12-31"]
    (found,) = json.loads(render_oscal(results))["assessment-results"]["results"]
    assert [risk["deadline"] for risk in found["risks"]] == ["2026-12-31T23:59:59Z"]
