#!/usr/bin/env python3
"""Draws every picture of the documentation: `make pictures`, or `tools/pictures.py NAME …` for some of them.

Nothing in them is typed by hand: pages are those that fwproof writes, drawn by headless Chromium; what stands in a
terminal is what the command printed. All of it comes from reports/sample, through :mod:`picture_pages`, and the same
input gives the same bytes with the same Chromium. Needs chromium and pngquant, and for the gate's kernel what
`fwproof gate` needs.
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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from browser import Browser

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tools"), str(ROOT / "tests" / "report")]
FOLDER = ROOT / "docs" / "pictures"
WIDTH, SHARP, COLOURS = 1100, 1.3, 24
"""Of the page in pixels of CSS, how many pixels of the picture each of them has, and colours of the picture."""
SHELL = 910
"""Width of a terminal of 100 columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What to draw: from the top of ``first`` to the end of ``last`` (selectors) of a page, at most ``height`` high.

    ``before`` is JavaScript that runs in the page first, such as to open what is folded; ``margin`` is what of the page
    around it is shown too. Lengths are pixels of CSS.
    """

    page: str
    first: str
    last: str = ""
    before: str = ""
    height: int = 1400
    width: int = WIDTH
    margin: int = 16


_SHOWN = """(() => {
  const wanted = "webui-proxy[ai-server-published-proxy-ipv4]";
  const row = [...document.querySelectorAll('.record .id')].find(e => e.textContent == wanted).closest('.record');
  for (let e = row; e; e = e.parentElement) if (e.tagName == 'DETAILS') e.open = true;
  row.id = 'shown';
})()"""
"""Opens one check of those that are folded."""
_LAST = "document.querySelector('#controls details:last-of-type').open = true"

PICTURES = {
    "report-matrix": Picture(page="report", first="#inbound h2", last="#inbound figure:last-of-type"),
    "report-cover": Picture(page="report", first=".brand", last=".counts"),
    "report-finding": Picture(page="report", first="#f3", last="#f3", margin=0),
    "report-check": Picture(page="report", first="#shown", last="#shown", before=_SHOWN, margin=2),
    "report-controls": Picture(
        page="report", first="#controls h2", last="#controls details:last-of-type", before=_LAST, height=660
    ),
    "report-ages": Picture(page="aged", first="#findings h2", last="#findings .scroll", height=480),
    "run-diff": Picture(page="diff", first=".brand", height=860),
    "runs-index": Picture(page="index", first=".brand", height=800),
    "gate-comment": Picture(page="comment", first="article", last="article", height=640, width=SHELL),
    "terminal-audit": Picture(page="audit", first="figure", last="figure", width=SHELL),
    "terminal-explain": Picture(page="explain", first="figure", last="figure", width=SHELL),
    "terminal-gate": Picture(page="gate", first="figure", last="figure", width=SHELL),
}
"""By name, docs/pictures/NAME.png; tests/unit/test_pictures.py sees that a page shows each of them."""

_BOX = """((first, last) => {
  const box = name => (name ? document.querySelector(name) : document.documentElement).getBoundingClientRect();
  return [box(first).top + scrollY, box(last).bottom + scrollY];
})"""


def draw(names: list[str], place: Path) -> None:
    """Draw the named pictures; ``place`` is a folder for the pages."""
    from browser import Browser
    from picture_pages import PAGES

    pages = {name: PAGES[name](place) for name in sorted({PICTURES[name].page for name in names})}
    browser = Browser()
    try:
        for name in names:
            picture = PICTURES[name]
            browser.open(pages[picture.page], width=picture.width)
            (FOLDER / f"{name}.png").write_bytes(small(shot(browser, picture)))
    finally:
        browser.close()


def shot(browser: Browser, picture: Picture) -> bytes:
    """Return the picture as Chromium draws it."""
    if picture.before:
        browser.value(picture.before)
    top, bottom = browser.value(f"{_BOX}({picture.first!r}, {picture.last!r})")
    top = max(top - picture.margin, 0)
    # whole pixels, or there is a line of half a one at the edge
    high = min(bottom + picture.margin - top, picture.height) // 10 * 10
    clip = {"x": 0, "y": top, "width": picture.width, "height": high, "scale": SHARP}
    found = browser("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    return base64.b64decode(found["data"])


def small(content: bytes) -> bytes:
    """Return a picture with few colours, none of them mixed by dots."""
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
