"""Cells of a comparison in words: services, the zones of their ends, and interfaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fwproof.flow import Hook, protocol_name
from fwproof.ruleset.ranges import merged
from fwproof.semantics.bdd_layout import Spans
from fwproof.semantics.packet import PORTED
from fwproof.semantics.parity_view import ECHO, ENDS, OTHER, Face, Where, compared
from fwproof.semantics.parity_zones import Key, words

_SHOWN = 8
_FEW = 4
"""Ports that may be lacking for a list to be told as what it lacks."""


class Cell(NamedTuple):
    """Ports of one protocol between some parts on some interfaces."""

    face: Face
    where: Where
    number: int
    spans: Spans


Services = tuple[tuple[int, Spans], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A product of services, sources, destinations and interfaces; an end that is the host itself is None.

    ``interfaces`` are those of the way in and of the way out, as far as the hook has them; None is any.
    """

    services: Services
    sources: tuple[str, ...] | None
    destinations: tuple[str, ...] | None
    interfaces: tuple[tuple[str, ...] | None, ...]

    def __str__(self) -> str:
        parts = [", ".join(service_texts(self.services))]
        parts += [] if self.sources is None else ["from", ", ".join(self.sources)]
        parts += [] if self.destinations is None else ["to", ", ".join(self.destinations)]
        ways = ("through",) if len(self.interfaces) == 1 else ("coming in by", "leaving by")
        for way, names in zip(ways, self.interfaces, strict=True):
            parts += [] if names is None else [way, ", ".join(name or "any other interface" for name in names)]
        return " ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return the room; null stands for the host itself, and for any interface but loopback."""
        return {
            "services": service_texts(self.services, most=None),
            "from": None if self.sources is None else list(self.sources),
            "to": None if self.destinations is None else list(self.destinations),
            "interfaces": [None if n is None else [name or "any other" for name in n] for n in self.interfaces],
        }  # fmt: skip


def rooms_of(cells: Iterable[Cell], hook: Hook, faces: Sequence[Face], keys: Sequence[Key]) -> tuple[Room, ...]:
    """Return cells as few rooms: those that differ in one thing only are one."""
    services: dict[tuple[Any, ...], dict[int, list[tuple[int, int]]]] = {}
    for cell in cells:
        services.setdefault((*cell.face, *cell.where), {}).setdefault(cell.number, []).extend(cell.spans)
    places: list[tuple[list[frozenset[Any]], Services]] = [
        ([frozenset({part}) for part in place], tuple(sorted((n, merged(spans)) for n, spans in each.items())))
        for place, each in services.items()
    ]
    for at in range(len(places[0][0]) if places else 0):
        grouped: dict[tuple[Any, ...], set[Any]] = {}
        for place, each in places:
            grouped.setdefault((*place[:at], None, *place[at + 1 :], each), set()).update(place[at])
        places = [([*key[:at], frozenset(parts), *key[at + 1 : -1]], key[-1]) for key, parts in grouped.items()]
    width = len(faces[0])
    every = [{face[at] for face in faces} for at in range(width)]
    return tuple(_room(place, each, hook, every, keys) for place, each in places)


def _room(
    place: Sequence[frozenset[Any]], services: Services, hook: Hook, every: Sequence[set[str]], keys: Sequence[Key]
) -> Room:  # fmt: skip
    width = len(every)
    names = tuple(None if place[at] == every[at] else tuple(sorted(place[at])) for at in range(width))
    ends = dict(zip(ENDS[hook], (words(part, keys) for part in place[width:]), strict=True))
    return Room(services=services, sources=ends.get("src"), destinations=ends.get("dst"), interfaces=names)


def service_texts(services: Services, most: int | None = _SHOWN) -> list[str]:
    """Return services as ``tcp/22``, ``udp``, ``ping``; ``most`` is how many ports of one protocol are named."""
    given = dict(services)
    lacking = {number: _complement(given.get(number, ()), number) for number in (*PORTED, ECHO, OTHER)}
    if sum(map(len, lacking.values())) <= _FEW:
        without = [_text(number, spans, most) for number, spans in lacking.items() if spans]
        return [f"every service{' except ' if without else ''}{', '.join(without)}"]
    texts = [_text(number, spans, most) for number, spans in services]
    return sorted(texts, key=lambda text: (not text.startswith("tcp"), not text.startswith("udp"), text))


def _text(number: int, spans: Spans, most: int | None) -> str:
    if number == ECHO:
        return "ping"
    outside = _complement(spans, number)
    if number == OTHER:
        if not outside:
            return "every protocol without ports"
        shown = _numbers(spans, most, protocol_name)
        return f"protocol {shown}" if shown[0].isdigit() else shown
    if not outside:
        return protocol_name(number)
    if len(outside) < len(spans):
        return f"{protocol_name(number)} except {_numbers(outside, most, str)}"
    return f"{protocol_name(number)}/{_numbers(spans, most, str)}"


def _numbers(spans: Spans, most: int | None, name: Callable[[int], str]) -> str:
    texts = [name(low) if low == high else f"{name(low)}-{name(high)}" for low, high in spans]
    more = f" and {len(texts) - most} more" if most is not None and len(texts) > most else ""
    return ",".join(texts[:most]) + more


def _complement(spans: Spans, number: int) -> Spans:
    """Return the ports (protocols) that are compared and are not in these spans."""
    inside = iter([*spans, (1 << 16, 1 << 16)])
    found = []
    low, high = next(inside)
    for start, end in compared(number):
        at = start
        while at <= end:
            while high < at:
                low, high = next(inside)
            if low > at:
                found.append((at, min(end, low - 1)))
            at = max(at, min(end, high) + 1) if low <= at else min(end, low - 1) + 1
    return tuple(found)
