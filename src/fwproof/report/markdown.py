"""A short Markdown summary for a CI job page or a merge request comment."""

from __future__ import annotations

from collections.abc import Sequence

from fwproof.report.clean import markdown_code as _code
from fwproof.report.clean import markdown_text as _text
from fwproof.report.controls import of_results
from fwproof.report.controls_text import markdown as controls_markdown
from fwproof.report.reasoning import repro
from fwproof.report.view import Finding, counts_line, findings, hosts, not_tested, number_of, verdict_sentences
from fwproof.results import Results, Verdict
from fwproof.run_record import WaiverRecord

COMMENT = 64_000
"""Bytes; comments on merge and pull requests hold 65,536 characters or more."""
JOB_SUMMARY = 1024 * 1024
"""Bytes of all summaries of one step of a GitHub job; a larger one is refused as a whole."""
SMALLEST = 20_000
"""Bytes below which the summary could not keep its limit, whatever the texts."""
_HOSTS = 50
_FRAMEWORKS = 30
"""Frameworks that are shown; nobody's policies name as many."""


def render_markdown(results: Results, limit: int = COMMENT) -> str:
    """Return the summary: the verdict, the counts, a table of hosts, the findings by cause, waivers, controls.

    It takes at most ``limit`` bytes of UTF-8, at least :data:`SMALLEST`. Findings that no longer fit are counted, and
    so are hosts; nothing is left out in silence.
    """
    headline, basis = verdict_sentences(results)
    run = results.run
    parts = [
        f"## {_text(headline)}",
        f"{_text(basis)}",
        f"Run `{_code(run.id)}`, {_text(run.started)} to {_text(run.ended)} (UTC), by {_text(run.operator)}.",
    ]
    tail = f"`{_code(counts_line(results))}`\n"
    if not_tested(results):
        tail = f"**Not tested:** {number_of(not_tested(results), 'planned check')}.\n\n{tail}"
    room = limit - sum(map(_size, parts)) - _size(tail) - 200  # for the two lines that say what was cut
    most = room // 4
    last = [
        part if _size(part) < most else "A table did not fit here; report.html has it."
        for part in (*_waivers(run.waivers), *_controls(results))
    ]
    room -= sum(map(_size, last))
    parts.append(_hosts(results, room // 2))
    room -= _size(parts[-1])
    shown = findings(results, Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
    for position, finding in enumerate(shown):
        text = _finding(finding)
        room -= _size(text)
        if room < 0:
            checks = sum(len(each.checks) for each in shown[position:])
            cut = number_of(len(shown) - position, "more finding")
            parts.append(f"{cut} ({number_of(checks, 'check')}) did not fit here; report.html has all.")
            break
        parts.append(text)
    return "\n\n".join([*parts, *last, tail])


def _size(part: str) -> int:
    return len(part.encode("utf-8")) + 2


def _hosts(results: Results, room: int) -> str:
    lines = ["| host | verdict | passed | failed | errors | inconclusive | waived |", "|---|---|--:|--:|--:|--:|--:|"]
    columns = (Verdict.PASS, Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
    cards = hosts(results)
    for position, card in enumerate(cards):
        numbers = " | ".join(str(card.counts.get(verdict, 0)) for verdict in columns)
        line = f"| {_text(card.record.name)} | {card.verdict.value} | {numbers} |"
        room -= _size(line)
        if position >= _HOSTS or room < 0:
            lines.append(f"| and {number_of(len(cards) - position, 'more host')} | | | | | | |")
            break
        lines.append(line)
    return "\n".join(lines)


def _controls(results: Results) -> list[str]:
    """Return how many controls the checks support, one line a framework; ``fwproof controls`` tells which."""
    found = of_results(results)
    return [controls_markdown(found[:_FRAMEWORKS], full=False)] if found else []


def _waivers(waivers: Sequence[WaiverRecord]) -> list[str]:
    if not waivers:
        return []
    lines = ["| waiver | state | days left | owner | accepted by |", "|---|---|--:|---|---|"]
    for one in waivers[:50]:
        by = f"{one.approver} ({one.ticket})" if one.ticket else one.approver
        lines.append(f"| {_text(one.id)} | {_text(one.state)} | {one.days_left} | {_text(one.owner)} | {_text(by)} |")
    if len(waivers) > 50:
        lines.append(f"| and {len(waivers) - 50:,} more waivers | | | | |")
    return ["\n".join(lines)]


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
