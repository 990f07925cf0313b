"""``fwproof bundle``: a copy of a stored run for somebody else, with other addresses where they may not know them."""

from __future__ import annotations

from pathlib import Path

import click

from fwproof.cli.saying import safe
from fwproof.report.mask import masked_copy
from fwproof.report.sign import SIGN_KEY


@click.command()
@click.option("--mask-addresses", is_flag=True, required=True, help="Replace every address by a pseudonym.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The copy's folder; it is made.")
@click.option("--sign-key", type=click.Path(path_type=Path), envvar=SIGN_KEY, help="SSH key to sign the copy with.")
@click.argument("run", type=click.Path(path_type=Path), default=Path("reports/latest"))
def bundle(run: Path, output: Path, sign_key: Path | None, *, mask_addresses: bool) -> None:
    """Copy RUN, the folder of a stored run, with other addresses, to be given to a third party.

    Pseudonyms keep their prefixes, so that networks stay networks, and are the same in every file. OUTPUT.key, beside
    the copy and readable by you alone, holds what tells which is which: keep it. Captured packets are left out.

    The copy names the hash of the original's SHA256SUMS. `fwproof verify` says of it which verdicts it still shows.

    \b
    Examples:
      fwproof bundle reports/latest --mask-addresses -o for-the-auditor

    \b
    Exit status: 0 written · 4 bad input, or the output is already there
    """
    del mask_addresses  # the only copy there is so far
    key = masked_copy(run, output, sign_key=sign_key)
    click.echo(safe(f"{output}: written, with other addresses; {key} tells which is which and is for you alone"))
