"""Measuring with connections that are kept open: how many stand at once, and what a standing one still may send."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fwproof.flow import TCP, Flow
from fwproof.measured import MOST_STANDING, Held, Measured, Part
from fwproof.probing.limit_reading import Answer
from fwproof.probing.limit_schedule import Role, Salvo, Schedule, Source

if TYPE_CHECKING:
    from fwproof.probing.observe import Prober

_GAP = 0.0005
_CLOSING = 0.2
"""Seconds until conntrack counts connections no more that were reset (nf_conncount looks at most once a jiffy)."""

KEPT = (Part.FULL, Part.PACKETS)
"""What takes connections that are kept open, each from a source of its own."""


def kept_connections(
    wanted: Collection[Part], sources: Sequence[Source], size: int
) -> Iterator[tuple[Source, int, int]]:  # fmt: skip
    """Yield what keeping connections takes at most: the source, the connections, the packets that use a limit up."""
    parts = [part for part in KEPT if part in wanted]
    for part, source in zip(parts, sources, strict=False):
        # one more than should stand, one of another source, and one after they were closed
        yield (source, min(size, MOST_STANDING) + 3, 0) if part is Part.FULL else (source, 1, size + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Keeps connections like ``flow`` open, under a limit that lets in ``size`` new ones at once.

    ``counts`` is the limit of open connections, where the rules have one. ``send`` sends a schedule.
    """

    prober: Prober
    flow: Flow
    size: int
    counts: int | None
    send: Callable[[Schedule], list[Answer]]

    def measure(self, wanted: Collection[Part], sources: Sequence[Source], found: Measured) -> Measured:
        """Return what was measured together with the ``wanted`` parts, as far as the sources last; raises HostError."""
        left = list(sources)
        why = "connections are of TCP" if self.flow.proto != TCP else ""
        if found.shared and not self.counts:
            why = "all sources share the limit, which is used up"
        for part in (part for part in KEPT if part in wanted):
            if why or not left:
                about = (
                    "how many connections stand at once" if part is Part.FULL else "what packets of connections meet"
                )
                missing = why or "no further spare address stands among the peers"
                found = replace(found, gaps=(*found.gaps, f"{about}: {missing}"))
            elif part is Part.FULL:
                found = replace(found, held=self._full(left.pop(0), left))
            else:
                found = replace(found, standing=self._standing(left.pop(0)))
        return found

    def _full(self, first: Source, others: Sequence[Source]) -> Held:
        tried = min(self.counts or self.size, MOST_STANDING) + 1
        return keep_open(self.prober, self.flow, (first, *others), tried, counted=bool(self.counts))

    def _standing(self, source: Source) -> bool | None:
        """Keep one connection, use up the rest of the limit, and return whether the connection still gets through.

        A limit that counts every packet refuses every packet. None where the limit was not used up.
        """
        use_up = Schedule((Salvo(role=Role.BURST, source=source, at=0.0, count=self.size + 1, gap=_GAP),))
        with self.prober.holding(source.vantage) as kept:
            stood = kept.open(source.address, self.flow.dst, self.flow.dport or 0, 1)
            refused = any(answer.let_in is False for answer in self.send(use_up))
            return kept.finish() if stood and refused else None


def keep_open(prober: Prober, flow: Flow, sources: Sequence[Source], tried: int, *, counted: bool) -> Held:
    """Open connections from the first source until one does not stand; raises HostError.

    ``counted``: a limit of open ones is there, which leaves room for others and is free again once they are closed.
    """
    first, port = sources[0], flow.dport or 0
    other = next(iter(sources[1:] if counted else ()), None)
    with prober.holding(first.vantage) as kept:
        stood, free = kept.open(first.address, flow.dst, port, tried), None
        if other is not None and other.vantage == first.vantage:
            free = kept.open(other.address, flow.dst, port, 1) == 1
        elif other is not None:
            with prober.holding(other.vantage) as beside:
                free = beside.open(other.address, flow.dst, port, 1) == 1
        again = None
        if counted:
            kept.release()
            prober.pause(first.vantage, _CLOSING)
            again = kept.open(first.address, flow.dst, port, 1) == 1
    return Held(tried=tried, stood=stood, again=again, free=free)
