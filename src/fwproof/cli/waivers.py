"""``fwproof waivers``: what is accepted, by whom, and for how long still."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

import click

from fwproof.audit.reading import INVENTORY
from fwproof.audit.waivers import policy_names, recorded
from fwproof.cli.saying import safe, say
from fwproof.errors import Fault, InputError, UsageError
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.waiver_file import load_waivers
from fwproof.policy.waivers import FILE, State
from fwproof.run_record import WaiverRecord

SCHEMA = "fwproof-waivers-1"


def _days(text: str | None) -> int | None:
    if text is None:
        return None
    if not (found := re.fullmatch(r"(\d{1,4})d?", text)):
        raise UsageError(f"--expiring {text}: expected a number of days such as 30d")
    return int(found[1])


def _files(paths: Sequence[str]) -> Iterator[Path]:
    for path in map(Path, paths or ("checks",)):
        yield path / FILE if path.is_dir() else path


def _read(paths: Sequence[str], inventory: Path, today: date) -> Iterator[WaiverRecord]:
    """Yield the waivers of all files; raises InputError with every fault of all of them."""
    known = load_inventory(inventory)
    faults: list[Fault] = []
    found: list[WaiverRecord] = []
    for path in _files(paths):
        try:
            read = load_waivers(path, known, policy_names(path.parent))
            found += [recorded(waiver, today) for waiver in read.waivers]
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    yield from sorted(found, key=lambda each: (each.days_left, each.id))


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--inventory", type=click.Path(path_type=Path), default=INVENTORY, show_default=True,
              help="The hosts that waivers may name.")  # fmt: skip
@click.option("--expired", is_flag=True, help="Only those that are not in force.")
@click.option("--expiring", metavar="DAYS", help="Only those with at most so many days left, such as 30d.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def waivers(paths: tuple[str, ...], inventory: Path, expired: bool, expiring: str | None, form: str) -> None:  # noqa: FBT001
    """Show accepted deviations: who owns and who accepted them, and how long they last.

    PATHS are files of waivers, or folders with a waivers.yaml (default: checks). An audit applies those beside its
    policies by itself.

    \b
    Examples:
      fwproof waivers
      fwproof waivers --expiring 30d
    \b
    Exit status: 0 all that are shown are in force · 1 one is not · 4 bad input
    """
    limit, today = _days(expiring), datetime.now(UTC).date()
    found = [
        each for each in _read(paths, inventory, today)
        if (not expired or each.state != State.IN_FORCE) and (limit is None or each.days_left <= limit)
    ]  # fmt: skip
    if form == "json":
        click.echo(json.dumps({"schema": SCHEMA, "on": today.isoformat(), "waivers": [asdict(each) for each in found]}))
    else:
        for each in found:
            say(_text(each))
        say([f"{len(found)} {'waiver' if len(found) == 1 else 'waivers'} on {today} (UTC)"])
    if any(each.state != State.IN_FORCE for each in found):
        raise click.exceptions.Exit(1)


def _text(one: WaiverRecord) -> list[str]:
    days = f"{one.days_left} {'day' if one.days_left == 1 else 'days'} left"
    hosts = f" on {', '.join(one.hosts)}" if one.hosts else ""
    rows = {
        "checks": f"{', '.join(one.checks)} of {one.policy}{hosts}",
        "cause": one.cause, "why": one.reason, "meanwhile": one.compensating_control,
        "owner": one.owner, "accepted": f"by {one.approver}{f' ({one.ticket})' if one.ticket else ''}, {one.created}",
    }  # fmt: skip
    head = f"{one.id}: {one.state} until {one.expires}, {days}" if one.state == State.IN_FORCE else (
        f"{one.id}: {one.state.upper()} ({one.created} to {one.expires})"
    )  # fmt: skip
    return [head, *(f"{name:>10}: {' '.join(safe(text).split())}" for name, text in rows.items() if text), ""]
