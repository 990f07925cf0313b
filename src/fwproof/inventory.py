"""Inventory: the hosts that are audited or probed from, the zones they stand in, and how each is reached.

The values only; :mod:`fwproof.policy.inventory_file` reads them from YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from fwproof.flow import Address, Family, Network

SAFE_PPS = 1000
"""Packets a second that all vantages together send to one host unless the inventory says otherwise.

Some 0.5 Mbit/s, and less than a tenth of one processor even where each packet walks through 10,000 rules.
"""


AT_ONCE = 16
"""Hosts that are connected to and read at once unless the inventory says otherwise.

The work is waiting for the network and for key exchanges, of which each takes the auditor some 0.1 s of a processor.
"""


class Access(StrEnum):
    """What the auditor may do on a host, as its administrator grants it (docs/own-hosts.md, "Trust tiers")."""

    READ = "read"
    OBSERVE = "observe"
    ROOT = "root"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """How a host's SSH server is reached; ``host_key_alias`` is the name looked up in known_hosts.

    ``other_identities`` are further private keys, tried in turn; with ``use_agent``, what the ssh-agent holds comes
    first, and without a key file it is all there is. ``jumps`` are the hosts that the connection goes through, the
    first one is connected to from here.
    """

    address: str
    port: int = 22
    user: str = "auditor"
    identity_file: Path | None = None
    known_hosts: Path | None = None
    host_key_alias: str | None = None
    timeout: float = 10.0
    other_identities: tuple[Path, ...] = ()
    use_agent: bool = False
    jumps: tuple[Jump, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A host that connections to others go through; ``ssh`` is how it is reached itself, without jumps of its own."""

    name: str
    ssh: SshAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPin:
    """The agent that a host's administrator installed: its path and the SHA-256 that it must have."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One machine: ``addresses`` are what is audited and probed, ``ssh`` is how the auditor gets in.

    ``vantage``: probes of other hosts may be sent from here. ``drop_log`` is the file in which the host's
    packet log ends up, readable by the auditor. ``gateway`` names the host of the inventory that passes its packets
    on to other networks, None where that is not known. ``max_pps`` bounds what all vantages together send to it, in
    packets a second. ``file`` and ``line`` say where the inventory declares it.
    """

    name: str
    addresses: tuple[Address, ...]
    ssh: SshAddress
    access: Access = Access.READ
    agent: AgentPin | None = None
    groups: tuple[str, ...] = ()
    vantage: bool = False
    drop_log: str | None = None
    gateway: str | None = None
    max_pps: int = SAFE_PPS
    file: str = ""
    line: int = 0

    def address(self, family: Family) -> Address | None:
        """Return the host's first address of a family, None where it has none."""
        return next((a for a in self.addresses if Family.of(a) is family), None)

    def other_address(self, family: Family) -> Address | None:
        """Return a second address of a family to ask from, of a host that has four: the last two stay spare."""
        mine = [address for address in self.addresses if Family.of(address) is family]
        return mine[1] if len(mine) > 3 else None

    def spare_address(self, family: Family) -> Address | None:
        """Return the last address of a family, which bursts come from.

        Where a host has several, its ordinary probes never come from that one, so a limit that counts by source
        has seen nothing of it before the burst. In IPv6 it should stand in a /64 of its own.
        """
        return next((a for a in reversed(self.addresses) if Family.of(a) is family), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A named set of networks, of either family or both."""

    name: str
    networks: tuple[Network, ...]

    def __contains__(self, address: object) -> bool:
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorisation:
    """Who agreed to what: ``hosts`` (names, in the order of the inventory) may be audited from ``opens`` to ``closes``.

    ``reference`` is where that is written down, empty where it is nowhere. The times have a time zone; None is without
    a bound. ``tester`` is who tests, ``independence`` why they are independent of the hosts' owners.
    """

    by: str
    reference: str = ""
    hosts: tuple[str, ...] = ()
    opens: datetime | None = None
    closes: datetime | None = None
    tester: str = ""
    independence: str = ""


@dataclass(frozen=True, slots=True)
class ZoneLimits:
    """How many hosts of a zone are worked on at once, and how many of its vantages ask one host; None is no bound."""

    at_once: int | None = None
    vantages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All hosts and zones of one inventory file.

    ``lab`` is the topology file of the embedded lab that these hosts live in, and ``auditor`` the lab host
    whose network the auditor's process joins; both are None for hosts of the real world. ``authorisation`` is None
    where the file gives none. ``signing_key`` is what runs are signed with, None where they are not. ``at_once`` hosts
    are worked on at once, and in single zones as ``limits`` say. ``further`` are the other files that it was made of,
    such as Ansible's; ``sha256`` is that of the inventory's own.
    """

    path: Path
    sha256: str
    hosts: Mapping[str, Host]
    zones: Mapping[str, Zone]
    lab: Path | None = None
    auditor: str | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    authorisation: Authorisation | None = None
    signing_key: Path | None = None
    further: tuple[Path, ...] = ()
    at_once: int = AT_ONCE
    limits: Mapping[str, ZoneLimits] = field(default_factory=dict)

    def zones_of(self, host: Host) -> tuple[str, ...]:
        """Return the zones that an address of a host stands in, in the order of the inventory."""
        return tuple(name for name, zone in self.zones.items() if any(a in zone for a in host.addresses))

    def select(self, name: str) -> tuple[Host, ...]:
        """Return the hosts that a name or group stands for, in inventory order; empty when unknown."""
        if name in self.hosts:
            return (self.hosts[name],)
        return tuple(self.hosts[member] for member in self.groups.get(name, ()))

    @property
    def vantages(self) -> tuple[Host, ...]:
        """The hosts that probes may be sent from, in inventory order."""
        return tuple(host for host in self.hosts.values() if host.vantage)
