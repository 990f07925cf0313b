"""Ways by which a host is managed: who logs in to what, as the policy has it or as the caller names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from fwproof.errors import UsageError
from fwproof.farends import one_of
from fwproof.flow import Address, Family, Flow
from fwproof.flows import request
from fwproof.inventory import Host, Inventory
from fwproof.policy.model import Peers, Policy, Service

_SSH = 22
_SHAPE = "expected FROM:SERVICE, a zone, host or network and a service of the policy or tcp/22"


@dataclass(frozen=True, slots=True)
class ManagementPath:
    """One way in: from whom, and the first packet of a new log-in."""

    name: str
    flow: Flow

    def __str__(self) -> str:
        return f"{self.name} ({self.flow})"


def ways_of(policy: Policy, inventory: Inventory, host: Host, named: Sequence[str]) -> tuple[ManagementPath, ...]:
    """Return the ways to a host: those that are ``named``, or else whom the policy lets in to the host's SSH server.

    Raises UsageError for a name that says nothing of this inventory.
    """
    found = _named(policy, inventory, named) if named else _known(policy, inventory, host)
    return tuple(
        ManagementPath(f"{service} from {source}", request(service, address, own))
        for service, source, addresses in found
        for address in addresses
        if (own := host.address(Family.of(address))) is not None
    )


_Way = tuple[Service, str, tuple[Address, ...]]


def _known(policy: Policy, inventory: Inventory, host: Host) -> Iterator[_Way]:
    for allow in policy.inbound:
        # the inventory's port may be one at which a tunnel to the host ends
        if allow.service.proto == "tcp" and allow.service.port in {_SSH, host.ssh.port}:
            yield allow.service, allow.peers.name, _ends(allow.peers, inventory)


def _ends(peers: Peers, inventory: Inventory) -> tuple[Address, ...]:
    """Return an address of each family: the auditor's, or that of another host which stands among the peers."""
    auditor = inventory.hosts.get(inventory.auditor or "")
    hosts = [*filter(None, (auditor,)), *inventory.hosts.values()]
    found = []
    for family in Family:
        if peers.of(family):
            mine = (host.address(family) for host in hosts)
            found.append(next((a for a in mine if a is not None and a in peers), None) or one_of(peers, family))
    return tuple(found)


def _named(policy: Policy, inventory: Inventory, named: Sequence[str]) -> Iterator[_Way]:
    for text in named:
        source, colon, service = text.rpartition(":")
        if not colon or not source:
            raise UsageError(f"--management {text}: {_SHAPE}")
        yield _service(policy, service, text), source, _sources(inventory, source, text)


def _service(policy: Policy, word: str, text: str) -> Service:
    if word in policy.services:
        return policy.services[word]
    proto, _, port = word.partition("/")
    if proto in {"tcp", "udp"} and port.isascii() and port.isdigit() and 0 < int(port[:9]) < 65536:
        return Service(proto, int(port), word)
    raise UsageError(f"--management {text}: {word!r} is no service; {_SHAPE}")


def _sources(inventory: Inventory, word: str, text: str) -> tuple[Address, ...]:
    if word in inventory.zones:
        return _ends(Peers(word, inventory.zones[word].networks), inventory)
    hosts = inventory.select(word)
    if hosts:
        return tuple(a for host in hosts for family in Family if (a := host.address(family)) is not None)
    try:
        network = ip_network(word.strip("[]"), strict=False)
    except ValueError:
        raise UsageError(f"--management {text}: {word!r} is no zone, host or network; {_SHAPE}") from None
    if network.num_addresses == 1:
        return (ip_address(network.network_address),)
    return _ends(Peers(word, (network,)), inventory)
