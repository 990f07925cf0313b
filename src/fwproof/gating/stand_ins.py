"""Hosts that stand in a twin where the inventory has none: one in each zone, and at each end that a policy names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from fwproof.flow import Address, Family, Network
from fwproof.inventory import Host, Inventory, SshAddress
from fwproof.policy.model import Policy

_LINK = {Family.IPV4: 0, Family.IPV6: 64}
"""Where a second address is looked for: in IPv6 in a /64 of its own, since limits count those as one source."""


def stand_ins(inventory: Inventory, name: str, policy: Policy) -> Iterator[Host]:
    """Yield a vantage for each zone, and each peer of an allow, where no vantage of the inventory stands."""
    hosts = [host for host in inventory.hosts.values() if host.name != name]
    taken = {address for host in inventory.hosts.values() for address in host.addresses}
    places = [(zone.name, zone.networks, True) for zone in inventory.zones.values()]
    places += [(allow.id, allow.peers.networks, True) for allow in policy.inbound]
    places += [(allow.id, allow.peers.networks, False) for allow in policy.outbound]
    for place, networks, sends in places:
        if any(_in(host, networks) and (host.vantage or not sends) for host in hosts):
            continue
        addresses = tuple(address for family in Family for address in _free(networks, family, taken))
        called = f"in-{place}"
        if not addresses or any(host.name == called for host in hosts):
            continue
        taken |= set(addresses)
        made = Host(
            name=called, addresses=addresses, ssh=SshAddress(address=str(addresses[0])), vantage=True,
            file=str(inventory.path),
        )  # fmt: skip
        hosts.append(made)
        yield made


def _in(host: Host, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks for address in host.addresses)


def _free(networks: Iterable[Network], family: Family, taken: set[Address]) -> Iterator[Address]:
    """Yield up to two addresses of a family that no host has; the second is for bursts."""
    mine = [network for network in networks if Family.of(network) is family and network.prefixlen]
    for network in mine[:1]:
        first = int(network.network_address) + (network.num_addresses > 2)
        yield from _two(network, first, _LINK[family], taken)


def _two(network: Network, first: int, link: int, taken: set[Address]) -> Iterator[Address]:
    six = network.version == 6
    number = next((n for n in range(first, first + 256) if _fits(network, n, taken)), None)
    if number is None:
        return
    yield _address(number, six=six)
    other = number + (1 << link) if link else number + 1
    if _fits(network, other, taken) and other < int(network.broadcast_address):
        yield _address(other, six=six)


def _fits(network: Network, number: int, taken: set[Address]) -> bool:
    if number > int(network.broadcast_address):
        return False
    return _address(number, six=network.version == 6) not in taken


def _address(number: int, *, six: bool) -> Address:
    # a small number is an IPv4 address to the module, whatever it is meant as
    return ip_address(number.to_bytes(16 if six else 4, "big"))
