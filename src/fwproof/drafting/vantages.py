"""Where no vantage is: what a draft says of those who may get in is only proved there, so each is a question."""

from __future__ import annotations

from collections.abc import Iterator

from fwproof.flow import Address, Network
from fwproof.inventory import Inventory
from fwproof.policy.model import Allow, Passing, Peers, Policy

_ADDRESSES = 4


def vantage_questions(policy: Policy, inventory: Inventory, host: str) -> Iterator[tuple[str, str]]:
    """Yield name and title of a question for each kind of peers among which no host of the inventory is a vantage."""
    found = [each for each in inventory.vantages if each.name != host]
    allows: tuple[Allow | Passing, ...] = (*policy.inbound, *policy.forward)
    peers = {allow.peers.name: allow.peers for allow in allows}
    for name, ends in peers.items():
        if not any(address in ends for each in found for address in each.addresses):
            yield name, f"From which host of {name} may probes be sent? Without one it is only proved that they get in"
    everybody = list(peers.values())
    if not any(_outside(each.addresses, everybody) for each in found):
        yield "outside", "From which other host may probes be sent? Without one it is only proved that others stay out"
    known = [each for each in inventory.hosts.values() if each.name != host]
    unwatched = dict.fromkeys(
        allow.peers.name for allow in policy.outbound
        if not any(address in allow.peers for each in known for address in each.addresses)
    )  # fmt: skip
    if unwatched:
        names = ", ".join(unwatched)
        yield "far-ends", f"Which hosts of the inventory are {names}? Without them nothing is sent there"


def _outside(addresses: tuple[Address, ...], peers: list[Peers]) -> bool:
    return not any(address in each for address in addresses for each in peers)


def candidates(networks: tuple[Network, ...]) -> list[str]:
    """Return the addresses of a zone that is one host by all that is known of it; none of a wider one."""
    single = [str(network.network_address) for network in networks if network.num_addresses == 1]
    return single if len(single) == len(networks) <= _ADDRESSES else []
