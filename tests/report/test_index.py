"""The index over a folder of runs: findings over time, broken and hostile folders, and the page."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tracemalloc
from dataclasses import replace

import jsonschema
import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import UsageError
from fwproof.report.document import render_json
from fwproof.results import Verdict
from fwproof.trends.document import render_index, schema
from fwproof.trends.pages import address, days, panels, render_index_html
from fwproof.trends.runs import read_index

V = Verdict


@pytest.fixture
def folder(run, tmp_path):
    """Return a function that stores a run of the given day and verdicts (a word for each check) in one folder."""
    checks = run.checks[:3]

    def store(day, *verdicts, name="", **changed):
        made = tuple(
            replace(check, verdict=V(verdict), cause="cause" if verdict in {"fail", "waived"} else "")
            for check, verdict in zip(checks, verdicts, strict=False)
        )
        began = f"2026-03-{day:02}T06:00:00Z"
        name = name or f"run{day:02}"
        about = {"id": name, "started": began, "ended": began, "planned": len(made), "deselected": 0} | changed
        content = render_json(replace(run, run=replace(run.run, **about), checks=made))
        place = tmp_path / name
        place.mkdir()
        (place / "results.json").write_bytes(content)
        (place / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  results.json\n")
        return place

    return store


def brief(found):
    return [(each.id, each.state, each.days, each.at_least) for each in found]


def test_findings_have_a_beginning_an_age_and_an_end(folder, tmp_path, run):
    ids = [check.id for check in run.checks[:3]]
    folder(1, "fail", "pass", "pass")
    folder(3, "fail", "fail", "pass")
    folder(4, "error", "fail", "fail")
    folder(8, "pass", "waived", "fail")
    folder(9, "pass", "waived", "fail")
    found = read_index(tmp_path)
    assert brief(found.ended) == [(ids[0], "fixed", 7.0, True)]
    assert brief(found.standing) == [(ids[1], "waived", 6.0, False), (ids[2], "open", 5.0, False)]
    assert found.standing[0].first_seen == "2026-03-03T06:00:00Z"
    assert found.standing[0].last_seen == "2026-03-09T06:00:00Z"
    assert found.ended[0].last_seen == "2026-03-03T06:00:00Z"
    assert found.ended[0].ended == "2026-03-08T06:00:00Z"
    assert found.fixed_days is None
    assert found.status == 0


def test_the_median_is_of_findings_whose_beginning_was_seen(folder, tmp_path):
    folder(1, "pass", "pass", "fail")
    folder(2, "fail", "fail", "fail")
    folder(4, "pass", "fail", "pass")
    folder(10, "pass", "pass", "pass")
    assert read_index(tmp_path).fixed_days == 5.0


def test_what_could_not_be_looked_at_or_was_not_asked_ends_nothing(folder, tmp_path, run):
    folder(1, "fail", "fail", "fail")
    folder(2, "inconclusive", "fail", "not-applicable")
    folder(3, "inconclusive")
    found = read_index(tmp_path)
    ids = [check.id for check in run.checks[:3]]
    assert [(each.id, each.state) for each in found.standing] == [(ids[0], "not-known"), (ids[1], "not-asked")]
    assert [(each.id, each.state) for each in found.ended] == [(ids[2], "not-applicable")]
    assert found.fixed_days is None


def test_runs_are_in_the_order_of_their_times_with_what_changed(folder, tmp_path):
    folder(5, "fail", "pass", "pass", name="a")
    folder(2, "pass", "fail", "pass", name="b", tool="fwproof 0", policies={})
    folder(9, "fail", "error", name="c", deselected=1)
    runs = read_index(tmp_path).runs
    assert [run.folder for run in runs] == ["b", "a", "c"]
    assert [run.changes for run in runs] == [
        None,
        {"new": 1, "fixed": 1, "stands": 1},
        {"no-longer-known": 1, "no-longer-asked": 1, "unchanged": 1},
    ]
    assert [run.differs for run in runs] == [[], ["other policies", "another version"], ["1 checks deselected"]]
    assert [run.verdict for run in runs] == [V.FAIL, V.FAIL, V.FAIL]


def test_a_run_that_left_checks_untested_is_no_pass(folder, tmp_path):
    folder(1, "pass", planned=2)
    assert read_index(tmp_path).runs[0].verdict is V.INCONCLUSIVE


def test_every_folder_is_told_of(folder, tmp_path):
    good = folder(1, "pass")
    (tmp_path / "latest").symlink_to(good)
    (tmp_path / ".partial").mkdir()
    (tmp_path / "index.html").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(good)
    for name, text in {
        "cut": good.joinpath("results.json").read_text()[:500],
        "other": '{"schema": "x"}',
        "counts": good.joinpath("results.json").read_text().replace('"pass": 1', '"pass": 2'),
        "time": good.joinpath("results.json").read_text().replace("2026-03-01T06:00:00Z", "yesterday"),
        "list": "[]",
        "deep": "[" * 100_000,
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "results.json")
    found = read_index(tmp_path)
    assert [run.folder for run in found.runs] == [good.name]
    why = {each.folder: each.why for each in found.unreadable}
    assert set(why) == {"empty", "link", "cut", "other", "counts", "time", "list", "deep", "pipe"}
    assert why["empty"] == why["pipe"] == "has no results.json"
    assert "symbolic link" in why["link"]
    assert "counts are not those of the checks" in why["counts"]
    assert why["time"] == "results.json: run.started is no time: yesterday"
    assert found.status == 6
    html = render_index_html(found)
    assert all(f'<th scope="row">{name}</th>' in html for name in why)


def test_how_a_run_s_files_stand(folder, tmp_path):
    first = folder(1, "pass")
    sums = hashlib.sha256((first / "SHA256SUMS").read_bytes()).hexdigest()
    second = folder(2, "pass", previous={"run": "run01", "sha256sums": sums})
    (second / "SHA256SUMS.sig").write_text("")
    folder(3, "pass", previous={"run": "run02", "sha256sums": "0" * 64})
    folder(4, "pass", previous={"run": "gone", "sha256sums": "0" * 64})
    folder(5, "pass", previous={"run": "./run01", "sha256sums": sums})
    (folder(6, "pass") / "SHA256SUMS").unlink()
    seventh = folder(7, "pass")
    (seventh / "results.json").write_bytes((seventh / "results.json").read_bytes() + b"\n")
    folder(8, "pass").rename(tmp_path / "moved")
    found = read_index(tmp_path)
    assert [(run.stored, run.wrong) for run in found.runs] == [
        ("as stored", []),
        ("as stored, signed, chained", []),
        ("as stored", ["the run before, run02, was altered"]),
        ("as stored", ["the run before, gone, is not here"]),
        ("as stored", ["the run before, ./run01, is not here"]),
        ("no SHA256SUMS", []),
        ("", ["results.json is not the one of SHA256SUMS"]),
        ("as stored", ["is the folder of run run08"]),
    ]
    assert found.status == 6
    assert render_index_html(found).count("<b>results.json is not the one of SHA256SUMS</b>") == 1


def test_the_document_is_of_its_schema(folder, tmp_path):
    folder(1, "fail", "pass", "pass")
    folder(2, "pass", "fail", "pass")
    (tmp_path / "empty").mkdir()
    document = json.loads(render_index(read_index(tmp_path)))
    jsonschema.Draft202012Validator(schema("index")).validate(document)
    del document["runs"][0]["counts"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema("index")).validate(document)


# ---- the page


def test_the_page_asks_for_nothing_and_can_be_heard(folder, tmp_path, page):
    (folder(1, "fail", "pass", "error") / "report.html").write_text("")
    folder(2, "pass", "fail", "pass")
    (tmp_path / "empty").mkdir()
    html = render_index_html(read_index(tmp_path))
    parsed = page(html)
    assert not re.search(r"https?:|url\(|@import|<script", html)
    assert "default-src 'none'; style-src 'sha256-" in html
    assert [attrs["href"] for attrs in parsed.all("a") if not attrs["href"].startswith("#")] == ["./run01/report.html"]
    ids = {attrs["id"] for _, attrs in parsed.elements if "id" in attrs}
    assert {attrs["href"][1:] for attrs in parsed.all("a") if attrs["href"].startswith("#")} <= ids
    assert all(attrs.get("scope") in {"col", "row"} for attrs in parsed.all("th"))
    assert len(parsed.all("caption")) == len(parsed.all("table")) == 4
    pictures = parsed.all("svg")
    assert len(pictures) == 4
    assert all(each["role"] == "img" for each in pictures)
    assert pictures[0]["aria-label"].startswith("Failed: 1 in the first run, 1 in the last, between 1 and 1 in 2 runs")


def test_lines_are_of_time_and_number(folder, tmp_path):
    for day, verdicts in ((1, ("fail", "fail")), (2, ("fail", "pass")), (11, ("pass", "pass"))):
        folder(day, *verdicts)
    failed, unknown, waived, passed = panels(read_index(tmp_path).runs)
    assert failed.line == "M0.0 10.0L60.0 50.0L600.0 90.0"
    assert passed.line == "M0.0 90.0L60.0 50.0L600.0 10.0"
    assert unknown.line == waived.line == "M0.0 90.0L60.0 90.0L600.0 90.0"
    assert panels(read_index(tmp_path).runs[:1]) == []


def test_hostile_words_and_names_stay_words(hostile, tmp_path, page):
    for number in (1, 2):
        about = {"started": f"2026-01-0{number}T00:00:00Z", "planned": 2}
        place = tmp_path / str(number)
        place.mkdir()
        each = replace(hostile, run=replace(hostile.run, **about))
        (place / "results.json").write_bytes(render_json(each))
    for name in ("javascript:alert(1)", '"><img src=x onerror=alert(1)>', "\x1b[2J", os.fsdecode(b"\xff\xfe"), "a?b#c"):
        (tmp_path / name).mkdir()
        os.link(tmp_path / "1" / "results.json", tmp_path / name / "results.json")
        (tmp_path / name / "report.html").write_text("")
    found = read_index(tmp_path)
    assert len(found.runs) == 7
    html = render_index_html(found)
    html.encode()
    parsed = page(html)
    assert not {tag for tag, _ in parsed.elements} & {"script", "img", "link", "iframe", "form", "object", "base"}
    assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on") or name == "style"]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    links = {attrs["href"] for attrs in parsed.all("a") if not attrs["href"].startswith("#")}
    assert links >= {"./javascript%3Aalert%281%29/report.html", "./%FF%FE/report.html", "./a%3Fb%23c/report.html"}
    assert all(re.fullmatch(r"\./[\w.%~-]+/report\.html", link) for link in links)
    json.loads(render_index(found))
    done = CliRunner().invoke(cli, ["index", str(tmp_path)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert all(line.isprintable() for line in done.stdout.splitlines())


def test_words_of_time():
    assert [days(each) for each in (0, 0.02, 0.5, 1, 3.26, 12.4, 1234)] == [
        "less than a minute", "29 min", "12 h 0 min", "1.0 days", "3.3 days", "12 days", "1,234 days"]  # fmt: skip
    assert address("a b/..") == "./a%20b%2F.."


# ---- the command, and its size


def test_the_command_writes_page_and_document(folder, tmp_path):
    folder(1, "fail", "pass", "pass")
    folder(2, "pass", "pass", "pass")
    done = CliRunner().invoke(cli, ["index", str(tmp_path)])
    assert done.exit_code == 0
    assert done.stdout == f"{tmp_path}/index.html: 2 runs, 0 findings stand, 1 ended\n"
    assert (tmp_path / "index.json").read_bytes() == render_index(read_index(tmp_path))
    assert CliRunner().invoke(cli, ["index", str(tmp_path), "--format", "html"]).stdout == (
        tmp_path / "index.html"
    ).read_text(encoding="utf-8")
    (tmp_path / "broken").mkdir()
    done = CliRunner().invoke(cli, ["index", str(tmp_path)])
    assert done.exit_code == 6
    assert "cannot be read: broken: has no results.json" in done.stdout
    assert CliRunner().invoke(cli, ["index", str(tmp_path / "broken")]).exit_code == 6
    nowhere = CliRunner().invoke(cli, ["index", str(tmp_path / "nowhere")]).exception
    assert isinstance(nowhere, UsageError)


def test_memory_does_not_grow_with_the_runs(folder, tmp_path):
    taken = []
    for number in range(1, 29):
        folder(number, *(("fail", "pass", "pass") if number % 2 else ("pass", "fail", "pass")))
        if number in {7, 28}:
            tracemalloc.start()
            read_index(tmp_path)
            taken.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert taken[1] < taken[0] + 21 * 6_000, "a run leaves its counts and the findings that ended, no checks"
