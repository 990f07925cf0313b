"""``fwproof demo``: the whole job on the embedded lab, and one screen that says what was found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click

from fwproof.errors import LabError, UsageError
from fwproof.lab import Lab
from fwproof.report.clean import one_line
from fwproof.report.document import read_results
from fwproof.report.view import counts_line
from fwproof.results import CheckResult, Results, Verdict

_BAD = {Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE}


def _say(message: str) -> None:
    click.echo(message, err=True)


@click.command()
@click.option("--reports", type=click.Path(path_type=Path), default=Path("reports"), show_default=True)
@click.option("--keep-lab", is_flag=True, help="Leave the lab up, to look around in it.")
def demo(reports: Path, *, keep_lab: bool) -> None:
    """Bring up the lab, audit the server as published and as repaired, write the reports, take the lab down.

    \b
    Examples:
      fwproof demo
      fwproof demo --keep-lab --reports /tmp/reports

    \b
    Exit status: 0 as intended: the repaired server passes, the published one does not · 1 otherwise · 3 the lab failed
    """
    here = _project()
    lab, begun = Lab(topology=here / "fixtures" / "lab" / "topology.yaml"), time.monotonic()
    ours = not lab.is_up()
    if ours:
        lab.up(progress=_say)
    try:
        status = _audit(here, reports)
    finally:
        if ours and not keep_lab:
            lab.down()
    if status not in (0, 1, 6):
        raise LabError(f"the audit itself ended with status {status}; its message is above")
    results = read_results(reports / "latest" / "results.json")
    _screen(results, reports, time.monotonic() - begun)
    sys.exit(0 if _as_intended(results) else 1)


def _project() -> Path:
    """Return the folder that holds checks/ and fixtures/: this one, or what was installed with the package."""
    here = Path.cwd()
    if (here / "fixtures" / "lab" / "topology.yaml").is_file() and (here / "checks").is_dir():
        return here
    packaged = Path(__file__).parents[1] / "scaffold"
    if packaged.is_dir():
        return packaged
    raise UsageError("no checks/ and fixtures/ here: run `fwproof demo` in a checkout of fwproof")


def _audit(here: Path, reports: Path) -> int:
    """Run the audit as a process of its own: it joins the lab's network, which this one must not."""
    words = [sys.executable, "-m", "pytest", "-p", "no:terminal", "-p", "no:cacheprovider", str(here / "checks")]
    # ids and paths are the same from a checkout and from an installed package, and a project around it has no say
    words += ["--rootdir", str(here), "-c", os.devnull]
    words += ["--inventory", str(here / "fixtures" / "inventory.yaml"), "--reports", str(reports.resolve())]
    return subprocess.run(words, check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"}).returncode


def _screen(results: Results, reports: Path, seconds: float) -> None:
    click.echo()
    for host in dict.fromkeys(check.host for check in results.checks):
        of_host = [check for check in results.checks if check.host == host]
        bad = [check for check in of_host if check.verdict in _BAD]
        click.echo(f"{host}: {len(of_host) - len(bad)} of {len(of_host)} checks as expected")
        for line in _causes(bad):
            click.echo(f"  {line}")
    click.echo(f"\nreport: {reports / 'latest' / 'report.html'}   ({seconds:.0f} s)")
    click.echo(counts_line(results))


def _causes(bad: Iterable[CheckResult]) -> list[str]:
    """Return one line a cause, the most frequent first, short enough for a terminal."""
    number = Counter(check.cause or check.reason for check in bad)
    width = max(shutil.get_terminal_size((100, 24)).columns, 60) - 16
    return [
        f"✖ {count:3d} {'checks' if count > 1 else 'check '}  {one_line(cause, width)}"
        for cause, count in number.most_common()
    ]


def _as_intended(results: Results) -> bool:
    """Whether the repaired server passed everything and the published one did not: what the demo is to show."""
    bad = {check.host for check in results.checks if check.verdict in _BAD}
    return bad == {"ai-server-published"}
