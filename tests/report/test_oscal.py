"""OSCAL assessment results: valid in NIST's schema, the same at every render, and satisfied only by real passes."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema_rs
import pytest

from fwproof.report.oscal import control_id, render_oscal
from fwproof.results import Results, Verdict


@pytest.fixture(scope="module")
def validator(schemas):
    return jsonschema_rs.validator_for(json.loads((schemas / "oscal-assessment-results-1.2.3.json").read_text()))


@pytest.fixture
def valid(validator):
    def check(results: Results) -> dict:
        document = json.loads(render_oscal(results))
        faults = [f"{list(fault.instance_path)}: {fault.message[:200]}" for fault in validator.iter_errors(document)]
        assert faults == []
        return document["assessment-results"]

    return check


def of(run: Results, *verdicts: Verdict) -> Results:
    """A run of one check a verdict, all for SC-7(5)."""
    controls = {"nist-800-53r5": ["SC-7(5)"]}
    checks = (replace(run.checks[0], id=str(n), controls=controls, verdict=v) for n, v in enumerate(verdicts))
    return replace(run, checks=tuple(checks))


def finding(document: dict) -> dict:
    (found,) = document["results"][0]["findings"]
    return found


def test_valid(valid, run, recorded):
    for results in (run, recorded, replace(run, checks=()), of(run, *Verdict)):
        assert len(valid(results)["results"][0].get("observations", [])) == len(results.checks)


def test_hostile_text_is_valid(valid, hostile):
    valid(hostile)


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.pop("import-ap"),
        lambda document: document.update(uuid="x"),
        lambda document: document["results"][0].update(start="yesterday"),
        lambda document: document["results"][0]["observations"][0].update(extra=1),
        lambda document: document["results"][0]["findings"][0]["target"]["status"].update(state="green"),
    ],
    ids=["no plan", "no uuid", "no moment", "another key", "no state"],
)
def test_the_schema_notices(validator, run, damage):
    document = json.loads(render_oscal(run))
    damage(document["assessment-results"])
    assert not validator.is_valid(document)


def test_two_renders_are_alike_and_two_runs_are_not(run):
    assert render_oscal(run) == render_oscal(run)
    other = replace(run, run=replace(run.run, id="another"))
    assert json.loads(render_oscal(run))["assessment-results"]["uuid"] not in render_oscal(other).decode()


def test_no_control_is_told_as_none(valid, run):
    document = valid(replace(run, checks=(replace(run.checks[0], controls={"pci-dss-4.0.1": ["1.3.1"]}),)))
    (told,) = document["results"][0]["reviewed-controls"]["control-selections"]
    assert told["include-controls"] == [{"control-id": "none"}]
    assert "findings" not in document["results"][0]


@pytest.mark.parametrize(
    ("verdicts", "state", "reason"),
    [
        (("pass", "pass"), "satisfied", "pass"),
        (("pass", "not-applicable"), "satisfied", "pass"),
        (("pass", "fail"), "not-satisfied", "fail"),
        (("pass", "error"), "not-satisfied", "other"),
        (("pass", "inconclusive"), "not-satisfied", "other"),
        (("pass", "waived"), "not-satisfied", "other"),
        (("not-applicable",), "not-satisfied", "other"),
    ],
)
def test_only_real_passes_satisfy(valid, run, verdicts, state, reason):
    found = finding(valid(of(run, *map(Verdict, verdicts))))
    assert found["target"]["target-id"] == "sc-7.5_obj"
    assert found["target"]["status"] == {"state": state, "reason": reason}
    assert "support" in found["description"]


def test_a_waiver_is_a_risk_whose_deviation_was_approved(valid, run):
    document = valid(of(run, Verdict.WAIVED))
    (risk,) = document["results"][0]["risks"]
    assert risk["status"] == "deviation-approved"
    assert finding(document)["related-risks"] == [{"risk-uuid": risk["uuid"]}]


def test_tables_are_examined_and_packets_are_tests(valid, recorded):
    found = valid(recorded)["results"][0]["observations"]
    methods = {check.kind: told["methods"] for check, told in zip(recorded.checks, found, strict=True)}
    assert methods["claim"] == methods["rules"] == methods["persistence"] == ["EXAMINE"]
    assert methods["inbound"] == ["EXAMINE", "TEST"]
    assert methods["listeners"] == ["EXAMINE", "TEST"]


def test_evidence_has_its_digest(valid, recorded):
    digests = {artefact.path: artefact.sha256 for artefact in recorded.run.artefacts}
    told = valid(recorded)["results"][0]["observations"][0]["relevant-evidence"][0]
    assert told["props"][0]["value"] == digests[told["href"]]


def test_counts_are_those_of_the_run(valid, run):
    props = {prop["name"]: prop["value"] for prop in valid(run)["results"][0]["props"]}
    assert props == {name.replace("_", "-"): str(number) for name, number in run.counts().items()}


@pytest.mark.parametrize(
    ("name", "id_"),
    [("SC-7(5)", "sc-7.5"), ("AC-4", "ac-4"), (" AC-17(1)", "ac-17.1"), ("SC-7(5)(a)", None), ("1.3.1", None)],
)
def test_ids_of_controls(name, id_):
    assert control_id(name) == id_
