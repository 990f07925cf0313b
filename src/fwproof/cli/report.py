"""``fwproof report``: render a run's results again, without any host."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from fwproof.errors import FwproofError, UsageError
from fwproof.report.clean import one_line
from fwproof.report.document import read_results
from fwproof.report.formats import FORMATS
from fwproof.report.junit import Dialect, render_junit
from fwproof.report.terminal import render_summary
from fwproof.results import Results

_STANDARD_OUTPUT = Path("-")


@click.command()
@click.option(
    "--format", "form", type=click.Choice(sorted(FORMATS)), default="text", show_default=True, help="What to write."
)
@click.option(
    "--junit-dialect", "dialect", type=click.Choice([each.value for each in Dialect]),
    help="With junit: as the schemas have it, or with files, lines, owners and attachments  [default: strict].",
)  # fmt: skip
@click.option(
    "--evidence", metavar="FOLDER", help="With junit and rich: the run's folder as the job sees it, for attachments."
)
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
    help="With text: auto is colour on a terminal, less NO_COLOR, and with FORCE_COLOR everywhere.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default=_STANDARD_OUTPUT,
    help="Where to write it  [default: standard output].",
)  # fmt: skip
@click.argument("results", type=click.Path(path_type=Path), default=Path("reports/latest"))
def report(  # noqa: PLR0913 - each is one option
    *, form: str, dialect: str | None, evidence: str | None, color: str, output: Path, results: Path
) -> None:
    """Render RESULTS again: a results.json, or the folder of a run.

    \b
    csv          every check, a row each            csv-allowed  what is open to whom, and why
    junit        JUnit XML                          sarif        findings that lie in a file
    hdf          for MITRE's Heimdall               oscal-ar     OSCAL assessment results
    markdown     within a comment's 64 kB           job-summary  the same, within 1 MiB
    github azure annotations, one a line            gitlab       code quality report

    Links to evidence are relative to the run's folder, so write HTML there to keep them working. Everything comes
    from results.json alone; no host is asked.

    \b
    Examples:
      fwproof report
      fwproof report reports/latest --format sarif -o audit.sarif

    \b
    Exit status: 0 written · 4 bad input
    """
    if (dialect or evidence) and form != "junit":
        raise UsageError("--junit-dialect and --evidence go with --format junit")
    run = read_results(results)
    if form == "junit":
        content = render_junit(run, Dialect(dialect or Dialect.STRICT), evidence or "")
    elif form.startswith("text") and output == _STANDARD_OUTPUT:
        content = _on_screen(run, color, verbose=form == "text-full")
    else:
        content = FORMATS[form](run)
    try:
        with click.open_file(str(output), "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise FwproofError(f"cannot write {one_line(str(output))}: {error.strerror}") from error


def _on_screen(run: Results, color: str, *, verbose: bool) -> bytes:
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if terminal else 100
    painted = color == "always" or (color == "auto" and wants_color(os.environ, terminal=terminal))
    return "".join(f"{line}\n" for line in render_summary(run, width=width, color=painted, verbose=verbose)).encode()


def wants_color(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to use colour: NO_COLOR, if not empty, forbids it; FORCE_COLOR asks for it where there is no terminal.

    That is what no-color.org and force-color.org say, and pytest does.
    """
    if environment.get("NO_COLOR"):
        return False
    return bool(environment.get("FORCE_COLOR")) or (terminal and environment.get("TERM") != "dumb")
