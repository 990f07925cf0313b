"""Where an address of a log stands: in which zone of the inventory, and whether that is one of ours."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address, ip_network

from fwproof.flow import Network
from fwproof.inventory import Inventory

OUTSIDE = frozenset({"external", "internet", "outside", "untrusted", "wan"})
"""Zones of these names are not ours, unless the caller names those that are not."""
PRIVATE: tuple[Network, ...] = tuple(map(ip_network, (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8",
    "fc00::/7", "fe80::/10", "::1/128",
)))  # fmt: skip
"""What stands in for zones where there is no inventory (RFC 1918, RFC 3927, RFC 4193, RFC 4291)."""


class Places:
    """Looks up addresses, given as text. The smallest zone that holds an address names it; ``beyond`` are not ours."""

    def __init__(self, inventory: Inventory | None, beyond: Collection[str] | None = None) -> None:
        zones = {} if inventory is None else inventory.zones
        self.beyond = frozenset(OUTSIDE & zones.keys() if beyond is None else beyond)
        named = [(network, zone.name) for zone in zones.values() for network in zone.networks]
        if inventory is None:
            named = [(network, "private") for network in PRIVATE]
        named.sort(key=lambda each: -each[0].prefixlen)
        self._named = [
            (network.version, int(network.network_address), int(network.broadcast_address), name)
            for network, name in named
        ]
        self._hosts = {
            str(address): host for host in (inventory.hosts.values() if inventory else ()) for address in host.addresses
        }
        self.zone = lru_cache(maxsize=1 << 17)(self._zone)

    def _zone(self, text: str) -> str:
        """Return the name of the zone that an address stands in, empty where it stands in none."""
        if not text:
            return ""
        address = ip_address(text)
        version, number = address.version, int(address)
        return next((name for v, low, high, name in self._named if v == version and low <= number <= high), "")

    def inside(self, text: str) -> bool:
        """Whether an address is one of ours."""
        zone = self.zone(text)
        return bool(zone) and zone not in self.beyond

    def vantage(self, text: str) -> bool:
        """Whether probes are sent from an address: an audit's own leave lines in the log as well."""
        return text in self._hosts and self._hosts[text].vantage

    def name(self, text: str) -> str:
        """Return an address with the host or zone that it belongs to, for people."""
        known = self._hosts[text].name if text in self._hosts else self.zone(text)
        return f"{text} ({known})" if known else text
