"""``fwproof lint PATHS``: remarks about policies and their inventory; no host is asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from fwproof.advice import Advice, Linted, advice, counts
from fwproof.audit.reading import INVENTORY
from fwproof.audit.run import AuditRun
from fwproof.cli.plan import policy_files
from fwproof.cli.tables import say
from fwproof.errors import UsageError
from fwproof.policy.document import read_document

SCHEMA = "fwproof-lint-policy-1"


def lint_policies(paths: Sequence[Path], inventory: Path | None, kinds: Collection[str], form: str) -> None:
    """Print the remarks of some kinds about policies; exit with 1 where one is more than a note.

    Raises InputError with every fault of the policies, and UsageError where there are none.
    """
    files = policy_files(paths)
    if not files:
        raise UsageError(f"{', '.join(map(str, paths))}: there is no policy (a file that ends in .policy.yaml)")
    run = AuditRun(
        inventory_path=inventory or INVENTORY, reports=Path("reports"), exercise=True, command="lint", root=Path.cwd()
    )
    run.checks_of_all(files)
    linted = [Linted(policy=run.policies[f], document=read_document(f), checks=run.checks[f]) for f in files]
    every = advice(linted, run.inventory, read_document(run.inventory.path))
    found = [each for each in every if each.kind in kinds]
    if form == "json":
        remarks = [asdict(each) | {"level": "warning" if each.is_warning else "note"} for each in found]
        click.echo(json.dumps({"schema": SCHEMA, "findings": remarks, "counts": counts(found)}))
    else:
        say(_text(found, len(files)))
    if any(each.is_warning for each in found):
        raise SystemExit(1)


def _text(found: Sequence[Advice], files: int) -> Iterator[str]:
    yield from map(str, found)
    told = ", ".join(f"{number} {kind}" for kind, number in counts(found).items())
    yield told or f"no remarks on {files} {'policy' if files == 1 else 'policies'}"
