"""HDF: valid, every check once, nothing green that is not, and the controls as Heimdall reads them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import jsonschema
import pytest

from fwproof.report.hdf import render_hdf
from fwproof.results import Results, Verdict

STATUS = {
    "pass": "passed",
    "fail": "failed",
    "error": "error",
    "inconclusive": "skipped",
    "waived": "skipped",
    "not-applicable": "skipped",
}


@pytest.fixture
def valid(schemas):
    validator = jsonschema.Draft7Validator(json.loads((schemas / "hdf-exec-json.json").read_text()))

    def check(results: Results) -> dict:
        document = json.loads(render_hdf(results))
        validator.validate(document)
        return document

    return check


def only(run: Results, *verdicts: Verdict) -> Results:
    return replace(run, checks=tuple(replace(run.checks[0], id=str(n), verdict=v) for n, v in enumerate(verdicts)))


def controls(document: dict) -> list[dict]:
    return [control for profile in document["profiles"] for control in profile["controls"]]


def test_valid_with_every_check_once(valid, run, recorded):
    for results in (run, recorded, replace(run, checks=())):
        found = [result for control in controls(valid(results)) for result in control["results"]]
        told = sorted(result["code_desc"].split(": expected")[0] for result in found)
        assert told == sorted(check.id for check in results.checks)
        assert Counter(result["status"] for result in found) == Counter(STATUS[c.verdict] for c in results.checks)


def test_hostile_text_is_valid(valid, hostile):
    valid(hostile)


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.pop("platform"),
        lambda document: document["profiles"][0].pop("sha256"),
        lambda document: document["profiles"][0]["controls"][0].update(impact=2),
        lambda document: document["profiles"][0]["controls"][0]["results"][0].update(status="green"),
        lambda document: document["profiles"][0]["controls"][0]["results"][0].pop("start_time"),
    ],
    ids=["no platform", "no digest", "impact", "status", "no start"],
)
def test_the_restated_schema_notices(valid, schemas, run, damage):
    document = valid(run)
    damage(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads((schemas / "hdf-exec-json.json").read_text()))


def test_what_a_control_says(valid, run):
    check = next(check for check in run.checks if check.verdict is Verdict.FAIL)
    control = next(c for c in controls(valid(run)) if c["id"] == check.expectation)
    assert control["source_location"] == {"ref": check.file, "line": check.line}
    assert control["impact"] == {"critical": 0.9, "high": 0.7}[check.severity]
    assert "SC-7 (5)" in control["tags"]["nist"]
    failed = next(result for result in control["results"] if result["status"] == "failed")
    assert check.reason in failed["message"]


def test_what_names_no_control_of_nist_is_unmapped(valid, run):
    (control,) = controls(valid(replace(run, checks=(replace(run.checks[0], controls={}),))))
    assert control["tags"]["nist"] == ["UM-1"]


def test_a_waiver_is_one_and_neither_green_nor_red(valid, run):
    (control,) = controls(valid(only(run, Verdict.WAIVED)))
    assert control["waiver_data"]["skipped_due_to_waiver"] is True
    assert control["waiver_data"]["run"] is True
    (mixed,) = controls(valid(only(run, Verdict.WAIVED, Verdict.PASS)))
    assert mixed["waiver_data"]["skipped_due_to_waiver"] is False
    assert {result["status"] for result in mixed["results"]} == {"skipped", "passed"}


def test_not_applicable_has_no_impact(valid, run):
    (control,) = controls(valid(only(run, Verdict.NOT_APPLICABLE)))
    assert control["impact"] == 0
    assert controls(valid(only(run, Verdict.NOT_APPLICABLE, Verdict.PASS)))[0]["impact"] > 0


def test_statistics_count_controls(valid, run):
    document = valid(run)
    totals = document["statistics"]["controls"]
    assert sum(each["total"] for each in totals.values()) == len(controls(document))
    assert valid(only(run, Verdict.PASS, Verdict.INCONCLUSIVE))["statistics"]["controls"]["passed"]["total"] == 0
    assert document["passthrough"]["fwproof"]["counts"] == run.counts()
