"""The formats by name: each one a pure function of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fwproof.report.document import render_json
from fwproof.report.html import render_html
from fwproof.report.junit import Dialect, render_junit
from fwproof.report.markdown import render_markdown
from fwproof.report.terminal import render_summary
from fwproof.results import Results


def _text(text: str) -> bytes:
    return text.encode("utf-8")


def _lines(lines: list[str]) -> bytes:
    return _text("\n".join(lines) + "\n")


FORMATS: Mapping[str, Callable[[Results], bytes]] = {
    "html": lambda results: _text(render_html(results)),
    "json": render_json,
    "junit": render_junit,
    "junit-rich": lambda results: render_junit(results, Dialect.RICH),
    "markdown": lambda results: _text(render_markdown(results)),
    "text": lambda results: _lines(render_summary(results)),
    "text-full": lambda results: _lines(render_summary(results, verbose=True)),
}
"""Every report format; each function returns the whole file."""
