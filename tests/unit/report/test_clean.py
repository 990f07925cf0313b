"""Hostile text becomes visible; hostile names stay inside their folder."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwproof.report.clean import clip, encodable, one_line, safe_name, safe_path, shell_word, visible

TEXT = st.text(st.characters(codec=None, min_codepoint=0, max_codepoint=0x10FFFF), max_size=60)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain “text” 漢字 ✖", "plain “text” 漢字 ✖"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("bell\x07 nul\x00 del\x7f nel\x85", r"bell\x07 nul\x00 del\x7f nel\x85"),
        ("cr\r lf\n tab\t", "cr\\x0d lf\n tab\t"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\U000e0041", r"\U000e0041"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\udcff", r"\xff"),
        ("\ud800", r"\ud800"),
        ("\ufffe\uffff\U0001ffff", r"\ufffe\uffff\U0001ffff"),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown


@given(TEXT)
def test_visible_is_legal_everywhere(text):
    shown = visible(text)
    assert visible(shown) == shown
    assert all(character.isprintable() or character in "\n\t" or ord(character) >= 0xA0 for character in shown)
    shown.encode("utf-8")


@given(TEXT)
def test_encodable_changes_surrogates_alone(text):
    encodable(text).encode("utf-8")
    if not any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        assert encodable(text) == text
    assert visible(encodable(text)) == visible(text)


def test_clip_says_what_is_missing():
    assert clip("a" * 10, 10) == "a" * 10
    assert clip("a" * 1510, 10) == "aaaaaaaaaa … (1,500 more characters in results.json)"


@given(TEXT)
def test_one_line_is_one_line(text):
    assert len(one_line(text, 20)) <= 20
    assert len(one_line(text).splitlines()) <= 1


@pytest.mark.parametrize("name", ["iptables-save.txt", "a", "20261122T100000Z-5a3c91d2", "web01.example.com"])
def test_good_names_stay(name):
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-rf", "a/b", "a\nb", "a b", "x" * 500, "x" * 500 + ".txt", "é"]
)
def test_bad_names_change_and_stay_apart(name):
    changed = safe_name(name)
    assert changed != name
    assert safe_name(name + "!") != changed
    assert changed.isascii()
    assert changed.isprintable()


@given(TEXT)
def test_names_are_plain(text):
    name = safe_name(text)
    assert 0 < len(name) <= 120
    assert name[0] not in ".-"
    assert not set(name) & set("/\\ \n\t:*?\"'<>|$`;&")


@given(TEXT)
def test_paths_stay_inside(text):
    path = PurePosixPath(safe_path(text, "evidence"))
    assert path.parts[0] == "evidence"
    assert len(path.parts) >= 2
    assert ".." not in path.parts


def test_a_suffix_is_kept():
    assert safe_path("evidence/probes/a b.pcap", "evidence").startswith("evidence/probes/a_b-")
    assert safe_path("evidence/probes/a b.pcap", "evidence").endswith(".pcap")


@given(TEXT)
def test_a_shell_word_is_one_word(text):
    assert len(shlex.split(shell_word(text))) == 1
