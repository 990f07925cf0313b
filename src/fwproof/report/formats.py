"""The formats by name: each one a pure function of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fwproof.report.ci import render_azure, render_github, render_gitlab
from fwproof.report.document import render_json
from fwproof.report.hdf import render_hdf
from fwproof.report.html import render_html
from fwproof.report.junit import Dialect, render_junit
from fwproof.report.markdown import JOB_SUMMARY, render_markdown
from fwproof.report.matrix_svg import render_matrix_svg
from fwproof.report.oscal import render_oscal
from fwproof.report.sarif import render_sarif
from fwproof.report.table import render_allowed, render_checks
from fwproof.report.terminal import render_summary
from fwproof.results import Results


def _text(text: str) -> bytes:
    return text.encode("utf-8")


def _lines(lines: list[str]) -> bytes:
    return _text("\n".join(lines) + "\n")


FORMATS: Mapping[str, Callable[[Results], bytes]] = {
    "azure": render_azure,
    "csv": render_checks,
    "csv-allowed": render_allowed,
    "github": render_github,
    "gitlab": render_gitlab,
    "hdf": render_hdf,
    "html": lambda results: _text(render_html(results)),
    "job-summary": lambda results: _text(render_markdown(results, JOB_SUMMARY)),
    "json": render_json,
    "junit": render_junit,
    "junit-rich": lambda results: render_junit(results, Dialect.RICH),
    "markdown": lambda results: _text(render_markdown(results)),
    "matrix-svg": render_matrix_svg,
    "oscal-ar": render_oscal,
    "sarif": render_sarif,
    "text": lambda results: _lines(render_summary(results)),
    "text-full": lambda results: _lines(render_summary(results, verbose=True)),
}
"""Every report format; each function returns the whole file."""

REPORTS: Mapping[str, str] = {
    "results.json": "json",
    "junit.xml": "junit",
    "report.html": "html",
    "summary.md": "markdown",
    "findings.csv": "csv",
    "allowed.csv": "csv-allowed",
}
"""What every run's folder holds: format by file name."""

EXTRAS: Mapping[str, str] = {
    "hdf": "hdf.json",
    "sarif": "fwproof.sarif",
    "oscal-ar": "oscal-ar.json",
    "matrix-svg": "matrix.svg",
    "gitlab": "gl-code-quality.json",
    "junit-rich": "junit-rich.xml",
    "job-summary": "job-summary.md",
    "text": "summary.txt",
}
"""What a run's folder may hold besides: file name by format."""


def reports(extras: Iterable[str] = (), dialect: Dialect = Dialect.STRICT) -> dict[str, str]:
    """Return the files of a run's folder with their formats, ``extras`` among them and JUnit in this dialect."""
    junit = {"junit.xml": "junit-rich" if dialect is Dialect.RICH else "junit"}
    return {**REPORTS, **junit, **{EXTRAS[form]: form for form in extras}}
