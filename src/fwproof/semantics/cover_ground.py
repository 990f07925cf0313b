"""Where packets can come from and where routing leads them, as sets: the ground on which a cover is looked for.

As :mod:`fwproof.semantics.turns` for one packet. A packet that is chosen here takes, on the host, the way that it is
chosen for; that is what tells this from a question about one hook (:mod:`fwproof.semantics.bdd_turn`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import ICMP, ICMPV6, TCP, CtState, Family, Hook
from fwproof.ruleset.asks import Ranges
from fwproof.semantics import kinds, route
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_turn import living
from fwproof.semantics.bdd_walk import Host, Route
from fwproof.semantics.cover_roads import Roads, address_cuts
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import PORTED
from fwproof.semantics.stages import Turn, Way

Going = tuple[Config, Set]

_NEW_ICMP = {Family.IPV4: (8, 13, 15, 17), Family.IPV6: (128, 139)}
"""ICMP types that begin a connection (nf_conntrack_proto_icmp.c and _icmpv6.c, ``valid_new``)."""
_KNOWN_ICMP = {Family.IPV4: (0, 8, 13, 14, 15, 16, 17, 18), Family.IPV6: (128, 129, 139, 140)}
"""ICMP types of a connection, both ways (``invmap``)."""
_ERRORS = {Family.IPV4: (3, 4, 5, 11, 12), Family.IPV6: (1, 2, 3, 4)}
"""ICMP types that are about a connection (``icmp_error_message``; ICMPv6 errors have types below 128)."""
_VALID = ((0x17, 0x02), (0x37, 0x12), (0x37, 0x04), (0x37, 0x14), (0x17, 0x11), (0x17, 0x10))
"""TCP flags that conntrack accepts, as masks and values (``tcp_valid_flags``); PSH does not count."""
_UNTRACKED_ICMP = (130, 131, 132, 133, 134, 135, 136, 143)
"""ICMPv6 types that conntrack leaves alone (``noct_valid_new``)."""
_FLAGS = 0x17
"""FIN, SYN, RST and ACK; of a new connection SYN alone, or ACK alone where it began unseen (``tcp_new``)."""
_LONGEST = 65535


def cuts(model: HostModel, family: Family) -> list[tuple[str, Ranges]]:
    """Return where addresses, ICMP types and lengths have to be cut for the sets of this module."""
    found = list(address_cuts(model, family))
    types = {*_KNOWN_ICMP[family], *_ERRORS[family], *(_UNTRACKED_ICMP if family is Family.IPV6 else ())}
    found += [("icmp", ((kind * 256, kind * 256 + 255),)) for kind in sorted(types)]
    return [*found, *(("length", ((least, _LONGEST),)) for least in set(_shortest(family).values()))]


def _shortest(family: Family) -> dict[int, int]:
    """Return the shortest packet by protocol, IP header included; 0 stands for any other protocol."""
    head = 20 if family is Family.IPV4 else 40
    return {TCP: head + 20, **dict.fromkeys({*PORTED, ICMP, ICMPV6} - {TCP}, head + 8), 0: head}


class Ground:
    """What of a host's surroundings decides which packets there are, and where they go."""

    def __init__(self, host: Host) -> None:
        self.host, self.sets, self.router, self.family = host, host.sets, host.router, host.family
        self.addresses = host.router.addresses
        self.roads = Roads(host.sets, host.router)

    def real(self, config: Config, hook: Hook | None) -> Set:
        """Return the headers that conntrack gives this state when a well-formed packet arrives, or is sent."""
        fit = self.sets.union([self._proto(proto, least) for proto, least in _shortest(self.family).items()])
        if hook is not Hook.OUTPUT:
            fit &= self.sets.words("iif", lambda name: name != "lo")
        else:
            fit &= ~self.roads.net("src", "loopback") | self.sets.words("oif", lambda name: name == "lo")
        if hook is Hook.OUTPUT and config.state is not CtState.UNTRACKED:
            fit &= ~self.roads.net(
                "src", "nothing"
            )  # the kernel puts an address there (raw(7)), but for its own discovery
        if not self.host.model.tracking(self.family).connections:
            return fit
        if config.state is CtState.NEW:
            return fit & self._first
        if config.state is CtState.UNTRACKED:
            return fit & self._icmp(_UNTRACKED_ICMP) if self.family is Family.IPV6 else self.sets.none
        return fit & self._later[config.state] if config.state in self._later else fit

    def liked(self, config: Config, hook: Hook | None) -> Set:
        """Return the packets that need nothing sent before them to be in a state, and have an ordinary source."""
        ends = ("multicast", "loopback", "nothing", "link", "this", "reserved")
        found = ~self.sets.union([self.roads.net("src", name) for name in ends])
        if hook is Hook.OUTPUT and self.addresses is None:
            looped = self.sets.words("oif", lambda name: name == "lo")
            found = looped.ite(self.roads.net("src", "loopback") & self.roads.net("dst", "loopback"), found)
        elif hook is not Hook.OUTPUT and self.addresses is not None:
            found &= ~self.sets.within("src", self.roads.mine)
            found &= ~self.sets.within("src", kinds.broadcast(self.addresses, self.family))
        if config.state is CtState.INVALID and self.host.model.tracking(self.family).connections:
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
    def _later(self) -> dict[CtState, Set]:
        """The packets that belong to a connection, or are about one, in conntrack's eyes."""
        sets = self.sets
        own = ICMP if self.family is Family.IPV4 else ICMPV6
        tcp, icmp = (sets.within("proto", ((proto, proto),)) for proto in (TCP, own))
        valid = sets.union([sets.bits("flags", *each) for each in _VALID]) | ~tcp
        return {CtState.ESTABLISHED: valid & (self._icmp(_KNOWN_ICMP[self.family]) | ~icmp),
                CtState.RELATED: valid & (self._icmp(_ERRORS[self.family]) | ~icmp)}  # fmt: skip

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
            ends = (
                self.roads.net("src", "multicast")
                | self.roads.net("src", "loopback")
                | self.roads.net("dst", "loopback")
            )
            found = self.sets.words("iif", lambda name: name == "lo") | ~ends
        return found & ~self.roads.own if hook is Hook.FORWARD else found

    def at_home(self) -> Set:
        """Return the packets that the host sends, by the interfaces that lead to their destinations."""
        sets = self.sets
        looped = sets.words("oif", lambda name: name == "lo")
        found = sets.words("iif", lambda name: name == "lo")
        if self.addresses is None:
            return found
        found &= sets.within("src", self.roads.mine) | self.roads.net("src", "nothing")
        mine = sets.within("dst", self.roads.mine)
        return found & mine.ite(looped, ~looped & self.roads.onward)

    def _arrived(self, config: Config, places: route.Places, hook: Hook | None) -> Iterator[Way[Going]]:
        moved = config.nat.value("dst")
        passing = ~self.roads.barred(moved if isinstance(moved, int) else None)
        if "dst" in config.nat.translated or config.nat.own:
            mine, onward = self._new(config), self.sets.all
        elif self.addresses is None:
            mine, onward = self.sets.all if hook is Hook.INPUT else self.roads.own, self.sets.all
        else:
            mine, onward = self.roads.own, self.roads.onward
        yield Way((config, passing & mine), places.here)
        for after, some in self._leaving(config):
            yield Way(
                (after, some & passing & ~mine & ~self.roads.held & living(self.sets, config) & onward), places.away
            )

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
            return self.roads.own if self.addresses is not None else self.roads.own | asked
        return asked

    def _leaving(self, config: Config) -> Iterator[Going]:
        """Divide packets by the interface that a new destination leads to (Router.out)."""
        if "dst" not in config.nat.translated or self.addresses is None:
            yield config, self.sets.all
            return
        new = config.nat.value("dst")
        if new is None:  # only the port is written
            for name, some in self.roads.by_way.items():
                yield _towards(config, name), some
        else:
            yield _towards(config, self.router.out(self._address(new)) if isinstance(new, int) else None), self.sets.all


def _towards(config: Config, name: str | None) -> Config:
    if name is not None:
        return config._replace(nat=config.nat._replace(leaving=name))
    moved = frozenset({*((f, v) for f, v in config.nat.moved if f != "oif"), ("oif", "routed anew")})
    return config._replace(nat=config.nat._replace(moved=moved))
