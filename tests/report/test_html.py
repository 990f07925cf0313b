"""The HTML report: one file, no request, no script, readable without CSS, and every link leads somewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from markupsafe import escape

from fwproof.report.html import render_html
from fwproof.report.matrix import Mark, other_checks
from fwproof.report.view import findings
from fwproof.report.write import with_evidence, write_run
from fwproof.results import Results, Verdict


@pytest.fixture(scope="module")
def html(run, evidence) -> str:
    return render_html(with_evidence(run, evidence)[0])


@pytest.fixture(scope="module")
def parsed(html, page):
    return page(html)


def test_well_formed(html, parsed):
    assert html.startswith("<!DOCTYPE html>\n")
    assert parsed.doctypes == ["DOCTYPE html"]
    assert parsed.elements[0] == ("html", {"lang": "en"})
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_rules_are_listed_one_by_one_with_their_status(html, parsed):
    assert any(attrs.get("id") == "coverage" for _, attrs in parsed.elements)
    assert html.count("1 of 2 rules and defaults that packets can reach are confirmed (50 %)") == 2
    rows = [attrs["class"] for attrs in parsed.all("tr") if attrs.get("class", "").startswith("r-")]
    assert rows == ["r-confirmed", "r-elsewhere"] * 2
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    assert "elsewhere ip filter INPUT rule 2 -A INPUT -i eth1 -j ACCEPT 0 no counter a vantage at 192.0.2.7" in text
    assert "p1 from ai-server (output): udp 10.0.0.10 -&gt; 10.0.0.10:9, NEW" in text


def test_no_coverage_is_no_section(run):
    none = replace(run, checks=tuple(replace(check, coverage=None) for check in run.checks))
    assert 'id="coverage"' not in render_html(none)


def test_asks_nothing_of_any_network(html, parsed):
    fetching = {"src", "srcset", "data", "poster", "action", "formaction", "background", "ping", "xlink:href"}
    assert not [(tag, attrs) for tag, attrs in parsed.elements if fetching & set(attrs)]
    assert not {tag for tag, _ in parsed.elements} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "img",
    }
    assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on") or name == "style"]
    assert not re.search(r"https?:|url\(|@import", html)


def test_the_policy_allows_the_style_sheet_alone(html, parsed):
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(
        attrs["content"] for attrs in parsed.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_every_link_leads_somewhere(run, evidence, tmp_path, page):
    folder = write_run(run, evidence, tmp_path)
    parsed = page((folder / "report.html").read_text())
    ids = {attrs["id"] for _, attrs in parsed.elements if "id" in attrs}
    links = {attrs["href"] for attrs in parsed.all("a")}
    assert {link for link in links if link.startswith("#")} <= {f"#{name}" for name in ids}
    files = {link for link in links if not link.startswith("#")}
    assert files == {link for link in files if (folder / link).is_file()}
    assert len(files) == len(evidence)


def test_every_cell_leads_to_its_check(run, html, parsed):
    cells = re.findall(r'<td class="cell m-([\w-]+)[^"]*" colspan="\d">(.*?)</td>', html)
    links = [(mark, *link) for mark, cell in cells for link in re.findall(r'<a href="#(c\d+)" title="([^"]*)"', cell)]
    assert len(links) == sum(check.vantage is not None and check.kind != "rate" for check in run.checks)
    for mark, anchor, title in links:
        check = run.checks[int(anchor[1:]) - 1]
        assert title.startswith(f"{check.id}: expected {check.expected}; ")
        assert title.endswith(Mark(mark).meaning)


def test_the_causes_are_listed_first_and_lead_to_their_findings(run, html):
    table = html.split('<table class="list causes">')[1].split("</table>")[0]
    rows = re.findall(r'<a href="#(f\d+)">(.*?)</a>.*?<td class="n">([\d,]+)</td></tr>', table)
    shown = findings(run, Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
    assert [(anchor, cause, int(number)) for anchor, cause, number in rows] == [
        (f"f{finding.number}", str(escape(finding.cause)), len(finding.checks)) for finding in shown
    ]


def test_every_check_without_a_cell_has_a_row(run, html):
    section = html.split('<section id="other">')[1].split("</section>")[0]
    anchors = re.findall(r'<a href="#c(\d+)">', section)
    assert sorted(run.checks[int(number) - 1].id for number in anchors) == sorted(c.id for c in other_checks(run))


def test_an_option_is_not_torn_from_its_hyphen(html):
    assert '<span class="w">-A</span> OUTPUT <span class="w">-j</span> DROP' in html


def test_readable_without_css(run, parsed):
    for word in (
        "OPEN",
        "BLOCKED",
        "open, as expected",
        "Deciding rule",
        "How to mend",
        run.run.id,
        "49 of 240 checks failed",
    ):
        assert word in parsed.text
    for check in run.checks:
        assert check.id in parsed.text
        assert " ".join(check.reason.split()) in parsed.text


def test_tables_name_their_heads(parsed):
    assert parsed.all("th")
    assert {attrs.get("scope") for attrs in parsed.all("th")} == {"col", "row", "colgroup", "rowgroup"}


def test_the_decorations_are_hidden_from_screen_readers(parsed):
    glyphs = [attrs for attrs in parsed.all("span") if attrs.get("class") == "glyph"]
    assert glyphs
    assert all(attrs.get("aria-hidden") == "true" for attrs in glyphs)


def test_renders_alike_twice(run):
    assert render_html(run) == render_html(run)


def test_every_verdict_and_mark_has_words(run, page):
    checks = [replace(check, verdict=verdict) for verdict in Verdict for check in run.checks[:2]]
    parsed = page(render_html(Results(run=run.run, checks=tuple(checks))))
    for verdict in Verdict:
        assert verdict.value in parsed.text


@pytest.mark.parametrize("planned", [0, 9])
def test_nothing_tested_is_not_green(run, page, planned):
    empty = Results(run=replace(run.run, planned=planned, hosts=[], artefacts=[]), checks=())
    parsed = page(render_html(empty))
    assert "Nothing was tested" in parsed.text
    assert {attrs.get("class") for attrs in parsed.all("h1")} == {"v-inconclusive"}


def test_rules_are_counted_by_source_and_the_inexact_listed_with_the_reason(parsed):
    text = parsed.text
    assert "Read through Exact Bounded Unknown No rule IPv4 iptables-nft 13 1 0 1 IPv6 nft 6 0 1 0" in text
    assert "IPv4 iptables-nft: 2 lines not exact" in text
    assert "no rule, line 7: expected -A CHAIN and a rule -X" in text
    assert "bounded, ip filter DROP_IN rule 1, line 29: depends on limit 10/sec burst 20 -A DROP_IN -m limit" in text
    assert "IPv6 nft: 1 line not exact, 1 note" in text
    assert "unknown, inet t in rule 2, object 12: the match is not understood: bpf xt match" in text
    assert "nft table bridge b (1 rule) sees frames" in text
    # a run from before they were counted by source
    assert "19 exact, 1 opaque, 1 oracle, 1 unparsed" in text


def test_a_long_list_of_inexact_rules_is_cut_and_counted(run, page):
    host = run.run.hosts[0]
    many = replace(host.understood[0], inexact=[host.understood[0].inexact[1]] * 250, bounded=250)
    long = replace(run, run=replace(run.run, hosts=[replace(host, understood=[many])]))
    text = page(render_html(long)).text
    assert text.count("depends on limit 10/sec burst 20") == 200
    assert "and 50 more in results.json" in text


def _luminance(colour: str) -> float:
    # WCAG 2.2, relative luminance
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, two: str) -> float:
    low, high = sorted([_luminance(one), _luminance(two)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_contrast(html, theme):
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", html.split("--page:")[theme + 1].split("}")[0]))
    colours["page"] = re.findall(r"--page: (#[0-9a-f]{6})", html)[theme]
    text = [
        ("ink", "page"), ("ink", "soft"), ("quiet", "page"), ("quiet", "soft"), ("link", "page"), ("red", "page"),
        ("pink", "page"), ("red-ink", "red-soft"), ("pink-ink", "pink-soft"), ("yellow-ink", "yellow-soft"),
        ("yellow-ink", "page"), ("ink", "glow"), ("quiet", "glow"), ("ink", "hatch"),
    ]  # fmt: skip
    shapes = [("blue", "page"), ("blue", "soft"), ("grey", "soft"), ("red-mark", "red-soft"), ("red-mark", "page")]
    assert not [(a, b) for a, b in text if _contrast(colours[a], colours[b]) < 4.5]
    assert not [(a, b) for a, b in shapes if _contrast(colours[a], colours[b]) < 3]
