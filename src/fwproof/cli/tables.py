"""Where the verbs over whole rule tables get them from: a live host, a snapshot's folder, or files.

What was not understood is said on stderr, whatever the verb; the answers count it in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fwproof.cli.saying import safe
from fwproof.decision import RuleRef
from fwproof.errors import Fault, HostError, InputError, UsageError
from fwproof.flow import Family, Flow
from fwproof.semantics.model import HostModel
from fwproof.semantics.understood import Inexact, Reading, total, understood
from fwproof.snapshot import Snapshot

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from fwproof.hosts.transport import Transport

_FILES = {
    "iptables_save": "Output of iptables-save.",
    "ip6tables_save": "Output of ip6tables-save.",
    "iptables_legacy_save": "Output of iptables-legacy-save, where both variants are in use.",
    "ip6tables_legacy_save": "Output of ip6tables-legacy-save.",
    "nft_json": "Output of nft -j list ruleset.",
    "ipset_save": "Output of ipset save.",
    "addresses": "Output of ip -j addr.",
    "routes": "Output of ip -j route (and ip -6 -j route after it).",
    "sysctls": "Output of sysctl -a, or of grep -r over /proc/sys/net.",
}
_SAVES = {
    Family.IPV4: ("iptables_save", "iptables_legacy_save"),
    Family.IPV6: ("ip6tables_save", "ip6tables_legacy_save"),
}  # fmt: skip
_COMPLAINTS = 20
_SHOWN = 300
Command = Callable[..., None]
Given = Mapping[str, Path | str | None]
"""The options of :func:`table_options` as a command gets them; ``host`` is a name, the others are paths."""


def inventory_option(command: Command) -> Command:
    """Add ``--inventory``, None where it was not given."""
    text = "The hosts that can be read live  [default: fixtures/inventory.yaml]."
    return click.option("--inventory", type=click.Path(path_type=Path), help=text)(command)


def file_options(command: Command) -> Command:
    """Add the options that name files of tables, addresses and routes."""
    for key, text in reversed(_FILES.items()):
        command = click.option(f"--{key.replace('_', '-')}", type=click.Path(path_type=Path), help=text)(command)
    return command


def table_options(command: Command) -> Command:
    """Add the options that name rule tables; the command gets them as keyword arguments for :func:`read_tables`."""
    command = file_options(command)
    folder = "A folder that fwproof collect wrote for one host."
    command = click.option("--snapshot", type=click.Path(path_type=Path), help=folder)(command)
    command = inventory_option(command)
    text = "A host of the inventory, read live over SSH."
    return click.option("--host", metavar="NAME", help=text, shell_complete=_hosts)(command)


def _hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from fwproof.cli.completion import hosts

    return hosts(ctx, param, incomplete)


def families_option(command: Command) -> Command:
    """Add ``--family``; without it every family that was given is looked at."""
    kinds = click.Choice([family.value for family in Family])
    return click.option("--family", "family", type=kinds, help="Only this address family.")(command)


@dataclass(frozen=True, slots=True)
class Tables:
    """The model of what was given, the families to look at, and where it is from, for messages."""

    model: HostModel
    families: list[Family]
    place: str = ""


def read_tables(
    options: Given, family: str | None, needed: Collection[Family] = tuple(Family), *, loud: bool = True
) -> tuple[HostModel, list[Family]]:
    """Return the model of the given tables and the families to look at; the command line must name some.

    Of a host, the tables of ``family`` have to be readable, or of all in ``needed`` where None. Says on stderr which
    lines were not understood, if ``loud``. Raises UsageError, InputError for what cannot be read, HostError where a
    host could not be looked at.
    """
    found = _given({key: value for key, value in options.items() if value is not None}, family, needed)
    if loud:
        complain(found)
    return found.model, found.families


def _given(given: dict[str, Path | str], family: str | None, needed: Collection[Family]) -> Tables:
    inventory = given.pop("inventory", None)
    if inventory is not None and "host" not in given:
        raise UsageError("--inventory is where --host is looked up: give --host NAME as well")
    if len(given) > 1 and given.keys() & {"host", "snapshot"}:
        raise UsageError("give one of --host, --snapshot and files: tables of different places make no host")
    if "host" in given:
        name = str(given["host"])
        return of_host(live([name], inventory)[name], family, name, needed)
    if "snapshot" in given:
        return of_folder(Path(given["snapshot"]), family, needed)
    return of_files({key: Path(path) for key, path in given.items()}, family)


def live(names: Iterable[str], inventory: Path | str | None) -> dict[str, Snapshot | HostError]:
    """Read hosts of an inventory file live; raises UsageError for a name that is none of them."""
    from fwproof.audit import reading
    from fwproof.policy.inventory_file import load_inventory

    known = load_inventory(Path(inventory or reading.INVENTORY))
    wanted = [reading.one_host(known, name) for name in dict.fromkeys(names)]
    return reading.live_snapshots(known, wanted, lambda line: click.echo(line, err=True))


@contextmanager
def live_host(name: str, inventory: Path | str | None) -> Iterator[tuple[Snapshot, Transport]]:
    """Read one host live and keep the connection; raises UsageError for a name that is none, and HostError."""
    from fwproof.audit import reading
    from fwproof.policy.inventory_file import load_inventory

    known = load_inventory(Path(inventory or reading.INVENTORY))
    host = reading.one_host(known, name)
    with reading.opened(known, [host], lambda line: click.echo(line, err=True)) as field:
        read = field.snapshots[host]
        if isinstance(read, HostError):
            raise read
        yield read, field.transports[host]


def of_folder(folder: Path, family: str | None, needed: Collection[Family] = tuple(Family)) -> Tables:
    """Return the tables of a folder that ``fwproof collect`` wrote."""
    from fwproof.hosts import replay

    return of_host(replay.load(folder), family, str(folder), needed)


def of_host(
    found: Snapshot | HostError, family: str | None, place: str, needed: Collection[Family] = tuple(Family)
) -> Tables:  # fmt: skip
    """Return the tables of a host that was read; ``place`` names it."""
    from fwproof.audit import reading

    wanted = [Family(family)] if family else list(needed)
    try:
        return Tables(reading.model_from(found, wanted), wanted, f"{place}: ")
    except HostError as error:
        raise _with_the_way_out(error, found, wanted) from error


def _with_the_way_out(error: HostError, found: Snapshot | HostError, wanted: list[Family]) -> HostError:
    """Name the family that can be asked about where only the other one could not be read."""
    from fwproof.audit.modelling import model_of

    others = [each for each in wanted if len(wanted) > 1 and isinstance(model_of(found, {each}), HostModel)]
    if not others:
        return error
    advice = f"--family {others[0]} asks about what was read"
    return type(error)(error.host, error.message, f"{error.advice}; {advice}" if error.advice else advice)


def of_files(files: Mapping[str, Path], family: str | None) -> Tables:
    """Return the tables of files, by the parameter of :meth:`HostModel.build` that they are for."""
    known = [each for each in Family if any(key in files for key in _SAVES[each])]
    if "nft_json" in files:
        known = list(Family)
    if not known:
        raise UsageError("no rule tables: give --host NAME, --snapshot FOLDER, --iptables-save FILE or --nft-json FILE")
    if family is not None and Family(family) not in known:
        raise UsageError(f"--family {family}: no tables of that family were given")
    wanted = known if family is None else [Family(family)]
    texts: dict[str, Any] = {key: read_text(path) for key, path in files.items()}
    for key, text in texts.items():
        _look_at(files[key], text, saved=key.endswith("tables_save"))
    return Tables(HostModel.build(**texts, sources={key: str(path) for key, path in files.items()}), wanted)


def _look_at(path: Path, text: str, *, saved: bool) -> None:
    """Say which file is empty, for a host without rules prints nothing, and one that refused did neither.

    Raises InputError for one that iptables-save cannot have written.
    """
    if saved and not text.strip():
        click.echo(safe(f"{path}: the file is empty; it is taken for what a host without rules prints"), err=True)
    elif saved and not re.search(r"^(\*|#)", text, re.MULTILINE):
        raise InputError(
            [Fault(str(path), 0, 0, "expected the output of iptables-save: tables, from *filter to COMMIT")]
        )


def read_text(path: Path) -> str:
    """Return a file's text, byte for byte; raises InputError when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError([Fault(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from error


