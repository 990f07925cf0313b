"""``fwproof diff`` of two runs: recognised by what they are, read, compared, and shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from fwproof.cli.tables import say
from fwproof.errors import UsageError
from fwproof.report.document import read_results
from fwproof.trends.compare import compare_runs
from fwproof.trends.document import render_diff
from fwproof.trends.pages import render_diff_html
from fwproof.trends.tables import files_of, host_rules
from fwproof.trends.text import render_diff_markdown, render_text

_NAME = "fwproof.invalid/schema/results-"


def given(places: Sequence[str]) -> bool:
    """Whether two runs are meant; raises UsageError where one of two is a run and the other is not."""
    found = [_is_run(Path(place)) for place in places]
    if any(found) and not all(found):
        run, other = (places[found.index(each)] for each in (True, False))
        raise UsageError(
            f"{run} is a run and {other} is not: give two runs, or tables on both sides, such as {run}/evidence/HOST"
        )
    return all(found)


def _is_run(path: Path) -> bool:
    """Whether a path is the folder of a run, or a results.json; a folder of tables stays one whatever else it holds."""
    try:
        if path.is_dir():
            tables = (path / "snapshot.json").exists() or files_of(path)
            return (path / "results.json").exists() and not tables
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    except OSError:
        return False
    if _NAME not in text:
        return False
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return not text.lstrip().startswith(("*", "#"))  # a cut one, of which reading it says more
    return isinstance(document, dict) and "nftables" not in document


def show(old: Path, new: Path, form: str, most: int) -> int:
    """Print how two runs differ and return the exit status; raises InputError for what is no run."""
    before, after = read_results(old), read_results(new)
    folders = (old if old.is_dir() else old.parent, new if new.is_dir() else new.parent)
    found = compare_runs(before, after, places=(str(old), str(new)), rules=host_rules(before, after, folders, most))
    if form == "text":
        say(render_text(found).splitlines())
    else:
        made = {"json": render_diff, "markdown": lambda each: render_diff_markdown(each).encode(),
                "html": lambda each: render_diff_html(each).encode()}  # fmt: skip
        click.get_binary_stream("stdout").write(made[form](found))
    return found.status
