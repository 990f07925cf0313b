"""HDF: the exec-json of InSpec that MITRE's Heimdall reads, and from which it makes XCCDF, CKL and others.

One profile a policy, one control an expectation, one result a check. ``fail`` is ``failed``, ``error`` is ``error``;
``inconclusive`` and ``waived`` are ``skipped`` with their reason, which Heimdall shows as not reviewed, so neither
can turn a control green. A control of which nothing applies has impact 0, Heimdall's word for not applicable.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fwproof.report.clean import one_line, visible
from fwproof.report.reasoning import full_text, node_id, repro, summary
from fwproof.results import CheckResult, Results, Verdict

_STATUS = {
    Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.ERROR: "error", Verdict.INCONCLUSIVE: "skipped",
    Verdict.WAIVED: "skipped", Verdict.NOT_APPLICABLE: "skipped",
}  # fmt: skip
# inspecjs' convertImpactToSeverity: critical from 0.9, high from 0.7, medium from 0.4, low above 0
_IMPACT = {"critical": 0.9, "high": 0.7, "medium": 0.5, "low": 0.3}
_NO_DIGEST = "0" * 64


def render_hdf(results: Results) -> bytes:
    """Return the run as one HDF document."""
    run = results.run
    policies: dict[tuple[str, str], list[CheckResult]] = {}
    for check in results.checks:
        policies.setdefault((check.policy, check.file), []).append(check)
    profiles = [_profile(results, name, file, checks) for (name, file), checks in policies.items()]
    document = {
        "platform": {
            "name": "fwproof", "release": visible(run.tool),
            "target_id": one_line(", ".join(host.name for host in run.hosts)),
        },
        "version": visible(run.tool.rpartition(" ")[2]),
        "statistics": {"duration": run.seconds, "controls": _statistics(profiles)},
        "profiles": profiles,
        "passthrough": {"fwproof": {"run": visible(run.id), "counts": results.counts()}},
    }  # fmt: skip
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _profile(results: Results, name: str, file: str, checks: list[CheckResult]) -> dict[str, Any]:
    controls: dict[str, list[CheckResult]] = {}
    for check in checks:
        controls.setdefault(check.expectation, []).append(check)
    return {
        "name": visible(name),
        "title": visible(f"Firewall policy {name}"),
        "sha256": visible(results.run.policies.get(file, _NO_DIGEST)),
        "status": "loaded",
        "supports": [],
        "attributes": [],
        "groups": [{"id": visible(file), "controls": [visible(identifier) for identifier in controls]}],
        "controls": [_control(results, identifier, some) for identifier, some in controls.items()],
    }


def _control(results: Results, identifier: str, checks: list[CheckResult]) -> dict[str, Any]:
    lead = next((check for check in checks if check.verdict is Verdict.FAIL), checks[0])
    applies = any(check.verdict is not Verdict.NOT_APPLICABLE for check in checks)
    control: dict[str, Any] = {
        "id": visible(identifier),
        "title": visible(lead.title),
        "desc": visible(lead.title),
        "descriptions": [
            {"label": "check", "data": visible(repro(lead))},
            {"label": "fix", "data": visible(lead.fix or "nothing to mend")},
        ],
        "impact": _IMPACT.get(lead.severity, 0.5) if applies else 0,
        "refs": [],
        "tags": _tags(lead),
        "code": visible(node_id(lead)),
        "source_location": {"ref": visible(lead.file), "line": lead.line},
        "results": [_result(results, check) for check in checks],
    }
    waived = [check for check in checks if check.verdict is Verdict.WAIVED]
    if waived:
        ends = {record.id: record.expires for record in results.run.waivers}
        control["waiver_data"] = {
            "expiration_date": min((ends[check.waiver] for check in waived if check.waiver in ends), default=""),
            "justification": visible(waived[0].reason), "run": True, "message": f"{len(waived)} checks waived",
            "skipped_due_to_waiver": len(waived) == len(checks),
        }  # fmt: skip
    return control


def _tags(check: CheckResult) -> dict[str, Any]:
    tags: dict[str, Any] = {visible(name): [visible(i) for i in ids] for name, ids in sorted(check.controls.items())}
    nist = [i for name, ids in sorted(check.controls.items()) if name.startswith("nist-800-53") for i in ids]
    # Heimdall files a control that names no NIST id under UM-1, "unmapped"
    tags["nist"] = [re.sub(r"\s*\(", " (", visible(i)) for i in nist] or ["UM-1"]
    tags["severity"] = visible(check.severity)
    if check.owner:
        tags["owner"] = visible(check.owner)
    return tags


def _result(results: Results, check: CheckResult) -> dict[str, Any]:
    status = _STATUS[check.verdict]
    told: dict[str, Any] = {
        "status": status, "code_desc": one_line(f"{check.id}: expected {check.expected}"), "run_time": check.seconds,
        "start_time": visible(results.run.started),
    }  # fmt: skip
    if status == "skipped":
        told["skip_message"] = summary(check)
    if status != "passed":
        told["message"] = full_text(check)
    if status == "error":
        told["exception"] = "could not look"
    return told


def _statistics(profiles: list[dict[str, Any]]) -> dict[str, Any]:
    statuses = [
        {result["status"] for result in control["results"]} for profile in profiles for control in profile["controls"]
    ]
    failed = sum(bool(found & {"failed", "error"}) for found in statuses)
    passed = sum(found == {"passed"} for found in statuses)
    return {
        "passed": {"total": passed},
        "failed": {"total": failed},
        "skipped": {"total": len(statuses) - passed - failed},
    }
