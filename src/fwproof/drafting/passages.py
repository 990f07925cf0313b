"""What a host passes on for known networks to known networks: services beyond it, and ports that it publishes.

What Docker publishes is a service of the host's own, by the port that clients use: its containers' addresses are
Docker's to choose, and no policy's to name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from fwproof.decision import RuleRef
from fwproof.drafting.found import MOST_NETWORKS, Access, Key, filled, is_wide, services_of
from fwproof.flow import Family, Hook, Network
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Opening, openings
from fwproof.semantics.reach_text import networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A service at ``to`` that ``peers`` may reach through the host; ``published`` is the host's own port for it."""

    key: Key
    peers: tuple[Network, ...]
    to: tuple[Network, ...]
    by: tuple[RuleRef, ...]
    published: Key | None = None

    def ends(self) -> tuple[Access, Access]:
        """Return both ends, as what the service is open from and open at."""
        return Access(key=self.key, peers=self.peers, by=self.by), Access(key=self.key, peers=self.to, by=self.by)


def passages(model: HostModel, families: Iterable[Family]) -> tuple[Passage, ...]:
    """Return the services that pass through a host between networks that are not the world, ports it publishes not.

    Raises SpaceTooLarge, and Disagreement.
    """
    found = [
        part
        for family in families
        if model.forwards(family) is not False
        for opening in openings(model, Hook.FORWARD, family).openings
        if opening.certainty != "unknown" and not opening.more and not opening.onto
        for part in _of_opening(model, opening, family)
    ]
    return _paired(each for each in _united(model, found) if max(len(each.peers), len(each.to)) <= MOST_NETWORKS)


def published(accesses: Iterable[Access]) -> tuple[Passage, ...]:
    """Return the port forwards among services that come to a host's own addresses."""
    found = []
    for access in accesses:
        address, _, port = access.onto.partition(", port ")
        try:
            far = ip_network(ip_address(address))
        except ValueError:
            continue  # an address that nat picks: what is open is asked about
        key = (access.key[0], int(port) if port.isdigit() else access.key[1])
        found.append(Passage(key=key, peers=access.peers, to=(far,), by=access.by, published=access.key))
    return _paired(found)


def _of_opening(model: HostModel, opening: Opening, family: Family) -> Iterator[Passage]:
    by = (opening.by,) if opening.by is not None else ()
    for room in opening.rooms:
        if room.sources[1] or room.destinations[1]:
            continue
        ends = [tuple(map(ip_network, networks(values, family))) for values in (room.sources, room.destinations)]
        peers, to = (filled(each, model) for each in ends)
        if not _known(peers) or not _known(to):
            continue
        yield from (Passage(key=key, peers=peers, to=to, by=by) for key in dict.fromkeys(services_of(room, family)))


def _known(found: tuple[Network, ...]) -> bool:
    return bool(found) and not any(is_wide(n) or n.is_loopback for n in found)


def _united(model: HostModel, found: Iterable[Passage]) -> list[Passage]:
    """Join what leads to the same place; rules let in one part of a network after the other."""
    joined: dict[tuple[Key, tuple[Network, ...]], Passage] = {}
    for one in found:
        known = joined.get((one.key, one.to))
        peers = one.peers if known is None else filled((*known.peers, *one.peers), model)
        by = one.by if known is None else tuple(dict.fromkeys((*known.by, *one.by)))
        joined[one.key, one.to] = Passage(key=one.key, peers=peers, to=one.to, by=by)
    return list(joined.values())


def _paired(found: Iterable[Passage]) -> tuple[Passage, ...]:
    """Put the nth passage of a service in IPv4 together with its nth in IPv6: a policy says both at once."""
    rows: dict[tuple[Key, Key | None, int], list[Passage]] = {}
    count: dict[tuple[Key, Key | None, Family], int] = {}
    for one in found:
        at = (one.key, one.published, Family.of(one.to[0]))
        count[at] = count.get(at, 0) + 1
        rows.setdefault((one.key, one.published, count[at]), []).append(one)
    return tuple(
        Passage(
            key=key, published=port, peers=tuple(n for one in row for n in one.peers),
            to=tuple(n for one in row for n in one.to), by=tuple(dict.fromkeys(ref for one in row for ref in one.by)),
        )
        for (key, port, _), row in rows.items()
    )  # fmt: skip
