"""JUnit: valid in both schemas, unique names, one problem a case, and read back by an independent parser."""

from __future__ import annotations

from dataclasses import replace

import pytest
from junit_xml import TestCase as Case
from junit_xml import TestSuite as Suite
from junit_xml import to_xml_report_string
from junitparser import JUnitXml
from lxml import etree

from fwproof.report.junit import Dialect, render_junit
from fwproof.results import Results, Verdict

SCHEMAS = ("junit-10.xsd", "junit-windyroad.xsd")


def schema(folder, name) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(folder / name))


@pytest.fixture(params=["recorded", "invented", "every verdict", "hostile", "no checks"])
def any_run(request, run, recorded, hostile_of) -> Results:
    if request.param == "recorded":
        return recorded
    if request.param == "every verdict":
        return every_verdict(run)
    if request.param == "hostile":
        return hostile_of("controls")
    return replace(run, checks=()) if request.param == "no checks" else run


def every_verdict(run: Results) -> Results:
    checks = [replace(check, verdict=verdict) for check, verdict in zip(run.checks, list(Verdict) * 3, strict=False)]
    return replace(run, checks=tuple(checks))


@pytest.mark.parametrize("name", SCHEMAS)
def test_strict_validates(any_run, schemas, name):
    validator = schema(schemas, name)
    document = etree.fromstring(render_junit(any_run))
    assert validator.validate(document), validator.error_log


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_refuse_what_the_package_writes_alone(schemas, name):
    case = Case("a", classname="b", elapsed_sec=0.5)
    case.add_failure_info("message", "text")
    raw = to_xml_report_string([Suite("s", [case], hostname="h", package="p", id="1", timestamp="2026-11-22T10:00:00")])
    assert not schema(schemas, name).validate(etree.fromstring(raw.encode()))


@pytest.mark.parametrize("name", SCHEMAS)
def test_rich_goes_beyond_the_schemas(run, schemas, name):
    assert not schema(schemas, name).validate(etree.fromstring(render_junit(run, Dialect.RICH)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda suite: suite.attrib.pop("hostname"),
        lambda suite: suite.set("timestamp", "2026-11-22T10:00:00Z"),
        lambda suite: suite.set("disabled", "0"),
        lambda suite: suite.find("testcase").attrib.pop("time"),
        lambda suite: suite.remove(suite.find("system-out")),
        lambda suite: suite.find("testcase").set("file", "x"),
    ],
    ids=["no host", "zone", "disabled", "no time", "no output", "file"],
)
def test_the_restated_schema_notices(run, schemas, damage):
    document = etree.fromstring(render_junit(run))
    damage(document.find("testsuite"))
    assert not schema(schemas, "junit-windyroad.xsd").validate(document)


@pytest.mark.parametrize("dialect", Dialect)
def test_an_independent_reader_counts_the_same(run, dialect):
    run = every_verdict(run)
    counts = run.counts()
    read = JUnitXml.fromstring(render_junit(run, dialect))
    suites = list(read)
    assert sum(suite.tests for suite in suites) == counts["run"] == sum(1 for suite in suites for _ in suite)
    assert sum(suite.failures for suite in suites) == counts["fail"]
    assert sum(suite.errors for suite in suites) == counts["error"] + counts["inconclusive"]
    assert sum(suite.skipped for suite in suites) == counts["waived"] + counts["not_applicable"]
    problems = [len(case.result) for suite in suites for case in suite]
    assert problems.count(0) == counts["pass"]
    assert set(problems) == {0, 1}


@pytest.mark.parametrize("dialect", Dialect)
def test_the_real_audit_keeps_every_check_with_a_name_of_its_own(recorded, dialect):
    root = etree.fromstring(render_junit(recorded, dialect))
    cases = list(root.iter("testcase"))
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases) == len(recorded.checks)
    assert {case.get("name") for case in cases} == {check.id for check in recorded.checks}
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert failed == [check.id for check in recorded.checks if check.verdict is Verdict.FAIL]
    assert sum(int(suite.get("failures")) for suite in root) == len(failed) == recorded.counts()["fail"]


def test_one_suite_for_each_policy_and_host(run):
    suites = etree.fromstring(render_junit(run)).findall("testsuite")
    assert [suite.get("hostname") for suite in suites] == ["ai-server", "ai-server-published"]
    assert [suite.get("id") for suite in suites] == ["0", "1"]


def test_names_are_unique_even_if_ids_are_not(run):
    doubled = replace(run, checks=run.checks + run.checks)
    cases = etree.fromstring(render_junit(doubled)).findall("testsuite/testcase")
    names = {(case.get("classname"), case.get("name")) for case in cases}
    assert len(names) == len(cases) == 2 * len(run.checks)


def test_dots_in_a_host_open_no_package(run):
    dotted = replace(run, checks=(replace(run.checks[0], host="web01.example.com"),))
    case = etree.fromstring(render_junit(dotted)).find("testsuite/testcase")
    assert case.get("classname") == "fw.ai-server.web01_example_com"


def test_the_whole_reasoning_is_in_the_text(run):
    check = next(check for check in run.checks if check.verdict is Verdict.FAIL)
    cases = etree.fromstring(render_junit(run)).iter("testcase")
    failure = next(case for case in cases if case.get("name") == check.id).find("failure")
    assert failure.get("message").startswith("fail: ")
    assert "\n" not in failure.get("message")
    for part in (
        check.proved,
        check.observed,
        check.attributed,
        check.rule,
        check.fix,
        "1.3.1",
        f"{check.file}:{check.line}",
    ):
        assert part in failure.text


def test_rich_points_at_the_policy(run):
    cases = list(etree.fromstring(render_junit(run, Dialect.RICH)).iter("testcase"))
    assert [(case.get("file"), case.get("line")) for case in cases[:1]] == [("checks/ai-server.policy.yaml", "14")]
    assert cases[0].find("system-out").text.startswith("[[ATTACHMENT|evidence/ai-server/")


def test_attachments_are_found_from_the_project_on(run):
    def texts(evidence: str) -> list[str]:
        root = etree.fromstring(render_junit(run, Dialect.RICH, evidence))
        return [out.text for out in root.iter("system-out") if out.text]

    paths = [path for check in run.checks for path in check.artefacts]
    for evidence, before in (("", ""), ("reports/latest", "reports/latest/"), ("reports/latest/", "reports/latest/")):
        lines = [line for text in texts(evidence) for line in text.splitlines()]
        assert sorted(lines) == sorted(f"[[ATTACHMENT|{before}{path}]]" for path in paths)  # suites are by host


def test_the_owner_is_who_the_policy_says(run):
    owned = replace(run, checks=(replace(run.checks[0], owner="web team"), replace(run.checks[0], id="x")))
    cases = etree.fromstring(render_junit(owned, Dialect.RICH)).findall("testsuite/testcase")
    assert [case.get("owner") for case in cases] == ["web team", None]
    assert "owner" not in etree.fromstring(render_junit(owned)).find("testsuite/testcase").attrib


@pytest.mark.parametrize("verdict", list(Verdict))
def test_controls_are_in_the_footer_of_every_case_that_shows_text(run, verdict):
    check = replace(run.checks[0], verdict=verdict, controls={"nist-800-53r5": ["SC-7(5)"], "pci-dss-4.0.1": ["1.3.1"]})
    case = etree.fromstring(render_junit(replace(run, checks=(check,)))).find("testsuite/testcase")
    shown = [part for part in case if part.tag in {"failure", "error", "skipped"}]
    assert len(shown) == (verdict is not Verdict.PASS)
    for part in shown:
        assert "controls: nist-800-53r5 SC-7(5); pci-dss-4.0.1 1.3.1" in part.text.splitlines()[-3:]
        assert part.get("message").startswith(f"{verdict.value}: ")


@pytest.mark.parametrize(("dialect", "stamp"), [("strict", "2026-11-22T10:00:00"), ("rich", "2026-11-22T10:00:00Z")])
def test_times(run, dialect, stamp):
    suite = etree.fromstring(render_junit(run, Dialect(dialect))).find("testsuite")
    assert suite.get("timestamp") == stamp
    assert {"name": "time.zone", "value": "UTC"} in [dict(found.attrib) for found in suite.iter("property")]


def test_zero_seconds_are_written(run):
    quick = replace(run, checks=(replace(run.checks[0], seconds=0.0),))
    assert etree.fromstring(render_junit(quick)).find("testsuite/testcase").get("time") == "0.000"
