"""The pictures of the documentation: each is drawn by the script, shown on a page, and there; none is left over."""

import importlib
import importlib.util
import re
import struct
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
PAGES = sorted([*ROOT.glob("*.md"), *(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)])
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


def _script():
    spec = importlib.util.spec_from_file_location("fwproof_pictures", ROOT / "tools" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


KNOWN = _script().PICTURES


def shown(pages):
    """Return the pictures that pages show: the page, the words beside it, and the file."""
    return [
        (page, words, (page.parent / address).resolve())
        for page in pages
        for words, address in PICTURE.findall(page.read_text(encoding="utf-8"))
    ]


def faults(pages, folder, known):
    """Return what is wrong with the pictures of some pages, of a folder, and of those that the script knows."""
    there = {path.resolve() for path in folder.iterdir()}
    drawn = {(folder / f"{name}.png").resolve() for name in known}
    seen = shown(pages)
    named = {path for _, _, path in seen}
    return sorted(
        [f"{page.name} shows {path.name}, which is not there" for page, _, path in seen if not path.is_file()]
        + [f"{page.name} says too little of {path.name}" for page, words, path in seen if len(words) < 40]
        + [f"{path.name} is shown, and the script does not know it" for path in named - drawn]
        + [f"{path.name} is known to the script, and no page shows it" for path in drawn - named]
        + [f"{path.name} is left over" for path in there - drawn]
        + [f"{path.name} was never drawn" for path in drawn - there]
    )


def test_every_picture_is_known_shown_and_there():
    assert len(shown(PAGES)) >= len(KNOWN) > 10
    assert faults(PAGES, FOLDER, KNOWN) == []


@pytest.mark.parametrize(
    ("page", "known", "wanted"),
    [
        ("![A]({there}.png)", ["there"], ["page.md says too little of there.png"]),
        (
            "![{words}](pictures/there.png)", [],
            ["there.png is left over", "there.png is shown, and the script does not know it"],
        ),
        ("no picture", ["there"], ["there.png is known to the script, and no page shows it"]),
        (
            "![{words}](pictures/old.png) ![{words}](pictures/there.png)", ["there"],
            ["old.png is shown, and the script does not know it", "page.md shows old.png, which is not there"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_seen(tmp_path, page, known, wanted):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "there.png").touch()
    text = page.replace("{words}", "some words " * 5).replace("{there}", "pictures/there")
    (tmp_path / "page.md").write_text(text)
    assert faults([tmp_path / "page.md"], folder, known) == wanted


def test_they_are_small_and_name_no_folder_of_a_machine():
    contents = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert sum(map(len, contents.values())) < 620_000
    for name, content in contents.items():
        assert content.startswith(b"\x89PNG\r\n\x1a\n"), name
        kinds = []
        place = 8
        while place < len(content):
            size, kind = struct.unpack(">I4s", content[place : place + 8])
            kinds.append(kind)
            place += size + 12
        assert set(kinds) <= {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}, name  # no texts, no times


def test_the_pages_that_are_drawn_are_made(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    pages = importlib.import_module("picture_pages")
    assert {picture.page for picture in KNOWN.values()} == pages.PAGES.keys()


def test_the_published_server_becomes_the_repaired_one_and_no_other_address_changes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    pages = importlib.import_module("picture_pages")
    text = "ai-server-published 10.0.0.11:22 10.0.0.110 110.0.0.11 fd00:0:0:1::11 fd00:0:0:1::110 ai-server-published/x"
    assert pages.as_repaired(text) == (
        "ai-server 10.0.0.10:22 10.0.0.110 110.0.0.11 fd00:0:0:1::10 fd00:0:0:1::110 ai-server/x"
    )
