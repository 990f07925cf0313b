"""``fwproof audit``: pytest on the policies, with nothing added but defaults."""

from __future__ import annotations

import os
import sys

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--inventory", type=click.Path(), help="The hosts and zones  [default: fixtures/inventory.yaml].")
@click.option("--reports", type=click.Path(), help="Where runs are written  [default: reports].")
@click.option("--trace", is_flag=True, help="Have audited hosts tell which rules the probes meet (nft trace).")
@click.option("--sign-key", type=click.Path(), help="SSH key to sign the run with  [FWPROOF_SIGN_KEY, inventory].")
@click.argument("paths", nargs=-1, type=click.UNPROCESSED)
def audit(
    inventory: str | None, reports: str | None, sign_key: str | None, paths: tuple[str, ...], *, trace: bool
) -> None:  # fmt: skip
    """Audit the hosts of the policies in PATHS (default: checks).

    Everything that pytest understands may follow: -k, -m, -x, --lf, -v …

    With --trace, the kernel of an audited host tells of each probe which rules it met; the trigger takes marked packets
    only, and vanishes with the host's agent, however that ends. The host's administrator has to allow it
    (`fwproof agent install --trace`), or the access is root.

    \b
    Exit status: 0 as expected · 1 violation · 2 interrupted · 3 internal error · 4 bad input
                 5 nothing was tested · 6 nothing failed, but something is undetermined
    """
    words = [sys.executable, "-m", "pytest"]
    if inventory is not None:
        words += ["--inventory", inventory]
    if reports is not None:
        words += ["--reports", reports]
    if sign_key is not None:
        words += ["--sign-key", sign_key]
    if trace:
        words.append("--trace-rules")
    names_a_path = any(os.path.exists(word.partition("::")[0]) for word in paths if not word.startswith("-"))  # noqa: PTH110
    os.execv(sys.executable, [*words, *paths, *([] if names_a_path else ["checks"])])  # noqa: S606
