"""One packet out of a set: ordinary values where there is a choice, and what single-packet rules say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import Family, Flow, Hook
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics import order, route
from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import PATHS
from fwproof.semantics.context import Question
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import Packet
from fwproof.semantics.plausible import Chooser, one
from fwproof.semantics.routing import Router
from fwproof.semantics.stages import Turn, Way
from fwproof.semantics.walk import Leaf, Walker


def pick(sets: Sets, some: Set, router: Router, hook: Hook | None = None, *, onto: bool = False) -> Flow:
    """Return one packet of a set that is not empty, as :class:`~fwproof.semantics.plausible.Chooser` chooses it.

    The packet is in the set for some answer of the oracles. Its conntrack state and marks are Flow's defaults.
    """
    return Chooser(sets, router, hook, sets.may(some), onto).flow()


def point(sets: Sets, flow: Flow) -> Set:
    """Return the set of the one packet, or of those that no rule tells from it."""
    found = sets.all
    for name, value in _values(flow).items():
        if name in sets.fields and value is not None:
            value = int(value) & sets.fields[name].largest if name == "flags" else value  # noqa: PLW2901
            found &= one(sets, sets.fields[name], value)
    return found


def _values(flow: Flow) -> dict[str, int | str | None]:
    return {
        "src": int(flow.src), "dst": int(flow.dst), "proto": flow.proto, "sport": flow.sport, "dport": flow.dport,
        "icmp": None if flow.icmp_type is None else flow.icmp_type * 256 + (flow.icmp_code or 0),
        "flags": sum(FLAGS[name] for name in flow.flags), "ttl": flow.ttl, "length": flow.length, "tos": flow.tos,
        "iif": flow.iif, "oif": flow.oif, "mac": flow.mac_src, "pkttype": flow.pkttype,
        "fragment": "yes" if flow.fragment else "no", "spi": flow.spi,
    }  # fmt: skip


def follow(model: HostModel, flow: Flow, hook: Hook) -> list[Leaf[Packet]]:
    """Return every end of a packet's walk for the question about a hook, without its steps; raises TooLarge.

    Where packets that nat left alone go is for the question to say, as it is for sets.
    """
    router, family = model.router(flow.family), flow.family
    decide = partial(_turn, router, hook)
    packet = Packet(flow, _kinds(model, family), router=router)
    found: list[Leaf[Packet]] = []
    tried = model.orders(family, PATHS[hook].hooks)
    for number, chosen in enumerate(tried):
        make = model.chains(family, PATHS[hook].hooks, chosen)
        way = route.leaving(make, decide) if hook is Hook.OUTPUT else route.arriving(make, decide)
        found += Walker[Packet](way, traced=False, lookup=model.indexes).walk(packet, order.given(number, len(tried)))
    return found


def _turn(router: Router, hook: Hook, places: route.Places) -> Turn:
    """Return the routing decision on one packet for a question about ``hook``, as :mod:`bdd_turn` on sets."""

    def decide(packet: Packet) -> Iterator[Way[Packet]]:
        unsure = "ttl" in packet.unknown and hook is not Hook.OUTPUT
        expired = packet.flow.ttl <= 1 and hook is not Hook.OUTPUT and not unsure
        on = Way(packet, places.away, dropped="the packet has no hops left" if expired else "")
        if unsure and hook is not Hook.INPUT:
            left = Question("hops left", "whether the packet has hops left after a target changed them")
            yield replace(on, given=((left, False),), dropped="the packet has no hops left")
            on = replace(on, given=((left, True),))
        if "dst" not in packet.translated:
            yield Way(packet, places.here) if hook is Hook.INPUT else on
            return
        if hook is Hook.OUTPUT:
            yield Way(replace(packet, flow=replace(packet.flow, oif=None)), places.away)
            return
        own = True if packet.own_dst else None if "dst" in packet.unknown else router.is_own(packet.flow.dst)
        asked = Question("own new destination", "whether the address that nat writes is the host's own")
        if own is not False and hook is Hook.INPUT:
            yield Way(packet, places.here, given=((asked, True),) if own is None else ())
        before, name = (packet.original or packet.flow).dst, router.out(packet.flow.dst)
        if name is not None and "dst" not in packet.unknown:
            on = replace(on, subject=replace(packet, flow=replace(packet.flow, oif=name)))
        if own is not True and (hook is Hook.FORWARD or router.addresses is None or router.addresses.is_local(before)):
            yield replace(on, given=((asked, False),) if own is None else ())

    return Turn(router.family.table_family, decide)


def _kinds(model: HostModel, family: Family) -> Callable[[int, frozenset[str]], bool | None]:
    known, make = model.addresses, IPv4Address if family is Family.IPV4 else IPv6Address
    return lambda address, kinds: None if known is None else known.is_kind(make(address), kinds)


def dressed(flow: Flow, config: Config, hook: Hook | None = None) -> Flow:
    """Give a packet the state and the marks of a walk, and only the interfaces that it has at a hook."""
    mark, connmark = (value if isinstance(value, int) else 0 for value in (config.mark, config.connmark))
    flow = replace(flow, ctstate=config.state, ctdir=config.direction, mark=mark, connmark=connmark)
    if hook is Hook.INPUT:
        return replace(flow, oif=None)
    return replace(flow, iif=None) if hook is Hook.OUTPUT else flow
