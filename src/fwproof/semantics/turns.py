"""What the routing decision does with one packet, before and after nat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fwproof.flow import Address
from fwproof.semantics.context import Question
from fwproof.semantics.packet import Packet
from fwproof.semantics.route import Places
from fwproof.semantics.routing import Router
from fwproof.semantics.stages import Turn, Way
from fwproof.semantics.walk import Leaf, Walker


def arrived(router: Router, places: Places) -> Turn:
    """Return the routing decision on packets that came in (ip_rcv_finish, ip6_rcv_finish)."""

    def decide(packet: Packet) -> Iterator[Way[Packet]]:
        bar = router.bars(packet.flow.src, packet.flow.dst, packet.flow.iif)
        if bar:
            yield Way(packet, dropped=bar)
            return
        own, question = _own(packet, router)
        if own is not False:
            yield Way(packet, places.here, given=((question, True),) if own is None else ())
        if own is not True:
            yield from _onward(packet, router, places, ((question, False),) if own is None else ())

    return Turn(router.family.table_family, decide)


def sent(router: Router, places: Places) -> Turn:
    """Return the routing decision on packets that the host sends, which nat may have turned (ip_route_me_harder)."""

    def decide(packet: Packet) -> Iterator[Way[Packet]]:
        own, question = _own(packet, router)
        if "dst" not in packet.translated:
            own = packet.flow.oif == "lo"
        elif packet.flow.dst.is_multicast:
            own = False
        if own is not False:
            looped = replace(packet, flow=replace(packet.flow, iif="lo", oif="lo"))
            yield Way(looped, places.here, given=((question, True),) if own is None else ())
        if own is not True:
            yield Way(_leaving(packet, router), places.away, given=((question, False),) if own is None else ())

    return Turn(router.family.table_family, decide)


def dropped(packet: Packet, router: Router, reason: str, given: tuple[tuple[Question, bool], ...]) -> Leaf[Packet]:
    """Return the end of a packet that the kernel drops before any table."""
    (leaf,) = Walker[Packet]([Turn(router.family.table_family, lambda each: [Way(each, dropped=reason)])]).walk(
        packet, given
    )
    return leaf


def _own(packet: Packet, router: Router) -> tuple[bool | None, Question]:
    """Return whether a packet is for the host itself, and the question that settles it where that is not known."""
    if packet.own_dst:
        return True, Question("", "")
    if "dst" in packet.unknown:
        return None, Question("own new destination", "whether the address that nat picks is the host's own")
    dst: Address = packet.flow.dst
    new = f"{dst} " if "dst" in packet.translated else ""
    question = Question(f"own destination {new}", f"whether the destination address {new}is the host's own (not given)")
    return router.is_own(dst), question


def _onward(
    packet: Packet, router: Router, places: Places, given: tuple[tuple[Question, bool], ...]
) -> Iterator[Way[Packet]]:
    held = router.holds_back(packet.flow.src, packet.flow.iif)
    if held:
        yield Way(packet, given=given, dropped=held)
        return
    expired, after = "the packet has no hops left", _leaving(packet, router)
    if "ttl" in packet.unknown:
        question = Question("hops left", "whether the packet has hops left after a target changed them")
        yield Way(packet, given=(*given, (question, False)), dropped=expired)
        yield Way(after, places.away, given=(*given, (question, True)))
    elif packet.flow.ttl <= 1:
        yield Way(packet, given=given, dropped=expired)
    else:
        yield Way(after, places.away, given=given)


def _leaving(packet: Packet, router: Router) -> Packet:
    """Return the packet with the interface that its new destination leads to."""
    if "dst" not in packet.translated or router.addresses is None:
        return packet
    oif = None if "dst" in packet.unknown else router.out(packet.flow.dst)
    return replace(packet, flow=replace(packet.flow, oif=oif), not_loopback=packet.not_loopback | {"oif"})
