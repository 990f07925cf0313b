"""Text from elsewhere is inert in every format: it is shown, and does nothing."""

from __future__ import annotations

import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from fwproof.report.formats import FORMATS
from fwproof.report.html import render_html
from fwproof.report.junit import Dialect, render_junit
from fwproof.report.markdown import render_markdown
from fwproof.report.terminal import render_summary
from fwproof.report.view import counts_line

JSON = {"hdf", "sarif", "oscal-ar", "gitlab"}


def acting(text: str) -> set[str]:
    """Characters that a terminal obeys or a reader cannot see."""
    return {repr(c) for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c not in "\n\t"}


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from (key, *strings(each))
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"json"}))
def test_no_character_acts(hostile, form):
    text = FORMATS[form](hostile).decode("utf-8")
    assert not acting(text.replace("\r\n", "\n") if form.startswith("csv") else text)  # RFC 4180 ends rows so
    if form in JSON:  # what JSON escapes acts where it is shown
        assert not {c for value in strings(json.loads(text)) for c in acting(value)}


def test_html_has_no_element_or_attribute_of_theirs(hostile, whole, page):
    tame, wild = page(render_html(whole)), page(render_html(hostile))
    assert {tag for tag, _ in wild.elements} <= {tag for tag, _ in tame.elements}
    names = {name for _, attrs in tame.elements for name in attrs}
    assert {name for _, attrs in wild.elements for name in attrs} <= names
    assert not [a["href"] for a in wild.all("a") if not a["href"].startswith("#")]


def test_html_style_is_ours_alone(hostile):
    html = render_html(hostile)
    assert html.count("<style>") == html.count("</style>") == 1
    assert re.search(r'@top-left \{ content: "fwproof, run [A-Za-z0-9._-]*"; font', html)


def test_junit_parses_and_keeps_its_shape(hostile):
    for dialect in Dialect:
        root = ET.fromstring(render_junit(hostile, dialect))
        (suite,) = root
        assert [len(list(suite.iter(tag))) for tag in ("testcase", "failure", "error", "skipped")] == [2, 1, 0, 0]


@pytest.mark.parametrize("width", [40, 41, 53, 80, 120])
def test_terminal_ends_in_the_true_counts(hostile, width):
    lines = render_summary(hostile, width=width)
    assert [line for line in lines if line.startswith("fwproof:")] == [counts_line(hostile)] == lines[-1:]
    assert not [line for line in lines if "\n" in line]


def test_colour_is_ours_alone(hostile):
    text = "\n".join(render_summary(hostile, width=80, color=True))
    assert not acting(re.sub(r"\x1b\[[\d;]*m", "", text))
    assert set(re.findall(r"\x1b\[([\d;]*)m", text)) <= {"0", "1;31"}


def test_markdown_has_no_construct_of_theirs(hostile):
    text = render_markdown(hostile)
    bare = re.sub(r"(?<!\\)`[^`\n]*`", "", text)
    bare = re.sub(r"\\.", "", bare)
    assert not re.search(r"[<>\[\]!@`]", bare)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith(("## ", "### "))
    ]
    # the verdict, the one finding, and the controls
    assert len(re.findall(r"^#", text, re.MULTILINE)) == 3


def test_long_text_says_how_much_is_left_out(hostile_of):
    wild = hostile_of("long")
    assert re.search(r"… \([\d,]+ more characters in results\.json\)", render_html(wild))
    assert len("\n".join(render_summary(wild))) < 10_000
