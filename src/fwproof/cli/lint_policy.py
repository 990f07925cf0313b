"""``fwproof lint PATHS``: remarks about policies and their inventory; no host is asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from fwproof.advice import Linted, advice, counts
from fwproof.audit.reading import INVENTORY
from fwproof.audit.run import AuditRun
from fwproof.cli.lint_sarif import policy_sarif
from fwproof.cli.plan import policy_files
from fwproof.cli.saying import say
from fwproof.errors import Fault, InputError, UsageError
from fwproof.policy.document import read_document
from fwproof.remark import Advice

SCHEMA = "fwproof-lint-policy-1"


def lint_policies(paths: Sequence[Path], inventory: Path | None, kinds: Collection[str], form: str) -> None:
    """Print the remarks of some kinds about policies; exit with 1 where one is more than a note.

    Raises InputError with every fault of the policies, which a document has as well, and UsageError where there is no
    policy.
    """
    files = policy_files(paths)
    if not files:
        raise UsageError(f"{', '.join(map(str, paths))}: there is no policy (a file that ends in .policy.yaml)")
    run = AuditRun(
        inventory_path=inventory or INVENTORY, reports=Path("reports"), exercise=True, command="lint", root=Path.cwd()
    )
    try:
        run.checks_of_all(files)
    except InputError as error:
        _print([], error.faults, form)
        raise
    linted = [Linted(policy=run.policies[f], document=read_document(f), checks=run.checks[f]) for f in files]
    every = advice(linted, run.inventory, read_document(run.inventory.path))
    found = [each for each in every if each.kind in kinds]
    if form == "text":
        say(_text(found, len(files)))
    else:
        _print(found, (), form)
    if any(each.is_warning for each in found):
        raise SystemExit(1)


def _print(found: Sequence[Advice], faults: Sequence[Fault], form: str) -> None:
    """Print a document of remarks and faults; as text, faults are the message that ends the command."""
    if form == "json":
        remarks = [asdict(each) | {"level": "warning" if each.is_warning else "note"} for each in found]
        document = {"schema": SCHEMA, "findings": remarks, "counts": counts(found), "faults": list(map(asdict, faults))}
        click.echo(json.dumps(document))
    elif form == "sarif":
        click.echo(policy_sarif(found, faults, Path.cwd()), nl=False)


def _text(found: Sequence[Advice], files: int) -> Iterator[str]:
    yield from map(str, found)
    for level in ("warning", "note"):
        those = [each for each in found if each.is_warning is (level == "warning")]
        if those:
            kinds = ", ".join(f"{number} {kind}" for kind, number in counts(those).items())
            yield f"{len(those)} {level}{'' if len(those) == 1 else 's'}: {kinds}"
    if not found:
        yield f"no remarks on {files} {'policy' if files == 1 else 'policies'}"
