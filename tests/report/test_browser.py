"""The HTML report in a real browser: nothing asked for, nothing complained of, nothing run, everything reachable."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from fwproof.report.html import render_html
from fwproof.report.write import with_evidence

from .browser import Browser, found

pytestmark = pytest.mark.skipif(found() is None, reason="no Chromium here: apt-get install chromium")

# WCAG 2.2, 1.4.3 and 1.4.11: text against what is behind it, and shapes against the page
CONTRAST = """(() => {
  const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const rgba = c => { const n = c.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n };
  const lum = c => { const [r, g, b] = rgba(c); return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b) };
  const ratio = (a, b) => { const [l, h] = [lum(a), lum(b)].sort((x, y) => x - y); return (h + 0.05) / (l + 0.05) };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const s = getComputedStyle(e);
      const hatch = s.backgroundImage.match(/rgb[^)]*\\)/);
      if (hatch && rgba(hatch[0])[3]) return hatch[0];
      if (rgba(s.backgroundColor)[3]) return s.backgroundColor;
    }
    throw Error('nothing is behind it');
  };
  document.querySelectorAll('details').forEach(d => d.open = true);
  const page = getComputedStyle(document.body).backgroundColor, low = new Set(), seen = {text: 0, shapes: 0};
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode());) {
    const e = n.parentElement;
    if (!n.data.trim() || !e.checkVisibility() || e.closest('title, desc, style')) continue;
    const s = getComputedStyle(e), svg = e.closest('svg'), colour = svg ? s.fill : s.color;
    const glyph = e.closest('.glyph'), r = ratio(colour, behind(svg || e));
    seen.text++;
    const name = `${e.tagName} .${e.className.baseVal ?? e.className} in .${e.parentElement.className}`;
    if (r < (glyph ? 3 : 4.5)) low.add(`${name} "${n.data.trim().slice(0, 30)}" ${r.toFixed(2)}`);
  }
  for (const e of document.querySelectorAll('svg rect, svg line, svg polyline')) {
    const s = getComputedStyle(e), sides = [s.fill, s.stroke].filter(c => c.startsWith('rgb'));
    const r = Math.max(...sides.map(c => ratio(c, page)));
    seen.shapes++;
    if (!(r >= 3)) low.add(`${e.tagName} .${e.className.baseVal} ${r.toFixed(2)}`);
  }
  return {low: [...low], seen};
})()"""
OVERFLOW = """[...document.querySelectorAll('body *')].filter(e =>
  e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !e.closest('.scroll, nav, pre')
).map(e => e.tagName + '.' + e.className).slice(0, 9)"""


@pytest.fixture(scope="module")
def browser():
    one = Browser()
    yield one
    one.close()


@pytest.fixture(scope="module")
def report(whole, evidence, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_html(with_evidence(whole, evidence)[0]), "utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_asks_for_nothing_and_nothing_is_amiss(browser, report, scheme):
    browser.open(report, scheme=scheme)
    assert browser.requests() == [report.resolve().as_uri()]
    assert browser.complaints() == []


def test_what_is_foreign_is_blocked_and_told(browser, report, tmp_path):
    broken = tmp_path / "broken.html"
    extra = '<script>document.title="run"</script><p style="color:red">x</p><img src="http://192.0.2.1/x.png">'
    broken.write_text(report.read_text("utf-8").replace("<main>", f"<main>{extra}"), "utf-8")
    browser.open(broken)
    assert browser.value("document.title") != "run"
    told = json.dumps(browser.complaints())
    assert all(word in told for word in ("script-src", "style-src", "img-src"))


def test_hostile_texts_do_nothing(browser, hostile, tmp_path):
    page = tmp_path / "hostile.html"
    page.write_text(render_html(hostile), "utf-8")
    browser.open(page)
    assert browser.requests() == [page.resolve().as_uri()]
    assert browser.complaints() == []
    assert browser.value("document.querySelectorAll('script, img, iframe, object, embed, form, base').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("media", ["screen", "print"])
def test_contrast_of_all_that_is_drawn(browser, report, scheme, media):
    browser.open(report, scheme=scheme, media=media)
    found = browser.value(CONTRAST)
    assert found["seen"]["text"] > 1000
    assert found["seen"]["shapes"] > 10
    assert found["low"] == []


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_window(browser, report, width):
    browser.open(report, width=width)
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(OVERFLOW) == []


def test_a_cell_opens_its_check(browser, report):
    browser.open(report)
    link = "document.querySelector('#inbound td a')"
    target = f"document.querySelector({link}.getAttribute('href'))"
    assert browser.value(f"{target}.checkVisibility()") is False
    browser.value(f"{link}.click()")
    shown = f"new Promise(done => setTimeout(() => done({target}.querySelector('.reason').checkVisibility()), 200))"
    assert browser.value(shown) is True


def test_the_first_key_skips_to_the_findings(browser, report):
    browser.open(report)
    browser.press("Tab", 9)
    assert browser.value("document.activeElement.className") == "skip"
    assert browser.value("document.activeElement.getBoundingClientRect().x") > 0
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter", 13, "\r")
    assert browser.value("new Promise(done => setTimeout(() => done(location.hash), 200))") == "#findings"


def test_what_a_screen_reader_is_told(browser, report):
    browser.open(report)
    nodes = [node for node in browser("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        roles.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert {"banner", "main", "navigation", "contentinfo"} <= set(roles)
    for role in ("link", "image", "region", "table", "columnheader", "rowheader", "heading"):
        assert roles[role], role
        assert all(name.strip() for name in roles[role]), role
    levels = browser.value("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert "10.0.5.7: 21 of 27 let in" in " ".join(str(node.get("description")) for node in nodes)


def test_without_its_style_sheet_all_is_there(browser, report):
    browser.open(report)
    words = "document.body.textContent.replace(/\\s+/g, ' ')"
    before = browser.value(words)
    browser.value("document.querySelectorAll('style').forEach(e => e.remove())")
    assert browser.value(words).strip() in before
    assert browser.value("[...document.querySelectorAll('h2')].every(h => h.checkVisibility())")
    for how in ("stroke", "strokeDasharray"):  # neither colour nor pattern alone tells the lines apart
        lines = f"[...document.querySelectorAll('#rates svg polyline')].map(e => getComputedStyle(e).{how})"
        assert len(set(browser.value(lines))) == 2


def test_paper(browser, report):
    browser.open(report, media="print")
    inner = "[...document.querySelectorAll('details:not(.more, .v-pass) > :not(summary)')]"
    assert browser.value(f"{inner}.length") > 50
    assert browser.value(f"{inner}.filter(e => !e.checkVisibility()).length") == 0
    assert browser.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.value("getComputedStyle(document.querySelector('thead')).display") == "table-header-group"
    browser.open(report)
    pdf = base64.b64decode(browser("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])
    sizes = {tuple(map(round, map(float, size))) for size in re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)}
    assert sizes == {(595, 842), (842, 595)}  # A4 in points, and the matrices across it
