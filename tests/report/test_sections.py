"""What the HTML report says besides findings: scope, sums, limits over time, drift, what is allowed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fwproof.report import rates, scope
from fwproof.report.html import render_html
from fwproof.report.listing import ALL_UP_TO
from fwproof.report.matrix import fitting, matrices
from fwproof.report.openings import entries, openings
from fwproof.report.view import not_tested
from fwproof.report.write import with_evidence
from fwproof.results import Admissions, Attempts, Results, Verdict


@pytest.fixture(scope="module")
def html(whole, evidence) -> str:
    return render_html(with_evidence(whole, evidence)[0])


@pytest.fixture(scope="module")
def text(html, page) -> str:
    return page(html).text


def part(html: str, name: str) -> str:
    inner = html.split(f'<section id="{name}">', 1)[1].split("</section>", 1)[0]
    return " ".join(re.sub(r"<[^>]+>", " ", inner).split())


def test_the_contents_name_every_section_in_its_order(html):
    contents = re.findall(r'<a href="#(\w+)">', html.split('<nav aria-label="Contents">', 1)[1].split("</nav>", 1)[0])
    assert contents == re.findall(r'<section id="(\w+)">', html)
    assert {"rates", "drift", "waivers", "allowed", "coverage"} <= set(contents)


def test_what_a_run_has_not_is_no_section(run, html):
    sections = re.findall(r'<section id="(\w+)">', render_html(run))
    assert not {"rates", "drift", "waivers"} & set(sections)


@pytest.mark.parametrize(
    "words",
    [
        "In scope 3 hosts audited: ai-server, ai-server-published, web-old",
        "admin (10.0.0.1)",
        "Out of scope 1 host that the authorisation does not cover: billing 2 hosts that only probes came from: out",
        "Authorised by Grace Hopper, head of infrastructure, CHG-3107; hosts ai-server, ai-server-published; from 2026",
        "Tester Ada Lovelace, OSCP Independence: Internal audit; does not administer these hosts",
        "commit " + "1f" * 20,
        "SHA-256 of the tool's files " + "c0ff" * 16,
        "audit01, Debian GNU/Linux 12; clock: synchronised by NTP",
        "this one is not signed",
        "The run before is 20261115T100000Z-77aa SHA-256 of its SHA256SUMS " + "0f" * 32,
        "auditor, by schedule",
        "SHA-256 of its machine-id " + "a1b2" * 16,
        "iptables-nft (iptables v1.8.9 (nf_tables))",
        "web-old: connection refused",
    ],
)
def test_the_cover_and_the_hosts_say(text, words):
    assert words in text


def test_a_run_without_them_says_so(run, page):
    text = page(render_html(run)).text
    assert "the inventory gives no authorisation" in text
    assert "no host of the inventory, as far as this run recorded" in text
    assert "Independence" not in text
    assert "The run before" not in text


def test_sums_add_up(whole):
    assert sum(row.total for row in scope.by_severity(whole)) == len(whole.checks)
    assert [row.name for row in scope.by_severity(whole)] == ["critical", "high"]
    zones = {row.name: row for row in scope.by_zone(whole)}
    assert list(zones) == ["beyond", "internal", "stores", scope.NO_ZONE, scope.NO_VANTAGE]
    for name in ("internal", "stores"):
        assert zones[name].total == sum(check.vantage in whole.run.zones[name] for check in whole.checks)
    assert zones["beyond"].counts[Verdict.FAIL] == sum(
        check.vantage == "outside" and check.verdict is Verdict.FAIL for check in whole.checks
    )


def test_everything_without_an_answer_has_a_reason(whole, html):
    left = scope.left_open(whole)
    open_ends = {Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE}
    unanswered = sum(check.verdict in open_ends for check in whole.checks)
    assert sum(one.number for one in left) == not_tested(whole) + unanswered
    assert [(one.number, one.why) for one in left[:2]] == [
        (2, "deselected by the operator"), (3, "the authorisation ended at 2026-11-22T10:01+00:00")
    ]  # fmt: skip
    assert "3 not run the authorisation ended at 2026-11-22T10:01+00:00 all" in part(html, "summary")
    assert "6 questions without an answer, each with its reason" in " ".join(re.sub(r"<[^>]+>", "", html).split())


def test_pairs_that_nobody_asked_about_are_counted(whole):
    tables = matrices(whole)
    every, left = scope.pairs_not_tested(tables)
    asked = {(c.host, c.direction, c.vantage, c.service, c.family) for c in whole.checks if c.vantage and c.family}
    assert every - left == len({each for each in asked if None not in each} - {
        (c.host, c.direction, c.vantage, c.service, c.family) for c in whole.checks if c.kind == "rate"
    })  # fmt: skip


def test_a_limit_is_drawn_as_it_was_measured(whole, html):
    (bad, good), more = rates.plots(whole)
    assert (bad.check.verdict, good.check.verdict, more) == (Verdict.FAIL, Verdict.PASS, 0)
    first, second = bad.lanes
    assert (first.tried, first.admitted, first.refused, first.unknown) == (27, 20, 7, 0)
    assert (first.first_refused, first.again) == ("number 20, after 38 ms", "after 61 s")
    assert (second.tried, second.admitted, second.unknown, second.again) == (3, 2, 1, "")
    assert [words for _, words in bad.ticks] == ["0", "20 s", "40 s", "60 s"]
    assert "10.0.5.7 27 20 7 0 number 20, after 38 ms after 61 s" in part(html, "rates")
    assert "2 of 3 let in, 1 unknown" in part(html, "rates")


def points(line: str) -> list[tuple[float, float]]:
    return [tuple(map(float, point.split(","))) for point in line.split()]


def test_the_lines_rise_with_what_came_and_what_was_let_in(whole):
    (bad, _), _ = rates.plots(whole)
    lane = bad.lanes[0]
    tried, let_in = points(lane.attempts), points(lane.let_in)
    for line in (tried, let_in):
        assert line == sorted(line, key=lambda point: (point[0], -point[1]))
        assert line[0] == (rates.LEFT, lane.base)
        assert line[-1][0] == rates.LEFT + rates.WIDE
    step = (lane.base - tried[-1][1]) / 27
    assert let_in[-1][1] == pytest.approx(lane.base - 20 * step, abs=0.1)
    assert lane.limit == pytest.approx(lane.base - 20 * step, abs=0.1)
    at_half_a_minute = max(point for point in tried if point[0] <= rates.LEFT + rates.WIDE * 31 / 61)[1]
    assert at_half_a_minute > tried[-1][1]


def test_where_nothing_is_known_no_line_says_that_none_was_let_in(whole):
    series = [Attempts(source="10.0.5.7", at=[0.0, 1.0], fates="??")]
    admissions = Admissions(limit=1, per=1.0, by="total", series=series)
    one = replace(whole.checks[0], admissions=admissions)
    html = render_html(Results(run=whole.run, checks=(one,)))
    assert html.count('class="p-tried"') == 1
    assert html.count('class="p-let"') == 0
    assert "0 of 2 let in, 2 unknown" in html
    assert "all sources together" in html


@pytest.mark.parametrize(
    ("at", "fates"),
    [([], ""), ([0.0], "y"), ([float("nan"), 1.0], "yn"), ([-5.0, float("inf")], "yy"), ([0.0, 1.0, 2.0], "y")],
)
def test_a_series_that_anybody_wrote_is_drawn_as_far_as_it_goes(whole, page, at, fates):
    series = [Attempts(source="x", at=at, fates=fates)]
    one = replace(whole.checks[0], admissions=Admissions(limit=0, per=0.0, by="", series=series))
    text = render_html(Results(run=whole.run, checks=(one,)))
    assert not re.search(r'(points|x1|x)="[^"]*(nan|inf)', text)
    page(text)


def test_many_sources_and_many_limits_are_counted(whole):
    series = [Attempts(source=f"10.0.0.{n}", at=[0.0], fates="y") for n in range(20)]
    one = replace(whole.checks[0], admissions=Admissions(limit=1, per=1.0, by="source", series=series))
    plots, more = rates.plots(Results(run=whole.run, checks=(one,) * 100))
    assert (len(plots), more, plots[0].more, len(plots[0].lanes)) == (rates.MOST_PLOTS, 40, 12, 8)
    assert "and 12 more sources" in plots[0].words


def test_each_finding_says_how_to_repeat_it(html):
    findings = html.split('<article class="finding')[1:]
    assert findings
    assert all("<dt>Repeat</dt><dd><code>" in one.split("</article>", 1)[0] for one in findings)


def test_drift_keeps_what_was_accepted_apart(html):
    drift = part(html, "drift")
    bad, good = drift.index("ai-server-published IPv4"), drift.index("ai-server IPv4")
    assert bad < good
    assert "Decided otherwise became reachable at input (NEW): tcp 8443" in drift[bad:good]
    assert "Not told not read: ip6 nat" in drift[bad:good]
    assert "Decided otherwise no packet, beyond what was accepted Accepted accepted (Ada, 2026-11-05" in drift[good:]
    assert "Rules that differ filter INPUT: only now: -A INPUT -p tcp --dport 8443 -j ACCEPT" in drift
    assert "Compared with baseline: checks/baseline/ai-server, iptables-save of 2026-11-01" in drift


def test_drift_of_a_run_from_before_is_shown_by_its_evidence(whole, page):
    old = replace(whole.checks[-1], drift=None, evidence=["something changed"], reason="it drifted")
    text = page(render_html(Results(run=whole.run, checks=(old,)))).text
    assert "Finding it drifted Evidence something changed" in text


def test_each_opening_has_who_why_and_which_rule(whole, html):
    found = list(openings(whole))
    assert [one.approved for one in found].count(True) == 4
    assert [one.packets for one in found if one.approved] == [41, None, 7, 5]
    allowed = part(html, "allowed")
    line = (
        "ollama tcp/11434 IPv4 inbound internal 10.0.0.0/16 ai-server, ai-server-published Model platform team RAG jobs"
        " use the API; CHG-2291 ip filter INPUT rule 6: -A INPUT -p tcp --dport 11434 -j ACCEPT not known ● pass"
    )
    assert line in allowed
    assert "ssh tcp/22 IPv4 inbound internal 10.0.0.0/16 ai-server, ai-server-published" in allowed
    assert " 12 ● pass" in allowed  # counted on both hosts
    assert "nobody approved it" in allowed


def test_hosts_share_a_line_only_with_the_same_rule_and_verdict(whole):
    alike = [entry for entry in entries(whole) if entry.first.approved]
    assert [len(entry.hosts) for entry in alike] == [2, 2]
    checks = tuple(
        replace(check, verdict=Verdict.FAIL) if check.allowance and check.host == "ai-server" else check
        for check in whole.checks
    )
    apart = [entry for entry in entries(Results(run=whole.run, checks=checks)) if entry.first.approved]
    assert [len(entry.hosts) for entry in apart] == [1, 1, 1, 1]


def test_a_page_has_room_for_so_many_cells_and_names_the_rest(whole):
    tables = matrices(whole)
    shown, left = fitting(tables, most=sum(len(row.cells) for row in tables[0].rows))
    assert len(shown) == 1
    assert shown[0].host == "ai-server-published"  # it deviates, so it comes first
    assert set(left) == {"ai-server", "ai-server-published"}
    assert fitting(tables)[1] == ()


def test_a_large_run_sums_up_and_every_check_is_in_one_line_only(whole):
    names = [f"h{number}" for number in range(ALL_UP_TO // len(whole.checks) + 2)]
    checks = tuple(replace(check, host=name, id=f"{check.id}{name}") for name in names for check in whole.checks)
    html = render_html(Results(run=whole.run, checks=checks))
    single = html.count('class="record ') - html.count('<span class="sum">')
    summed = sum(int(number) for number in re.findall(r'<span class="sum">(\d+) checks?</span>', html))
    assert single + summed == len(checks)
    assert summed > single
