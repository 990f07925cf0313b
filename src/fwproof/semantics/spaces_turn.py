"""What the routing decision does with a set of packets, for a question about one hook.

Packets that nat left alone are on the way that the question asks about, whatever their destination: whether a
packet is for the host is no matter of its rules. Where nat has written the destination, it decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import Family, Hook
from fwproof.semantics import kinds
from fwproof.semantics.boxes import Box
from fwproof.semantics.context import Question
from fwproof.semantics.route import Places
from fwproof.semantics.routing import Router
from fwproof.semantics.stages import Turn, Way


def of(router: Router, hook: Hook, places: Places) -> Turn:
    """Return the routing decision for a question about ``hook``."""

    def decide(box: Box) -> Iterator[Way[Box]]:
        if "dst" not in box.translated:
            yield Way(box, places.here if hook is Hook.INPUT else places.away)
            return
        if hook is Hook.OUTPUT:
            yield Way(replace(box, unknown=box.unknown | {"oif"}), places.away)
            return
        question = Question(f"own {box.moved}", "whether the address that nat writes is the host's own")
        for part, own in _parts(box, router):
            if own is not False and hook is Hook.INPUT:
                yield Way(part, places.here, given=((question, True),) if own is None else ())
            asked = part if hook is Hook.FORWARD else _to_host(part, router)
            if own is not True and asked is not None:
                yield Way(_leaving(asked, router), places.away, given=((question, False),) if own is None else ())

    return Turn(router.family.table_family, decide)


def _new(box: Box) -> IPv4Address | IPv6Address | None:
    value = dict(box.moved).get("dst")
    return None if value is None else (IPv4Address if box.space.family is Family.IPV4 else IPv6Address)(value)


def _parts(box: Box, router: Router) -> Iterator[tuple[Box, bool | None]]:
    """Divide packets by whether they are for the host itself now, None where that is not known."""
    new = _new(box)
    if box.own_dst or new is not None:
        yield box, True if box.own_dst or new is None else router.is_own(new)
    elif "dst" in box.unknown or router.addresses is None:
        yield box, None
    else:  # only the port is written: the destination is the one that the packets came with
        mine = box.space.mask("dst", kinds.own(router.addresses, router.family))
        for mask, own in ((mine, True), (~mine, False)):
            part = box.only("dst", mask)
            if part is not None:
                yield part, own


def _to_host(box: Box, router: Router) -> Box | None:
    """Return the part of the packets that came for the host's own addresses."""
    if router.addresses is None:
        return box
    return box.only("dst", box.space.mask("dst", kinds.own(router.addresses, router.family)))


def _leaving(box: Box, router: Router) -> Box:
    """Return the packets with the interface that their new destination leads to, where that is known."""
    new = _new(box)
    name = None if new is None else router.out(new)
    names = box.space.names["oif"]
    only = box.only("oif", 1 << names.index(name)) if name in names else None
    return box if only is None else only
