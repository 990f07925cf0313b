"""CSV for auditors: every check, and the list of what is allowed (PCI DSS 4.0.1, 1.2.5), one row each.

RFC 4180: CRLF ends a row, every field is quoted, the first row names the columns (:data:`CHECKS`, :data:`ALLOWED`);
the text is UTF-8. Columns are a contract: new ones come last, none changes its meaning. A field that a spreadsheet
would take for a formula starts with an apostrophe; each field is one line, cut at what a cell holds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from fwproof.report.clean import one_line
from fwproof.report.openings import openings
from fwproof.report.reasoning import control_names
from fwproof.results import CheckResult, Results

CHECKS = (
    "verdict", "severity", "host", "direction", "vantage", "family", "service", "kind", "expectation", "title",
    "expected", "cause", "reason", "proved", "observed", "attributed", "rule", "fix", "controls", "owner",
    "justification", "policy", "file", "line", "check", "evidence", "seconds", "run", "started",
)  # fmt: skip
ALLOWED = (
    "approved", "host", "direction", "family", "service", "port", "peers", "networks", "expectation", "title", "owner",
    "justification", "rules", "packets", "verdict", "reason", "severity", "controls", "policy", "file", "line",
    "check", "run", "read",
)  # fmt: skip
_CELL = 32_000
"""Characters of a field; a cell of a spreadsheet holds 32,767."""
# OWASP, "CSV Injection"; the full-width forms are taken for the plain ones by some spreadsheets
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
            "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


def render_checks(results: Results) -> bytes:
    """Return every check as a row, in the order of the run; whatever the verdict, so that the rows can be counted."""
    return _written(CHECKS, (_check(results, check) for check in results.checks))


def render_allowed(results: Results) -> bytes:
    """Return what is allowed, to whom, why and by which rule, and (``approved``: no) what passes without approval.

    ``packets`` is how often the rules had counted when the tables were read; counters begin again at a reload.
    """
    return _written(ALLOWED, _allowed(results))


def _check(results: Results, check: CheckResult) -> tuple[object, ...]:
    return (
        check.verdict.value, check.severity, check.host, check.direction, check.vantage, check.family, check.service,
        check.kind, check.expectation, check.title, check.expected, check.cause, check.reason, check.proved,
        check.observed, check.attributed, check.rule, check.fix, control_names(check), check.owner,
        check.justification, check.policy, check.file, check.line, check.id, "; ".join(check.artefacts),
        f"{check.seconds:.3f}", results.run.id, results.run.started,
    )  # fmt: skip


def _allowed(results: Results) -> Iterator[tuple[object, ...]]:
    for opening in openings(results):
        check = opening.check
        yield (
            "yes" if opening.approved else "no", check.host, check.direction or "forward", check.family, check.service,
            opening.port, opening.peers, ", ".join(opening.networks), check.expectation, check.title, check.owner,
            check.justification, " | ".join(opening.texts), "" if opening.packets is None else opening.packets,
            check.verdict.value, check.reason, check.severity, control_names(check), check.policy, check.file,
            check.line, check.id, results.run.id, results.run.started,
        )  # fmt: skip


def _written(header: Sequence[str], rows: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_field(value) for value in row])
    return text.getvalue().encode("utf-8")


def _field(value: object) -> str:
    text = "" if value is None else one_line(str(value), _CELL)
    return f"'{text}" if text.startswith(_FORMULA) else text
