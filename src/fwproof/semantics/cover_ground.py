"""Where packets can come from and where routing leads them, as sets: the ground on which a cover is looked for.

As :mod:`fwproof.semantics.turns` for one packet. A packet that is chosen here takes, on the host, the way that it is
chosen for; that is what tells this from a question about one hook (:mod:`fwproof.semantics.bdd_turn`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_network

from fwproof.flow import ICMP, ICMPV6, TCP, CtState, Family, Hook, Network
from fwproof.ruleset.asks import Ranges
from fwproof.semantics import kinds, route
from fwproof.semantics.bdd import Set, Spans
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Host, Route
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import PORTED
from fwproof.semantics.stages import Turn, Way

Going = tuple[Config, Set]

_NETS = {
    Family.IPV4: {"multicast": "224.0.0.0/4", "loopback": "127.0.0.0/8", "nothing": "0.0.0.0/32",
                  "all": "255.255.255.255/32", "this": "0.0.0.0/8", "reserved": "240.0.0.0/4"},
    Family.IPV6: {"multicast": "ff00::/8", "loopback": "::1/128", "nothing": "::/128", "link": "fe80::/10"},
}  # fmt: skip
_NEW_ICMP = {Family.IPV4: (8, 13, 15, 17), Family.IPV6: (128, 139)}
"""ICMP types that begin a connection (nf_conntrack_proto_icmp.c and _icmpv6.c, ``valid_new``)."""
_UNTRACKED_ICMP = (130, 131, 132, 133, 134, 135, 136, 143)
"""ICMPv6 types that conntrack leaves alone (``noct_valid_new``)."""
_FLAGS = 0x17
"""FIN, SYN, RST and ACK; of a new connection SYN alone, or ACK alone where it began unseen (``tcp_new``)."""
_LONGEST = 65535


def cuts(model: HostModel, family: Family) -> list[tuple[str, Ranges]]:
    """Return where addresses, ICMP types and lengths have to be cut for the sets of this module."""
    networks = [ip_network(text) for text in _NETS[family].values()]
    networks += [each.network for each in model.routes.get(family, ())]
    spans = [span(network) for network in networks]
    if model.addresses is not None:
        spans += kinds.own(model.addresses, family)
        spans += _broadcasts(model, family)
        spans += [span(own.prefix.network) for own in model.addresses.own if Family.of(own.prefix.ip) is family]
    found: list[tuple[str, Ranges]] = [(field, (each,)) for field in ("src", "dst") for each in spans]
    types = (*_NEW_ICMP[family], *(_UNTRACKED_ICMP if family is Family.IPV6 else ()))
    found += [("icmp", ((kind * 256, kind * 256 + 255),)) for kind in types]
    return [*found, *(("length", ((least, _LONGEST),)) for least in set(_shortest(family).values()))]


def span(network: Network) -> tuple[int, int]:
    """Return the first and the last address of a network."""
    return int(network.network_address), int(network.broadcast_address)


def _broadcasts(model: HostModel, family: Family) -> list[tuple[int, int]]:
    if family is Family.IPV6 or model.addresses is None:
        return []
    return [(int(own.broadcast),) * 2 for own in model.addresses.own if own.broadcast is not None]


def _shortest(family: Family) -> dict[int, int]:
    """Return the shortest packet by protocol, IP header included; 0 stands for any other protocol."""
    head = 20 if family is Family.IPV4 else 40
    return {TCP: head + 20, **dict.fromkeys({*PORTED, ICMP, ICMPV6} - {TCP}, head + 8), 0: head}


class Ground:
    """What of a host's surroundings decides which packets there are, and where they go."""

    def __init__(self, host: Host) -> None:
        self.host, self.sets, self.router, self.family = host, host.sets, host.router, host.family
        self.addresses = host.router.addresses
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
        spans = _broadcasts(self.host.model, self.family)
        return found | self.net("dst", "all") | self.sets.within("dst", sorted({*spans, *self._mine}))

    @cached_property
    def _mine(self) -> Spans:
        assert self.addresses is not None
        return kinds.own(self.addresses, self.family)

    @cached_property
    def living(self) -> Set:
        """The packets that have a hop left for the way on."""
        return ~self.sets.within("ttl", ((0, 1),))

    def real(self, config: Config, hook: Hook | None) -> Set:
        """Return the headers that conntrack gives this state when a well-formed packet arrives, or is sent."""
        fit = self.sets.union([self._proto(proto, least) for proto, least in _shortest(self.family).items()])
        if hook is not Hook.OUTPUT:
            fit &= self.sets.words("iif", lambda name: name != "lo")
        elif config.state is not CtState.UNTRACKED:
            fit &= ~self.net("src", "nothing")  # the kernel puts an address there (raw(7)), but for its own discovery
        if not self.host.model.conntrack(self.family):
            return fit
        if config.state is CtState.NEW:
            return fit & self._first
        if config.state is CtState.UNTRACKED:
            return fit & self._icmp(_UNTRACKED_ICMP) if self.family is Family.IPV6 else self.sets.none
        return fit

    def liked(self, config: Config, hook: Hook | None) -> Set:
        """Return the packets that need nothing sent before them to be in a state, and have an ordinary source."""
        ends = ("multicast", "loopback", "nothing", "link", "this", "reserved")
        found = ~self.sets.union([self.net("src", name) for name in ends])
        if hook is Hook.OUTPUT and self.addresses is None:
            looped = self.sets.words("oif", lambda name: name == "lo")
            found = looped.ite(self.net("src", "loopback") & self.net("dst", "loopback"), found)
        elif hook is not Hook.OUTPUT and self.addresses is not None:
            found &= ~self.sets.within("src", self._mine)
        if config.state is CtState.INVALID and self.host.model.conntrack(self.family):
            found &= ~self._first
        return found

    def _proto(self, proto: int, least: int) -> Set:
        sets = self.sets
        known = [(each, each) for each in sorted(_shortest(self.family)) if each]
        mine = sets.within("proto", ((proto, proto),)) if proto else ~sets.within("proto", known)
        return mine & sets.within("length", ((least, _LONGEST),))

    def _icmp(self, types: Sequence[int]) -> Set:
        own = ICMP if self.family is Family.IPV4 else ICMPV6
        spans = [(kind * 256, kind * 256 + 255) for kind in types]
        return self.sets.within("proto", ((own, own),)) & self.sets.within("icmp", spans)

    @cached_property
    def _first(self) -> Set:
        """The packets that begin a connection in conntrack's eyes."""
        sets = self.sets
        own = ICMP if self.family is Family.IPV4 else ICMPV6
        tcp, icmp = (sets.within("proto", ((proto, proto),)) for proto in (TCP, own))
        flags = sets.bits("flags", _FLAGS, 0x02) | sets.bits("flags", _FLAGS, 0x10)
        return (tcp & flags) | self._icmp(_NEW_ICMP[self.family]) | ~(tcp | icmp)

    def arriving(self, hook: Hook | None) -> Route:
        """Return the way of packets that come in; ``hook`` says where it leads while no address of the host is known.

        Else their destination does.
        """
        make = self.host.model.chains(self.family, route.THROUGH)

        def turn(places: route.Places) -> Turn:
            return Turn(self.family.table_family, lambda config: self._arrived(config, places, hook))

        return Route(self.host, route.arriving(make, turn))

    def sent(self) -> Route:
        """Return the way of packets that the host sends."""
        make = self.host.model.chains(self.family, route.OUTBOUND)

        def turn(places: route.Places) -> Turn:
            return Turn(self.family.table_family, lambda config: self._sent(config, places))

        return Route(self.host, route.sending(make, turn))

    def at_wire(self, hook: Hook | None) -> Set:
        """Return the packets that come in by an interface and live to see the first table (ip6_rcv_core())."""
        found = self.sets.all
        if self.family is Family.IPV6:
            ends = self.net("src", "multicast") | self.net("src", "loopback") | self.net("dst", "loopback")
            found = self.sets.words("iif", lambda name: name == "lo") | ~ends
        return found & ~self.own if hook is Hook.FORWARD else found

    def at_home(self) -> Set:
        """Return the packets that the host sends, by the interfaces that lead to their destinations."""
        sets = self.sets
        looped = sets.words("oif", lambda name: name == "lo")
        found = sets.words("iif", lambda name: name == "lo")
        if self.addresses is None:
            return found
        found &= sets.within("src", self._mine) | self.net("src", "nothing")
        mine = sets.within("dst", self._mine)
        return found & mine.ite(looped, ~looped & self._onward)

    @cached_property
    def _onward(self) -> Set:
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

    def _barred(self, config: Config) -> Set:
        """Return the packets that the kernel drops before input and forward (Router.bars)."""
        if self.addresses is None or self.family is Family.IPV6:
            return self.sets.none
        moved = config.nat.value("dst")
        new = moved if isinstance(moved, int) else None
        if new not in self._bars:
            self._bars[new] = self._martian(new) | self._backwards()
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
                found |= here & self.sets.within("src", self._mine)
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
    def _held(self) -> Set:
        """The packets that are not passed on (Router.holds_back)."""
        found = self.net("src", "link") | (self.net("src", "nothing") if self.family is Family.IPV6 else self.sets.none)
        for at, name in enumerate(self.sets.fields["iif"].words):
            if self.router.forwards(name or None) is False:
                found |= self.sets.within("iif", ((at, at),))
        return found

    def _arrived(self, config: Config, places: route.Places, hook: Hook | None) -> Iterator[Way[Going]]:
        passing = ~self._barred(config)
        if "dst" in config.nat.translated or config.nat.own:
            mine, onward = self._new(config), self.sets.all
        elif self.addresses is None:
            mine, onward = self.sets.all if hook is Hook.INPUT else self.own, self.sets.all
        else:
            mine, onward = self.own, self._onward
        yield Way((config, passing & mine), places.here)
        living = self.living
        if dict(config.unknown).get("ttl"):
            living = self.sets.oracle("hops left", "whether the packet has hops left after a target changed them")
        for after, some in self._leaving(config):
            yield Way((after, some & passing & ~mine & ~self._held & living & onward), places.away)

    def _sent(self, config: Config, places: route.Places) -> Iterator[Way[Going]]:
        if "dst" not in config.nat.translated:
            looped = self.sets.words("oif", lambda name: name == "lo")
            yield Way((config, looped), places.here)
            yield Way((config, ~looped), places.away)
            return
        new = config.nat.value("dst")
        mine = self.sets.none if isinstance(new, int) and self._address(new).is_multicast else self._new(config)
        yield Way((config._replace(nat=config.nat._replace(leaving="lo")), mine), places.here)
        for after, some in self._leaving(config):
            yield Way((after, some & ~mine), places.away)

    def _address(self, value: int) -> IPv4Address | IPv6Address:
        return IPv4Address(value) if self.family is Family.IPV4 else IPv6Address(value)

    def _new(self, config: Config) -> Set:
        """Return the packets that nat sends to the host itself; where that is not known, a question is asked."""
        if config.nat.own:
            return self.sets.all
        new = config.nat.value("dst")
        known = self.router.is_own(self._address(new)) if isinstance(new, int) else None
        if known is not None:
            return self.sets.all if known else self.sets.none
        label = "whether the address that nat writes is the host's own"
        asked = self.sets.oracle(f"own {sorted(config.nat.moved, key=str)}", label)
        if new is None:  # only the port is written: the destination is the one that the packets came with
            return self.own if self.addresses is not None else self.own | asked
        return asked

    def _leaving(self, config: Config) -> Iterator[Going]:
        """Divide packets by the interface that a new destination leads to (Router.out)."""
        if "dst" not in config.nat.translated or self.addresses is None:
            yield config, self.sets.all
            return
        new = config.nat.value("dst")
        if new is None:  # only the port is written
            for name, some in self._by_way.items():
                yield _towards(config, name), some
        else:
            yield _towards(config, self.router.out(self._address(new)) if isinstance(new, int) else None), self.sets.all

    @cached_property
    def _by_way(self) -> dict[str | None, Set]:
        """The packets by the one interface that leads to their destination, None where there are several."""
        assert self.addresses is not None
        several = frozenset(self.addresses.interfaces) - {"lo"}
        found: dict[str | None, Set] = {}
        for some, ways in self._ways("dst"):
            names = ways or several
            name = next(iter(names)) if len(names) == 1 else None
            found[name] = found.get(name, self.sets.none) | some
        return found


def _towards(config: Config, name: str | None) -> Config:
    if name is not None:
        return config._replace(nat=config.nat._replace(leaving=name))
    moved = frozenset({*((f, v) for f, v in config.nat.moved if f != "oif"), ("oif", "routed anew")})
    return config._replace(nat=config.nat._replace(moved=moved))
