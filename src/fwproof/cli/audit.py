"""``fwproof audit``: pytest on the policies, with nothing added but defaults."""

from __future__ import annotations

import os
import sys

import click

from fwproof.exit_status import SEVERITIES
from fwproof.plugin_reports import SERVICES


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--inventory", type=click.Path(), help="The hosts and zones  [default: fixtures/inventory.yaml].")
@click.option("--reports", type=click.Path(), help="Where runs are written  [default: reports].")
@click.option("--trace", is_flag=True, help="Have audited hosts tell which rules the probes meet (nft trace).")
@click.option(
    "--engine", "fwproof_engine", metavar="threads|tls://HOST:PORT",
    help="Who connects to hosts: this process, or the workers of a dask.distributed scheduler  [default: threads].",
)  # fmt: skip
@click.option("--sign-key", type=click.Path(), help="SSH key to sign the run with  [FWPROOF_SIGN_KEY, inventory].")
@click.option(
    "--fail-on", type=click.Choice(SEVERITIES), help="Findings of lower severity leave the exit status alone."
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 also after violations (1) and open questions (6).")
@click.option("--fw-formats", metavar="NAMES", help="Further formats for the run's folder: hdf,sarif,oscal-ar,gitlab,…")
@click.option("--junit-dialect", type=click.Choice(["strict", "rich"]), help="Of junit.xml  [default: strict].")
@click.option(
    "--fw-ci", type=click.Choice(["auto", *SERVICES]),
    help="Whose annotations and summaries to write  [default: auto, from the environment].",
)  # fmt: skip
@click.argument("paths", nargs=-1, type=click.UNPROCESSED)
def audit(*, trace: bool, exit_zero: bool, paths: tuple[str, ...], **given: str | None) -> None:
    """Audit the hosts of the policies in PATHS (default: checks).

    Everything that pytest understands may follow: -k, -m, -x, --lf, -v …

    With --trace, the kernel of an audited host tells of each probe which rules it met; the trigger takes marked packets
    only, and vanishes with the host's agent, however that ends. The host's administrator has to allow it
    (`fwproof agent install --trace`), or the access is root.

    \b
    Exit status: 0 as expected · 1 violation · 2 interrupted · 3 internal error · 4 bad input
                 5 nothing was tested · 6 nothing failed, but something is undetermined
    --fail-on and --exit-zero change the status alone: everything is tested, reported and shown all the same. A check
    that could not be told counts as severe as it might be; --exit-zero leaves 2 to 5 as they are.

    \b
    Examples:
      fwproof audit
      fwproof audit checks --inventory fixtures/inventory.yaml -k ssh
      fwproof audit --fail-on high --fw-formats sarif,hdf
    """
    words = [sys.executable, "-m", "pytest"]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", value] if value is not None else []
    words += ["--trace-rules"] * trace + ["--exit-zero"] * exit_zero
    names_a_path = any(os.path.exists(word.partition("::")[0]) for word in paths if not word.startswith("-"))  # noqa: PTH110
    os.execv(sys.executable, [*words, *paths, *([] if names_a_path else ["checks"])])  # noqa: S606
