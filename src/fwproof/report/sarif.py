"""SARIF 2.1.0 for findings that lie in a file: the policy's line, or the line of a saved rule.

What was seen on the wire belongs to a host, not to a line, so checks that sent packets stay out; how many is said in
the document. ``fail`` is a result of kind fail; error and inconclusive are ``open``; waived ones are suppressed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from fwproof import __version__
from fwproof.report.clean import clip, one_line, visible
from fwproof.report.reasoning import FIELD_LIMIT, full_text, on_the_wire
from fwproof.results import CheckResult, Results, Verdict
from fwproof.run_record import HostRecord, Inexact

_SECURITY = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}
"""GitHub's ``security-severity``, within its bands: critical over 9.0, high over 7.0, medium over 4.0."""
_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
_NOT_UNDERSTOOD = "not-understood"
_SHOWN = {Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED}


def render_sarif(results: Results) -> bytes:
    """Return the findings of a run that lie in its policies, and the saved rules that were not understood."""
    shown = [check for check in results.checks if check.verdict in _SHOWN]
    located = [check for check in shown if not on_the_wire(check)]
    found = [_of_check(check) for check in located]
    found += [_of_rule(host, each.text, inexact) for host in results.run.hosts for each in host.understood
              for inexact in each.inexact if inexact.how != "bounded"]  # fmt: skip
    severities = {check.kind: check.severity for check in sorted(located, key=_rank, reverse=True)}
    note = f"{len(shown) - len(located)} findings were made on the wire and are in the other reports"
    return document(found, severities, note=note, version=results.run.tool.rpartition(" ")[2])


def document(
    found: list[dict[str, Any]], severities: Mapping[str, str], *, note: str = "", trouble: str = "",
    version: str = __version__,
) -> bytes:  # fmt: skip
    """Return a SARIF log of one run; ``severities`` are those of the rules by id.

    ``note`` says what is left out on purpose, ``trouble`` what could not be looked at.
    """
    ids = list(dict.fromkeys(result["ruleId"] for result in found))
    told = [("note", note), ("error", trouble)]
    invocation: dict[str, Any] = {"executionSuccessful": not trouble}
    invocation["toolExecutionNotifications"] = [
        {"level": level, "message": {"text": visible(text)}} for level, text in told if text
    ]
    driver = {"name": "fwproof", "version": visible(version), "rules": [_rule(one, severities) for one in ids]}
    run = {
        "tool": {"driver": driver}, "invocations": [invocation], "columnKind": "unicodeCodePoints",
        "results": [result | {"ruleIndex": ids.index(result["ruleId"])} for result in found],
    }  # fmt: skip
    log = {"version": "2.1.0", "runs": [run]}
    return (json.dumps(log, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def result(
    rule: str, text: str, place: tuple[str, int], identity: Iterable[str], severity: str = "medium"
) -> dict[str, Any]:
    """Return one result at file and line; ``identity`` is what stays the same when lines move."""
    file, line = place
    mark = hashlib.sha256("\0".join((rule, *identity)).encode("utf-8", "surrogatepass")).hexdigest()
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(file)}}
    if line > 0:
        physical["region"] = {"startLine": line}
    return {
        "ruleId": f"fwproof/{one_line(rule, 80)}",
        "level": _LEVELS.get(severity, "warning"),
        "message": {"text": text},
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {"fwproof/v1": mark, "primaryLocationLineHash": f"{mark[:16]}:1"},
        "properties": {"severity": one_line(severity, 80)},
    }


def _uri(path: str) -> str:
    """Return a path as a relative URI reference; a colon in its first part would read as a scheme (RFC 3986, 4.2)."""
    return quote(visible(path), safe="/._-~") or "unknown"


def _of_check(check: CheckResult) -> dict[str, Any]:
    text = full_text(check)
    found = result(check.kind, text, (check.file, check.line), (check.policy, check.id), check.severity)
    found["properties"] |= {"verdict": check.verdict.value, "check": visible(check.id), "host": visible(check.host)}
    if check.verdict in {Verdict.ERROR, Verdict.INCONCLUSIVE}:
        found |= {"kind": "open", "level": "none"}  # 3.27.10: any kind but fail has the level none
    if check.verdict is Verdict.WAIVED:
        why = clip(check.reason, FIELD_LIMIT)
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": why}]
    return found


def _of_rule(host: HostRecord, capture: str, inexact: Inexact) -> dict[str, Any]:
    text = clip(f"{inexact.how}: {inexact.why}: {inexact.text}", FIELD_LIMIT)
    place = (f"evidence/{host.name}/{capture}.txt", inexact.line)
    return result(_NOT_UNDERSTOOD, text, place, (host.name, capture, inexact.text), "low")


def _rank(check: CheckResult) -> int:
    return list(_SECURITY).index(check.severity) if check.severity in _SECURITY else len(_SECURITY)


def _rule(identifier: str, severities: Mapping[str, str]) -> dict[str, Any]:
    name = identifier.removeprefix("fwproof/")
    security = _SECURITY.get(severities.get(name, "low"), _SECURITY["low"])
    return {
        "id": identifier, "shortDescription": {"text": f"fwproof: {name}"},
        "properties": {"security-severity": security, "tags": ["security", "firewall"]},
    }  # fmt: skip
