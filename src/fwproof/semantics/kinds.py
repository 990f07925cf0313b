"""The kernel's kinds of address (``addrtype``) as intervals, so that sets of packets are divided exactly.

Follows xt_addrtype.c as :meth:`~fwproof.semantics.addresses.Addresses.is_kind` does for one address.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from fwproof.flow import Family, Network
from fwproof.ruleset.asks import AddressType, Ranges, Test, Within
from fwproof.ruleset.numbers import bits
from fwproof.ruleset.ranges import merged
from fwproof.semantics.addresses import Addresses
from fwproof.semantics.routing import Router

_LOOPBACK: dict[Family, Network] = {Family.IPV4: ip_network("127.0.0.0/8"), Family.IPV6: ip_network("::1/128")}
_MULTICAST: dict[Family, Network] = {Family.IPV4: ip_network("224.0.0.0/4"), Family.IPV6: ip_network("ff00::/8")}


def own(addresses: Addresses, family: Family) -> Ranges:
    """Return the addresses of the host itself, loopback included."""
    return merged([_span(_LOOPBACK[family]), *((int(a), int(a)) for a in addresses.of(family))])


def cuts(tests: Iterable[Test], addresses: Addresses, family: Family) -> list[tuple[str, Ranges]]:
    """Return the intervals that the tests of a table need, by field; none where nothing asks for a kind."""
    fields = {test.field for test in tests if isinstance(test, AddressType)}
    if not fields:
        return []
    # not as one where they touch: :: and ::1 are of different kinds
    own_ones = ((int(a), int(a)) for a in addresses.of(family))
    ranges = (_span(_LOOPBACK[family]), *own_ones, _span(_MULTICAST[family]), *broadcast(addresses, family), (0, 0))
    return [(field, ranges) for field in sorted(fields)]


def plain(test: AddressType, router: Router | None) -> Test:
    """Return the test as one of numbers; the same test where addresses are not known or routes would decide it."""
    if router is None or router.addresses is None:
        return test
    found = _ranges(test.kinds, router.addresses, router.family)
    return test if found is None else Within(test.field, found)


def _ranges(kinds: frozenset[str], addresses: Addresses, family: Family) -> Ranges | None:
    local, multicast = own(addresses, family), merged([_span(_MULTICAST[family])])
    ones = broadcast(addresses, family)
    if family is Family.IPV6:
        known = {"LOCAL": local, "MULTICAST": multicast, "UNSPEC": ((0, 0),),
                 "UNICAST": _without(family, merged([*multicast, (0, 0)]))}  # fmt: skip
        if not kinds <= known.keys():
            return None
        found: Ranges = ((0, (1 << bits(family)) - 1),)
        for kind in kinds:
            found = _without(family, merged([*_without(family, found), *_without(family, known[kind])]))
        return found
    if not kinds <= {"LOCAL", "MULTICAST", "BROADCAST", "UNICAST"}:
        return None
    by_kind = {"LOCAL": local, "MULTICAST": multicast, "BROADCAST": _only(family, ones, local, multicast),
               "UNICAST": _without(family, merged([*local, *multicast, *ones]))}  # fmt: skip
    return merged([span for kind in kinds for span in by_kind[kind]])


def broadcast(addresses: Addresses, family: Family) -> Ranges:
    """Return the broadcast addresses of the host's networks, which IPv6 does not have."""
    if family is Family.IPV6:
        return ()
    return merged([(each, each) for each in addresses.broadcasts()])


def _span(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


def _without(family: Family, spans: Ranges) -> Ranges:
    """Return all addresses but these; the intervals are in order and do not touch."""
    found, start = [], 0
    for low, high in spans:
        if start < low:
            found.append((start, low - 1))
        start = high + 1
    last = (1 << bits(family)) - 1
    return (*found, (start, last)) if start <= last else tuple(found)


def _only(family: Family, spans: Ranges, *others: Ranges) -> Ranges:
    """Return the addresses of ``spans`` that are in none of the others."""
    rest = merged([span for ranges in others for span in ranges])
    return _without(family, merged([*_without(family, spans), *rest]))
