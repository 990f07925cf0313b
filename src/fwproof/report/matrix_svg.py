"""The reachability matrices as one SVG for slides: light, with presentation attributes alone, no script and no font."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import escape

from fwproof.report import matrix
from fwproof.report.clean import one_line
from fwproof.report.matrix import Mark, Matrix, Span
from fwproof.report.view import number_of, verdict_sentences
from fwproof.results import Results

_PEER, _CELL, _ROW, _MARGIN, _LEAST = 190, 128, 30, 24, 720
_HEADER, _LEGEND = 54, 44
_LINES = 40
"""Rows that a slide can show; more are counted."""
# fill, edge and ink of each mark; the marks' colours are those of Okabe and Ito, darkened where letters need it
_PAINT = {
    Mark.OPEN: ("#e3f0f8", "#0072b2", "#00426b"),
    Mark.BLOCKED: ("#f1f1ee", "#999999", "#4a4f55"),
    Mark.WRONGLY_OPEN: ("#fdeee2", "#d55e00", "#7a2f00"),
    Mark.WRONGLY_BLOCKED: ("#faedf5", "#cc79a7", "#6e2450"),
    Mark.WAIVED: ("#fbf6c2", "#8a7d00", "#514a00"),
    Mark.ERROR: ("#ffffff", "#1b1e22", "#1b1e22"),
    Mark.INCONCLUSIVE: ("#ffffff", "#6f747a", "#1b1e22"),
    Mark.NOT_APPLICABLE: ("#ffffff", "#c9cac5", "#5a6068"),
    Mark.NOT_TESTED: ("#ffffff", "#c9cac5", "#5a6068"),
}
_FAMILY = {"ipv4": "v4", "ipv6": "v6"}


def render_matrix_svg(results: Results) -> bytes:
    """Return the matrices as a picture, those with deviations first, and how many rows had no room."""
    tables, _ = matrix.fitting(matrix.folded(matrix.matrices(results)))
    body: list[str] = []
    width, y = _LEAST, _HEADER
    room, left = _LINES, 0
    for table in tables:
        shown = table.rows[:room]
        left += len(table.rows) - len(shown)
        room -= len(shown)
        if shown:
            body += _table(table, shown, y)
            width = max(width, 2 * _MARGIN + _PEER + len(table.services) * _CELL)
            y += (len(shown) + 3) * _ROW
    if left:
        body.append(_text(_MARGIN, y, f"and {number_of(left, 'more row')} in the report", "#5a6068"))
        y += _ROW
    body += _legend(tables, y)
    headline, basis = verdict_sentences(results)
    title, height = f"{headline}. {basis}", y + _LEGEND
    head = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img" font-family="sans-serif" font-size="13">'
        ),
        f"<title>{escape(one_line(title))}</title>",
        f'<rect x="0" y="0" width="{width}" height="{height}" fill="#ffffff"/>',
        _text(_MARGIN, 32, one_line(headline, width // 9), "#1b1e22", 'font-size="17" font-weight="bold"'),
    ]
    return "\n".join([*head, *body, "</svg>\n"]).encode("utf-8")


def _table(table: Matrix, rows: tuple[matrix.Row, ...], y: int) -> Iterator[str]:
    hosts = ", ".join(table.hosts[:3]) + (f" and {len(table.hosts) - 3} more" if len(table.hosts) > 3 else "")
    yield _text(_MARGIN, y + 20, one_line(f"{hosts}: {table.direction}", 90), "#1b1e22", 'font-weight="bold"')
    for column, service in enumerate(table.services):
        x = _MARGIN + _PEER + column * _CELL + _CELL // 2
        yield _text(x, y + _ROW + 20, one_line(service, 18), "#5a6068", 'text-anchor="middle"')
    for line, row in enumerate(rows):
        top = y + (line + 2) * _ROW
        yield _text(_MARGIN, top + 20, one_line(row.peer, 24), "#1b1e22")
        for column, service in enumerate(table.services):
            x, unit = _MARGIN + _PEER + column * _CELL, _CELL / len(table.families)
            for span in table.spans(row, service):
                yield from _span(span, x, top, unit * span.width, whole=span.width == len(table.families))
                x += round(unit * span.width)


def _span(span: Span, x: int, top: int, wide: float, *, whole: bool) -> Iterator[str]:
    fill, edge, ink = _PAINT[span.mark]
    dotted = ' stroke-dasharray="2 2"' if span.mark in {Mark.NOT_TESTED, Mark.INCONCLUSIVE, Mark.ERROR} else ""
    yield (
        f'<rect x="{x + 1}" y="{top + 1}" width="{wide - 2:g}" height="{_ROW - 2}" rx="3" fill="{fill}" '
        f'stroke="{edge}"{dotted}/>'
    )
    families = "" if whole else " " + "/".join(_FAMILY.get(family, family) for family, _ in span.sides)
    words = f"{span.mark.glyph} {span.mark.word}" if whole else f"{span.mark.glyph or span.mark.word}{families}"
    size = "" if whole else ' font-size="11"'
    yield _text(round(x + wide / 2), top + 20, words.strip(), ink, f'text-anchor="middle"{size}')


def _legend(tables: tuple[Matrix, ...], y: int) -> Iterator[str]:
    marks = frozenset().union(*(table.marks for table in tables))
    words = "; ".join(f"{mark.glyph} {mark.meaning}".strip() for mark in Mark if mark in marks)
    yield _text(_MARGIN, y + 20, words or "no pair of far end and service was asked about", "#5a6068", 'font-size="11"')


def _text(x: int, y: int, words: str, ink: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" fill="{ink}"{" " + more if more else ""}>{escape(words)}</text>'
