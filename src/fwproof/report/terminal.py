"""The end of an audit on a terminal: failures by cause, what was not tested, and one line of counts."""

from __future__ import annotations

import textwrap
from pathlib import Path

from fwproof.report.clean import one_line
from fwproof.report.reasoning import UNASKED, repro, witnesses
from fwproof.report.view import Finding, counts_line, findings, not_tested, number_of, outcome, verdict_sentences
from fwproof.results import Results, Verdict

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
_FIRST = 5
_LINES = 3


def render_summary(results: Results, folder: Path | None = None, *, width: int = 100, color: bool = False) -> list[str]:
    """Return the summary as lines, of which the last is the line of counts.

    ``width`` is the terminal's in columns; ``color`` allows ANSI colours (the caller decides, from ``NO_COLOR`` and
    the like); ``folder`` is where the run's reports are, to make evidence paths complete. Every string of the run
    is made inert and put on lines of its own, so that none can forge the last one.
    """
    width = max(width, 40)
    place = one_line(str(folder)) if folder else ""
    painter = _Painter(color=color)
    lines: list[str] = []
    for finding in findings(results, *_SHOWN):
        lines += [*_finding(finding, width, painter, place), ""]
    missing = not_tested(results)
    if missing:
        lines.append(f"not tested: {missing:,} of {number_of(results.run.planned, 'planned check')} {_why(results)}")
    else:
        lines.append(f"not tested: {'nothing was planned' if not results.run.planned else 'none'}")
    headline, basis = verdict_sentences(results)
    verdict = outcome(results)
    said = textwrap.wrap(one_line(f"{_GLYPHS[verdict]} {headline}. {basis}"), width, subsequent_indent="  ")
    lines += [painter.paint(verdict, line) for line in said]
    if place:
        lines.append(f"report: {place}/report.html")
    # never coloured, never indented: scripts look for it at the start of a line
    return [*lines, counts_line(results)]


class _Painter:
    def __init__(self, *, color: bool) -> None:
        self.color = color

    def paint(self, verdict: Verdict, text: str) -> str:
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if self.color else text


def _why(results: Results) -> str:
    return f"({results.run.deselected:,} deselected)" if results.run.deselected else "(the run ended early)"


def _finding(finding: Finding, width: int, painter: _Painter, folder: str) -> list[str]:
    verdict = finding.verdict
    head = f"{_GLYPHS[verdict]} {verdict.value.upper()}  {finding.cause}"
    lines = [painter.paint(verdict, line) for line in textwrap.wrap(one_line(head), width, subsequent_indent="  ")]
    lead = finding.lead
    where = f"{number_of(len(finding.checks), 'check')} on {_first(finding.hosts)}; severity {finding.severity}"
    rows = [
        ("where", where),
        *((name, said) for name, said in witnesses(lead) if said != UNASKED),
        ("reason", lead.reason),
    ]
    rows += [("deciding rule", rule) for rule in finding.rules[:_LINES]]
    rows += [("evidence", line) for line in finding.evidence[:_LINES]]
    rows += [("evidence file", f"{folder}/{path}" if folder else path) for path in finding.artefacts[:_LINES]]
    rows += [("how to mend", line) for line in lead.fix.splitlines()]
    rows += [("expectation", f"{lead.expectation} at {lead.file}:{lead.line}")]
    lines += [line for label, text in rows if text for line in _row(label, text, width)]
    # not wrapped, so that it can be copied
    return [*lines, f"  {'repeat':<{_LABEL}}{repro(lead)}"]


def _first(hosts: tuple[str, ...]) -> str:
    text = ", ".join(hosts[:_FIRST])
    return text if len(hosts) <= _FIRST else f"{text} and {len(hosts) - _FIRST:,} more"


def _row(label: str, text: str, width: int) -> list[str]:
    first, others = f"  {label:<{_LABEL}}", " " * (_LABEL + 2)
    text = one_line(text, 600)
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )
