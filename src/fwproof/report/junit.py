"""JUnit XML, through the junit-xml package, in two dialects.

``strict`` validates against both common schemas, that of Jenkins' xUnit plugin (junit-10.xsd) and that of Windy Road
(JUnit.xsd, which Azure names as its format). ``rich`` adds what neither schema knows and most consumers read:
file and line of the expectation, properties and attachments of each test case, and time zones.

The package alone satisfies neither schema, drops zeros and fails on lone surrogates; so every string is made legal
on the way in, and its tree is corrected on the way out.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from enum import StrEnum

from junit_xml import TestCase, TestSuite

from fwproof.report.clean import one_line, visible
from fwproof.report.reasoning import control_names, full_text, summary
from fwproof.results import CheckResult, Results, Verdict
from fwproof.run_record import Run


class Dialect(StrEnum):
    """Which of the two forms is written."""

    STRICT = "strict"
    RICH = "rich"


def render_junit(results: Results, dialect: Dialect = Dialect.STRICT, evidence: str = "") -> bytes:
    """Return the run as JUnit XML in UTF-8: one suite for each policy and host, one case for each check.

    ``evidence`` is the run's folder as a job sees it, put before each attachment's path: GitLab and Azure look for
    them from the project's folder on.
    fail becomes ``failure``; error and inconclusive ``error``; waived and not-applicable ``skipped``. A case has
    at most one of them, with the summary in ``message`` and the whole reasoning in its text.
    """
    root = ET.Element("testsuites")
    for number, ((policy, host), checks) in enumerate(_suites(results).items()):
        suite = TestSuite(
            name=one_line(f"{policy}.{host}"),
            test_cases=[_case(check, name) for check, name in zip(checks, _names(checks), strict=True)],
            hostname=one_line(host) or "unknown",
            package=one_line(f"fw.{policy}"),
            timestamp=_timestamp(results.run.started, dialect),
            properties=_properties(results.run, policy, host),
        )
        root.append(_corrected(suite.build_xml_doc(), number, checks, dialect, evidence))
    if dialect is Dialect.RICH:
        _total(root, results.run)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suites(results: Results) -> Mapping[tuple[str, str], list[CheckResult]]:
    suites: dict[tuple[str, str], list[CheckResult]] = {}
    for check in results.checks:
        suites.setdefault((check.policy, check.host), []).append(check)
    return suites


def _names(checks: Iterable[CheckResult]) -> list[str]:
    """Name each case by its check's id; consumers drop equal names in silence, so a second one gets a hash."""
    taken: set[str] = set()
    names = []
    for position, check in enumerate(checks):
        name = one_line(check.id)
        if name in taken:
            name += " #" + hashlib.sha256(f"{check.id}\0{position}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
        taken.add(name)
        names.append(name)
    return names


def _class_name(check: CheckResult) -> str:
    """Return ``fw.<policy>.<host>``; a dot would open a package in Jenkins, so those inside a name are replaced."""
    return ".".join(["fw", *(one_line(part).replace(".", "_") for part in (check.policy, check.host))])


def _case(check: CheckResult, name: str) -> TestCase:
    case = TestCase(name, classname=_class_name(check), elapsed_sec=check.seconds)
    message, text = summary(check), full_text(check)
    if check.verdict is Verdict.FAIL:
        case.add_failure_info(message, text, check.verdict.value)
    elif check.verdict in {Verdict.ERROR, Verdict.INCONCLUSIVE}:
        case.add_error_info(message, text, check.verdict.value)
    elif check.verdict in {Verdict.WAIVED, Verdict.NOT_APPLICABLE}:
        case.add_skipped_info(message, text)
    return case


def _properties(run: Run, policy: str, host: str) -> dict[str, str]:
    record = next((record for record in run.hosts if record.name == host), None)
    pairs = {
        "run": run.id,
        "tool": run.tool,
        "operator": run.operator,
        "command": run.command,
        "inventory": run.inventory,
        "inventory.sha256": run.inventory_sha256,
        "policy": policy,
        "time.zone": "UTC",
        "host.kernel": record.kernel if record else "",
        "host.firewall": record.firewall if record else "",
        "host.access": record.access if record else "",
    }
    pairs |= {f"policy.sha256:{path}": digest for path, digest in run.policies.items()}
    pairs |= {f"version.{name}": version for name, version in run.versions.items()}
    return {one_line(name): visible(value) for name, value in sorted(pairs.items())}


def _timestamp(started: str, dialect: Dialect) -> str:
    """Return UTC to the second; Windy Road's schema forbids a zone, so only ``rich`` says ``Z``."""
    found = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", started)
    naive = found[0] if found else "1970-01-01T00:00:00"
    return naive if dialect is Dialect.STRICT else naive + "Z"


def _corrected(
    suite: ET.Element, number: int, checks: list[CheckResult], dialect: Dialect, evidence: str
) -> ET.Element:
    suite.attrib.pop("disabled", None)
    suite.set("id", str(number))
    suite.set("time", f"{sum(check.seconds for check in checks):.3f}")
    for case, check in zip(suite.iter("testcase"), checks, strict=True):
        case.set("time", f"{check.seconds:.3f}")
        if dialect is Dialect.RICH:
            _enrich(case, check, evidence)
    # both are required by Windy Road, after the cases
    ET.SubElement(suite, "system-out")
    ET.SubElement(suite, "system-err")
    return suite


def _enrich(case: ET.Element, check: CheckResult, evidence: str) -> None:
    case.set("file", visible(check.file))
    case.set("line", str(check.line))
    if check.owner:
        case.set("owner", one_line(check.owner))  # shown by Azure
    properties = ET.Element("properties")
    pairs = {
        "verdict": check.verdict.value, "expectation": check.expectation, "kind": check.kind,
        "severity": check.severity, "vantage": check.vantage, "family": check.family, "service": check.service,
        "cause": check.cause, "rule": check.rule, "controls": control_names(check), "owner": check.owner,
    }  # fmt: skip
    for name, value in pairs.items():
        if value:
            ET.SubElement(properties, "property", name=name, value=one_line(value))
    case.insert(0, properties)
    if check.artefacts:
        # GitLab and Azure read this form of attachment
        out = ET.SubElement(case, "system-out")
        before = f"{visible(evidence).rstrip('/')}/" if evidence else ""
        out.text = "\n".join(f"[[ATTACHMENT|{before}{visible(path)}]]" for path in check.artefacts)


def _total(root: ET.Element, run: Run) -> None:
    root.set("name", one_line(run.id))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", f"{run.seconds:.3f}")
