"""The end of an audit on a terminal: failures by cause, what was not tested, and one line of counts.

Six lines a cause say what is wrong and how to mend it; ``verbose`` adds all three witnesses, every deciding rule and
the evidence.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from fwproof.report.clean import no_command, one_line
from fwproof.report.reasoning import UNASKED, repro, witnesses
from fwproof.report.view import (
    Finding,
    counts_line,
    findings,
    not_tested,
    number_of,
    open_since,
    outcome,
    verdict_sentences,
)
from fwproof.results import CheckResult, Results, Verdict

_SHOWN = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
_GLYPHS = {
    Verdict.PASS: "●", Verdict.FAIL: "✖", Verdict.WAIVED: "W", Verdict.ERROR: "!", Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_APPLICABLE: "·",
}  # fmt: skip
# ECMA-48 SGR: colours of the terminal's own palette, so that the user's theme decides about contrast
_COLOURS = {
    Verdict.PASS: "32", Verdict.FAIL: "1;31", Verdict.WAIVED: "33", Verdict.ERROR: "1;35", Verdict.INCONCLUSIVE: "33",
    Verdict.NOT_APPLICABLE: "2",
}  # fmt: skip
_LABEL = 15
_NARROW = 10
_FIRST = 5
_LINES = 3


def render_summary(
    results: Results, folder: Path | None = None, *, width: int = 100, color: bool = False, verbose: bool = False
) -> list[str]:
    """Return the summary as lines, of which the last is the line of counts.

    ``width`` is the terminal's in columns; ``color`` allows ANSI colours (the caller decides, from ``NO_COLOR`` and
    the like); ``folder`` is where the run's reports are, to make evidence paths complete; ``verbose`` shows
    everything that is known of each cause. Every string of the run is made inert and put on lines of its own, so
    that none can forge the last one, or be obeyed by what reads the log of a job.
    """
    width = max(width, 40)
    place = one_line(str(folder)) if folder else ""
    painter = _Painter(color=color)
    lines: list[str] = []
    for finding in findings(results, *_SHOWN):
        since = open_since(results, finding.checks)
        told = _in_full(finding, since, width, painter, place) if verbose else _brief(finding, since, width, painter)
        lines += [*told, ""]
    lines += [_coverage(results), *_unread(results, width)]
    headline, basis = verdict_sentences(results)
    verdict = outcome(results)
    said = textwrap.wrap(one_line(f"{_GLYPHS[verdict]} {headline}. {basis}"), width, subsequent_indent="  ")
    lines += [painter.paint(verdict, line) for line in said]
    if place:
        lines.append(f"report: {place}/report.html")
    # never coloured, never indented: scripts look for it at the start of a line
    return [*map(no_command, lines), counts_line(results)]


class _Painter:
    def __init__(self, *, color: bool) -> None:
        self.color = color

    def paint(self, verdict: Verdict, text: str) -> str:
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if self.color else text


def _coverage(results: Results) -> str:
    missing = not_tested(results)
    if not missing:
        return f"not tested: {'nothing was planned' if not results.run.planned else 'none'}"
    why = f"({results.run.deselected:,} deselected)" if results.run.deselected else "(the run ended early)"
    return f"not tested: {missing:,} of {number_of(results.run.planned, 'planned check')} {why}"


def _unread(results: Results, width: int) -> list[str]:
    unread = results.run.earlier.unread if results.run.earlier else []
    if not unread:
        return []
    said = f"history: {number_of(len(unread), 'earlier run')} not read, so findings may be older or have been away: "
    return textwrap.wrap(one_line(said + unread[0], 400), width, subsequent_indent="  ")


def _head(finding: Finding, width: int, painter: _Painter) -> list[str]:
    head = one_line(f"{_GLYPHS[finding.verdict]} {finding.verdict.value.upper()}  {finding.cause}")
    return [painter.paint(finding.verdict, line) for line in textwrap.wrap(head, width, subsequent_indent="  ")]


def _where(finding: Finding) -> str:
    return f"{number_of(len(finding.checks), 'check')} on {_first(finding.hosts)}; severity {finding.severity}"


def _brief(finding: Finding, since: str, width: int, painter: _Painter) -> list[str]:
    """Return a cause in about six lines: what was expected and seen, the rule, how to mend and repeat it."""
    lead = finding.lead
    wanted = f"; expected: {lead.expected}" if lead.expected else ""
    rows = [
        ("where", _where(finding) + wanted, 2),
        ("history", since, 1),
        (*_seen(lead), 2),
        ("rule", lead.rule, 3),
        ("mend", lead.fix, 2),
    ]
    lines = _head(finding, width, painter)
    for label, text, most in rows:
        if text:
            # about so many lines, as words do not fill them; verbose and the reports have all of it
            lines += _row(label, one_line(text, most * (width - _NARROW - 2) - 20), width, _NARROW)
    return [*lines, f"  {'repeat':<{_NARROW}}{repro(lead)}"]


def _seen(check: CheckResult) -> tuple[str, str]:
    """Return what stands against the expectation: what was seen on the wire, or else what was proved."""
    said = (("observed", check.observed), ("proved", check.proved), ("reason", check.reason))
    return next(((name, text) for name, text in said if text), ("reason", ""))


def _in_full(finding: Finding, since: str, width: int, painter: _Painter, folder: str) -> list[str]:
    lead = finding.lead
    rows = [
        ("where", _where(finding)),
        ("history", since),
        *((name, said) for name, said in witnesses(lead) if said != UNASKED),
        ("reason", lead.reason),
    ]
    rows += [("deciding rule", rule) for rule in finding.rules[:_LINES]]
    rows += [("evidence", line) for line in finding.evidence[:_LINES]]
    rows += [("evidence file", f"{folder}/{path}" if folder else path) for path in finding.artefacts[:_LINES]]
    rows += [("how to mend", line) for line in lead.fix.splitlines()]
    rows += [("expectation", f"{lead.expectation} at {lead.file}:{lead.line}")]
    lines = _head(finding, width, painter)
    lines += [line for label, text in rows if text for line in _row(label, text, width, _LABEL)]
    # not wrapped, so that it can be copied
    return [*lines, f"  {'repeat':<{_LABEL}}{repro(lead)}"]


def _first(hosts: tuple[str, ...]) -> str:
    text = ", ".join(hosts[:_FIRST])
    return text if len(hosts) <= _FIRST else f"{text} and {len(hosts) - _FIRST:,} more"


def _row(label: str, text: str, width: int, indent: int) -> list[str]:
    first, others = f"  {label:<{indent}}", " " * (indent + 2)
    text = one_line(text, 600)
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )
