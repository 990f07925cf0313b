"""A short Markdown summary for a CI job page or a merge request comment."""

from __future__ import annotations

from collections.abc import Sequence

from fwproof.report.clean import markdown_code as _code
from fwproof.report.clean import markdown_text as _text
from fwproof.report.controls import of_results
from fwproof.report.controls_text import markdown as controls_markdown
from fwproof.report.reasoning import repro
from fwproof.report.view import Finding, counts_line, findings, hosts, not_tested, number_of, verdict_sentences
from fwproof.results import Results, Verdict, WaiverRecord

LIMIT = 60_000
"""Characters; merge request comments hold 64 kB, job pages 1 MiB."""
_FRAMEWORKS = 30
"""Frameworks that are shown; nobody's policies name as many."""


def render_markdown(results: Results) -> str:
    """Return the summary: the verdict, the counts, a table of hosts, the findings by cause, and a table of controls.

    Findings that no longer fit into :data:`LIMIT` characters are counted in the last line, never left out in silence.
    """
    headline, basis = verdict_sentences(results)
    run = results.run
    parts = [
        f"## {_text(headline)}",
        f"{_text(basis)}",
        f"Run `{_code(run.id)}`, {_text(run.started)} to {_text(run.ended)} (UTC), by {_text(run.operator)}.",
        _hosts(results),
    ]
    if run.waivers:
        parts.append(_waivers(run.waivers))
    tail = f"`{_code(counts_line(results))}`\n"
    if not_tested(results):
        tail = f"**Not tested:** {number_of(not_tested(results), 'planned check')}.\n\n{tail}"
    tail = "\n\n".join([*_controls(results), tail])
    shown = findings(results, Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
    room = LIMIT - sum(len(part) + 2 for part in parts) - len(tail) - 100
    for position, finding in enumerate(shown):
        text = _finding(finding)
        room -= len(text) + 2
        if room < 0:
            parts.append(f"{number_of(len(shown) - position, 'more finding')} in report.html.")
            break
        parts.append(text)
    return "\n\n".join([*parts, tail])


def _hosts(results: Results) -> str:
    lines = ["| host | verdict | passed | failed | errors | inconclusive | waived |", "|---|---|--:|--:|--:|--:|--:|"]
    columns = (Verdict.PASS, Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
    cards = hosts(results)
    for card in cards[:50]:
        numbers = " | ".join(str(card.counts.get(verdict, 0)) for verdict in columns)
        lines.append(f"| {_text(card.record.name)} | {card.verdict.value} | {numbers} |")
    if len(cards) > 50:
        lines.append(f"| and {len(cards) - 50:,} more hosts | | | | | | |")
    return "\n".join(lines)


def _controls(results: Results) -> list[str]:
    """Return how many controls the checks support, one line a framework; ``fwproof controls`` tells which."""
    found = of_results(results)
    return [controls_markdown(found[:_FRAMEWORKS], full=False)] if found else []


def _waivers(waivers: Sequence[WaiverRecord]) -> str:
    lines = ["| waiver | state | days left | owner | accepted by |", "|---|---|--:|---|---|"]
    for one in waivers[:50]:
        by = f"{one.approver} ({one.ticket})" if one.ticket else one.approver
        lines.append(f"| {_text(one.id)} | {_text(one.state)} | {one.days_left} | {_text(one.owner)} | {_text(by)} |")
    if len(waivers) > 50:
        lines.append(f"| and {len(waivers) - 50:,} more waivers | | | | |")
    return "\n".join(lines)


def _finding(finding: Finding) -> str:
    lead = finding.lead
    where = f"{number_of(len(finding.checks), 'check')} on {', '.join(finding.hosts[:5])}"
    if len(finding.hosts) > 5:
        where += f" and {len(finding.hosts) - 5:,} more"
    rows = [
        ("where", _text(where)),
        ("expected", _text(lead.expected)),
        ("proved", _text(lead.proved)),
        ("observed", _text(lead.observed)),
        ("attributed", _text(lead.attributed)),
        ("reason", _text(lead.reason)),
        ("deciding rule", f"`{_code(lead.rule)}`" if lead.rule else ""),
        ("how to mend", _text(lead.fix)),
        ("expectation", f"`{_code(lead.file)}:{lead.line}`"),
        ("repeat", f"`{_code(repro(lead))}`"),
    ]
    head = f"### {finding.number}\\. {finding.verdict.value.upper()}: {_text(finding.cause)}"
    return "\n".join([head, "", *(f"- {label}: {text}" for label, text in rows if text)])
