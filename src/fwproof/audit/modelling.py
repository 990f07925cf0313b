"""From what a host printed to its model, and the tables of a host read once more while something is tried."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fwproof.errors import FwproofError, HostError, NotThere
from fwproof.flow import Family
from fwproof.frontends.front_end import FrontEnd, front_end_of
from fwproof.hosts.collect import recapture
from fwproof.plan import Check, Kind
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Snapshot

if TYPE_CHECKING:
    from fwproof.audit.field import Field

SAVES = {Family.IPV4: "iptables-save", Family.IPV6: "ip6tables-save"}
"""The command that prints the tables of a family."""
BOTH = (Kind.PARITY, Kind.MANAGERS)
"""Kinds of checks that are about the tables of both families at once."""
_NAMES = {Family.IPV4: "ip_tables_names", Family.IPV6: "ip6_tables_names"}
"""Where the kernel names the legacy tables of a family."""
_SINCE = (*_NAMES.values(), "traffic-control")
"""Captures that snapshots of older versions lack: what these would tell was not asked."""
_TABLES = ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft", "ipset-save")


def tables_now(field: Field, host: str) -> Snapshot:
    """Return a host's snapshot with all its tables and sets as they are now; raises HostError."""
    known = field.snapshots[host]
    if isinstance(known, HostError):
        raise known
    now = recapture(field.transports[host], _TABLES)
    faults = {name: fault for name, fault in known.faults.items() if name not in _TABLES}
    return Snapshot(host=host, captures={**known.captures, **now.captures}, faults={**faults, **now.faults})


def named_in(snapshot: Snapshot, word: str) -> dict[str, int]:
    """Return how often each table or set names an address, by capture."""
    pattern = re.compile(rf"(?<![\w.:]){re.escape(word)}(?![\w.:])")
    texts = {name: snapshot.captures[name].stdout for name in _TABLES if name in snapshot.captures}
    return {name: len(pattern.findall(text)) for name, text in texts.items()}


def _printed(snapshot: Snapshot, name: str) -> str:
    """Return what a command printed, with the warning of legacy tables that iptables-save gives as an error message."""
    text = snapshot.text(name)
    warnings = [line for line in snapshot.captures[name].stderr.splitlines() if line.startswith("# Warning: ip")]
    return "\n".join([text.rstrip("\n"), *warnings, ""]) if warnings else text


def model_of(snapshot: Snapshot | HostError, families: set[Family]) -> HostModel | HostError:
    """Return a host's model, or why there is none: the tables of each of ``families`` must have been read.

    A family that no check is about may be missing: a host without IPv6 need not have ip6tables.
    """
    if isinstance(snapshot, HostError):
        return snapshot
    names = {
        "iptables_save": "iptables-save", "ip6tables_save": "ip6tables-save", "nft_json": "nft",
        "ipset_save": "ipset-save",
        "iptables_legacy_save": "iptables-legacy-save", "ip6tables_legacy_save": "ip6tables-legacy-save",
        "addresses": "ip-addr", "routes": "ip-route", "routes6": "ip6-route", "sysctls": "sysctl",
        "routing_rules": "ip-rule", "routing_rules6": "ip6-rule",
        "legacy_names": "ip_tables_names", "legacy_names6": "ip6_tables_names", "traffic_control": "traffic-control",
    }  # fmt: skip
    for needed in (*(SAVES[family] for family in sorted(families)), "ip-addr"):
        fault = snapshot.faults.get(needed)
        # a host of nftables alone need not have iptables: nft lists what that would show
        spared = isinstance(fault, NotThere) and needed != "ip-addr" and "nft" in snapshot.captures
        if fault is not None and not spared:
            return fault
    for unread in filter(None, map(snapshot.faults.get, _beside(snapshot, families))):
        if not isinstance(unread, NotThere):
            return unread  # what is beside the tables of iptables decides as well, and nothing else tells of it
    missing = {*snapshot.faults, *(name for name in _SINCE if name not in snapshot.captures)}
    texts = {key: _printed(snapshot, name) for key, name in names.items() if name not in missing}
    for key in ("iptables_legacy_save", "ip6tables_legacy_save"):
        if not texts.get(key, "").strip():
            texts.pop(key, None)  # prints nothing where the kernel has no legacy tables
    try:
        return replace(HostModel.build(**texts, sources=names), read_from=(snapshot, frozenset(families)))
    except FwproofError as error:
        return HostError(snapshot.host, f"what the host printed cannot be read: {error}")


def _beside(snapshot: Snapshot, families: set[Family]) -> Iterator[str]:
    """Yield the captures of what decides beside iptables' tables, or tells of it where nothing else does."""
    yield "nft"
    yield "traffic-control"
    for family in sorted(families):
        legacy = f"{SAVES[family].removesuffix('-save')}-legacy-save"
        yield legacy
        if all(isinstance(snapshot.faults.get(name), NotThere) for name in (SAVES[family], legacy)):
            yield _NAMES[family]  # iptables-save would warn of legacy tables, and its other variant show them


def families_of(checks: Sequence[Check]) -> dict[str, set[Family]]:
    """Return the families whose tables checks are about, by host, in the order of the checks."""
    families: dict[str, set[Family]] = {check.host: set() for check in checks}
    for check in checks:
        if check.kind is not Kind.ABSENT:  # of a family that is not there, no tables need be
            families[check.host] |= set(Family) if check.kind in BOTH else set(filter(None, (check.family,)))
    return families


def front_ends_of(
    snapshots: Mapping[str, Snapshot | HostError], models: Mapping[str, HostModel | HostError]
) -> dict[str, FrontEnd]:
    """Return the front ends of the hosts that have a model."""
    return {
        name: front_end_of(snapshot, model.rulesets)
        for name, snapshot in snapshots.items()
        if not isinstance(snapshot, HostError) and isinstance(model := models[name], HostModel)
    }
