"""Every format counts the same, whatever the verdicts."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from junitparser import JUnitXml

from fwproof.report.formats import EXTRAS, FORMATS
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


@pytest.mark.parametrize("form", ["html", "markdown", "job-summary", "text", "text-full"])
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


def told(form: str, mixed: Results) -> dict[str, int]:
    """Return what a format for machines counts, in the words of results.json."""
    content = FORMATS[form](mixed).decode()
    verdicts = Counter[str]()
    if form == "csv":
        verdicts.update(row["verdict"] for row in csv.DictReader(io.StringIO(content, newline="")))
    elif form == "oscal-ar":
        (result,) = json.loads(content)["assessment-results"]["results"]
        props = (prop for each in result.get("observations", []) for prop in each["props"])
        verdicts.update(prop["value"] for prop in props if prop["name"] == "verdict")
    return {verdict.value.replace("-", "_"): verdicts[verdict.value] for verdict in Verdict}


@pytest.mark.parametrize("form", ["csv", "oscal-ar"])
def test_formats_that_list_every_verdict(mixed, form):
    counts = mixed.counts()
    assert told(form, mixed) == {name: number for name, number in counts.items() if name not in {"planned", "run"}}


def test_hdf(mixed):
    document, counts = json.loads(FORMATS["hdf"](mixed)), mixed.counts()
    results = (r for profile in document["profiles"] for control in profile["controls"] for r in control["results"])
    found = Counter(result["status"] for result in results)
    assert (found["passed"], found["failed"], found["error"]) == (counts["pass"], counts["fail"], counts["error"])
    assert found["skipped"] == counts["inconclusive"] + counts["waived"] + counts["not_applicable"]
    assert document["passthrough"]["fwproof"]["counts"] == counts


def open_checks(counts: dict[str, int]) -> int:
    return counts["fail"] + counts["error"] + counts["inconclusive"] + counts["waived"]


def test_sarif_and_what_it_leaves_out(mixed):
    (found,) = json.loads(FORMATS["sarif"](mixed))["runs"]
    (note,) = found["invocations"][0]["toolExecutionNotifications"]
    left_out = int(note["message"]["text"].split()[0])
    listed = [result["properties"]["verdict"] for result in found["results"] if "check" in result["properties"]]
    assert len(listed) + left_out == open_checks(mixed.counts())


def test_gitlab(mixed):
    assert len(json.loads(FORMATS["gitlab"](mixed))) == open_checks(mixed.counts())


@pytest.mark.parametrize("form", ["github", "azure"])
def test_annotations_stand_for_all_open_checks(mixed, form):
    """By cause; GitHub's last one of a kind counts those that do not fit."""
    text = FORMATS[form](mixed).decode()
    shown = sum(int(number.replace(",", "")) for number in re.findall(r"%0A([\d,]+) checks? on ", text))
    more = re.findall(r"[^\d]([\d,]+) more findings? in the report", text)
    assert shown == open_checks(mixed.counts()) or (more and shown < open_checks(mixed.counts()))
    if form == "azure":
        assert not more


def test_the_list_of_what_is_allowed(mixed):
    found = list(csv.DictReader(io.StringIO(FORMATS["csv-allowed"](mixed).decode(), newline="")))
    wrong = [c for c in mixed.checks if c.kind.endswith("-default") and c.verdict is Verdict.FAIL]
    assert [row["approved"] for row in found] == ["no"] * len(wrong)


def test_no_format_is_forgotten():
    counted = {"html", "markdown", "job-summary", "text", "text-full", "json", "junit", "junit-rich", "csv", "oscal-ar"}
    assert set(FORMATS) == counted | {"hdf", "sarif", "gitlab", "github", "azure", "csv-allowed", "matrix-svg"}


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


def test_every_format_is_documented():
    text = (Path(__file__).parents[2] / "docs/reports.md").read_text(encoding="utf-8")
    first = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", text.split("## Verdicts")[0], re.MULTILINE)
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(form for form, _ in first[1:]))) == sorted(FORMATS)
    for form, name in EXTRAS.items():
        assert any(f"`{form}`" in forms and f"`{name}`" in place for forms, place in first), form
