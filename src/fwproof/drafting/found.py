"""What the tables of a host let through, service by service, and for whom; what is open to the world is kept apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import collapse_addresses, ip_network

from fwproof.decision import RuleRef
from fwproof.evidence.sockets import Socket
from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, Family, Hook, Network
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Opening, openings
from fwproof.semantics.reach_text import Room, networks
from fwproof.semantics.space import Claim

_NAMES = {TCP: "tcp", UDP: "udp"}
_FEW = 16
"""Ports of a range that are looked at one by one; a wider range is no list of services."""
_MOST_NETWORKS = 12
_WIDE = {Family.IPV4: 8, Family.IPV6: 16}
_ECHO = {Family.IPV4: 8, Family.IPV6: 128}

Key = tuple[str, int | None]
"""Protocol and port; None is an ICMP echo request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A service that known networks may use: ``limits`` are rates that have a part in it, ``by`` the rules."""

    key: Key
    peers: tuple[Network, ...]
    by: tuple[RuleRef, ...]
    limits: tuple[str, ...] = ()

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
    return tuple(
        _joined(key, [part for part in parts if part.key == key]) for key in dict.fromkeys(p.key for p in parts)
    )


def _joined(key: Key, parts: Sequence[Access]) -> Access:
    return Access(
        key=key, peers=tuple(dict.fromkeys(n for part in parts for n in part.peers)),
        by=tuple(dict.fromkeys(ref for part in parts for ref in part.by)),
        limits=tuple(dict.fromkeys(limit for part in parts for limit in part.limits)),
    )  # fmt: skip


def _services(model: HostModel, hook: Hook, family: Family, listening: Iterable[Key]) -> tuple[Key, ...]:
    """Return the services that are worth asking about: those of the rules and, on the way in, those that listen."""
    found: list[Key] = list(listening) if hook is Hook.INPUT else []
    for opening in openings(model, hook, family).openings:
        found += [key for room in opening.rooms for key in _of_room(room, family)]
    return tuple(sorted(dict.fromkeys(found), key=lambda key: (key[0], key[1] or 0)))


def _of_room(room: Room, family: Family) -> Iterator[Key]:
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
        networks_ = _ends(opening, inbound=inbound)
        narrow = tuple(n for n in networks_ if not is_wide(n) and not n.is_loopback)
        if opening.certainty == "unknown" or opening.more or not narrow or len(networks_) > _MOST_NETWORKS:
            continue
        if any(map(is_wide, networks_)):
            continue  # the rest of the world with a few exceptions
        yield Access(
            key=key, peers=narrow, by=(opening.by,) if opening.by else (),
            limits=opening.depends_on if opening.certainty == "depends" else (),
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
