"""The way back to a packet's source: ``rpfilter`` and nft's ``fib saddr . iif oif`` from the host's routes.

Follows rpfilter_mt() of ipt_rpfilter.c and ip6t_rpfilter.c, and nft_fib4_eval(). What depends on more than the main
table's routes is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

from fwproof.flow import Address, Family
from fwproof.ruleset.asks import Ranges, ReversePath
from fwproof.ruleset.numbers import bits
from fwproof.semantics.addresses import Addresses, Route
from fwproof.semantics.routing import Router

MOST = 1000
"""Routes that are followed one by one; with more of them the way back is a question."""
_NOBODY = ip_network("0.0.0.0/8")
_NEARBY = (ip_network("255.255.255.255/32"), ip_network("224.0.0.0/24"))
"""Destinations of a packet that has no source address yet, which has no way back and needs none."""


def followed(router: Router | None) -> bool:
    """Whether the main table's routes are known, and decide alone."""
    return router is not None and router.addresses is not None and 0 < len(router.routes) <= MOST and not router.special


def leads_back(router: Router, test: ReversePath, src: Address, dst: Address, iif: str) -> bool | None:
    """Whether the way back to ``src`` is as a test wants it; None where that is not known."""
    if iif == "lo":
        return True
    if router.family is Family.IPV4 and src in _NOBODY and any(dst in each for each in _NEARBY):
        return True
    return _found(router, test, src, iif)


def _found(router: Router, test: ReversePath, src: Address, iif: str) -> bool | None:
    known = router.addresses
    assert known is not None
    if src.version == 6 and src.is_unspecified:
        return None if test.native else True
    if iif not in known.interfaces or src in _edges(known, router.family):
        return None
    if known.is_broadcast(src) and src != _NEARBY[0].network_address:  # which no routing table holds
        return False
    if known.is_local(src):
        there = any(own.prefix.ip == src and own.interface == iif for own in known.own)
        return test.accept_local and (test.loose or there or src.version == 6)
    return _by_routes(router, test, src, iif)


def _by_routes(router: Router, test: ReversePath, src: Address, iif: str) -> bool | None:
    assert router.addresses is not None
    fitting = [route for route in router.routes if src in route.network]
    if not fitting:
        return None if router.addresses.on_link(src) else False
    if src.version == 6 and src.is_link_local:  # looked for on that interface only
        return True if iif in {route.interface for route in fitting} else None
    longest = max(route.network.prefixlen for route in fitting)
    ways = _best([route for route in fitting if route.network.prefixlen == longest], router.family)
    if ways is None:
        return None
    return bool(ways) if test.loose else iif in ways


def _best(routes: list[Route], family: Family) -> set[str] | None:
    """Return the interfaces of the best of several routes to one network; none: packets do not leave by it.

    IPv6 looks for a route through the wanted interface among all of them, whatever their metric; that is left open.
    """
    least = min(route.metric for route in routes)
    ways = {route.interface for route in routes if route.metric == least}
    if family is Family.IPV6 and len({route.interface for route in routes}) > 1:
        return None
    return ways - {""}


def _edges(addresses: Addresses, family: Family) -> set[Address]:
    """Return the first addresses of the host's networks: broadcast to older kernels, anycast to IPv6 routers."""
    return {
        own.prefix.network.network_address
        for own in addresses.own
        if Family.of(own.prefix.ip) is family and own.prefix.network.num_addresses > 2
        and own.prefix.ip != own.prefix.network.network_address
    }  # fmt: skip


def _starts(router: Router) -> list[int]:
    """Return the first address of each run of sources that routes do not tell apart."""
    assert router.addresses is not None
    single = {*router.addresses.of(router.family), *_edges(router.addresses, router.family)}
    spans = [(int(each), int(each)) for each in single]
    spans += [(each, each) for each in (router.addresses.broadcasts() if router.family is Family.IPV4 else (0,))]
    networks = [route.network for route in router.routes]
    networks += [ip_network("127.0.0.0/8"), _NOBODY] if router.family is Family.IPV4 else [ip_network("::1/128")]
    networks += [own.prefix.network for own in router.addresses.own if Family.of(own.prefix.ip) is router.family]
    spans += [(int(each.network_address), int(each.broadcast_address)) for each in networks]
    top = 1 << bits(router.family)
    return sorted({0, *(end for low, high in spans for end in (low, high + 1) if end < top)})


def cuts(tests: Iterable[object], router: Router) -> Iterator[tuple[str, Ranges]]:
    """Yield the intervals, by field, that tests of the way back need; none where nothing asks for it."""
    if not followed(router) or not any(isinstance(test, ReversePath) for test in tests):
        return
    starts = _starts(router)
    yield "src", tuple((start, start) for start in starts)
    if router.family is Family.IPV4:
        yield "src", ((int(_NOBODY.network_address), int(_NOBODY.broadcast_address)),)
        yield "dst", tuple((int(each.network_address), int(each.broadcast_address)) for each in _NEARBY)


def sources(router: Router, test: ReversePath, iif: str) -> tuple[Ranges, Ranges]:
    """Return the sources whose way back is as a test wants it, and those of which it is not known."""
    make = IPv4Address if router.family is Family.IPV4 else IPv6Address
    starts = _starts(router)
    ends = [start - 1 for start in starts[1:]] + [(1 << bits(router.family)) - 1]
    held: list[tuple[int, int]] = []
    unknown: list[tuple[int, int]] = []
    for low, high in zip(starts, ends, strict=True):
        answer = _found(router, test, make(low), iif)
        if answer is not False:
            (unknown if answer is None else held).append((low, high))
    return tuple(held), tuple(unknown)


def unborn() -> tuple[Ranges, Ranges]:
    """Return the sources and destinations of packets that have no source address yet (IPv4)."""
    return tuple(
        tuple((int(each.network_address), int(each.broadcast_address)) for each in networks)
        for networks in ((_NOBODY,), _NEARBY)
    )  # type: ignore[return-value]
