"""Whether the kernel's tables of neighbours have room for a lab.

There is one table for IPv4 (ARP) and one for IPv6 in the whole kernel, which all network namespaces share: a lab's
hosts, other labs, containers and the machine itself. When one is full, packets to a host that is not in it yet are not
sent, for IPv4 without an error (arp(7), gc_thresh3; net/core/neighbour.c, neigh_alloc()). Read only: the limit is the
machine's, and a lab changes nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from fwproof.lab.topology import Topology

_TABLES = {4: ("arp_cache", "ipv4"), 6: ("ndisc_cache", "ipv6")}
_GATEWAY = {4: 2, 6: 4}
"""Entries of a host and its gateway, both ends: one each, and for IPv6 the link-local addresses, from which a router
asks for whom it passes packets to (net/ipv6/ndisc.c, ndisc_solicit())."""
_PEER = 2
"""Entries of a host and another one on its link that speak with each other: at an audit that is a vantage."""


@dataclass(frozen=True, slots=True)
class Room:
    """One family's table: entries that a lab may take, that are taken now, and how many there may be."""

    family: int
    wanted: int
    used: int
    limit: int

    @property
    def enough(self) -> bool:
        """Whether the lab's entries fit."""
        return self.used + self.wanted <= self.limit

    @property
    def advice(self) -> str:
        """What to do where they do not fit."""
        key = f"net.{_TABLES[self.family][1]}.neigh.default.gc_thresh3"
        return (
            f"as root, run `sysctl {key}={2 * (self.used + self.wanted)}`, or give hosts permanent entries "
            "(`ip neigh add … nud permanent`), which do not count"
        )

    def __str__(self) -> str:
        return (
            f"the kernel's table of IPv{self.family} neighbours, which all network namespaces share, holds "
            f"{self.limit} entries: {self.used} are taken, and this lab may need {self.wanted}"
        )


def rooms(topology: Topology, root: Path = Path("/proc")) -> list[Room]:
    """Return what is known of each family's table; a family whose limit cannot be read is left out.

    It cannot be read inside another network namespace than the machine's first, such as a container's.
    """
    found = []
    for family, (table, name) in _TABLES.items():
        try:
            limit = int((root / f"sys/net/{name}/neigh/default/gc_thresh3").read_text(encoding="ascii"))
            used = int((root / f"net/stat/{table}").read_text(encoding="ascii").splitlines()[1].split()[0], 16)
        except (OSError, ValueError, IndexError):
            continue
        found.append(Room(family, entries(topology, family), used, limit))
    return found


def entries(topology: Topology, family: int) -> int:
    """Return about how many entries a lab's hosts take when each speaks with its gateways and one more on its links."""
    count = 0
    for host in topology.hosts.values():
        own = [each for link in host.links for each in link.addresses if each.version == family]
        ways = {ip_address(route.split()[2]) for route in host.routes if ip_network(route.split()[0]).version == family}
        count += _PEER * len({each.network for each in own}) + _GATEWAY[family] * len(ways)
    return count
