"""What the pytest plugin's options say about reports: further formats, dialects, CI services, and the exit status.

Heavy imports wait until a session has policies.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fwproof.exit_status import SEVERITIES, Gate

if TYPE_CHECKING:
    from fwproof.report.ci import Service
    from fwproof.results import Results

_DIALECTS = ("strict", "rich")
SERVICES = ("github", "gitlab", "azure", "jenkins", "plain")
"""The words of :class:`fwproof.report.ci.Service`, for command lines."""


def add_options(group: pytest.OptionGroup) -> None:
    """Add the options to the plugin's own."""
    group.addoption(
        "--fail-on",
        choices=SEVERITIES,
        metavar="SEVERITY",
        help="violations and open questions of lower severity leave the exit status alone; they are reported all the"
        f" same ({', '.join(SEVERITIES)})",
    )
    group.addoption(
        "--exit-zero",
        action="store_true",
        help="exit with 0 also after violations (1) and open questions (6); 2 to 5 stay",
    )
    group.addoption(
        "--fw-formats",
        metavar="NAMES",
        default=(),
        type=_formats,
        help="further formats for the run's folder, comma-separated: hdf, sarif, oscal-ar, gitlab, …",
    )
    group.addoption(
        "--junit-dialect",
        choices=_DIALECTS,
        default="strict",
        help="junit.xml as the schemas have it (strict), or with files, lines, owners and attachments (rich)",
    )
    group.addoption(
        "--fw-ci",
        choices=("auto", *SERVICES),
        default="auto",
        help="whose annotations and summaries to write: github, gitlab, azure, jenkins, plain for none"
        " (default: recognised from the environment)",
    )


def _formats(text: str) -> list[str]:
    """Return the names of a comma-separated list; a type of argparse, which shows the message of the error."""
    from fwproof.report.formats import EXTRAS

    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in EXTRAS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(sorted(EXTRAS))}")
    return names


def gate(config: pytest.Config) -> Gate:
    """Return what the exit status depends on."""
    return Gate(
        config.getoption("--fail-on"), exit_zero=config.getoption("--exit-zero"),
        strict_waivers=config.getoption("--strict-waivers"),
    )  # fmt: skip


def reports_as(config: pytest.Config) -> dict[str, str]:
    """Return the files of the run's folder with their formats."""
    from fwproof.report.ci import Service
    from fwproof.report.formats import reports
    from fwproof.report.junit import Dialect

    extras = list(config.getoption("--fw-formats"))
    if _service(config) is Service.GITLAB:
        extras.append("gitlab")
    return reports(extras, Dialect(config.getoption("--junit-dialect")))


def lines_for_the_service(config: pytest.Config, results: Results, folder: Path | None) -> list[str]:
    """Return the lines that the job's service reads, and give GitHub its summary."""
    from fwproof.report import ci, write

    service, summary = _service(config), os.environ.get("GITHUB_STEP_SUMMARY")
    lines = ci.annotation_lines(results, service, folder)
    if service is ci.Service.GITHUB and summary:
        try:
            if not write.append_job_summary(results, Path(summary)):
                lines.append("the step's summary is full: the one of this run is summary.md in its folder")
        except OSError as error:
            lines.append(f"the job summary cannot be written: {error.strerror}")
    return lines


def _service(config: pytest.Config) -> Service:
    from fwproof.report.ci import Service, recognised

    chosen = config.getoption("--fw-ci")
    return recognised(os.environ) if chosen == "auto" else Service(chosen)
