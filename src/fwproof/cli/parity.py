"""``fwproof parity``: what the IPv4 and the IPv6 tables of a host let through differently."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from fwproof.audit.reading import INVENTORY
from fwproof.cli.saying import say
from fwproof.cli.tables import packet_json, read_tables, rule_json, table_options
from fwproof.errors import UsageError
from fwproof.flow import Family
from fwproof.policy.inventory_file import load_inventory
from fwproof.semantics.parity import Difference, Parity, Standing, difference_lines
from fwproof.semantics.parity import parity as compare
from fwproof.semantics.parity_zones import ELSEWHERE, Group, groups_of
from fwproof.semantics.space import SpaceTooLarge

SCHEMA = "fwproof-parity-1"
_EXPECTED = "expected a name and networks such as internal=10.0.0.0/16,fd00::/48"


def _zone(text: str) -> Group:
    name, _, networks = text.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not networks or name == ELSEWHERE:
        raise UsageError(f"--zone {text}: {_EXPECTED}")
    try:
        return Group(name, tuple(ip_network(each.strip()) for each in networks.split(",")))
    except ValueError as error:
        raise UsageError(f"--zone {text}: {_EXPECTED} ({error})") from error


def _groups(inventory: Path | None, zones: tuple[str, ...]) -> tuple[Group, ...]:
    if inventory is not None and zones:
        raise UsageError("give either --inventory or --zone, not both")
    if inventory is not None:
        return groups_of(load_inventory(inventory))
    groups = tuple(map(_zone, zones))
    names = [group.name for group in groups]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--zone {twice}: the name is given twice; put all its networks into one --zone")
    return groups


@click.command()
@table_options
@click.option("--zone", "zones", multiple=True, metavar="NAME=NET,NET",
              help="A zone with its networks in both families; may be repeated.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def parity(zones: tuple[str, ...], form: str, **files: Path | str | None) -> None:
    """Show what IPv4 and IPv6 let in, out and through differently, zone by zone.

    \b
    Examples:
      fwproof parity --iptables-save rules.v4 --ip6tables-save rules.v6 --zone internal=10.0.0.0/16,fd00::/48
      fwproof parity --snapshot web1/ --inventory inventory.yaml
      fwproof parity --host web1

    Of every zone and every service it is computed whether all addresses, some or none can open a connection; limits
    are compared by their parameters. Not compared is what one family has for itself: ICMP but for echo, DHCP, IGMP,
    extension headers, link-local and multicast addresses. Zones are those of --inventory or --zone. Exit status: 0
    same, 1 different, 6 not known.
    """
    live = files["host"] is not None
    inventory = files["inventory"] if live else files.pop("inventory")
    if live:
        inventory = None if zones else inventory or INVENTORY
    groups = _groups(None if inventory is None else Path(inventory), zones)
    model, families = read_tables(files, None)
    if set(families) != set(Family):
        raise UsageError("both families are needed: give --iptables-save FILE and --ip6tables-save FILE, or --snapshot")
    try:
        found = compare(model, groups)
    except SpaceTooLarge as limit:
        found = Parity(differences=(), unknown=(str(limit),))
    if form == "json":
        click.echo(json.dumps(_document(found)))
    else:
        say(_text(found))
    raise SystemExit(1 if found.differences else 6 if found.unknown else 0)


def _document(found: Parity) -> dict[str, Any]:
    return {
        "schema": SCHEMA, "same": found.same, "differences": [_json(each) for each in found.differences],
        "open_in_part": list(found.partly), "not_compared": list(found.alone), "not_answered": list(found.unknown),
    }  # fmt: skip


def _json(difference: Difference) -> dict[str, Any]:
    sides = {family.value: _standing(standing) for family, standing in difference.sides.items()}
    return {"hook": difference.hook.value, "boxes": [room.as_json() for room in difference.rooms], **sides}


def _standing(standing: Standing) -> dict[str, Any]:
    ruling = standing.ruling
    return {
        "status": standing.status, "depends_on": list(standing.depends_on),
        "decision": None if ruling is None else ruling.decision.value,
        "by": None if ruling is None else rule_json(ruling.by), "witness": packet_json(standing.witness),
    }  # fmt: skip


def _text(found: Parity) -> Iterator[str]:
    for each in found.differences:
        yield from difference_lines(each)
    yield from (f"open to a part of a zone in both families: {text}" for text in found.partly)
    yield from (f"not compared: {text}" for text in found.alone)
    yield from (f"not known: {text}" for text in found.unknown)
    if found.same:
        yield "same: IPv4 and IPv6 let the same through at input, output and forward, zone by zone"
