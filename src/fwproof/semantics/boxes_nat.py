"""What a nat target makes of a box of packets: parts that stay, parts that are written, and the kernel's choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from fwproof.decision import RuleRef
from fwproof.flow import Family, Hook
from fwproof.ruleset.model import Target
from fwproof.ruleset.translation import Translation
from fwproof.semantics import nat
from fwproof.semantics.context import Context
from fwproof.semantics.routing import own_for
from fwproof.semantics.stages import Way

if TYPE_CHECKING:
    from fwproof.semantics.boxes import Box


def translate(box: Box, target: Target, context: Context, rule: RuleRef) -> Sequence[Way[Box]] | None:
    """Return the ways on from a nat target; None where it means nothing at this hook."""
    side = nat.side_of(target, context.hook)
    if side is None or target.nat is None:
        return None
    found: list[Way[Box]] = []
    for part, mine in _by_interface(box, side, context):
        for each, change, port in _by_port(part, target.nat, side):
            outcomes = nat.outcomes(change, side, _single(each, side), port, lambda _, known=mine: known)  # type: ignore[misc]
            ways = nat.ways(outcomes, target, rule, box.space.family, partial(_written, each, side, change))
            found += [piece for way in ways for piece in _really(each, side, way)]
    return found


def _by_interface(box: Box, side: str, context: Context) -> Iterator[tuple[Box, Sequence[int] | None]]:
    """Divide a box by the interface whose address REDIRECT would take; None stands for one that is not known."""
    router, peer = box.space.router, ip_address("2001:db8::1" if box.space.family is Family.IPV6 else "192.0.2.1")
    if side == "src" or router is None or router.addresses is None:
        yield box, None
    elif context.hook is Hook.OUTPUT:
        yield box, own_for(router, side, None, None, peer)
    else:
        for at, name in enumerate(box.space.names["iif"]):
            part = box.only("iif", 1 << at)
            if part is not None:
                known = own_for(router, side, name, None, peer) if name in router.addresses.interfaces else None
                # an IPv6 source of this link only is answered from an address of this link only
                yield part, known if known and box.space.family is Family.IPV4 else None


def _by_port(box: Box, change: Translation, side: str) -> Iterator[tuple[Box, Translation, int]]:
    """Divide a box by whether a range of ports holds the old one, which then stays."""
    port = f"{side[0]}port"
    fixed = dict(box.moved).get(port)
    if change.ports is None or fixed is not None or change.base is not None or change.any_port or (
        port in box.unknown or change.ports[0] == change.ports[1]):  # fmt: skip
        yield box, change, nat.UNKNOWN if fixed is None else fixed
        return
    mask = box.space.mask(port, (change.ports,))
    inside, outside = box.only(port, mask), box.only(port, ~mask)
    if inside is not None:
        yield inside, replace(change, ports=None), nat.UNKNOWN
    if outside is not None:
        yield outside, change, nat.UNKNOWN


def _single(box: Box, side: str) -> int:
    """Return the one address that all packets of a box have, else UNKNOWN."""
    fixed = dict(box.moved).get(side)
    if fixed is not None or side in box.unknown:
        return nat.UNKNOWN if fixed is None else fixed
    spans = box.space.spans(side, box.get(side))
    return spans[0][0] if len(spans) == 1 and spans[0][0] == spans[0][1] else nat.UNKNOWN


def _written(box: Box, side: str, change: Translation, outcome: nat.Outcome) -> Box:
    port = f"{side[0]}port"
    keep_address = change.addresses is None and not change.own
    keep_port = change.ports is None and not (change.any_port and side == "src")
    moved, unknown = dict(box.moved), set(box.unknown)
    for name, value, keep in ((side, outcome.address, keep_address), (port, outcome.port, keep_port)):
        if keep:
            continue
        moved.pop(name, None)
        unknown.discard(name)
        if value is None or value == nat.UNKNOWN:
            unknown.add(name)
        else:
            moved[name] = value
    return replace(
        box, moved=tuple(sorted(moved.items())), unknown=frozenset(unknown), settled=box.settled | {side},
        translated=box.translated | {side}, own_dst=outcome.own if side == "dst" else box.own_dst,
    )  # fmt: skip


def _really(before: Box, side: str, way: Way[Box]) -> Iterator[Way[Box]]:
    """Divide a way by whether the target writes what was there already, which is no translation (ct->status)."""
    fields = [field for field, _ in way.subject.moved if field in {side, f"{side[0]}port"}]
    if not fields or way.dropped or way.subject.unknown - before.unknown or dict(before.moved).keys() & set(fields):
        yield way
        return
    new, masks = dict(way.subject.moved), list(before.space.everything())
    for field in fields:
        masks[before.space.fields.index(field)] = before.space.mask(field, ((new[field], new[field]),))
    if all(mine & mask for mine, mask in zip(before.masks, masks, strict=True)):
        same = replace(before, masks=tuple(a & b for a, b in zip(before.masks, masks, strict=True)))
        yield replace(way, subject=replace(same, settled=before.settled | {side}, own_dst=way.subject.own_dst))
    for part in before.minus(masks):
        yield replace(way, subject=replace(way.subject, masks=part.masks))
