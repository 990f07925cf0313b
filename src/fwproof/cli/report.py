"""``fwproof report``: render a run's results again, without any host."""

from __future__ import annotations

from pathlib import Path

import click

from fwproof.errors import FwproofError
from fwproof.report.clean import one_line
from fwproof.report.document import read_results
from fwproof.report.formats import FORMATS


@click.command()
@click.option(
    "--format", "form", type=click.Choice(sorted(FORMATS)), default="text", show_default=True, help="What to write."
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default=Path("-"),
    help="Where to write it  [default: standard output].",
)  # fmt: skip
@click.argument("results", type=click.Path(path_type=Path), default=Path("reports/latest"))
def report(form: str, output: Path, results: Path) -> None:
    """Render RESULTS again: a results.json, or the folder of a run.

    Links to evidence are relative to the run's folder, so write HTML there to keep them working.
    """
    content = FORMATS[form](read_results(results))
    try:
        with click.open_file(str(output), "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise FwproofError(f"cannot write {one_line(str(output))}: {error.strerror}") from error
