"""Disjoint cells of packets, put together for people: by who may reach what, or by what is open to whom.

A cell is a product of interfaces, protocols, destinations, sources, and ports or ICMP types. Both ways of putting cells
together are exact; which of them is shorter depends on the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from fwproof.ruleset.ranges import merged

Spans = tuple[tuple[int, int], ...]
Values = tuple[Spans, bool]
"""Spans of values, or, where the second is true, (value, mask) pairs."""
Services = tuple[tuple[Spans, Spans | None], ...]
"""Protocols, each with the ports or ICMP types that are meant; None where they have none."""

MOST_PIECES = 40_000
"""Pairs of a cell and a service of it that are looked at before the other way is not tried."""


class Cell(NamedTuple):
    """A product; ``faces`` are codes of interfaces, ``detail`` the values of the field ``kind``.

    That is ``dport``, or ``icmp`` (type * 256 + code), whose numbers are not to be mixed, or empty.
    """

    faces: Spans
    protos: Spans
    dst: Values
    src: Values
    kind: str
    detail: Spans | None


class Group(NamedTuple):
    """A product of several services."""

    faces: Spans
    dst: Values
    src: Values
    services: Services


_ByDetail = dict[tuple[str, Spans | None], list[tuple[int, int]]]
"""Protocols by the kind of their services and the services."""


def grouped(cells: Sequence[Cell]) -> list[Group]:
    """Return the cells in as few groups as one of the two ways gives; the groups are disjoint."""
    by_source, by_service = _by_source(cells), _by_service(cells)
    return by_service if by_service is not None and len(by_service) < len(by_source) else by_source


def _by_source(cells: Iterable[Cell]) -> list[Group]:
    """Tell for each set of sources everything that it may reach."""
    open_to: dict[tuple[Spans, Values, Values], _ByDetail] = {}
    for cell in cells:
        services = open_to.setdefault((cell.faces, cell.dst, cell.src), {})
        services.setdefault((cell.kind, cell.detail), []).extend(cell.protos)
    merged: dict[tuple[Spans, Values, Services, bool], list[tuple[int, int]]] = {}
    for (faces, dst, src), services in open_to.items():
        merged.setdefault((faces, dst, _services(services), src[1]), []).extend(src[0])
    return [Group(faces, dst, _values(src, raw), made) for (faces, dst, made, raw), src in merged.items()]


_Reach = frozenset[tuple[Spans, Values, Values]]


def _by_service(cells: Sequence[Cell]) -> list[Group] | None:
    """Tell for each set of services who may reach them; None where there are too many to try."""
    protos = _cuts(cell.protos for cell in cells)
    details = _cuts(cell.detail for cell in cells if cell.detail is not None)
    found: dict[tuple[str, Spans, Spans | None], list[Cell]] = {}
    pieces = 0
    for cell in cells:
        parts: list[Spans | None] = [None]
        if cell.detail is not None:
            parts = [((low, high),) for low, high in _split(cell.detail, details)]
        for low, high in _split(cell.protos, protos):
            pieces += len(parts)
            if pieces > MOST_PIECES:
                return None
            for part in parts:
                found.setdefault((cell.kind, ((low, high),), part), []).append(cell)
    alike: dict[_Reach, dict[tuple[str, Spans], list[tuple[int, int]]]] = {}
    for (kind, proto, part), mine in found.items():
        alike.setdefault(_reach(mine), {}).setdefault((kind, proto), []).extend(part or ())
    return [
        Group(*ends, _services(_turned(services)))
        for reach, services in alike.items() for ends in sorted(reach, key=str)
    ]  # fmt: skip


def _reach(cells: Iterable[Cell]) -> _Reach:
    """Return who reaches a service, as disjoint products."""
    sources: dict[tuple[Spans, Values, bool], list[tuple[int, int]]] = {}
    for cell in cells:
        sources.setdefault((cell.faces, cell.dst, cell.src[1]), []).extend(cell.src[0])
    return frozenset((faces, dst, _values(src, raw)) for (faces, dst, raw), src in sources.items())


def _turned(services: dict[tuple[str, Spans], list[tuple[int, int]]]) -> _ByDetail:
    found: _ByDetail = {}
    for (kind, proto), detail in services.items():
        found.setdefault((kind, merged(detail) if kind else None), []).extend(proto)
    return found


def _services(found: _ByDetail) -> Services:
    return tuple(sorted(((merged(protos), detail) for (_, detail), protos in found.items()), key=str))


def _values(spans: list[tuple[int, int]], raw: bool) -> Values:  # noqa: FBT001 - a part of Values
    return (tuple(spans), raw) if raw else (merged(spans), raw)


def _cuts(spans: Iterable[Spans]) -> list[int]:
    return sorted({end for each in spans for low, high in each for end in (low, high + 1)})


def _split(spans: Spans, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """Divide spans at every cut inside them."""
    found = []
    for low, high in spans:
        inside = [low, *(cut for cut in cuts if low < cut <= high), high + 1]
        found += [(start, end - 1) for start, end in pairwise(inside)]
    return found
