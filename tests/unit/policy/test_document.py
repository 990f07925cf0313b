import contextlib
import hashlib
import time

import pytest

from fwproof.errors import InputError
from fwproof.policy.document import MAX_ALIASES, MAX_BYTES, Place, parse_document, read_document
from fwproof.policy.scalars import describe, read_plain


def parsed(text, tmp_path):
    return parse_document(text.encode(), file="f", path=tmp_path / "f")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # what YAML 1.1 reads as something else
        ("22:22", "22:22"), ("12:30:45", "12:30:45"), ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"),
        ("NO", "NO"), ("y", "y"), ("1_000", "1_000"), ("2026-11-23", "2026-11-23"), ("0b101", "0b101"), ("=", "="),
        ("10.0.0.1", "10.0.0.1"), ("1.3.1", "1.3.1"), ("fd00::1", "fd00::1"), ("1e", "1e"), ("+", "+"), (".", "."),
        # YAML 1.2.2, 10.3.2
        ("", None), ("~", None), ("null", None), ("true", True), ("FALSE", False), ("tRue", "tRue"),
        ("0", 0), ("-7", -7), ("+7", 7), ("0o17", 15), ("0xff", 255), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text, value):
    assert read_plain(text) == value
    assert type(read_plain(text)) is type(value)


@pytest.mark.parametrize("text", ["010", "-010", "00", ".inf", "-.INF", ".nan", "9" * 25, "1." + "0" * 30])
def test_ambiguous_numbers_are_refused(text):
    with pytest.raises(ValueError, match=r"zero|not a number|too long"):
        read_plain(text)


def test_every_key_and_value_has_its_place(tmp_path):
    document = parsed("a: 1\nbb:\n  - x\n  - {c: [y]}\nd: 'z'\n", tmp_path)
    assert document.plain() == {"a": 1, "bb": ["x", {"c": ["y"]}], "d": "z"}
    assert document.place(("a",)) == Place(1, 4)
    assert document.key_place(("bb",)) == Place(2, 1)
    assert document.place(("bb", 1)) == Place(4, 5)
    assert document.key_place(("bb", 1, "c")) == Place(4, 6)
    assert document.place(("bb", 1, "c", 0)) == Place(4, 10)
    assert document.place(("bb", 1, "zz", 5)) == Place(4, 5)


def test_an_item_without_brackets_is_the_only_one_of_its_list(tmp_path):
    document = parsed("a: {b: x}\n", tmp_path)
    assert document.existing(("a", 0, "b", 0)) == ("a", "b")
    assert document.existing(("a", 1, "b")) == ("a",)


def test_aliases_are_values_in_their_own_place(tmp_path):
    document = parsed("a: &x [1, 2]\nb: *x\n", tmp_path)
    assert document.plain() == {"a": [1, 2], "b": [1, 2]}
    assert document.place(("b",)) == Place(2, 4)
    assert document.place(("b", 1)) == Place(1, 11)


def test_a_few_aliases_are_enough(tmp_path):
    with pytest.raises(InputError, match=f"more than {MAX_ALIASES} aliases"):
        parsed("a: &x 1\nb: [" + "*x, " * (MAX_ALIASES + 1) + "]\n", tmp_path)
    assert len(parsed("a: &x 1\nb: [" + "*x, " * MAX_ALIASES + "]\n", tmp_path).plain()["b"]) == MAX_ALIASES


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    document = parse_document(b"\xef\xbb\xbfa: 1\r\nb: x\r\n", file="f", path=tmp_path)
    assert document.plain() == {"a": 1, "b": "x"}
    assert document.place(("b",)) == Place(2, 4)


def test_faults_that_leave_the_rest_readable_come_together(tmp_path):
    document = parsed("a: 1\na: 2\nb:\nc: 007\n", tmp_path)
    assert [fault.line for fault in document.faults] == [2, 3, 4]
    assert document.plain()["a"] == 1


def test_a_file_is_read_with_its_hash_and_named_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "x.yaml"
    path.write_bytes(b"a: 1\n")
    document = read_document(path)
    assert document.file == "sub/x.yaml"
    assert document.sha256 == hashlib.sha256(b"a: 1\n").hexdigest()


def test_files_that_cannot_be_read_are_faults(tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    assert refusal(read_document, tmp_path / "none.yaml") == ["none.yaml: there is no such file"]
    assert refusal(read_document, tmp_path) == [".: cannot be read: Is a directory"]
    assert refusal(read_document, large) == ["large.yaml: is larger than 1 MiB; a file of this kind is a few kilobytes"]


@pytest.mark.parametrize(
    "text", ["[" * 500_000, "a: " + "x " * 500_000, "- a\n" * 250_000, "{" * 100_000, "? " * 300_000]
)
def test_a_large_file_is_answered_soon(text, tmp_path):
    begun = time.monotonic()
    with contextlib.suppress(InputError):
        parsed(text, tmp_path)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "nothing"), (True, "true"), (22, "the number 22"), ("on", "'on'"), ([], "a list"), ({}, "a mapping"),
     ("a" * 99, f"'{'a' * 59}…'"), ("\x1b[2J", r"'\x1b[2J'")],
)  # fmt: skip
def test_describe(value, words):
    assert describe(value) == words
