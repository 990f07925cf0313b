"""``fwproof plan``: everything that an audit would do, without doing any of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import click

from fwproof.audit.allowed import check_scope
from fwproof.audit.estimate import duration, targets
from fwproof.audit.planned import planned
from fwproof.audit.reading import INVENTORY
from fwproof.audit.run import AuditRun
from fwproof.cli.plan_text import Answer, document, text
from fwproof.cli.saying import say
from fwproof.cli.tables import inventory_option
from fwproof.errors import UsageError
from fwproof.plugin import SUFFIX
from fwproof.policy.nearest import suggest_path

_NOTHING = 5


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@inventory_option
@click.option("--no-exercise", is_flag=True, help="As for an audit that provokes nothing.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def plan(paths: tuple[Path, ...], inventory: Path | None, no_exercise: bool, form: str) -> None:  # noqa: FBT001
    """Say what an audit of the policies in PATHS (default: checks) would do; nothing is connected to.

    \b
    Examples:
      fwproof plan
      fwproof plan checks --inventory fixtures/inventory.yaml --format json

    Every log-in, command, packet and connection, by the code that an audit uses; how many packets each host gets, of
    how many a second it may get; about how long it takes; what is taken back. Tables are not read, so hosts are taken
    to be as their policies say, and what may come on top is said with its bound.

    \b
    Exit status: 0 said · 4 bad input, or a host that the authorisation does not cover · 5 nothing would be tested
    """
    run = AuditRun(
        inventory_path=inventory or INVENTORY, reports=Path("reports"), exercise=not no_exercise, command="plan",
        root=Path.cwd(),
    )  # fmt: skip
    files = policy_files(paths or (Path("checks"),))
    known, checks = run.inventory, run.checks_of_all(files)
    check_scope(known, list(dict.fromkeys(check.host for check in checks)))
    found = planned(checks, known, exercise=not no_exercise)
    gets = targets(found, known)
    answer = Answer(
        inventory=str(known.path), policies=tuple(map(str, files)), checks=len(checks),
        authorisation=known.authorisation, plan=found, targets=gets,
        seconds=duration(found, checks, known, gets),
    )  # fmt: skip
    if form == "json":
        click.echo(json.dumps(document(answer)))
    elif not files:
        say([f"{', '.join(map(str, paths or ('checks',)))}: there is no policy (a file that ends in {SUFFIX})"])
    else:
        say(text(answer))
    if not checks:
        raise SystemExit(_NOTHING)


def policy_files(paths: Iterable[Path]) -> list[Path]:
    """Return the policy files of paths, as pytest would collect them; UsageError for a path that is not there."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder{suggest_path(path)}")
        found += sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    return list(dict.fromkeys(found))
