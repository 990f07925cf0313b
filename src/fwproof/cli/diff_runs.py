"""``fwproof diff`` of two runs: read, compared, and shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from fwproof.cli.saying import say
from fwproof.report.document import read_results
from fwproof.trends.changes import RunDiff
from fwproof.trends.compare import compare_runs
from fwproof.trends.document import render_diff
from fwproof.trends.pages import render_diff_html
from fwproof.trends.tables import host_rules
from fwproof.trends.text import render_diff_markdown, render_text


def show(old: Path, new: Path, form: str, most: int) -> int:
    """Print how two runs differ and return the exit status; raises InputError for what is no run."""
    before, after = read_results(old), read_results(new)
    folders = (old if old.is_dir() else old.parent, new if new.is_dir() else new.parent)
    found = compare_runs(before, after, places=(str(old), str(new)), rules=host_rules(before, after, folders, most))
    if form == "text":
        say(render_text(found).splitlines())
    else:
        click.echo(_FORMS[form](found), nl=False)
    return found.status


_FORMS: dict[str, Callable[[RunDiff], bytes]] = {
    "json": render_diff,
    "markdown": lambda found: render_diff_markdown(found).encode(),
    "html": lambda found: render_diff_html(found).encode(),
}
