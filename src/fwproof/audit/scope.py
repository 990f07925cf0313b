"""What of an inventory an audit was about: hosts left out with the reason, and who stands in which zone."""

from __future__ import annotations

from collections.abc import Collection

from fwproof.inventory import Host, Inventory


def outside(inventory: Inventory, audited: Collection[str]) -> dict[str, str]:
    """Return why each other host of the inventory was not audited, as in "hosts that no check is about"."""
    return {host.name: _why(inventory, host) for host in inventory.hosts.values() if host.name not in audited}


def _why(inventory: Inventory, host: Host) -> str:
    given = inventory.authorisation
    if host.vantage:
        return "that only probes came from"
    if given and host.name not in given.hosts:
        return "that the authorisation does not cover"
    return "that no check of this run is about"


def standing_in(inventory: Inventory) -> dict[str, list[str]]:
    """Return the hosts that have an address in each zone, in the order of the inventory; zones may overlap."""
    return {
        zone: [host.name for host in inventory.hosts.values() if any(address in reach for address in host.addresses)]
        for zone, reach in inventory.zones.items()
    }
