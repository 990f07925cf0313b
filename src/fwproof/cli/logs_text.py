"""The page of ``fwproof logs`` for a terminal and in Markdown. All that comes from the log is made visible first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwproof.report.clean import markdown_text, one_line
from fwproof.review.page import Section, headline, period_line, read_line, sections
from fwproof.review.review import Review
from fwproof.review.tally import Tally

_WIDEST = 100
_LONGEST = 400


def text(found: Review, tally: Tally, places: Sequence[str], top: int) -> Iterator[str]:
    """Yield the lines of the page for a terminal."""
    yield one_line(headline(found), _LONGEST)
    yield one_line(f"period: {period_line(found)}", _LONGEST)
    yield one_line(f"read: {read_line(tally, places)}", _LONGEST)
    for section in sections(found, top):
        yield ""
        yield section.title.upper()
        for first, *rest in section.lines:
            yield f"  {one_line(first, _LONGEST)}"
            yield from (f"      {one_line(each, _LONGEST)}" for each in rest)
        yield from _table(section)


def _table(section: Section) -> Iterator[str]:
    rows = [tuple(one_line(cell, _WIDEST) for cell in row) for row in (section.head, *section.rows) if row]
    widths = [max(len(row[column]) for row in rows) for column in range(len(section.head))]
    right = [all(_number(row[column]) for row in rows[1:]) for column in range(len(section.head))]
    for row in rows:
        cells = (
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        )  # fmt: skip
        yield f"  {'  '.join(cells)}".rstrip()


def _number(cell: str) -> bool:
    return not cell or cell.replace(",", "").isdigit()


def markdown(found: Review, tally: Tally, places: Sequence[str], top: int) -> Iterator[str]:
    """Yield the lines of the page in Markdown, for a ticket."""
    yield f"## Drop logs: {markdown_text(headline(found))}"
    yield ""
    yield f"Period: {markdown_text(period_line(found))}."
    yield f"Read: {markdown_text(read_line(tally, places))}."
    for section in sections(found, top):
        yield ""
        yield f"### {markdown_text(section.title)}"
        yield ""
        for first, *rest in section.lines:
            yield f"- {markdown_text(first)}"
            yield from (f"  - {markdown_text(each)}" for each in rest)
        if section.head:
            right = [all(_number(row[column]) for row in section.rows) for column in range(len(section.head))]
            yield _row(section.head)
            yield f"|{'|'.join('--:' if each else '---' for each in right)}|"
            yield from map(_row, section.rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"
