"""What a host's addresses, routes and sysctls make of packets: :mod:`fwproof.semantics.routing` over sets of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from ipaddress import ip_network

from fwproof.flow import Family, Network
from fwproof.ruleset.asks import Ranges
from fwproof.semantics import kinds
from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.bdd_layout import Spans
from fwproof.semantics.model import HostModel
from fwproof.semantics.routing import Router

_NETS = {
    Family.IPV4: {"multicast": "224.0.0.0/4", "loopback": "127.0.0.0/8", "nothing": "0.0.0.0/32",
                  "all": "255.255.255.255/32", "this": "0.0.0.0/8", "reserved": "240.0.0.0/4"},
    Family.IPV6: {"multicast": "ff00::/8", "loopback": "::1/128", "nothing": "::/128", "link": "fe80::/10"},
}  # fmt: skip


def address_cuts(model: HostModel, family: Family) -> Iterator[tuple[str, Ranges]]:
    """Yield where addresses have to be cut for the sets of this module."""
    networks = [ip_network(text) for text in _NETS[family].values()]
    networks += [each.network for each in model.routes.get(family, ())]
    spans = [span(network) for network in networks]
    if model.addresses is not None:
        spans += kinds.own(model.addresses, family)
        spans += kinds.broadcast(model.addresses, family)
        spans += [span(own.prefix.network) for own in model.addresses.own if Family.of(own.prefix.ip) is family]
    yield from ((field, (each,)) for field in ("src", "dst") for each in spans)


def span(network: Network) -> tuple[int, int]:
    """Return the first and the last address of a network."""
    return int(network.network_address), int(network.broadcast_address)


class Roads:
    """Sets of packets by what the routing has to say about them."""

    def __init__(self, sets: Sets, router: Router) -> None:
        self.sets, self.router, self.family, self.addresses = sets, router, router.family, router.addresses
        self._bars: dict[int | None, Set] = {}

    def net(self, field: str, name: str) -> Set:
        """Return the packets with an address of one of the kinds that have a name above."""
        text = _NETS[self.family].get(name)
        return self.sets.none if text is None else self.sets.within(field, (span(ip_network(text)),))

    @cached_property
    def own(self) -> Set:
        """The packets that are for the host itself, as far as its addresses are known."""
        found = self.net("dst", "multicast") | self.net("dst", "loopback")
        if self.addresses is None:
            return found
        spans = kinds.broadcast(self.addresses, self.family)
        return found | self.net("dst", "all") | self.sets.within("dst", sorted({*spans, *self.mine}))

    @cached_property
    def mine(self) -> Spans:
        """The host's own addresses; its addresses are known."""
        assert self.addresses is not None
        return kinds.own(self.addresses, self.family)

    @cached_property
    def onward(self) -> Set:
        """The packets with an output interface that a route to their destination has."""
        assert self.addresses is not None
        found, rest = self.sets.none, self.sets.all
        several = frozenset(self.addresses.interfaces) - {"lo"}
        for some, names in self._ways("dst"):
            found |= some & self.sets.words("oif", lambda name, ways=names or several: name in ways)  # type: ignore[misc]
            rest &= ~some
        return found | rest & self.sets.words("oif", lambda name: name != "lo")

    def _ways(self, field: str) -> Iterator[tuple[Set, frozenset[str]]]:
        """Divide addresses by the interfaces of their best routes (Router._ways); where none is known, by none."""
        assert self.addresses is not None
        rest = self.sets.all
        if not self.router.special:
            routes = self.router.routes
            for network in sorted({each.network for each in routes}, key=lambda each: -each.prefixlen):
                least = min(each.metric for each in routes if each.network == network)
                names = {each.interface for each in routes if each.network == network and each.metric == least}
                here = rest & self.sets.within(field, (span(network),))
                rest &= ~here
                yield here, frozenset(names)
            for own in (own for own in self.addresses.own if Family.of(own.prefix.ip) is self.family):
                here = rest & self.sets.within(field, (span(own.prefix.network),))
                rest &= ~here
                yield here, frozenset({own.interface})
        yield rest, frozenset()

    def barred(self, new: int | None) -> Set:
        """Return the packets that the kernel drops before input and forward (Router.bars).

        ``new`` is the destination that nat has written.
        """
        if self.addresses is None or self.family is Family.IPV6:
            return self.sets.none
        if new not in self._bars:
            here = self.sets.words("iif", lambda name: name != "lo")
            self._bars[new] = here & (self._martian(new) | self._backwards())
        return self._bars[new]

    def _martian(self, new: int | None) -> Set:
        def to(name: str) -> Set:
            if new is None:
                return self.net("dst", name)
            low, high = span(ip_network(_NETS[self.family][name]))
            return self.sets.all if low <= new <= high else self.sets.none

        many = to("multicast") | to("all")
        found = self.net("src", "multicast") | self.net("src", "all") | (self.net("src", "nothing") & ~many)
        found |= to("nothing")
        for name, here in self._by_interface():
            if not self._either("route_localnet", name):
                found |= here & (self.net("src", "loopback") | to("loopback"))
            if not self._either("accept_local", name):
                found |= here & self.sets.within("src", self.mine)
        return found

    def _backwards(self) -> Set:
        found, nothing = self.sets.none, self.net("src", "nothing")
        if not self.router.routes or self.router.special:
            return found
        modes = {name: self._number("all", name) for name, _ in self._by_interface()}
        for some, names in self._ways("src") if any(modes.values()) else ():
            for name, here in self._by_interface():
                if (modes[name] == 1 and name not in names) or (modes[name] == 2 and not names):
                    found |= some & here & ~nothing
        return found

    def _by_interface(self) -> Iterator[tuple[str, Set]]:
        for at, name in enumerate(self.sets.fields["iif"].words):
            if name != "lo":
                yield name, self.sets.within("iif", ((at, at),))

    def _either(self, name: str, iif: str) -> bool:
        return any(self.router.settings.get(f"ipv4/conf/{each}/{name}", "0") != "0" for each in ("all", iif))

    def _number(self, *names: str) -> int:
        values = (self.router.settings.get(f"ipv4/conf/{name}/rp_filter", "0") for name in names)
        return max(int(value) if value.isascii() and value.isdigit() else 0 for value in values)

    @cached_property
    def held(self) -> Set:
        """The packets that are not passed on (Router.holds_back)."""
        found = self.net("src", "link") | (self.net("src", "nothing") if self.family is Family.IPV6 else self.sets.none)
        for at, name in enumerate(self.sets.fields["iif"].words):
            if self.router.forwards(name or None) is False:
                found |= self.sets.within("iif", ((at, at),))
        return found

    @cached_property
    def by_way(self) -> dict[str | None, Set]:
        """The packets by the one interface that leads to their destination, None where there are several."""
        assert self.addresses is not None
        several = frozenset(self.addresses.interfaces) - {"lo"}
        found: dict[str | None, Set] = {}
        for some, ways in self._ways("dst"):
            names = ways or several
            name = next(iter(names)) if len(names) == 1 else None
            found[name] = found.get(name, self.sets.none) | some
        return found
