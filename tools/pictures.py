#!/usr/bin/env python3
"""Draws every picture of the documentation: `make pictures`, or `tools/pictures.py NAME …` for some of them.

Nothing in them is typed by hand: pages are those that fwproof writes, drawn by headless Chromium; what stands in a
terminal is what the command printed. All of it comes from reports/sample, through :mod:`picture_pages`. Needs chromium
and pngquant, for the gate's kernel namespaces as well; the same input gives the same picture, but for the seconds that
the gate took.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tools"), str(ROOT / "tests" / "report")]
FOLDER = ROOT / "docs" / "pictures"
WIDTH, SHARP, COLOURS = 1100, 1.5, 24
"""Of the page in pixels of CSS, how many pixels of the picture each of them has, and colours of the picture."""
SHELL = 912
"""Width of a terminal of 100 columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What to draw: from the top of ``first`` to the end of ``last`` (selectors) of a page, at most ``height`` high.

    ``before`` is JavaScript that runs in the page first, such as to open what is folded. ``scheme``: light or dark.
    """

    page: str
    first: str
    last: str = ""
    before: str = ""
    height: int = 1400
    width: int = WIDTH
    scheme: str = "light"
    margin: int = 16


_SHOWN = """(() => {
  const row = [...document.querySelectorAll('.record .id')].find(e => e.textContent == %r).closest('.record');
  for (let e = row; e; e = e.parentElement) if (e.tagName == 'DETAILS') e.open = true;
  row.id = 'shown';
})()""" % "webui-proxy[ai-server-published-outside-ipv4]"
"""Opens one check of those that are folded."""
_LAST = "document.querySelector('#controls details:last-of-type').open = true"
_MATRIX = ("#inbound h2", "#inbound figure:last-of-type")

PICTURES = {
    "report-matrix": Picture(page="report", first=_MATRIX[0], last=_MATRIX[1]),
    "report-matrix-dark": Picture(page="report", first=_MATRIX[0], last=_MATRIX[1], scheme="dark"),
    "report-cover": Picture(page="report", first=".brand", last=".counts"),
    "report-finding": Picture(page="report", first="#f3", last="#f3", margin=0),
    "report-check": Picture(page="report", first="#shown", last="#shown", before=_SHOWN, margin=2),
    "report-controls": Picture(page="report", first="#controls h2", last="#controls details:last-of-type", before=_LAST, height=800),
    "report-ages": Picture(page="aged", first="#findings h2", last="#findings .scroll", height=480),
    "run-diff": Picture(page="diff", first=".brand", height=860),
    "runs-index": Picture(page="index", first=".brand", height=800),
    "gate-comment": Picture(page="comment", first="article", last="article", height=900),
    "terminal-audit": Picture(page="audit", first="figure", last="figure", width=SHELL),
    "terminal-explain": Picture(page="explain", first="figure", last="figure", width=SHELL),
    "terminal-gate": Picture(page="gate", first="figure", last="figure", width=SHELL),
}
"""Every picture by its name: docs/pictures/NAME.png. A page has to show each, which tests/unit/test_pictures.py sees to."""

_BOX = """(() => {
  const first = document.querySelector(%r).getBoundingClientRect();
  const last = %r ? document.querySelector(%r).getBoundingClientRect() : document.documentElement.getBoundingClientRect();
  return [first.top + scrollY, last.bottom + scrollY, document.documentElement.scrollWidth];
})()"""


def draw(names: list[str], place: Path) -> None:
    """Draw the named pictures; ``place`` is a folder for the pages."""
    from browser import Browser
    from picture_pages import PAGES

    pages = {name: PAGES[name](place) for name in sorted({PICTURES[name].page for name in names})}
    browser = Browser()
    try:
        for name in names:
            picture = PICTURES[name]
            browser.open(pages[picture.page], width=picture.width, scheme=picture.scheme)
            (FOLDER / f"{name}.png").write_bytes(small(shot(browser, picture)))
    finally:
        browser.close()


def shot(browser, picture: Picture) -> bytes:
    """Return the picture as Chromium draws it."""
    if picture.before:
        browser.value(picture.before)
    top, bottom, _ = browser.value(_BOX % (picture.first, picture.last, picture.last))
    top = max(top - picture.margin, 0)
    clip = {"x": 0, "y": top, "width": picture.width, "height": min(bottom + picture.margin - top, picture.height), "scale": SHARP}
    found = browser("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    return base64.b64decode(found["data"])


def small(content: bytes) -> bytes:
    """Return a picture with few colours."""
    words = ["pngquant", "--speed", "1", "--nofs", "--strip", str(COLOURS), "-"]
    return subprocess.run(words, input=content, capture_output=True, check=True).stdout


def main() -> None:
    """Draw all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the documentation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    names = parser.parse_args().names or list(PICTURES)
    if unknown := sorted(set(names) - PICTURES.keys()):
        parser.error(f"{unknown[0]} is none of {', '.join(PICTURES)}")
    if not shutil.which("pngquant") or not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        sys.exit("tools/pictures.py: needs chromium and pngquant; on Debian: apt-get install chromium pngquant")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fwproof-pictures-") as place:
        draw(names, Path(place))


if __name__ == "__main__":
    main()
