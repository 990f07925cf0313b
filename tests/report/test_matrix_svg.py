"""The matrices as a picture: every cell with its mark, valid XML, and nothing in it that acts."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace

import pytest

from fwproof.report.matrix import Mark, folded, matrices
from fwproof.report.matrix_svg import _PAINT, render_matrix_svg
from fwproof.results import Results

SVG = "{http://www.w3.org/2000/svg}"


def cells(results: Results) -> Counter[str]:
    fills = [each.get("stroke") for each in ET.fromstring(render_matrix_svg(results)).iter(f"{SVG}rect")]
    return Counter(edge for edge in fills if edge)


def test_every_cell_is_drawn_with_its_mark(whole):
    expected = Counter(
        _PAINT[span.mark][1]
        for table in folded(matrices(whole))
        for row in table.rows
        for service in table.services
        for span in table.spans(row, service)
    )
    assert expected["#d55e00"]
    assert cells(whole) == expected


def test_words_and_legend_say_what_colours_say(whole):
    texts = [each.text for each in ET.fromstring(render_matrix_svg(whole)).iter(f"{SVG}text")]
    assert {"● open", "▲ BLOCKED", "W v4", "ai-server: inbound", "workstation"} <= set(texts)
    assert "✖ open, should be blocked; ▲ blocked, should be open; W deviates, under a waiver" in texts[-1]
    for fill, edge, ink in _PAINT.values():
        assert fill.startswith("#")
        assert edge != fill
        assert ink != fill
    assert set(_PAINT) == set(Mark)


def test_hostile_texts_are_texts(hostile):
    root = ET.fromstring(render_matrix_svg(hostile))
    assert {each.tag for each in root.iter()} <= {f"{SVG}{name}" for name in ("svg", "title", "rect", "text")}
    assert not [name for each in root.iter() for name in each.attrib if name.startswith(("on", "href", "style"))]


@pytest.mark.parametrize("number", [0, 100])
def test_rows_without_room_are_counted(whole, number):
    check = next(check for check in whole.checks if check.vantage and check.direction == "inbound")
    many = tuple(replace(check, vantage=f"v{n}", id=f"c{n}") for n in range(number))
    text = render_matrix_svg(Results(run=whole.run, checks=many)).decode()
    assert ("and 60 more rows in the report" in text) == bool(number)
    assert ("no pair of far end and service was asked about" in text) == (not number)
