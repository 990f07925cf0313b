"""Plots of limits: new connections against those let in, over time, one lane a source. Pure geometry, no HTML.

Both lines of a lane rise by one with each connection; where they part, the limit refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import floor, isfinite, log10

from fwproof.report.view import worst_first
from fwproof.results import Admissions, Attempts, CheckResult, Results

MOST_PLOTS = 60
"""Plots of one page, those of failed checks first."""
MOST_LANES = 8
LEFT, WIDE = 8.0, 404.0
_HIGH, _FOOT, _TITLE = 62.0, 24.0, 22.0
_TICKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One source: its two lines as points of an SVG, what the limit is at, and its numbers in words.

    ``top`` and ``base`` are where the lane begins and ends; ``limit`` is None where nothing comes near it.
    """

    source: str
    top: float
    base: float
    attempts: str
    let_in: str
    limit: float | None
    tried: int
    admitted: int
    refused: int
    unknown: int
    first_refused: str
    again: str

    @property
    def words(self) -> str:
        """How many were let in, and of how many that is not known."""
        unknown = f", {self.unknown} unknown" if self.unknown else ""
        return f"{self.admitted} of {self.tried} let in{unknown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The plot of one check; ``ticks`` are places and words of the time axis, ``more`` sources have no lane."""

    check: CheckResult
    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]
    height: float
    more: int
    expected: str

    @property
    def words(self) -> str:
        """What the plot shows, in a sentence a source."""
        said = [f"{lane.source}: {lane.words}" for lane in self.lanes]
        return "; ".join(said) + (f"; and {self.more} more sources" if self.more else "")


def plots(results: Results) -> tuple[list[Plot], int]:
    """Return the plots, worst verdict first, and how many more there would be."""
    found = [(check, check.admissions) for check in worst_first(results.checks) if check.admissions]
    found = [(check, admissions) for check, admissions in found if admissions.series]
    return [_plot(*each) for each in found[:MOST_PLOTS]], max(0, len(found) - MOST_PLOTS)


def _plot(check: CheckResult, found: Admissions) -> Plot:
    shown = found.series[:MOST_LANES]
    known = [_known(series) for series in shown]
    span = max((at for own in known for at, _ in own), default=0.0) or 1.0
    lanes = tuple(
        _lane(series.source, own, found.limit, (number * (_HIGH + _TITLE) + _TITLE, span))
        for number, (series, own) in enumerate(zip(shown, known, strict=True))
    )
    whom = "each source" if found.by == "source" else "all sources together"
    return Plot(
        check=check, lanes=lanes, ticks=tuple((_x(at, span), words) for at, words in _ticks(span)),
        height=len(lanes) * (_HIGH + _TITLE) + _FOOT, more=len(found.series) - len(shown),
        expected=f"{found.limit} new connections in {found.per:g} s, {whom}",
    )  # fmt: skip


def _known(series: Attempts) -> list[tuple[float, str]]:
    """Return what can be drawn of a series, which may have been written by anybody."""
    return [(at, fate) for at, fate in zip(series.at, series.fates, strict=False) if isfinite(at) and at >= 0]


def _lane(source: str, known: Sequence[tuple[float, str]], limit: int, place: tuple[float, float]) -> Lane:
    top, span = place
    fates, high = "".join(fate for _, fate in known), max(len(known), 1)

    def y(count: int) -> float:
        return round(top + _HIGH - (_HIGH - 4) * count / high, 1)

    first = next((at for at, fate in known if fate == "n"), None)
    again = next((at for at, fate in known if fate == "y" and first is not None and at > first), None)
    return Lane(
        source=source, top=top, base=top + _HIGH, attempts=_steps([(at, 1) for at, _ in known], span, y),
        let_in=_steps([(at, fate == "y") for at, fate in known], span, y), limit=y(limit) if limit <= high else None,
        tried=len(known), admitted=fates.count("y"), refused=fates.count("n"), unknown=fates.count("?"),
        first_refused="none" if first is None else f"number {fates.find('n') + 1}, after {_seconds(first)}",
        again="" if first is None else "not seen" if again is None else f"after {_seconds(again)}",
    )  # fmt: skip


def _x(at: float, span: float) -> float:
    return round(LEFT + WIDE * at / span, 1)


def _steps(rises: Sequence[tuple[float, int]], span: float, y: Callable[[int], float]) -> str:
    """Return a line that rises at each time by so much, as points; those that fall on one pixel column are one."""
    columns: dict[float, int] = {}
    for (at, _), count in zip(rises, accumulate(rise for _, rise in rises), strict=True):
        columns[_x(at, span)] = count
    points, height = [], y(0)
    for x, count in columns.items():
        points.append(f"{x:g},{height:g}")
        height = y(count)
        points.append(f"{x:g},{height:g}")
    return " ".join([*points, f"{LEFT + WIDE:g},{height:g}"])


def _ticks(span: float) -> Iterator[tuple[float, str]]:
    """Yield at most six round times from 0 on: a step of 1, 2 or 5 times a power of ten."""
    rough = span / _TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    for number in range(floor(span / step + 1e-6) + 1):
        yield number * step, _seconds(number * step)


def _seconds(at: float) -> str:
    return "0" if not at else f"{at:.3g} s" if at >= 1 else f"{at * 1000:.3g} ms"
