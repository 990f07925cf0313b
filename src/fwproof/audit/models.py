"""From what was read of a host to the model of its tables."""

from __future__ import annotations

from fwproof.errors import FwproofError, HostError, NotThere
from fwproof.flow import Family
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Snapshot

SAVES = {Family.IPV4: "iptables-save", Family.IPV6: "ip6tables-save"}


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
    }  # fmt: skip
    for needed in (*(SAVES[family] for family in sorted(families)), "ip-addr"):
        fault = snapshot.faults.get(needed)
        # a host of nftables alone need not have iptables: nft lists what that would show
        spared = isinstance(fault, NotThere) and needed != "ip-addr" and "nft" in snapshot.captures
        if fault is not None and not spared:
            return fault
    beside = ("nft", *(f"{SAVES[family].removesuffix('-save')}-legacy-save" for family in sorted(families)))
    for unread in filter(None, map(snapshot.faults.get, beside)):
        if not isinstance(unread, NotThere):
            return unread  # tables beside those of iptables decide as well, and nothing else tells of them
    texts = {key: _printed(snapshot, name) for key, name in names.items() if name not in snapshot.faults}
    for key in ("iptables_legacy_save", "ip6tables_legacy_save"):
        if not texts.get(key, "").strip():
            texts.pop(key, None)  # prints nothing where the kernel has no legacy tables
    try:
        return HostModel.build(**texts, sources=names)
    except FwproofError as error:
        return HostError(snapshot.host, f"what the host printed cannot be read: {error}")
