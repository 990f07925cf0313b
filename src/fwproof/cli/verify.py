"""``fwproof verify``: whether a stored run is what was written, and every verdict what its evidence leads to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from fwproof.cli.saying import say
from fwproof.verify.chain import chain
from fwproof.verify.verify import Verified
from fwproof.verify.verify import verify as verify_run

_SHOWN = 20


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--signers",
    type=click.Path(path_type=Path),
    help="Who may sign (allowed_signers of ssh-keygen): a run must be signed.",
)
@click.option("--chain", "whole", is_flag=True, help="FOLDER has all runs: verify each, and that none is missing.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("reports/latest"))
def verify(form: str, signers: Path | None, folder: Path, *, whole: bool) -> None:
    """Verify the run in FOLDER: its hashes, signature, schema and chain; and work out every verdict again.

    The tables are read again as the hosts printed them, the model is built again, and the same judges judge what was
    observed. Nothing but FOLDER is read, no host and no network is touched.

    \b
    Examples:
      fwproof verify reports/latest
      fwproof verify reports --chain --signers allowed_signers

    \b
    Exit status: 0 all is as it was written · 1 something is not · 4 no run there
                 6 nothing is wrong, but a verdict cannot be worked out again (each is named)
    """
    folders, problems = chain(folder) if whole else ([folder], [])
    found = [verify_run(each, signers) for each in folders]
    status = 1 if problems else max((each.status for each in found), key=(0, 6, 1).index, default=0)
    if form == "json":
        document = {
            "status": status, "runs": [each.as_json() for each in found],
            "chain": [{"kind": p.kind, "where": p.where, "message": p.message} for p in problems],
        }  # fmt: skip
        click.echo(json.dumps(document, indent=2, sort_keys=True))
    else:
        for each in found:
            say(_tell(each))
        if whole:
            told = (
                "broken"
                if problems
                else "unbroken; keep a note of the last run's hash elsewhere, nothing here tells of it"
            )
            say([f"chain of {len(found)} runs: {told}"])
        say(f"  ✖ {problem}" for problem in problems)
    raise SystemExit(status)


def _tell(found: Verified) -> Iterator[str]:
    done = found.recomputed
    words = {0: "verified", 1: "NOT verified", 6: "verified in part"}
    yield f"{found.run or found.folder}: {words[found.status]}"
    yield from (f"  {line}" for line in (found.masked, found.signature, found.previous) if line)
    recorded = f", {len(done.as_recorded)} of them with predictions as recorded" if done.as_recorded else ""
    yield f"  {found.files} files; {len(done.same)} of {found.checks} verdicts worked out again{recorded}"
    yield from (f"  {note}" for note in found.notes)
    yield from (f"  ✖ {problem}" for problem in found.problems[:_SHOWN])
    if len(found.problems) > _SHOWN:
        yield f"  … and {len(found.problems) - _SHOWN} more problems (--format json has all)"
    if found.status != 6:
        return
    yield from (f"  ? {id_}: {why}" for id_, why in list(done.impossible.items())[:_SHOWN])
    if len(done.impossible) > _SHOWN:
        yield f"  … and {len(done.impossible) - _SHOWN} more that cannot be worked out again"
