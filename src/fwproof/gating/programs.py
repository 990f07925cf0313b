"""The programs of iptables that a script may run, by name, with the address family that each is about."""

from __future__ import annotations

from fwproof.flow import Family

EDITORS = {
    "iptables": Family.IPV4, "iptables-nft": Family.IPV4, "ip6tables": Family.IPV6, "ip6tables-nft": Family.IPV6,
}  # fmt: skip
RESTORERS = {
    "iptables-restore": Family.IPV4, "iptables-nft-restore": Family.IPV4, "ip6tables-restore": Family.IPV6,
    "ip6tables-nft-restore": Family.IPV6,
}  # fmt: skip
SAVERS = frozenset({"iptables-save", "ip6tables-save"})
PROGRAMS = frozenset(EDITORS) | {"iptables-restore", "ip6tables-restore"} | SAVERS
"""Those that are taken to be there."""
