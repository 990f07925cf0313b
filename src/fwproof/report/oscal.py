"""OSCAL assessment-results 1.2 (NIST), of the checks that support controls of NIST SP 800-53.

Every check is an observation (EXAMINE for tables that were read, TEST for packets that were sent); every control that
checks name is a finding, ``satisfied`` only where all of them passed. That is the tool's part of an assessment: the
documents say that the checks support a control, and that the assessor decides. All ids are UUIDs of version 5, made
from the run and the name, so that two renders are alike.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from fwproof.report.clean import one_line, visible
from fwproof.report.reasoning import full_text, on_the_wire
from fwproof.report.view import hosts, verdict_sentences
from fwproof.results import SCHEMA_ID, CheckResult, Results, Verdict

VERSION = "1.2.3"
"""The release of OSCAL whose schema the document is tested against."""
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, SCHEMA_ID)
_NS = SCHEMA_ID
_FRAMEWORK = "nist-800-53"
_CONTROL = re.compile(r"([A-Za-z]{2}-\d{1,3})(?:\((\d{1,3})\))?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SUPPORTS = "These checks support the control; whether it is satisfied as a whole is the assessor's decision."


def render_oscal(results: Results) -> bytes:
    """Return the run as an OSCAL assessment-results document in JSON."""
    text = json.dumps({"assessment-results": _Writer(results).document()}, indent=2, ensure_ascii=False)
    return (text + "\n").encode("utf-8")


def control_id(name: str) -> str | None:
    """Return a control's id as NIST's catalogue writes it: ``sc-7.5`` for SC-7(5); None for what is none."""
    found = _CONTROL.fullmatch(name.strip())
    if found is None:
        return None
    return found[1].lower() + (f".{found[2]}" if found[2] else "")


class _Writer:
    """Makes the parts of one document; ids are made from the run's id."""

    def __init__(self, results: Results) -> None:
        self.results, self.run = results, results.run
        self.controls: dict[str, list[CheckResult]] = {}
        for check in results.checks:
            named = (i for name, ids in check.controls.items() if name.startswith(_FRAMEWORK) for i in ids)
            for control in dict.fromkeys(filter(None, map(control_id, named))):
                self.controls.setdefault(control, []).append(check)

    def id(self, *names: str) -> str:
        """Return the id of a part."""
        name = "\0".join((self.run.id, *names)).encode("utf-8", "surrogatepass").hex()
        return str(uuid.uuid5(_NAMESPACE, name))

    def document(self) -> dict[str, Any]:
        """Return the whole document."""
        return {
            "uuid": self.id("document"),
            "metadata": {
                "title": _line(f"fwproof, run {self.run.id}"), "last-modified": _moment(self.run.ended),
                "version": _line(self.run.id), "oscal-version": VERSION,
                "props": [_prop("tool", self.run.tool), _prop("operator", self.run.operator)],
            },
            "import-ap": {"href": f"#{self.id('policies')}", "remarks": "The policies are the plan of the assessment."},
            "results": [self.result()],
            "back-matter": {"resources": [self.policies()]},
        }  # fmt: skip

    def policies(self) -> dict[str, Any]:
        """Return the policies as a resource, with their digests."""
        resource: dict[str, Any] = {"uuid": self.id("policies"), "title": "The policies of the run"}
        links = [
            {"href": _reference(path), "media-type": "application/yaml"} | _hashes(digest)
            for path, digest in sorted(self.run.policies.items())
        ]
        return resource | ({"rlinks": links} if links else {})

    def result(self) -> dict[str, Any]:
        """Return the one result of the run."""
        counts = [_prop(name.replace("_", "-"), str(number)) for name, number in self.results.counts().items()]
        selected = [{"control-id": control} for control in sorted(self.controls)]
        what: dict[str, Any] = {"include-controls": selected}
        if not selected:  # the schema has no word for none, and include-all would claim every one
            nothing = "No check names a control of NIST SP 800-53."
            what = {"description": nothing, "include-controls": [{"control-id": "none"}]}
        found: dict[str, Any] = {
            "uuid": self.id("result"), "title": "Firewall audit",
            "description": visible(" ".join(verdict_sentences(self.results))),
            "start": _moment(self.run.started), "end": _moment(self.run.ended), "props": counts,
            "reviewed-controls": {"control-selections": [what]},
        }  # fmt: skip
        items = [{"uuid": self.id("host", card.record.name), "description": _line(card.record.name)}
                 for card in hosts(self.results)]  # fmt: skip
        waived = [check for check in self.results.checks if check.verdict is Verdict.WAIVED]
        parts = {
            "local-definitions": {"inventory-items": items} if items else None,
            "observations": [self.observation(check) for check in self.results.checks],
            "risks": [self.risk(check) for check in waived],
            "findings": [self.finding(*pair) for pair in sorted(self.controls.items())],
        }
        return found | {key: value for key, value in parts.items() if value}

    def observation(self, check: CheckResult) -> dict[str, Any]:
        """Return one check."""
        methods = ["EXAMINE"] * bool(check.proved or not check.observed) + ["TEST"] * on_the_wire(check)
        told: dict[str, Any] = {
            "uuid": self.id("check", check.id), "title": _line(check.title), "description": full_text(check),
            "props": [_prop(name, value) for name, value in (
                ("check", check.id), ("verdict", check.verdict.value), ("severity", check.severity),
                ("kind", check.kind), ("expectation", f"{check.file}:{check.line}"),
            )],
            "methods": methods or ["EXAMINE"],
            "subjects": [{"subject-uuid": self.id("host", check.host), "type": "inventory-item"}],
            "collected": _moment(self.run.ended),
        }  # fmt: skip
        digests = {artefact.path: artefact.sha256 for artefact in self.run.artefacts}
        evidence = [
            {"href": _reference(path), "description": _line(path)}
            | ({"props": [_prop("sha256", digests[path])]} if digests.get(path) else {})
            for path in check.artefacts
        ]
        return told | ({"relevant-evidence": evidence} if evidence else {})

    def risk(self, check: CheckResult) -> dict[str, Any]:
        """Return the risk that a waiver accepts."""
        ends = [record.expires for record in self.run.waivers if record.id == check.waiver]
        deadline = {"deadline": f"{ends[0]}T23:59:59Z"} if ends else {}
        return {
            "uuid": self.id("risk", check.id), "title": _line(check.cause or check.title),
            "description": _line(check.reason), "statement": full_text(check), "status": "deviation-approved",
            "related-observations": [{"observation-uuid": self.id("check", check.id)}],
        } | deadline  # fmt: skip

    def finding(self, control: str, checks: list[CheckResult]) -> dict[str, Any]:
        """Return what the checks of one control say; only real passes, and nothing open, make it satisfied."""
        verdicts = [check.verdict for check in checks]
        passed = Verdict.PASS in verdicts and set(verdicts) <= {Verdict.PASS, Verdict.NOT_APPLICABLE}
        failed = Verdict.FAIL in verdicts
        status = {"state": "satisfied" if passed else "not-satisfied"}
        status |= {"reason": "pass" if passed else "fail" if failed else "other"}
        counts = ", ".join(f"{verdicts.count(each)} {each.value}" for each in Verdict if each in verdicts)
        found: dict[str, Any] = {
            "uuid": self.id("control", control), "title": f"{control}: {counts}",
            "description": f"{len(checks)} checks: {counts}. {_SUPPORTS}",
            "target": {"type": "objective-id", "target-id": f"{control}_obj", "status": status},
            "related-observations": [{"observation-uuid": uid} for uid in self._once("check", checks)],
        }  # fmt: skip
        risks = self._once("risk", (check for check in checks if check.verdict is Verdict.WAIVED))
        return found | ({"related-risks": [{"risk-uuid": uid} for uid in risks]} if risks else {})

    def _once(self, what: str, checks: Iterable[CheckResult]) -> list[str]:
        return list(dict.fromkeys(self.id(what, check.id) for check in checks))


def _line(text: str) -> str:
    """Return a line that is never empty, as OSCAL's strings and titles are."""
    return one_line(text, 1000) or "(none)"


def _prop(name: str, value: str) -> dict[str, str]:
    return {"name": name, "ns": _NS, "value": _line(value)}


def _reference(path: str) -> str:
    """Return a path as a relative URI reference (RFC 3986, 4.2)."""
    return quote(visible(path), safe="/._-~") or "."


def _hashes(digest: str) -> dict[str, Any]:
    found = re.fullmatch(r"[0-9a-fA-F]{64}", digest)
    return {"hashes": [{"algorithm": "SHA-256", "value": found[0].lower()}]} if found else {}


def _moment(text: str) -> str:
    return text if _MOMENT.fullmatch(text) else "1970-01-01T00:00:00Z"
