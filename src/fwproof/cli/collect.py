"""``fwproof collect``: read-only snapshots of hosts, for later questions and for drift."""

from __future__ import annotations

from pathlib import Path

import click

from fwproof.audit.engine import Engine, Local, read_all
from fwproof.audit.engine_dask import Dask
from fwproof.audit.field import Field
from fwproof.audit.reading import INVENTORY, live_snapshots
from fwproof.cli.completion import hosts as completed
from fwproof.cli.saying import safe
from fwproof.cli.tables import inventory_option
from fwproof.errors import HostError, UsageError
from fwproof.evidence.fail2ban import parse_jails
from fwproof.hosts import replay
from fwproof.inventory import Inventory
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.nearest import suggest
from fwproof.snapshot import Snapshot


@click.command()
@click.argument("hosts", nargs=-1, required=True, shell_complete=completed)
@inventory_option
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="A folder; each host gets one of its own in it.")  # fmt: skip
@click.option("--engine", default="threads", show_default=True, metavar="threads|processes|tls://HOST:PORT",
              help="Who reads: this machine, or the workers of a dask.distributed scheduler.")  # fmt: skip
@click.option("--jail", "jails", multiple=True, help="A fail2ban jail to ask about; may be repeated.")
def collect(hosts: tuple[str, ...], inventory: Path | None, output: Path, jails: tuple[str, ...], engine: str) -> None:
    """Read everything that an audit reads of HOSTS (names or groups of the inventory) and store it.

    Nothing is sent but SSH, and nothing is changed.

    \b
    Examples:
      fwproof collect web1 -o baseline
      fwproof collect ai-servers --inventory fixtures/inventory.yaml -o baseline --jail ollama-api

    \b
    Exit status: 0 stored · 4 bad input · 6 a host could not be looked at
    """
    known = load_inventory(inventory or INVENTORY)
    names = _names(known, hosts)
    found = live_snapshots(known, names, _say, jails=jails) if engine == "threads" else _by(engine, known, names, jails)
    bad = [name for name, snapshot in found.items() if not _store(name, snapshot, output, jails)]
    if bad:
        raise SystemExit(6)


def _say(line: str) -> None:
    click.echo(safe(line), err=True)


def _by(
    engine_name: str, inventory: Inventory, names: list[str], jails: tuple[str, ...]
) -> dict[str, Snapshot | HostError]:
    """Read hosts by an engine other than threads, and say which had to be read again."""
    if engine_name != "processes" and "://" not in engine_name:
        raise UsageError(f"--engine is threads, processes or tls://HOST:PORT, not {engine_name!r}")
    field = Field(inventory)
    try:
        field.enter_lab(_say)
        known = field.inventory
        engine: Engine = (
            Local(known.at_once, processes=True) if engine_name == "processes" else Dask(known, engine_name)
        )
        try:
            shards = read_all(known, [known.hosts[name] for name in names], engine, jails, _say)
        finally:
            engine.close()
    finally:
        field.close()
    for shard in shards.values():
        if shard.tries > 1:
            _say(f"{shard.host}: begun {shard.tries} times, because workers that read it were lost")
    return {name: shard.found for name, shard in shards.items()}


def _names(inventory: Inventory, wanted: tuple[str, ...]) -> list[str]:
    """Return the hosts that names and groups stand for; UsageError names the unknown ones."""
    unknown = [name for name in wanted if not inventory.select(name)]
    if unknown:
        near = suggest(unknown[0], [*inventory.hosts, *inventory.groups])
        raise UsageError(f"{inventory.path}: no host or group {', '.join(map(repr, unknown))}{near}")
    return list(dict.fromkeys(host.name for name in wanted for host in inventory.select(name)))


def _store(name: str, snapshot: Snapshot | HostError, output: Path, jails: tuple[str, ...]) -> bool:
    if isinstance(snapshot, HostError):
        click.echo(safe(str(snapshot)), err=True)
        return False
    replay.save(snapshot, output / name)
    click.echo(f"{name}: {len(snapshot.captures)} captures in {output / name}")
    listed = snapshot.captures.get("fail2ban-status")
    running = parse_jails(listed.stdout) if listed is not None else ()
    for jail in jails if running else ():
        if jail not in running:
            known = suggest(jail, running) or f"; there are {', '.join(running)}"
            click.echo(safe(f"  no jail {jail!r} runs there{known}"), err=True)
    if snapshot.faults:
        click.echo("  not there, or not to be read:", err=True)
    for what, fault in snapshot.faults.items():
        click.echo(safe(f"    {what}: {fault.message}"), err=True)
    return True
