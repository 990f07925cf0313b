"""What is loaded at boot: the saved rule files, and whether anything restores them.

Enablement is read from the symlinks that ``systemctl enable`` and ``update-rc.d`` leave behind, which tell the
truth on a host without a running systemd as well (``systemd.unit(5)``, "Installation"; ``update-rc.d(8)``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LOADERS = {
    "netfilter-persistent": "/etc/iptables/rules.v4 and rules.v6",
    "nftables": "/etc/nftables.conf",
    "ufw": "/etc/ufw",
    "firewalld": "/etc/firewalld",
    "iptables": "the distribution's saved iptables rules",
    "ip6tables": "the distribution's saved ip6tables rules",
}
"""Units of distributions that load rules at boot, and what they load."""

NFT_FILES = {"nft-boot": "/etc/nftables.conf", "nft-boot-sysconfig": "/etc/sysconfig/nftables.conf"}
"""Files of nft that a distribution's unit loads, by the capture that lists what comes of them."""
RULE_FILES = {
    "ufw-before": "/etc/ufw/before.rules", "ufw-before6": "/etc/ufw/before6.rules",
    "ufw-after": "/etc/ufw/after.rules", "ufw-after6": "/etc/ufw/after6.rules",
    "sysconfig-iptables": "/etc/sysconfig/iptables", "sysconfig-ip6tables": "/etc/sysconfig/ip6tables",
    "iptables.rules": "/etc/iptables.rules", "ip6tables.rules": "/etc/ip6tables.rules",
    "iptables.up.rules": "/etc/iptables.up.rules",
}  # fmt: skip
"""Files with saved rules beside those of netfilter-persistent, by capture; the last three are those of tutorials."""


@dataclass(frozen=True, slots=True)
class Loader:
    """A service that is enabled to load rules at boot, what it loads, and the link that enables it."""

    name: str
    loads: str
    link: str


def enabled_loaders(links: Iterable[str]) -> tuple[Loader, ...]:
    """Return the rule loaders that a listing of enablement symlinks names, one each."""
    found: dict[str, Loader] = {}
    for link in links:
        path = link.strip()
        unit = path.rsplit("/", 1)[-1].removesuffix(".service")
        name = unit if unit in LOADERS else _sysv_name(unit)
        if name is not None:
            found.setdefault(name, Loader(name, LOADERS[name], path))
    return tuple(found.values())


def _sysv_name(unit: str) -> str | None:
    """Return the loader behind a start link of System V init (``S01netfilter-persistent``), if it is one."""
    if unit[:1] == "S" and unit[1:3].isdigit() and unit[3:] in LOADERS:
        return unit[3:]
    return None
