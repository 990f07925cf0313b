"""``fwproof collect``: read-only snapshots of hosts, for later questions and for drift."""

from __future__ import annotations

from pathlib import Path

import click

from fwproof.audit.reading import INVENTORY, live_snapshots
from fwproof.cli.completion import hosts as completed
from fwproof.cli.tables import inventory_option, safe
from fwproof.errors import HostError, UsageError
from fwproof.hosts import replay
from fwproof.inventory import Inventory
from fwproof.policy.fields import suggest
from fwproof.policy.inventory_file import load_inventory
from fwproof.snapshot import Snapshot


@click.command()
@click.argument("hosts", nargs=-1, required=True, shell_complete=completed)
@inventory_option
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="A folder; each host gets one of its own in it.")  # fmt: skip
@click.option("--jail", "jails", multiple=True, help="A fail2ban jail to ask about; may be repeated.")
def collect(hosts: tuple[str, ...], inventory: Path | None, output: Path, jails: tuple[str, ...]) -> None:
    """Read everything that an audit reads of HOSTS (names or groups of the inventory) and store it.

    Nothing is sent but SSH, and nothing is changed. Exit status 6 when a host could not be looked at.

    \b
    Examples:
      fwproof collect web1 -o baseline
      fwproof collect ai-servers --inventory fixtures/inventory.yaml -o baseline --jail ollama-api
    """
    known = load_inventory(inventory or INVENTORY)
    found = live_snapshots(known, _names(known, hosts), lambda line: click.echo(line, err=True), jails=jails)
    bad = [name for name, snapshot in found.items() if not _store(name, snapshot, output)]
    if bad:
        raise SystemExit(6)


def _names(inventory: Inventory, wanted: tuple[str, ...]) -> list[str]:
    """Return the hosts that names and groups stand for; UsageError names the unknown ones."""
    unknown = [name for name in wanted if not inventory.select(name)]
    if unknown:
        near = suggest(unknown[0], [*inventory.hosts, *inventory.groups])
        raise UsageError(f"{inventory.path}: no host or group {', '.join(map(repr, unknown))}{near}")
    return list(dict.fromkeys(host.name for name in wanted for host in inventory.select(name)))


def _store(name: str, snapshot: Snapshot | HostError, output: Path) -> bool:
    if isinstance(snapshot, HostError):
        click.echo(safe(str(snapshot)), err=True)
        return False
    replay.save(snapshot, output / name)
    click.echo(f"{name}: {len(snapshot.captures)} captures in {output / name}")
    for what, fault in snapshot.faults.items():
        click.echo(safe(f"  {what}: {fault.message}"), err=True)
    return True
