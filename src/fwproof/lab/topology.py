"""The lab's topology as values: which networks there are, which hosts stand in them, and what each host is.

Read from YAML by :func:`load_topology`; ``fixtures/lab/topology.yaml`` is the embedded one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fwproof.inventory import Access

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface of a host (``eth0`` is the first): its network and its addresses."""

    network: str
    addresses: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """Something that answers on a port, on every address of both families (``bin/lab-service.py``)."""

    kind: str
    port: int

    @property
    def is_tcp(self) -> bool:
        """Whether the port is a TCP port."""
        return self.kind != "udp-echo"


@dataclass(frozen=True, slots=True)
class CallHome:
    """A tunnel that the host keeps open: its SSH server appears at ``127.0.0.1:port`` of the host ``to``."""

    to: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabHost:
    """One host.

    ``files`` are folders laid over the root file system, with ``modes`` where 0644 (0755 for scripts) is wrong.
    At the first boot ``first_boot`` runs last; at every boot ``units`` are what systemd would have started, then
    come the services, then ``rc``. ``jails`` are the fail2ban jails whose status the auditor may ask for.
    """

    name: str
    links: tuple[Link, ...]
    routes: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    services: tuple[Service, ...] = ()
    units: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    modes: Mapping[str, int] = field(default_factory=dict)
    access: Access = Access.OBSERVE
    jails: tuple[str, ...] = ()
    call_home: CallHome | None = None
    first_boot: tuple[str, ...] = ()
    rc: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address of the host, without prefix lengths."""
        return tuple(str(interface.ip) for link in self.links for interface in link.addresses)


@dataclass(frozen=True, slots=True)
class Topology:
    """All networks and hosts of a lab, in the order of the file; ``service_program`` is what runs their services.

    ``image`` is the kind of image that they boot from (:data:`fwproof.lab.image.IMAGES`).
    """

    path: Path
    service_program: Path
    networks: tuple[str, ...]
    hosts: Mapping[str, LabHost]
    image: str = "plain"


def default_topology() -> Path:
    """Return the topology used when none is named.

    That is ``fixtures/lab/topology.yaml`` of the current directory, of this checkout, or of the installed package.
    """
    relative = Path("fixtures") / "lab" / "topology.yaml"
    package = Path(__file__).resolve().parents[1]
    candidates = [Path.cwd() / relative, package.parents[1] / relative, package / "scaffold" / relative]
    return next((path for path in candidates if path.is_file()), candidates[0])
