"""Names for the networks that rules speak of: those of an inventory where it has them, guesses where it has not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from fwproof.drafting.found import Access
from fwproof.flow import Network
from fwproof.inventory import Inventory

_SSH = ("tcp", 22)


@dataclass(slots=True)
class Zones:
    """Zones by their networks. ``guessed`` are new ones, each with the words for why; ``taken`` names are no zone's."""

    known: dict[frozenset[Network], str] = field(default_factory=dict)
    guessed: dict[str, tuple[tuple[Network, ...], str]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    fixed: bool = False

    @classmethod
    def of(cls, inventory: Inventory) -> Zones:
        """Return the zones and hosts of an inventory that is there; no zone is added to it."""
        known = {frozenset(map(ip_network, host.addresses)): host.name for host in inventory.hosts.values()}
        known |= {frozenset(zone.networks): zone.name for zone in reversed(list(inventory.zones.values()))}
        return cls(known=known, fixed=True)

    def peers(self, access: Access, link: Sequence[Network], direction: str) -> list[str]:
        """Return how a policy names the far ends of a service: a zone, or the networks themselves."""
        wanted = frozenset(access.peers)
        if wanted in self.known:
            return [self.known[wanted]]
        if self.fixed:
            return [_text(network) for network in access.peers]
        name = self._free(_guess(access, link, inbound=direction == "inbound"))
        side = "sources" if direction == "inbound" else "destinations"
        why = f"guessed: the {side} of {access.service}, by {', '.join(ref.place for ref in access.by) or 'no rule'}"
        self.known[wanted] = name
        self.guessed[name] = (access.peers, why)
        return [name]

    def _free(self, name: str) -> str:
        taken = {*self.known.values(), *self.taken}
        tries = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
        return next(each for each in tries if each not in taken)


def _guess(access: Access, link: Iterable[Network], *, inbound: bool) -> str:
    single = all(network.num_addresses == 1 for network in access.peers)
    if access.key == _SSH and inbound:
        return "admin"
    if set(access.peers) <= set(link):
        return "lan"
    first = access.peers[0]
    if single:
        return "host-" + _dashed(str(first.network_address))
    if all(network.is_private for network in access.peers):
        return "internal"
    return f"net-{_dashed(str(first.network_address))}-{first.prefixlen}"


def _dashed(text: str) -> str:
    return text.replace(":", "-").replace(".", "-").strip("-")


def _text(network: Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)
