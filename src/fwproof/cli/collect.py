"""``fwproof collect``: read-only snapshots of hosts, for later questions and for drift."""

from __future__ import annotations

from pathlib import Path

import click

from fwproof.audit.field import Field
from fwproof.errors import HostError, UsageError
from fwproof.hosts import replay
from fwproof.inventory import Inventory
from fwproof.policy.inventory_file import load_inventory


@click.command()
@click.argument("hosts", nargs=-1, required=True)
@click.option("--inventory", "path", type=click.Path(path_type=Path), default=Path("fixtures/inventory.yaml"),
              show_default=True)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="A folder; each host gets one of its own in it.")  # fmt: skip
@click.option("--jail", "jails", multiple=True, help="A fail2ban jail to ask about; may be repeated.")
def collect(hosts: tuple[str, ...], path: Path, output: Path, jails: tuple[str, ...]) -> None:
    """Read everything that an audit reads of HOSTS (names or groups of the inventory) and store it.

    Nothing is sent but SSH, and nothing is changed. Exit status 6 when a host could not be looked at.
    """
    inventory = load_inventory(path)
    names = _names(inventory, hosts)
    field = Field(inventory)
    try:
        field.enter_lab(lambda line: click.echo(line, err=True))
        field.open(names, dict.fromkeys(names, jails), agents=False)
        bad = [name for name in names if not _store(name, field, output)]
    finally:
        field.close()
    if bad:
        raise SystemExit(6)


def _names(inventory: Inventory, wanted: tuple[str, ...]) -> list[str]:
    """Return the hosts that names and groups stand for; UsageError names the unknown ones."""
    unknown = [name for name in wanted if not inventory.select(name)]
    if unknown:
        raise UsageError(f"{inventory.path}: no host or group {', '.join(map(repr, unknown))}")
    return list(dict.fromkeys(host.name for name in wanted for host in inventory.select(name)))


def _store(name: str, field: Field, output: Path) -> bool:
    snapshot = field.snapshots[name]
    if isinstance(snapshot, HostError):
        click.echo(f"{snapshot}", err=True)
        return False
    replay.save(snapshot, output / name)
    click.echo(f"{name}: {len(snapshot.captures)} captures in {output / name}")
    for what, fault in snapshot.faults.items():
        click.echo(f"  {what}: {fault.message}", err=True)
    return True
