"""The report for auditors: one HTML file that asks nothing of any network and reads well without CSS.

There is no JavaScript. The page forbids itself everything but its own style sheet (Content-Security-Policy with that
sheet's hash); Jinja2 escapes every value, after :func:`~fwproof.report.clean.visible` made it inert.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fwproof.report import controls, matrix, view
from fwproof.report.clean import clip, safe_path, visible
from fwproof.report.controls_text import SUPPORTS, aside, helps, how, said, summary, where
from fwproof.report.reasoning import FIELD_LIMIT, UNASKED, control_names, repro
from fwproof.results import CheckResult, Results, Verdict

_GLYPHS = {
    Verdict.PASS: "●", Verdict.FAIL: "✖", Verdict.WAIVED: "W", Verdict.ERROR: "!", Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_APPLICABLE: "·",
}  # fmt: skip
_PAST = {
    Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.WAIVED: "waived", Verdict.ERROR: "errors",
    Verdict.INCONCLUSIVE: "inconclusive", Verdict.NOT_APPLICABLE: "not applicable",
}  # fmt: skip
_FULL_UP_TO = 2000
"""Checks of a run up to which each is shown in full; it keeps the page of a fleet small enough to open."""
_FULL_PER_CAUSE = 20
_OPTION = re.compile(r"(?<!\S)(-{1,2}[A-Za-z][\w-]*)")
_DISPLAY = {"ipv4": "IPv4", "ipv6": "IPv6"}


def render_html(results: Results) -> str:
    """Return the whole report as one HTML document."""
    return page("report.html", results.run.id, _context(results))


def page(template: str, mark: str, context: Mapping[str, Any], *styles: str) -> str:
    """Return a page made of a template, which forbids itself everything but our style sheet and further ``styles``.

    ``mark`` stands in the margin in print.
    """
    environment = _environment()
    sheets = [environment.get_template(name).render(run_mark=_run_mark(mark)) for name in ("report.css", *styles)]
    style = _tidy("\n".join(sheets))
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    made = environment.get_template(template).render(
        style=Markup(style),  # noqa: S704 - our own files, with one word of [A-Za-z0-9._-] put in
        style_hash=digest,
        **context,
    )
    return _tidy(made).strip() + "\n"


def _tidy(text: str) -> str:
    """Drop blank lines that templates leave; the style sheet goes through it before it is hashed."""
    return re.sub(r"\n\s*\n", "\n", text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fwproof.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_inert,
    )
    environment.filters |= {
        "clip": lambda text: clip(str(text), FIELD_LIMIT),
        "prose": _prose,
        "display": lambda text: _DISPLAY.get(str(text), str(text)),
        "moment": _moment,
        "clock": _clock,
        "size": _size,
        "number": lambda number: f"{number:,}",
        "glyph": _GLYPHS.__getitem__,
        "past": _PAST.__getitem__,
        "of": view.number_of,
        "controls": control_names,
        "summary": summary,
        "aside": aside,
        "helps": helps,
        "said": said,
        "where": where,
        "how": how,
        "repro": repro,
    }
    return environment


def _inert(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _prose(text: str) -> Markup:
    """Return text in which a line never ends after the hyphen of an option, as in ``-A OUTPUT``."""
    parts = _OPTION.split(clip(text, FIELD_LIMIT))
    return Markup("").join(
        Markup('<span class="w">{}</span>').format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def _run_mark(run: str) -> str:
    """Return the run's id for the page margin in print: as text of a style sheet, so only harmless characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "", run)[:60]


def _context(results: Results) -> dict[str, Any]:
    anchors = {id(check): f"c{number}" for number, check in enumerate(results.checks, 1)}
    headline, basis = view.verdict_sentences(results)
    matrices = matrix.folded(matrix.matrices(results))
    findings = view.findings(results, Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
    full = _in_full(results, findings)
    marks = frozenset().union(*(table.marks for table in matrices))
    return {
        "run": results.run,
        "outcome": view.outcome(results),
        "headline": headline,
        "basis": basis,
        "counts": results.counts(),
        "counts_line": view.counts_line(results),
        "not_tested": view.not_tested(results),
        "tally": _tally(results),
        "findings": findings,
        "in_full": lambda check: id(check) in full,
        "abridged": len(full) < len(results.checks),
        "hosts": view.hosts(results),
        "matrices": {way: [table for table in matrices if table.direction == way] for way in _DIRECTIONS},
        "legend": [mark for mark in matrix.Mark if mark in marks],
        "others": _by_title(matrix.other_checks(results)),
        "coverage_checks": [check for check in results.checks if check.coverage is not None],
        "frameworks": controls.of_results(results),
        "supports": SUPPORTS,
        "addresses": {record.name: ", ".join(record.addresses) for record in results.run.hosts},
        "linkable": _linkable(results),
        "anchor": lambda check: anchors[id(check)],
        "mark_of": lambda check: matrix.mark_of(check) if matrix.in_matrix(check) else None,
        "where": _where,
        "unasked": UNASKED,
    }


def _by_title(checks: Iterable[CheckResult]) -> list[tuple[str, list[CheckResult]]]:
    groups: dict[tuple[str, str], list[CheckResult]] = {}
    for check in checks:
        groups.setdefault((check.expectation, check.title), []).append(check)
    return [(title, group) for (_, title), group in groups.items()]


def _in_full(results: Results, findings: tuple[view.Finding, ...]) -> frozenset[int]:
    """Return which checks (by identity) are shown in full: all, or in a large run the first few of each cause."""
    if len(results.checks) <= _FULL_UP_TO:
        return frozenset(id(check) for check in results.checks)
    return frozenset(id(check) for finding in findings for check in (finding.lead, *finding.checks[:_FULL_PER_CAUSE]))


def _linkable(results: Results) -> frozenset[str]:
    """Return the evidence paths that may become links: in the run's folder, with a plain name."""
    paths = (artefact.path for artefact in results.run.artefacts)
    return frozenset(path for path in paths if path == safe_path(path, "evidence"))


def _tally(results: Results) -> list[tuple[Verdict, int, float, float]]:
    """Return the strip of verdicts: each with its number, and where it starts and how wide it is, in 1/1000."""
    total = max(len(results.checks), 1)
    position, parts = 0.0, []
    for verdict in (
        Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED, Verdict.NOT_APPLICABLE, Verdict.PASS,
    ):  # fmt: skip
        number = sum(check.verdict is verdict for check in results.checks)
        wide = round(1000 * number / total, 1)
        parts.append((verdict, number, round(position, 1), wide))
        position += wide
    return parts


_DIRECTIONS = ("inbound", "outbound", "forward")


def _where(check: CheckResult) -> str:
    """Return what a check is about, short: ``workstation to ollama tcp/11434, IPv4``."""
    service = check.service or ""
    if check.vantage:
        ends = (check.vantage, service) if check.direction != "outbound" else (service, check.vantage)
        service = " → ".join(end for end in ends if end)
    parts = [service, _DISPLAY.get(check.family or "", check.family or "")]
    return ", ".join(part for part in parts if part)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _moment(text: str) -> str:
    """Return a UTC time as a reader writes it; text that is no time stays as it is."""
    moment = _parsed(text)
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else text


def _clock(text: str) -> str:
    moment = _parsed(text)
    return f"{moment:%H:%M:%S}" if moment else text


def _size(number: int) -> str:
    return f"{number:,} B" if number < 10_000 else f"{number / 1000:,.1f} kB"
