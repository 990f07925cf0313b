"""What the tables of a host let through, service by service, and for whom; what is open to the world is kept apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import collapse_addresses, ip_network

from fwproof.decision import RuleRef
from fwproof.evidence.sockets import Socket
from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, Family, Hook, Network
from fwproof.frontends.docker import publishes
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Opening, openings
from fwproof.semantics.reach_text import Room, networks
from fwproof.semantics.space import Claim

_NAMES = {TCP: "tcp", UDP: "udp"}
_FEW = 16
"""Ports of a range that are looked at one by one; a wider range is no list of services."""
MOST_NETWORKS = 12
_WIDE = {Family.IPV4: 8, Family.IPV6: 16}
_ECHO = {Family.IPV4: 8, Family.IPV6: 128}

Key = tuple[str, int | None]
"""Protocol and port; None is an ICMP echo request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A service that known networks may use, by the rules ``by``.

    ``depends`` names what else decides than header fields. ``onto`` is where nat sends it, empty where it stays here
    or is a container's.
    """

    key: Key
    peers: tuple[Network, ...]
    by: tuple[RuleRef, ...]
    depends: tuple[str, ...] = ()
    onto: str = ""

    @property
    def service(self) -> str:
        """The service as a policy writes it."""
        proto, port = self.key
        return f"{proto}/{port or 'echo-request'}"


def is_wide(network: Network) -> bool:
    """Whether a network is so much of the world that being open to it is a question."""
    return network.prefixlen < _WIDE[Family.of(network)] and not network.is_private


def accesses(
    model: HostModel, hook: Hook, own: Sequence[Address], sockets: Iterable[Socket] = ()
) -> tuple[Access, ...]:
    """Return the services that tables let through at a hook to or from ``own`` addresses, without the wide open.

    Raises SpaceTooLarge where the tables are too entangled, and Disagreement.
    """
    listening = [(socket.proto, socket.port) for socket in sockets if not socket.local]
    parts = [
        part
        for address in own
        for key in _services(model, hook, Family.of(address), listening)
        for part in _peers(model, hook, address, key)
    ]
    joined = (
        _joined(at, [part for part in parts if (part.key, part.onto) == at], model)
        for at in dict.fromkeys((part.key, part.onto) for part in parts)
    )
    here = {each.prefix.ip for each in model.addresses.own} if model.addresses else set[Address]()
    return tuple(each for each in joined if len(each.peers) <= MOST_NETWORKS and not _itself(each, here))


def _itself(access: Access, own: Collection[Address]) -> bool:
    return all(network.num_addresses == 1 and network.network_address in own for network in access.peers)


def _joined(at: tuple[Key, str], parts: Sequence[Access], model: HostModel) -> Access:
    return Access(
        key=at[0], onto=at[1], peers=filled(tuple(dict.fromkeys(n for part in parts for n in part.peers)), model),
        by=tuple(dict.fromkeys(ref for part in parts for ref in part.by)),
        depends=tuple(dict.fromkeys(word for part in parts for word in part.depends)),
    )  # fmt: skip


def filled(found: Sequence[Network], model: HostModel) -> tuple[Network, ...]:
    """Return networks with the holes closed that the host's own addresses leave in them, and those that no host has.

    Rules against spoofing refuse what claims to come from there, and the judges of an audit ask nothing of it.
    """
    own = [each.prefix for each in model.addresses.own] if model.addresses else []
    holes = [ip_network(a) for each in own for a in (each.ip, each.network.network_address, _last(each.network))]
    parts = []
    for family in Family:
        before = list(collapse_addresses(network for network in found if Family.of(network) is family))  # type: ignore[type-var]
        after = list(collapse_addresses([*before, *(hole for hole in holes if Family.of(hole) is family)]))  # type: ignore[type-var]
        after = [network for network in after if any(each.subnet_of(network) for each in before)]  # type: ignore[arg-type]
        parts += after if len(after) < len(before) else before
    return tuple(parts)


def _last(network: Network) -> Address:
    return network.broadcast_address if network.version == 4 else network.network_address


def _services(model: HostModel, hook: Hook, family: Family, listening: Iterable[Key]) -> tuple[Key, ...]:
    """Return the services that are worth asking about: those of the rules and, on the way in, those that listen."""
    found: list[Key] = list(listening) if hook is Hook.INPUT else []
    for opening in openings(model, hook, family).openings:
        found += [key for room in opening.rooms for key in services_of(room, family)]
    return tuple(sorted(dict.fromkeys(found), key=lambda key: (key[0], key[1] or 0)))


def services_of(room: Room, family: Family) -> Iterator[Key]:
    """Yield the services of a room: ports, where they are few, and ICMP echo requests."""
    for protos, detail in room.services:
        numbers = {number for low, high in protos for number in (low, high)}
        if numbers <= {ICMP, ICMPV6} and detail is not None:
            if any(low <= _ECHO[family] * 256 <= high for low, high in detail) and not _whole(detail):
                yield "icmp", None
            continue
        for number in numbers & set(_NAMES):
            for low, high in detail or ():
                if high - low < _FEW:
                    yield from ((_NAMES[number], port) for port in range(max(low, 1), high + 1))


def _whole(detail: Iterable[tuple[int, int]]) -> bool:
    return any(high - low >= 0xFF00 for low, high in detail)


def _peers(model: HostModel, hook: Hook, own: Address, key: Key) -> Iterator[Access]:
    """Yield who may use a service, as far as that can be written down and is not half the world."""
    family, mine = Family.of(own), (ip_network(own),)
    proto, port = key
    inbound = hook is Hook.INPUT
    number = {name: number for number, name in _NAMES.items()}.get(proto, ICMP if family is Family.IPV4 else ICMPV6)
    claim = Claim(
        proto=number, ports=None if port is None else ((port, port),),
        icmp_types=(_ECHO[family],) if port is None else None,
        destinations=mine if inbound else None, sources=None if inbound else mine,
        opening=True, ordinary=True,
    )  # fmt: skip
    for opening in openings(model, hook, family, claim=claim).openings:
        networks_ = filled(_ends(opening, inbound=inbound), model)
        narrow = tuple(n for n in networks_ if not is_wide(n) and not n.is_loopback)
        if opening.certainty == "unknown" or opening.more or not narrow:
            continue
        if any(map(is_wide, networks_)):
            continue  # the rest of the world with a few exceptions
        yield Access(
            key=key, peers=narrow, by=(opening.by,) if opening.by else (),
            depends=opening.depends_on if opening.certainty == "depends" else (),
            onto="" if opening.by is not None and publishes(opening.by) else opening.onto,
        )  # fmt: skip


def _ends(opening: Opening, *, inbound: bool) -> tuple[Network, ...]:
    """Return the far ends of an opening; everything, where they are no networks."""
    found: list[Network] = []
    for room in opening.rooms:
        values = room.sources if inbound else room.destinations
        if values[1]:
            return (ip_network("0.0.0.0/0" if opening.family is Family.IPV4 else "::/0"),)
        found += [ip_network(text) for text in networks(values, opening.family)]
    return tuple(collapse_addresses(found))  # type: ignore[type-var]
