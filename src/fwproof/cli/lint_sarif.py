"""``fwproof lint --format sarif``: findings at the lines of the saved rules, or policies, that they are about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fwproof.decision import RuleRef
from fwproof.errors import Fault, UsageError
from fwproof.flow import Family
from fwproof.remark import Advice
from fwproof.report import sarif
from fwproof.report.clean import clip, shown
from fwproof.semantics.lint_finding import Finding, Kind
from fwproof.semantics.model import HostModel

_SEVERITIES = {
    Kind.OVER_BROAD: "high", Kind.CONTRADICTED: "high", Kind.NEVER: "medium", Kind.UNREACHABLE: "medium",
    Kind.SHADOWED: "medium", Kind.REDUNDANT: "low", Kind.UNUSED: "low",
}  # fmt: skip
_WORDS = 4000
FAULT = "fault"
"""The kind of what keeps a policy from being loaded."""


def need_files(host: object) -> None:
    """Raise UsageError for a live host: its rules stand in no file that a reader of the results could open."""
    if host is not None:
        raise UsageError("--format sarif points at lines of files: give files, or --snapshot of what collect wrote")


def lint_sarif(
    found: Iterable[tuple[Family, Finding]], model: HostModel, snapshot: Path | None, unanswered: Iterable[str]
) -> bytes:
    """Return the findings as SARIF, each once; ``unanswered`` is said in the document."""
    once = {(finding.kind, finding.rule, finding.why): (family, finding) for family, finding in found}
    places = _places(model, snapshot)
    results = [
        sarif.result(
            finding.kind.value, _text(finding), places.get((family, finding.rule), ("unknown", 0)),
            (str(finding.rule), finding.why), _SEVERITIES[finding.kind],
        )
        for family, finding in once.values()
    ]  # fmt: skip
    severities = {kind.value: word for kind, word in _SEVERITIES.items()}
    return sarif.document(results, severities, trouble="; ".join(unanswered))


def policy_sarif(found: Iterable[Advice], faults: Iterable[Fault], root: Path) -> bytes:
    """Return remarks about policies, and the ``faults`` for which one cannot be loaded, at line and column."""
    faulty = list(faults)
    results = [_at(each.kind, each.message, each, "medium" if each.is_warning else "low", root) for each in found]
    results += [_at(FAULT, each.message, each, "high", root) for each in faulty]
    severities = {result["ruleId"].partition("/")[2]: result["properties"]["severity"] for result in results}
    trouble = "the policies cannot be loaded, and nothing else of them was looked at" if faulty else ""
    return sarif.document(results, severities, trouble=trouble)


def _at(kind: str, message: str, place: Advice | Fault, severity: str, root: Path) -> dict[str, Any]:
    file = shown(Path(place.file), root)
    result = sarif.result(kind, clip(message, _WORDS), (file, place.line), (file, message), severity)
    if place.line and place.column:
        result["locations"][0]["physicalLocation"]["region"]["startColumn"] = place.column
    return result


def _places(model: HostModel, snapshot: Path | None) -> dict[tuple[Family, RuleRef], tuple[str, int]]:
    """Return file and line of every rule; in nft's JSON objects have no lines of their own, so line 0 is the file."""
    places = {}
    for family, rulesets in model.rulesets.items():
        for ruleset in rulesets:
            file = ruleset.source if snapshot is None else str(snapshot / f"{ruleset.source}.txt")
            for rule in ruleset.rules():
                places[family, rule.ref] = (file, 0 if ruleset.native else rule.line)
    return places


def _text(finding: Finding) -> str:
    lines = [f"{finding.kind.value}: {finding.rule}", finding.why, *(f"by {cause}" for cause in finding.causes)]
    if finding.witness is not None:
        lines.append(f"for example {finding.witness}")
    return clip("\n".join(lines), _WORDS)
