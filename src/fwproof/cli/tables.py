"""Where the verbs over whole rule tables get them from: files, or a snapshot's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from fwproof.audit.gather import model_of
from fwproof.decision import RuleRef
from fwproof.errors import Fault, HostError, InputError, UsageError
from fwproof.flow import Family, Flow
from fwproof.hosts import replay
from fwproof.semantics.model import HostModel

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
Command = Callable[..., None]


def table_options(command: Command) -> Command:
    """Add the options that name rule tables; the command gets them as ``tables`` keyword arguments."""
    for key, text in reversed(_FILES.items()):
        command = click.option(f"--{key.replace('_', '-')}", type=click.Path(path_type=Path), help=text)(command)
    folder = "A folder that fwproof collect wrote for one host."
    return click.option("--snapshot", type=click.Path(path_type=Path), help=folder)(command)


def families_option(command: Command) -> Command:
    """Add ``--family``; without it every family that was given is looked at."""
    kinds = click.Choice([family.value for family in Family])
    return click.option("--family", "family", type=kinds, help="Only this address family.")(command)


def read_tables(files: Mapping[str, Path | None], family: str | None) -> tuple[HostModel, list[Family]]:
    """Return the model of the given tables and the families to look at; the command line must name some.

    Raises UsageError, InputError for what cannot be read, HostError where a snapshot could not look.
    """
    given = {key: path for key, path in files.items() if path is not None}
    if "snapshot" in given:
        if len(given) > 1:
            raise UsageError("give either --snapshot or files, not both")
        return _stored(given["snapshot"], family)
    known = [each for each in Family if any(key in given for key in _SAVES[each])]
    if "nft_json" in given:
        known = list(Family)
    if not known:
        raise UsageError("no rule tables: give --iptables-save FILE, --ip6tables-save FILE, or --snapshot FOLDER")
    wanted = _wanted(known, family)
    texts: dict[str, str] = {key: read_text(path) for key, path in given.items()}
    sources = {key: str(path) for key, path in given.items()}
    return HostModel.build(**texts, sources=sources), wanted


def _wanted(known: list[Family], family: str | None) -> list[Family]:
    if family is None:
        return known
    if Family(family) not in known:
        raise UsageError(f"--family {family}: no tables of that family were given")
    return [Family(family)]


def _stored(folder: Path, family: str | None) -> tuple[HostModel, list[Family]]:
    wanted = [Family(family)] if family else list(Family)
    model = model_of(replay.load(folder), set(wanted))
    if isinstance(model, HostError):
        raise model
    return model, wanted


def read_text(path: Path) -> str:
    """Return a file's text, byte for byte; raises InputError when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError([Fault(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from error


def safe(text: str) -> str:
    """Replace control characters: rule comments come from the audited host and must not steer a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def say(lines: Iterable[str]) -> None:
    """Print lines that hold text of the audited host."""
    for line in lines:
        click.echo(safe(line))


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
