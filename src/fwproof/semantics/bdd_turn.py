"""What the routing decision does with sets of packets, for a question about one hook.

Packets that nat left alone are on the way that the question asks about, whatever their destination: whether a packet
is for the host is no matter of its rules. Where nat has written the destination, that decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import Family, Hook
from fwproof.semantics import kinds
from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_tests import Asker
from fwproof.semantics.rewriting import written
from fwproof.semantics.route import Places
from fwproof.semantics.stages import Turn, Way

Going = tuple[Config, Set]
"""What is known of the packets that go a way, and which they are."""


def turn_of(asker: Asker, hook: Hook, places: Places) -> Turn:
    """Return the routing decision for a question about ``hook``; it takes a Config and gives ways of Going."""
    sets = asker.sets

    def decide(config: Config) -> Iterator[Way[Going]]:
        alive = living(sets, config)
        if "dst" not in config.nat.translated:
            away = sets.all if hook is Hook.OUTPUT else alive
            yield Way((config, sets.all), places.here) if hook is Hook.INPUT else Way((config, away), places.away)
            return
        if hook is Hook.OUTPUT:
            yield Way((_lost(config), sets.all), places.away)
            return
        mine = _own(asker, config)
        if hook is Hook.INPUT:
            yield Way((config, mine), places.here)
        asked = alive if hook is Hook.FORWARD else alive & _to_host(asker)
        yield Way((_leaving(asker, config), asked & ~mine), places.away)

    return Turn(asker.router.family.table_family, decide)


def living(sets: Sets, config: Config) -> Set:
    """Return the packets that have hops left when they are passed on, as targets have left them."""
    change = written(config.rewritten, "ttl")
    if change is not None:
        return sets.all if change.value > 1 else sets.none
    times = config.lost("ttl")
    if times:
        return sets.oracle(
            f"hops left after {times} changes", "whether the packet has hops left after a target changed them"
        )
    return ~sets.within("ttl", ((0, 1),))


def _lost(config: Config) -> Config:
    """Return a config in which the interface that packets leave by is not known: they are routed anew."""
    moved = frozenset({*((f, v) for f, v in config.nat.moved if f != "oif"), ("oif", "routed anew")})
    return config._replace(nat=config.nat._replace(moved=moved))


def _new(asker: Asker, config: Config) -> IPv4Address | IPv6Address | None:
    value = config.nat.value("dst")
    make = IPv4Address if asker.router.family is Family.IPV4 else IPv6Address
    return make(value) if isinstance(value, int) else None


def _own(asker: Asker, config: Config) -> Set:
    """Return the packets that nat sends to the host itself; where that is not known, a question is asked."""
    sets, router = asker.sets, asker.router
    if config.nat.own:
        return sets.all
    new = _new(asker, config)
    known = router.is_own(new) if new is not None else None
    if known is not None:
        return sets.all if known else sets.none
    if config.nat.value("dst") is None and router.addresses is not None:
        # only the port is written: the destination is the one that the packets came with
        return _to_host(asker)
    label = "whether the address that nat writes is the host's own"
    return sets.oracle(f"own {sorted(config.nat.moved, key=str)}", label)


def _to_host(asker: Asker) -> Set:
    addresses = asker.router.addresses
    if addresses is None:
        return asker.sets.all
    return asker.sets.within("dst", kinds.own(addresses, asker.router.family))


def _leaving(asker: Asker, config: Config) -> Config:
    """Return a config with the interface that the new destination leads to, where that is known."""
    new = _new(asker, config)
    name = None if new is None else asker.router.out(new)
    return config if name is None else config._replace(nat=config.nat._replace(leaving=name))
