"""The report for auditors: one HTML file that asks nothing of any network and reads well without CSS.

There is no JavaScript. The page forbids itself everything but its own style sheet (Content-Security-Policy with that
sheet's hash); Jinja2 escapes every value, after :func:`~fwproof.report.clean.visible` made it inert.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fwproof.report import controls, matrix, rates, scope, view
from fwproof.report.clean import clip, safe_path, visible
from fwproof.report.controls_text import SUPPORTS, aside, helps, how, said, summary, where
from fwproof.report.listing import Listing
from fwproof.report.matrix import Matrix
from fwproof.report.openings import entries
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
_SHADES = {
    Verdict.PASS: "#0072b2", Verdict.FAIL: "#d55e00", Verdict.WAIVED: "#f0e442", Verdict.ERROR: "#cc79a7",
    Verdict.INCONCLUSIVE: "#999999", Verdict.NOT_APPLICABLE: "#dddddd",
}  # fmt: skip
"""For readers without the style sheet; after Okabe and Ito."""
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
        "shade": _SHADES.__getitem__,
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
    headline, basis = view.verdict_sentences(results)
    every = matrix.folded(matrix.matrices(results))
    matrices, no_matrix = matrix.fitting(every)
    findings = view.findings(results, Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
    listing = Listing.of(results, findings, matrices)
    marks = frozenset().union(*(table.marks for table in matrices))
    parts = _sections(results, every, matrices)
    return parts | {
        "contents": _contents(results, parts),
        "run": results.run,
        "outcome": view.outcome(results),
        "headline": headline,
        "basis": basis,
        "counts": results.counts(),
        "counts_line": view.counts_line(results),
        "not_tested": view.not_tested(results),
        "tally": _tally(results),
        "findings": findings,
        "listing": listing,
        "anchor": listing.anchor,
        "hosts": view.hosts(results),
        "no_matrix": no_matrix,
        "legend": [mark for mark in matrix.Mark if mark in marks],
        "others": _by_title(matrix.other_checks(results), folded=listing.abridged),
        "frameworks": controls.of_results(results),
        "supports": SUPPORTS,
        "addresses": {record.name: ", ".join(record.addresses) for record in results.run.hosts},
        "linkable": _linkable(results),
        "mark_of": lambda check: matrix.mark_of(check) if matrix.in_matrix(check) else None,
        "where": _where,
        "unasked": UNASKED,
        "since": partial(view.open_since, results),
        "ages": partial(view.ages, results),
    }


def _sections(results: Results, every: Sequence[Matrix], shown: Sequence[Matrix]) -> dict[str, Any]:
    """Return what the sections beside the findings show; ``shown`` are the matrices that the page has room for."""
    plots, more_plots = rates.plots(results)
    left_open = scope.left_open(results)
    return {
        "matrices": {way: [table for table in shown if table.direction == way] for way in _DIRECTIONS},
        "severities": scope.by_severity(results), "zones": scope.by_zone(results), "outside": _outside(results),
        "left_open": left_open, "left_number": sum(one.number for one in left_open),
        "pairs": scope.pairs_not_tested(every), "plots": plots, "more_plots": more_plots,
        "drifts": _alike(check for check in results.checks if check.kind == "drift"), "entries": entries(results),
        "coverage_checks": view.worst_first(check for check in results.checks if check.coverage is not None),
    }  # fmt: skip


def _contents(results: Results, parts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the sections that this page has, by name."""
    every = (
        ("summary", "Summary", True), ("hosts", "Hosts", True), ("inbound", "Inbound", True),
        ("outbound", "Outbound", True), ("forward", "Through", parts["matrices"]["forward"]),
        ("findings", "Findings", True), ("other", "Other checks", True),
        ("coverage", "Rule coverage", parts["coverage_checks"]), ("rates", "Rate limits", parts["plots"]),
        ("drift", "Drift", parts["drifts"]), ("controls", "Controls", True),
        ("waivers", "Waivers", results.run.waivers), ("allowed", "Allowed", True), ("appendix", "Host appendix", True),
        ("checks", "Every check", True), ("methods", "Methods and limits", True), ("evidence", "Evidence", True),
    )  # fmt: skip
    return [(name, title) for name, title, there in every if there]


def _alike(checks: Iterable[CheckResult]) -> list[list[CheckResult]]:
    """Return checks of drift, worst first, those that say the same of several hosts together."""
    groups: dict[object, list[CheckResult]] = {}
    for check in view.worst_first(checks):
        drift = check.drift
        told = drift and (*drift.open, *drift.accepted, *drift.unclear, *drift.rules, *drift.notes)
        groups.setdefault((check.verdict, check.family, told or check.reason), []).append(check)
    return list(groups.values())


def _outside(results: Results) -> list[tuple[str, list[str]]]:
    """Return the hosts that were not audited by reason."""
    groups: dict[str, list[str]] = {}
    for name, why in sorted(results.run.outside.items()):
        groups.setdefault(why, []).append(name)
    return list(groups.items())


def _by_title(checks: Iterable[CheckResult], *, folded: bool) -> list[tuple[str, list[list[CheckResult]]]]:
    """Return the checks by title, each as a row; ``folded``: those that say the same of several hosts share a row."""
    groups: dict[tuple[str, str], dict[object, list[CheckResult]]] = {}
    for check in checks:
        same = (check.verdict, _where(check), check.expected, check.reason) if folded else id(check)
        groups.setdefault((check.expectation, check.title), {}).setdefault(same, []).append(check)
    return [(title, list(rows.values())) for (_, title), rows in groups.items()]


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
