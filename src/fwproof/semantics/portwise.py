"""What becomes of one packet for each destination port that it may have.

Ports between two cuts are alike to every rule (:mod:`~fwproof.semantics.atoms`), so one walk of a single packet
answers for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fwproof.decision import Decision, Ruling
from fwproof.flow import Flow
from fwproof.semantics.bdd_fields import fields_for
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRuling:
    """Ports that share a ruling; ``reply`` is that on the answer of what is let in, None where nothing is."""

    ranges: Ranges
    ruling: Ruling
    reply: Ruling | None = None


def alike(model: HostModel, flow: Flow) -> Ranges:
    """Return the ports 0 to 65535 as ranges that no rule of the flow's family tells apart.

    Source ports are cut as well: what the packet goes to is what its answer comes from.
    """
    fields = fields_for(flow.family, model.rules(flow.family), (), (), [model.router(flow.family)])
    ends = [fields[name].starts or tuple(range(65536)) for name in ("dport", "sport")]
    starts = sorted({start for each in ends for start in each})
    return tuple((low, high - 1) for low, high in zip(starts, (*starts[1:], 65536), strict=True))


def rulings(model: HostModel, flow: Flow) -> tuple[PortRuling, ...]:
    """Return what becomes of a new connection to each port from 1 to 65535, by ruling; ``flow`` has its source port."""
    found: dict[tuple[object, ...], tuple[list[tuple[int, int]], Ruling, Ruling | None]] = {}
    for low, high in alike(model, flow):
        if not high:
            continue
        known = converse(model, replace(flow, dport=max(low, 1)))
        ruling, reply = known.request.ruling, known.reply.ruling if known.reply else None
        key = (ruling.by, ruling.may, ruling.reject_with, ruling.depends_on, reply and reply.may)
        found.setdefault(key, ([], ruling, reply))[0].append((max(low, 1), high))
    return tuple(PortRuling(ranges=tuple(r), ruling=ruling, reply=reply) for r, ruling, reply in found.values())


def may_enter(ruling: Ruling) -> bool:
    """Whether some value of the oracles, or of what could not be read, lets the packet in."""
    return bool(ruling.may & {Decision.ACCEPT, Decision.UNKNOWN})
