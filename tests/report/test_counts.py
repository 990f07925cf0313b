"""Every format counts the same, whatever the verdicts."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import pytest
from junitparser import JUnitXml

from fwproof.report.formats import FORMATS
from fwproof.results import Results, Verdict

WORDS = {"passed": "pass", "failed": "fail", "errors": "error", "not applicable": "not_applicable"}


@pytest.fixture(params=range(4))
def mixed(request, run) -> Results:
    dice = random.Random(request.param)
    checks = [replace(check, verdict=dice.choice(list(Verdict))) for check in run.checks]
    return replace(run, checks=tuple(checks[: dice.randrange(len(checks))]))


def line_of(text: str) -> dict[str, int]:
    found = re.findall(r"fwproof: (planned .*not applicable \d+)", text)
    assert len(set(found)) == 1
    pairs = [part.rsplit(" ", 1) for part in found[0].split(" · ")]
    return {WORDS.get(word, word): int(number) for word, number in pairs}


@pytest.mark.parametrize("form", ["html", "markdown", "text"])
def test_the_line_of_counts(mixed, form):
    assert line_of(FORMATS[form](mixed).decode()) == mixed.counts()


def test_json(mixed):
    assert json.loads(FORMATS["json"](mixed))["counts"] == mixed.counts()


@pytest.mark.parametrize("form", ["junit", "junit-rich"])
def test_junit(mixed, form):
    counts, suites = mixed.counts(), list(JUnitXml.fromstring(FORMATS[form](mixed)))
    numbers = [sum(getattr(suite, name) for suite in suites) for name in ("tests", "failures", "errors", "skipped")]
    undetermined, skipped = counts["error"] + counts["inconclusive"], counts["waived"] + counts["not_applicable"]
    assert numbers == [counts["run"], counts["fail"], undetermined, skipped]


def test_html_lists_every_check_once(mixed):
    html = FORMATS["html"](mixed).decode()
    for verdict in Verdict:
        number = html.count(f'<details class="record v-{verdict.value}"')
        assert number == mixed.counts()[verdict.value.replace("-", "_")]


def test_html_host_table(mixed, page):
    html = FORMATS["html"](mixed).decode()
    table = html.split('<section id="hosts">')[1].split("</section>")[0]
    columns = [[int(n) for n in re.findall(r'<td class="n">(\d+)</td>', row)] for row in table.split("<tr>")[2:]]
    passed, failed, undetermined, waived = (sum(column) for column in zip(*columns, strict=True))
    counts = mixed.counts()
    assert (passed, failed, waived) == (counts["pass"], counts["fail"], counts["waived"])
    assert undetermined == counts["error"] + counts["inconclusive"]
