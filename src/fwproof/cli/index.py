"""``fwproof index``: one page over all runs of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import click

from fwproof.cli.saying import say
from fwproof.errors import FwproofError
from fwproof.report.clean import one_line
from fwproof.trends.document import render_index
from fwproof.trends.pages import days, render_index_html
from fwproof.trends.runs import read_index


@click.command()
@click.argument("reports", type=click.Path(path_type=Path), default=Path("reports"))
@click.option(
    "--format", "form", type=click.Choice(["files", "json", "html"]), default="files", show_default=True,
    help="Write index.html and index.json into REPORTS, or print one of them.",
)  # fmt: skip
def index(reports: Path, form: str) -> None:
    """Make a page over all runs in REPORTS: counts over time, what changed, how old findings are.

    It is one static file without scripts, with links to the runs' own reports. A folder that cannot be read as a run
    is listed as such. fwproof schema index prints the schema of index.json.

    \b
    Examples:
      fwproof index
      fwproof index /srv/audits/reports

    \b
    Exit status: 0 written, 4 there is no such folder, 6 written, but a run could not be read or is not as it was
    stored, or there is none.
    """
    found = read_index(reports)
    if form == "json":
        click.echo(render_index(found), nl=False)
    elif form == "html":
        click.echo(render_index_html(found).encode(), nl=False)
    else:
        _write(reports / "index.json", render_index(found))
        _write(reports / "index.html", render_index_html(found).encode())
        oldest = f", the oldest for {days(found.standing[0].days)}" if found.standing else ""
        numbers = f"{len(found.runs):,} runs, {len(found.standing):,} findings stand{oldest}"
        say([f"{one_line(str(reports / 'index.html'))}: {numbers}, {len(found.ended) + found.ended_unlisted:,} ended"])
        say(f"cannot be read: {one_line(each.folder)}: {each.why}" for each in found.unreadable)
        say(f"not as stored: {one_line(run.folder)}: {'; '.join(run.wrong)}" for run in found.runs if run.wrong)
    raise SystemExit(found.status)


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once, so that who reads it meanwhile has the old one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise FwproofError(f"cannot write {one_line(str(path))}: {error.strerror}") from error
