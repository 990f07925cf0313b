"""What continuous integration shows of a run: annotations on the policies, job summaries, GitLab's code quality.

Findings are grouped by cause, so that one mistake in a rule is one annotation and not three hundred. All texts go
through the escaping of the service that reads them; the functions here are pure, the caller prints or writes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from fwproof.report.clean import no_command, one_line, visible
from fwproof.report.reasoning import repro, summary
from fwproof.report.view import Finding, counts_line, findings, number_of
from fwproof.results import CheckResult, Results, Verdict


class Service(StrEnum):
    """Who runs the job; ``plain`` is anybody else."""

    GITHUB = "github"
    GITLAB = "gitlab"
    AZURE = "azure"
    JENKINS = "jenkins"
    PLAIN = "plain"


# the variables that each service documents as always set in its jobs
_SIGNS = {
    "GITHUB_ACTIONS": Service.GITHUB, "GITLAB_CI": Service.GITLAB, "TF_BUILD": Service.AZURE,
    "JENKINS_URL": Service.JENKINS,
}  # fmt: skip
PER_KIND = 10
"""Annotations of one kind that GitHub shows for a step."""
_KINDS = {
    Verdict.FAIL: "error", Verdict.ERROR: "warning", Verdict.INCONCLUSIVE: "warning", Verdict.WAIVED: "notice",
}  # fmt: skip
_QUALITY = {"critical": "blocker", "high": "critical", "medium": "major", "low": "minor"}
_OPEN = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
_MESSAGE = 3000


def recognised(environment: Mapping[str, str]) -> Service:
    """Return the service whose job this is, from its environment variables."""
    return next((service for name, service in _SIGNS.items() if environment.get(name)), Service.PLAIN)


def annotation_lines(results: Results, service: Service, folder: Path | None = None) -> list[str]:
    """Return the lines to print: workflow commands of GitHub, logging commands of Azure, none for the others.

    ``folder`` is the run's; Azure is told to show its summary.
    """
    if service is Service.GITHUB:
        return list(_limited(results))
    if service is Service.AZURE:
        lines = [_azure(kind, finding) for kind, finding in _by_kind(results)]
        return lines + ([_azure_summary(folder)] if folder else [])
    return []


def render_github(results: Results) -> bytes:
    """Return the annotations as GitHub's workflow commands, one a line."""
    return "".join(f"{line}\n" for line in annotation_lines(results, Service.GITHUB)).encode("utf-8")


def render_azure(results: Results) -> bytes:
    """Return the annotations as Azure's logging commands, one a line."""
    return "".join(f"{line}\n" for line in annotation_lines(results, Service.AZURE)).encode("utf-8")


def render_gitlab(results: Results) -> bytes:
    """Return GitLab's code quality report: each check that is open, at its expectation, with a fingerprint of its own.

    The fingerprint is of policy and check, so it stays the same when lines move.
    """
    issues = [
        {
            "description": summary(check), "check_name": f"fwproof/{one_line(check.kind, 80)}",
            "fingerprint": _fingerprint(check.policy, check.id, str(position)),
            "severity": _QUALITY.get(check.severity, "info") if check.verdict is Verdict.FAIL else "info",
            "location": {"path": visible(check.file), "lines": {"begin": max(check.line, 1)}},
        }
        for position, check in _numbered(results)
    ]  # fmt: skip
    return (json.dumps(issues, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _numbered(results: Results) -> Iterator[tuple[int, CheckResult]]:
    seen: dict[tuple[str, str], int] = {}
    for check in results.checks:
        if check.verdict in _OPEN:
            key = (check.policy, check.id)
            seen[key] = seen.get(key, -1) + 1
            yield seen[key], check


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _by_kind(results: Results) -> list[tuple[str, Finding]]:
    return [(_KINDS[finding.verdict], finding) for finding in findings(results, *_OPEN)]


def _limited(results: Results) -> Iterator[str]:
    """Yield at most ten commands a kind; the last one says how many findings it stands for."""
    found = _by_kind(results)
    for kind in ("error", "warning", "notice"):
        some = [finding for each, finding in found if each == kind]
        fits = len(some) <= PER_KIND
        for finding in some if fits else some[: PER_KIND - 1]:
            yield _github(kind, finding)
        if not fits:
            rest = number_of(len(some) - PER_KIND + 1, "more finding")
            yield f"::{kind} title=fwproof::{_data(f'{rest} in the report. {counts_line(results)}')}"


def _github(kind: str, finding: Finding) -> str:
    lead = finding.lead
    place = f"file={_property(visible(lead.file))},line={lead.line}"
    title = _property(one_line(f"{finding.verdict.value}: {finding.cause}", 200))
    return f"::{kind} {place},title={title}::{_data(_words(finding))}"


def _words(finding: Finding) -> str:
    lead = finding.lead
    where = f"{number_of(len(finding.checks), 'check')} on {', '.join(finding.hosts[:5])}"
    lines = [lead.reason, where, f"rule: {lead.rule}" if lead.rule else "", f"mend: {lead.fix}" if lead.fix else ""]
    return "\n".join(no_command(one_line(line, _MESSAGE)) for line in (*lines, f"repeat: {repro(lead)}") if line)


# actions/toolkit, packages/core/src/command.ts: escapeData and escapeProperty
def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(no_command(text)).replace(":", "%3A").replace(",", "%2C")


def _azure(kind: str, finding: Finding) -> str:
    # logging commands know errors and warnings only
    kind = "error" if kind == "error" else "warning"
    lead = finding.lead
    place = f"sourcepath={_vso(visible(lead.file))};linenumber={lead.line};code={_vso(finding.verdict.value)}"
    return f"##vso[task.logissue type={kind};{place}]{_vso(f'{one_line(finding.cause)}: {_words(finding)}')}"


def _azure_summary(folder: Path) -> str:
    return f"##vso[task.uploadsummary]{_vso(visible(str(folder.resolve() / 'summary.md')))}"


# azure-pipelines-agent, CommandStringConvertor: these are what it puts back, %AZP25 first of all
_VSO = {"%": "%AZP25", ";": "%3B", "\r": "%0D", "\n": "%0A", "]": "%5D"}


def _vso(text: str) -> str:
    return re.sub(r"[%;\r\n\]]", lambda found: _VSO[found[0]], no_command(text))