def complain(tables: Tables) -> None:
    """Say on stderr which lines were not understood, each once."""
    found: dict[tuple[object, ...], list[str]] = {}
    for reading in understood(tables.model, tables.families):
        for each in reading.inexact:
            if each.how != "bounded":
                found.setdefault((reading.text, each.line, each.text), _lines(reading, each, tables.place))
    for lines in list(found.values())[:_COMPLAINTS]:
        for line in lines:
            click.echo(safe(line), err=True)
    if len(found) > _COMPLAINTS:
        rest = len(found) - _COMPLAINTS
        click.echo(safe(f"{tables.place}and {rest} more; `fwproof understood` lists them all"), err=True)
    if found:
        those = "1 line was" if len(found) == 1 else f"{len(found)} lines were"
        click.echo(safe(f"{tables.place}{those} not understood; answers hold whatever they do, or name them"), err=True)


def _lines(reading: Reading, each: Inexact, place: str) -> list[str]:
    where = f"{place}{reading.text}"
    if each.line:
        where += f" object {each.line}" if reading.source == "nft" else f":{each.line}"
    text = each.text if len(each.text) <= _SHOWN else f"{each.text[:_SHOWN]}…"
    rule = f"{each.rule}: " if each.rule else ""
    return [f"{where}: {each.why}", *([f"    {rule}{text}"] if text else [])]


def understood_json(model: HostModel, families: Collection[Family]) -> dict[str, Any]:
    """Return the ``understood`` object: how many rules are exact, bounded and unknown, in all and by source."""
    found = understood(model, families)
    return {**total(found), "sources": [each.as_json() for each in found]}


def rule_json(ref: RuleRef | None) -> dict[str, Any] | None:
    """Return a rule as the explain contract names it, null for "no rule"."""
    return None if ref is None else ref.as_json()


def packet_json(flow: Flow) -> dict[str, Any]:
    """Return a packet as ``fwproof explain --packets`` reads it."""
    found: dict[str, Any] = {
        "iif": flow.iif, "oif": flow.oif, "src": str(flow.src), "dst": str(flow.dst), "proto": flow.proto,
        "sport": flow.sport, "dport": flow.dport, "icmp_type": flow.icmp_type, "icmp_code": flow.icmp_code,
        "ctstate": flow.ctstate.value, "ctdir": flow.ctdir, "mark": flow.mark, "connmark": flow.connmark,
        "length": flow.length, "ttl": flow.ttl, "tos": flow.tos, "mac_src": flow.mac_src, "pkttype": flow.pkttype,
        "fragment": flow.fragment, "spi": flow.spi,
    }  # fmt: skip
    if flow.flags:
        found["flags"] = ",".join(sorted(flow.flags))
    return {key: value for key, value in found.items() if value is not None}
