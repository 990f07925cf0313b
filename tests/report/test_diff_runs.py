"""Two runs compared: what became of each check, and what is told apart from a regression."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jsonschema
import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import InputError, UsageError
from fwproof.judging.wire import _IN_WORDS, reached_in_words
from fwproof.observation import PortState
from fwproof.report.document import render_json
from fwproof.results import Verdict
from fwproof.run_record import WaiverRecord
from fwproof.trends.changes import Effect, HostRules, Sort
from fwproof.trends.compare import compare_runs
from fwproof.trends.document import render_diff, schema
from fwproof.trends.groups import causes, ways
from fwproof.trends.pages import render_diff_html
from fwproof.trends.text import counts_line, render_diff_markdown, render_text

V = Verdict
WAIVER = WaiverRecord(
    id="W-1", file="checks/waivers.yaml", line=3, policy="ai-server", checks=["ssh"], hosts=[], cause="", owner="o",
    approver="a", ticket="", reason="r", compensating_control="", created="2026-01-01", expires="2026-12-31",
    state="in force", days_left=39,
)  # fmt: skip


def told(run, number=0, **words):
    """Return the run with other words for one check; its verdict is the one that is given."""
    checks = list(run.checks)
    checks[number] = replace(checks[number], **words)
    return replace(run, checks=tuple(checks))


def two(run, was, now, cause="why"):
    """Return the check of two runs that differ in its verdict alone."""
    sides = [told(run, verdict=v, cause=cause if v in {V.FAIL, V.WAIVED} else "") for v in (was, now)]
    return compare_runs(*sides)


@pytest.mark.parametrize(
    ("was", "now", "sort", "effect"),
    [
        (V.PASS, V.FAIL, Sort.NEW, Effect.WORSE),
        (V.ERROR, V.FAIL, Sort.NEW, Effect.WORSE),
        (V.INCONCLUSIVE, V.FAIL, Sort.NEW, Effect.WORSE),
        (V.NOT_APPLICABLE, V.FAIL, Sort.NEW, Effect.WORSE),
        (V.WAIVED, V.FAIL, Sort.UNACCEPTED, Effect.WORSE),
        (V.FAIL, V.FAIL, Sort.UNCHANGED, Effect.NONE),
        (V.FAIL, V.PASS, Sort.FIXED, Effect.BETTER),
        (V.WAIVED, V.PASS, Sort.FIXED, Effect.BETTER),
        (V.FAIL, V.WAIVED, Sort.ACCEPTED, Effect.NONE),
        (V.PASS, V.WAIVED, Sort.ACCEPTED, Effect.NONE),
        (V.WAIVED, V.WAIVED, Sort.UNCHANGED, Effect.NONE),
        (V.PASS, V.ERROR, Sort.LOST, Effect.NOT_KNOWN),
        (V.FAIL, V.ERROR, Sort.LOST, Effect.NOT_KNOWN),
        (V.PASS, V.INCONCLUSIVE, Sort.LOST, Effect.NOT_KNOWN),
        (V.ERROR, V.INCONCLUSIVE, Sort.STILL_UNKNOWN, Effect.NOT_KNOWN),
        (V.ERROR, V.PASS, Sort.SETTLED, Effect.BETTER),
        (V.NOT_APPLICABLE, V.PASS, Sort.SETTLED, Effect.BETTER),
        (V.FAIL, V.NOT_APPLICABLE, Sort.NOT_APPLICABLE, Effect.NONE),
    ],
)
def test_every_change_of_a_verdict_has_its_sort(run, was, now, sort, effect):
    found = two(run, was, now)
    check = next(check for check in found.checks if check.id == run.checks[0].id)
    assert (check.sort, check.effect) == (sort, effect)
    assert check.before.verdict is was
    assert check.after.verdict is now
    assert sum(found.sorts.values()) == len(run.checks)


def quiet(run):
    """Return the run without anything that is not known, so that the status is about what is changed."""
    return replace(run, checks=tuple(replace(c, verdict=V.PASS, cause="") for c in run.checks))


@pytest.mark.parametrize(
    ("was", "now", "status"),
    [(V.PASS, V.PASS, 0), (V.PASS, V.FAIL, 1), (V.FAIL, V.PASS, 0), (V.PASS, V.ERROR, 6), (V.ERROR, V.ERROR, 6),
     (V.WAIVED, V.FAIL, 1), (V.PASS, V.WAIVED, 0), (V.FAIL, V.FAIL, 0)],
)  # fmt: skip
def test_the_status_is_about_what_got_worse(run, was, now, status):
    assert two(quiet(run), was, now).status == status


def test_a_rule_that_was_pushed_down_is_the_same_cause_and_another_rule_is_not(run):
    cause = "too much passes ip filter INPUT rule {}: -A INPUT -s {} -j ACCEPT"
    one = told(quiet(run), verdict=V.FAIL, cause=cause.format(4, "10.0.0.0/8"))
    pushed = told(quiet(run), verdict=V.FAIL, cause=cause.format(5, "10.0.0.0/8"))
    other = told(quiet(run), verdict=V.FAIL, cause=cause.format(4, "0.0.0.0/0"))
    assert compare_runs(one, pushed).sorts["unchanged"] == 1
    assert compare_runs(one, other).sorts["other-cause"] == 1
    assert compare_runs(one, other).status == 6, "whether it was mended in part or got worse is not told"


def without(run, number, **changed):
    checks = run.checks[:number] + run.checks[number + 1 :]
    return replace(run, checks=checks, run=replace(run.run, **{"planned": len(checks), "deselected": 0} | changed))


def whole(run):
    return replace(quiet(run), run=replace(run.run, planned=len(run.checks), deselected=0))


def test_a_check_that_is_gone_has_the_reason_and_only_a_chosen_one_is_settled(run):
    old, policy = whole(run), run.checks[0].file
    cases = {
        ("the policy changed",): (without(old, 0, policies={policy: "0" * 64}), 0),
        ("the inventory changed",): (without(old, 0, inventory_sha256="0" * 64), 0),
        ("the policy was not run",): (without(old, 0, policies={}), 6),
        ("the run does not say",): (without(old, 0), 6),
        ("checks were deselected",): (without(old, 0, planned=len(run.checks), deselected=1), 6),
        ("not all that was planned was run",): (without(old, 0, planned=len(run.checks)), 6),
        ("another version of fwproof plans other checks",): (without(old, 0, tool="fwproof 9"), 6),
        ("the policy changed", "checks were deselected"): (
            without(old, 0, policies={policy: "0" * 64}, planned=len(run.checks), deselected=1),
            6,
        ),
    }
    for why, (new, status) in cases.items():
        found = compare_runs(old, new)
        (gone,) = [check for check in found.checks if check.sort is Sort.NOT_ASKED]
        assert tuple(gone.why) == why
        assert found.status == status, why
        assert found.before.counts["pass"] == found.after.counts["pass"] + 1


def test_a_waiver_that_was_taken_out_leaves_nothing_untold(run):
    old = told(whole(run), kind="waiver", file="checks/waivers.yaml")
    old = replace(old, run=replace(old.run, waiver_files={"checks/waivers.yaml": "0" * 64}))
    for files in ({}, {"checks/waivers.yaml": "1" * 64}):
        found = compare_runs(old, without(old, 0, waiver_files=files))
        assert [check.why for check in found.checks] == [["the waivers changed"]]
        assert found.status == 0
        assert "waivers" in {gap.about for gap in found.not_comparable}


def test_a_host_that_was_left_out_is_told_once_and_never_counts_as_fixed(run):
    old = replace(whole(run), checks=tuple(replace(c, verdict=V.FAIL, cause="x") for c in run.checks))
    kept = tuple(c for c in old.checks if c.host == "ai-server")
    new = replace(old, checks=kept, run=replace(old.run, hosts=old.run.hosts[:1], planned=len(kept), id="b"))
    found = compare_runs(old, new)
    assert found.sorts["fixed"] == 0
    assert found.sorts["no-longer-asked"] == len(old.checks) - len(kept)
    assert {tuple(c.why) for c in found.checks if c.sort is Sort.NOT_ASKED} == {("the host was not looked at",)}
    assert found.status == 6
    assert [gap.said for gap in found.not_comparable] == ["ai-server-published was looked at in the earlier run alone"]


def test_a_check_that_is_new_is_no_regression_but_not_known_either(run):
    new = told(whole(run), verdict=V.FAIL, cause="x")
    found = compare_runs(without(whole(run), 0, policies={run.checks[0].file: "0" * 64}), new)
    assert found.sorts["asked-first"] == 1
    assert found.sorts["new"] == 0
    assert found.status == 6
    assert compare_runs(without(whole(run), 0), whole(run)).status == 0


def test_an_expectation_that_was_turned_round_does_not_compare(run):
    number = next(n for n, c in enumerate(run.checks) if c.expected == "deny")
    new = told(whole(run), number, verdict=V.FAIL, expected="allow", cause="x")
    found = compare_runs(whole(run), new)
    assert found.sorts["asked-otherwise"] == 1
    assert found.status == 6
    assert causes(found, Sort.ASKED_OTHERWISE)[0].cause == "expected deny, now allow"


def test_runs_without_a_check_in_common_are_never_the_same(run):
    found = compare_runs(replace(run, checks=()), replace(run, checks=()))
    assert found.status == 6
    assert "Nothing could be compared" in found.headline


def test_what_does_not_compare_is_said(run):
    old = run.run
    other = replace(
        old, id="other", started="2025-01-01T00:00:00Z", tool="fwproof 9", inventory_sha256="0" * 64,
        stopped=["Ctrl-C"], policies={"x": "1" * 64}, hosts=[replace(old.hosts[0], access="read", error="no route")],
    )  # fmt: skip
    said = {(gap.about, gap.said) for gap in compare_runs(run, replace(run, run=other)).not_comparable}
    assert {about for about, _ in said} == {
        "order", "policy", "inventory", "tool", "deselected", "not run", "stopped", "host"} - {"not run"}  # fmt: skip
    assert ("host", "ai-server: access observe became read") in said
    assert ("host", "ai-server could not be read in the later run: no route") in said
    assert [gap.about for gap in compare_runs(run, run).not_comparable] == ["run", "deselected", "deselected"]


@pytest.mark.parametrize(
    ("changed", "fates"),
    [
        ({}, []),
        ({"days_left": 30}, ["expiring"]),
        ({"days_left": 31}, []),
        ({"state": "expired", "days_left": -1}, ["expired"]),
        ({"expires": "2027-06-30"}, ["altered"]),
        ({"hosts": ["ai-server"], "days_left": 2}, ["altered", "expiring"]),
        (None, ["ended"]),
    ],
)
def test_waivers(run, changed, fates):
    old = replace(run, run=replace(run.run, waivers=[WAIVER]))
    now = [] if changed is None else [replace(WAIVER, **changed)]
    found = compare_runs(old, replace(run, run=replace(run.run, waivers=now)))
    assert [one.change for one in found.waivers] == fates
    assert [one.change for one in compare_runs(run, old).waivers] == ["new"]


def test_coverage(run):
    number = next(n for n, c in enumerate(run.checks) if c.coverage)
    had = run.checks[number].coverage
    rules = [replace(had.rules[0], status="unsent"), *had.rules[1:]]
    new = told(run, number, coverage=replace(had, confirmed=0, rules=rules))
    (change,) = compare_runs(run, new).coverage
    assert (change.before, change.after, change.lost, change.gained) == ([1, 2], [0, 2], [had.rules[0].text], [])
    (back,) = compare_runs(new, run).coverage
    assert (back.lost, back.gained) == ([], [had.rules[0].text])
    assert compare_runs(run, run).coverage == []


# ---- reachability


def test_words_of_the_wire_are_read_back_as_they_are_written():
    out = {PortState.SILENT, PortState.REJECTED, PortState.NEVER_ARRIVED, PortState.UNREACHABLE}
    for state, words in _IN_WORDS.items():
        said = f"tcp [fd00::1]:1 -> [fd00::2]:22: {words} (SYN/ACK), after 3 packets. more"
        reached = None if state in {PortState.NO_ANSWER, PortState.REFUSED_LOCALLY} else state not in out
        assert reached_in_words(said, "inbound") is reached, state
    assert reached_in_words("f: was stopped by the sender's own output rules", "outbound") is False
    assert reached_in_words("f: arrived at the host and was dropped there", "outbound") is True
    assert reached_in_words("tcp a -> b: gate passed it on as x; nobody listens there", "forward") is True
    assert reached_in_words("tcp a -> b: came to gate and was refused there (RST)", "forward") is False
    assert reached_in_words("no probe was sent", "inbound") is None
    assert reached_in_words("could not be observed: ai-server: passed it on", "inbound") is None


def crossed(run, before, after):
    number = next(n for n, c in enumerate(run.checks) if c.kind == "inbound-default" and c.expected == "deny")
    sides = [told(run, number, proved=p, observed=f"tcp a -> b: {o}") for p, o in (before, after)]
    return compare_runs(*sides).reachability


DROPPED, IN = "arrived at the host and was dropped there", "arrived, and a service answered"


def test_cells_that_changed(run):
    shut, let = ("drop by ip filter INPUT policy", DROPPED), ("accept by ip filter INPUT rule 1", IN)
    (one,) = crossed(run, shut, let)
    assert (one.change, one.proved, one.observed, one.expected) == ("opened", ["out", "in"], ["out", "in"], "deny")
    assert [one.change for one in crossed(run, let, shut)] == ["closed"]
    assert crossed(run, shut, shut) == []
    assert [one.change for one in crossed(run, shut, (shut[0], IN))] == ["opened"]
    assert [one.change for one in crossed(run, shut, ("unknown", DROPPED))] == ["not-known"]
    assert crossed(run, ("unknown", "left no answer"), shut) == []
    assert [one.change for one in crossed(run, (shut[0], IN), (let[0], DROPPED))] == ["told-apart"]
    assert [one.change for one in crossed(run, shut, ("accept by X, until limit; then dropped by Y", DROPPED))] == [
        "opened"]  # fmt: skip
    assert [one.change for one in crossed(run, shut, ("drop by X, depending on set s", DROPPED))] == ["not-known"]


def test_far_ends_that_changed_alike_are_one_line(run):
    number = [n for n, c in enumerate(run.checks) if c.kind == "inbound-default" and c.expected == "deny"][:4]
    old = new = run
    for n in number:
        old = told(old, n, proved="drop", observed=f"f: {DROPPED}")
        new = told(new, n, proved="accept", observed=f"f: {IN}")
    found = compare_runs(old, new)
    assert len(found.reachability) == 4
    assert sum(len(way.peers) * len(way.families.split(" and ")) for way in ways(found)) == 4
    assert len(ways(found)) < 4


# ---- forms


RULES = HostRules(
    host="ai-server", same=False, texts=[], changes=[], unlisted=0, effects=["ipv4: x"], not_compared=[], altered=[]
)


def test_the_document_is_of_its_schema(run, recorded):
    for old, new in ((run, told(run, verdict=V.ERROR)), (run, recorded)):
        document = json.loads(render_diff(compare_runs(old, new, rules=[RULES])))
        jsonschema.Draft202012Validator(schema("run-diff")).validate(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema("run-diff")).validate(document | {"status": 2})


def test_hostile_words_stay_words(hostile, run, page):
    found = compare_runs(run, hostile, rules=[replace(RULES, host=hostile.run.id, effects=[hostile.run.id])])
    back = compare_runs(hostile, told(hostile, verdict=V.ERROR))
    for each in (found, back):
        html = render_diff_html(each)
        parsed = page(html)
        assert not {tag for tag, _ in parsed.elements} & {"script", "img", "link", "iframe", "form", "object", "base"}
        assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on") or name == "style"]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
        bare = re.sub(r"\\.", "", re.sub(r"(?<!\\)`[^`\n]*`", "", render_diff_markdown(each)))
        assert not re.search(r"[<>\[\]!@`]", bare)
        assert len(render_diff_markdown(each).encode()) <= 64_000
        lines = render_text(each).splitlines()
        assert all(line.isprintable() for line in lines)
        assert [line for line in lines if line.startswith("fwproof diff:")] == [counts_line(each)] == lines[-1:]
        json.loads(render_diff(each))


def test_the_page_is_whole_and_reads_without_style(run, recorded, page):
    html = render_diff_html(compare_runs(recorded, run, rules=[RULES]))
    parsed = page(html)
    assert parsed.doctypes == ["DOCTYPE html"]
    assert not re.search(r"https?:|url\(|@import", html)
    ids = {attrs["id"] for _, attrs in parsed.elements if "id" in attrs}
    assert {attrs["href"] for attrs in parsed.all("a")} <= {f"#{name}" for name in ids}
    assert all(attrs.get("scope") in {"col", "row"} for attrs in parsed.all("th"))
    assert len(parsed.all("caption")) == len(parsed.all("table")) > 3
    assert "default-src 'none'; style-src 'sha256-" in html
    for sort, number in compare_runs(recorded, run).sorts.items():
        if number and sort != "stands":
            assert Sort(sort).heading in parsed.text


def test_a_fleet_s_comment_keeps_its_limit_and_says_what_it_left_out(run):
    old = whole(run)
    checks = tuple(replace(c, verdict=V.FAIL, cause=f"cause {n} " + "x" * 300) for n, c in enumerate(old.checks))
    text = render_diff_markdown(compare_runs(old, replace(old, checks=checks)))
    assert 40_000 < len(text.encode()) <= 64_000
    assert re.search(r"\d+ more parts did not fit here", text)
    assert text.rstrip().endswith("status 1`")


# ---- the command


@pytest.fixture
def stored(run, tmp_path):
    """Store runs as folders, and return the paths."""

    def store(*runs):
        for number, each in enumerate(runs):
            (tmp_path / str(number)).mkdir()
            (tmp_path / str(number) / "results.json").write_bytes(render_json(each))
        return [str(tmp_path / str(number)) for number in range(len(runs))]

    return store


def asked(*words):
    return CliRunner().invoke(cli, ["diff", *map(str, words)])


def test_the_command_takes_folders_and_files_of_runs(stored, run):
    old, new = stored(whole(run), told(whole(run), verdict=V.FAIL, cause="c"))
    for words in ((old, new), (f"{old}/results.json", new)):
        done = asked(*words)
        assert done.exit_code == 1
        assert done.stdout.splitlines()[0].endswith(": 1 check got worse")
        assert "snapshots.json of run 20261122T100000Z-5a3c91d2 is not here" in done.stdout
    document = json.loads(asked(old, new, "--format", "json").stdout)
    assert (document["status"], document["before"]["folder"]) == (1, old)
    assert asked(old, old).exit_code == 0
    assert asked(new, old, "--format", "html").stdout.startswith("<!DOCTYPE html>")
    assert asked(new, old, "--format", "markdown").stdout.startswith("## Nothing got worse")


def test_the_command_tells_runs_from_tables(stored, run, tmp_path):
    old, new = stored(run, run)
    (tables := tmp_path / "rules.v4").write_text("# Generated by iptables-save v1.8.9\n*filter\n:INPUT DROP\nCOMMIT\n")
    mixed = asked(old, tables).exception
    assert isinstance(mixed, UsageError)
    assert "is a run and" in str(mixed)
    assert "--family" in str(asked(old, new, "--family", "ipv4").exception)
    assert "is for two runs" in str(asked(tables, tables, "--format", "html").exception)
    assert asked(tables, tables).exit_code == 0
    (tmp_path / "1" / "results.json").write_text('{"schema": "https://fwproof.invalid/schema/results-1", ')
    broken = asked(old, new).exception
    assert isinstance(broken, InputError)
    assert "not JSON" in str(broken)
