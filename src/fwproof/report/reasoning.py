"""The reasoning behind one check, as labelled text: the same lines in JUnit, HTML and on the terminal."""

from __future__ import annotations

from fwproof.report.clean import clip, one_line, shell_word
from fwproof.results import CheckResult

FIELD_LIMIT = 4000
"""Characters of one field that a report shows; results.json always has all of them."""

UNASKED = "not part of this check"
"""Shown where a witness has nothing to say, so that an empty place is never read as a silent one."""


_SENT = {"coverage", "established", "icmpv6-nd", "listeners", "loopback"}
"""Kinds of checks that send packets without a vantage of their own."""


def on_the_wire(check: CheckResult) -> bool:
    """Whether an answer rests on packets that were sent: TEST in the words of NIST SP 800-53A, else EXAMINE."""
    return bool(check.observed) and (check.vantage is not None or check.kind in _SENT)


def node_id(check: CheckResult) -> str:
    """Return the pytest node id of a check: the policy file and the check's own id."""
    return f"{check.file}::{check.id}"


def repro(check: CheckResult) -> str:
    """Return the shell command that carries out this one check again."""
    return f"pytest {shell_word(node_id(check))}"


def control_names(check: CheckResult) -> str:
    """Return the controls that a check supports: ``nist-800-53r5 SC-7(5), SC-5; pci-dss-4.0.1 1.3.1``."""
    return "; ".join(f"{framework} {', '.join(ids)}" for framework, ids in sorted(check.controls.items()))


def witnesses(check: CheckResult) -> list[tuple[str, str]]:
    """Return what was expected and what the three witnesses say."""
    said = [("proved", check.proved), ("observed", check.observed), ("attributed", check.attributed)]
    return [("expected", check.expected), *((name, text or UNASKED) for name, text in said)]


def summary(check: CheckResult) -> str:
    """Return the verdict and its reason on one line."""
    return one_line(f"{check.verdict.value}: {check.reason or check.cause or check.title}")


def full_text(check: CheckResult) -> str:
    """Return the whole reasoning as lines of ``label: text``; continuation lines are indented."""
    lines = [("check", check.title), ("verdict", check.verdict.value), ("reason", check.reason), *witnesses(check)]
    lines += [("cause", check.cause), ("deciding rule", check.rule)]
    lines += [("evidence", line) for line in check.evidence]
    lines += [("evidence file", path) for path in check.artefacts]
    lines += [
        ("how to mend", check.fix),
        ("severity", check.severity),
        ("expectation", f"{check.expectation} at {check.file}:{check.line}"),
        ("controls", control_names(check)),
        ("repeat", repro(check)),
    ]
    return "\n".join(f"{label}: {_indent(clip(text, FIELD_LIMIT))}" for label, text in lines if text)


def _indent(text: str) -> str:
    return "\n    ".join(text.rstrip().splitlines()) if "\n" in text else text
