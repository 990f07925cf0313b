"""Far ends: which hosts of the inventory stand at the other end of a check of one host."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from fwproof.flow import Address, Family
from fwproof.inventory import Host, Inventory
from fwproof.policy.expectation import Expectation
from fwproof.policy.model import Allow, Bans, Passing, Peers, Policy, Service

_LINK = {Family.IPV4: 24, Family.IPV6: 64}
"""Prefix lengths within which two addresses are taken to stand in one subnet; inventories name no subnets."""
_DOCUMENTATION = {Family.IPV4: ip_address("192.0.2.1"), Family.IPV6: ip_address("2001:db8::1")}


def permits(allow: Allow, service: Service, address: Address | None) -> bool:
    """Whether an allow is about a service (by protocol and port, not by name) and has an address among its peers."""
    return str(allow.service) == str(service) and address in allow.peers


def passes(passing: Passing, service: Service, source: Address | None, to: Address | None) -> bool:
    """Whether a service may be reached from an address at another, through the host and without being published."""
    same = passing.published is None and str(passing.service) == str(service)
    return same and source in passing.peers and to in passing.to


def spoken_of(policy: Policy, family: Family) -> tuple[Expectation, ...]:
    """Return the expectations that name addresses of a family, are about it alone, or are defaults that hold in it."""
    allows: tuple[Allow | Passing, ...] = (*policy.inbound, *policy.outbound, *policy.forward)
    named = [one for one in allows if any(network.prefixlen > 0 for network in one.peers.of(family))]
    alone = (one for one in policy.essential if one.families == (family,))
    defaults = filter(None, (policy.inbound_default, policy.outbound_default, policy.forward_default))
    return (*(one for one in defaults if family in one.families), *named, *alone)


def one_of(peers: Peers, family: Family) -> Address:
    """Return an address that stands for peers of a family: a usable one, documentation's where they are everybody."""
    network = peers.of(family)[0]
    if network.prefixlen == 0:
        return _DOCUMENTATION[family]
    return network.network_address + (1 if network.num_addresses > 2 else 0)


@dataclass(frozen=True, slots=True)
class FarEnds:
    """The other hosts of an inventory, as seen from ``host`` under ``policy``."""

    policy: Policy
    inventory: Inventory
    host: Host

    def vantages(self, family: Family) -> list[Host]:
        """Return the vantages, other than the host itself, that have an address of a family.

        Of a host that is a gateway, not those behind another one: on which of its sides they come in is not known, nor
        with which address.
        """
        found = self._others(self.inventory.vantages, family)
        if self.host.name in self._gateways():
            found = [vantage for vantage in found if vantage.gateway in {None, self.host.name}]
        return self._chosen(found)

    def _chosen(self, vantages: list[Host]) -> list[Host]:
        """Return as many vantages of each zone as may ask one host, in the order of the inventory.

        Which ones depends on both names alone: hosts share the vantages out among themselves, and a host that is added
        changes nothing for the others (rendezvous hashing).
        """
        limits = {name: limit.vantages for name, limit in self.inventory.limits.items() if limit.vantages is not None}
        if not limits:
            return vantages
        left, chosen = Counter(limits), set[str]()
        for vantage in sorted(vantages, key=self._draw):
            zones = [zone for zone in self.inventory.zones_of(vantage) if zone in limits]
            if all(left[zone] > 0 for zone in zones):
                left.subtract(zones)
                chosen.add(vantage.name)
        return [vantage for vantage in vantages if vantage.name in chosen]

    def _draw(self, vantage: Host) -> bytes:
        return hashlib.sha256(f"{self.host.name} {vantage.name}".encode()).digest()

    def _gateways(self) -> set[str]:
        return {host.gateway for host in self.inventory.hosts.values() if host.gateway is not None}

    def ends(self, peers: Peers | None, family: Family) -> list[Host]:
        """Return the hosts that stand in ``peers``, vantages or not: what an outbound packet is sent to."""
        hosts = self._others(self.inventory.hosts.values(), family)
        return [host for host in hosts if peers is not None and host.address(family) in peers]

    def crossings(self, to: Peers, family: Family) -> list[tuple[Host, Host]]:
        """Return vantages with hosts in ``to`` that they reach through the host, two for each vantage at most.

        Where an end's ``gateway`` is not given, every host on another link is taken to be reached through this one.
        """
        found = []
        # gateways stand on more than one side
        ends = [end for end in self.ends(to, family) if end.name not in self._gateways()]
        for vantage in self.vantages(family):
            beyond = [e for e in ends if e.name != vantage.name and self._between(vantage, e, family)]
            found += [(vantage, end) for end in beyond[:2]]
        return found

    def _between(self, vantage: Host, end: Host, family: Family) -> bool:
        gateways = {each.gateway for each in (vantage, end) if each.gateway is not None}
        return (not gateways or self.host.name in gateways) and not _same_link(vantage, end, family)

    def rated(self, allow: Allow, family: Family) -> list[Host]:
        """Return up to two vantages among an allow's peers, in different subnets where there are such."""
        inside = [vantage for vantage in self.vantages(family) if vantage.address(family) in allow.peers]
        for second in inside[1:]:
            if not _same_link(inside[0], second, family):
                return [inside[0], second]
        return inside[:2]

    def neighbour(self) -> Host | None:
        """Return a vantage on the host's own IPv6 link; rather not the auditor, which speaks to the host already."""
        if self.host.address(Family.IPV6) is None:
            return None
        near = [v for v in self.vantages(Family.IPV6) if _same_link(v, self.host, Family.IPV6)]
        return min(near, key=lambda vantage: vantage.name == self.inventory.auditor, default=None)

    def offender(self, bans: Bans, family: Family) -> Host | None:
        """Return the vantage to be banned: one that may use the service and whose silence harms least.

        Never the auditor, who would lock itself out; rather not a source of bursts, whose limit is used up, nor
        the far end of an outbound expectation, whose answers a ban of all ports would stop.
        """
        named = [allow for allow in self.policy.inbound if str(allow.service) == str(bans.service)]
        bursts = {vantage.name for allow in named if allow.rate for vantage in self.rated(allow, family)}
        reached = {end.name for allow in self.policy.outbound for end in self.ends(allow.peers, family)}
        able = [
            vantage
            for vantage in self.vantages(family)
            if vantage.name != self.inventory.auditor
            and any(permits(allow, bans.service, vantage.address(family)) for allow in named)
        ]
        return min(able, key=lambda vantage: (vantage.name in bursts, vantage.name in reached), default=None)

    def _others(self, hosts: Iterable[Host], family: Family) -> list[Host]:
        return [other for other in hosts if other.name != self.host.name and other.address(family) is not None]


def _same_link(first: Host, second: Host, family: Family) -> bool:
    one, other = first.address(family), second.address(family)
    assert one is not None
    assert other is not None
    bits = one.max_prefixlen - _LINK[family]
    return int(one) >> bits == int(other) >> bits
