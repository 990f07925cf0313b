"""Since when checks deviate, told at the end of a run from the runs before it: how it is found, and how it is shown."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace

import pytest

from fwproof.ages import Age, Earlier
from fwproof.report.document import read_results, render_json
from fwproof.report.html import render_html
from fwproof.report.markdown import render_markdown
from fwproof.report.terminal import render_summary
from fwproof.results import Verdict
from fwproof.trends import ages
from fwproof.trends.ages import earlier_of
from fwproof.trends.runs import read_index

V = Verdict


@pytest.fixture
def made(run):
    """Return a function that makes the run of a day from a word for each of its first checks."""

    def make(day, *verdicts, earlier=None):
        checks = tuple(
            replace(check, verdict=V(verdict), cause="cause" if verdict in {"fail", "waived"} else "")
            for check, verdict in zip(run.checks, verdicts, strict=False)
        )
        began = f"2026-03-{day:02}T06:00:00Z"
        about = {"id": f"202603{day:02}T060000Z-{day:08x}", "started": began, "ended": began, "planned": len(checks)}
        return replace(run, run=replace(run.run, deselected=0, earlier=earlier, **about), checks=checks)

    return make


def store(results, folder):
    """Write a run as far as its age asks for it."""
    place = folder / results.run.id
    place.mkdir()
    content = render_json(results)
    (place / "results.json").write_bytes(content)
    (place / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  results.json\n")
    return place


@pytest.fixture
def told(made, tmp_path):
    """Return a function that stores runs (a day and words) with their ages, and returns those of the last one."""

    def tell(*runs, carried=True):
        found = None
        for day, *verdicts in runs:
            now = made(day, *verdicts)
            found = earlier_of(now, tmp_path)
            store(replace(now, run=replace(now.run, earlier=found if carried else None)), tmp_path)
        return found

    return tell


def brief(found, run):
    ids = [check.id for check in run.checks]
    return {ids.index(id_): (age.since[8:10], age.runs, age.at_least) for id_, age in found.ages.items()}


HISTORIES = {
    "new": (["pass", "pass", "fail"], ("03", 1, False)),
    "since the second": (["pass", "fail", "fail"], ("02", 2, False)),
    "as long as anybody looked": (["fail", "fail", "fail"], ("01", 3, True)),
    "a waiver changes nothing": (["pass", "fail", "waived"], ("02", 2, False)),
    "nor does looking in vain": (["pass", "fail", "error", "fail"], ("02", 2, False)),
    "in vain the first time is no answer": (["error", "fail"], ("02", 1, True)),
    "it ended and came back": (["fail", "pass", "fail"], ("03", 1, False)),
    "it did not apply": (["fail", "not-applicable", "fail", "fail"], ("03", 2, False)),
}


@pytest.mark.parametrize("carried", [True, False], ids=["from the run before", "from all of them"])
@pytest.mark.parametrize("history", HISTORIES)
def test_an_age_begins_and_ends_with_answers(told, run, history, carried):
    verdicts, wanted = HISTORIES[history]
    found = told(*((day, verdict, "pass") for day, verdict in enumerate(verdicts, 1)), carried=carried)
    assert brief(found, run) == {0: wanted}
    assert found.unread == []


def test_it_agrees_with_the_index_of_the_same_folder(told, tmp_path):
    found = told((1, "pass", "error", "pass"), (4, "fail", "fail", "fail"), (5, "error", "waived", "fail"),
                 (9, "fail", "fail", "fail"))  # fmt: skip
    standing = {each.id: (each.first_seen, each.at_least) for each in read_index(tmp_path).standing}
    assert {id_: (age.since, age.at_least) for id_, age in found.ages.items()} == standing
    assert len(standing) == 3


def test_a_check_that_was_not_asked_meanwhile_goes_on(told, run):
    assert brief(told((1, "pass", "pass"), (2, "pass", "fail"), (3, "pass"), (4, "pass", "fail")), run) == {
        1: ("02", 2, False)
    }


def test_one_run_is_read_where_it_has_the_ages_and_old_ones_may_go(told, made, run, tmp_path):
    told((1, "pass"), (2, "fail"), (3, "fail"))
    for place in tmp_path.glob("2026030[12]*"):
        (place / "results.json").unlink()
    found = earlier_of(made(4, "fail"), tmp_path)
    assert (found.runs, found.unread, brief(found, run)) == (1, [], {0: ("02", 3, False)})


def test_without_an_earlier_run_nothing_is_said(made, tmp_path):
    assert earlier_of(made(2, "fail"), tmp_path) is None
    assert earlier_of(made(2, "fail"), tmp_path / "none") is None
    store(made(3, "fail"), tmp_path)
    (tmp_path / "sample").mkdir()
    assert earlier_of(made(2, "fail"), tmp_path) is None  # it began later, and that is no run


def forged(place):
    (place / "results.json").write_bytes((place / "results.json").read_bytes().replace(b'"fail"', b'"pass"'))


def resummed(place, content):
    (place / "results.json").write_bytes(content)
    (place / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  results.json\n")


def linked(place):
    place.rename(place.with_name("away"))
    place.symlink_to("away")


BROKEN = {
    "altered": (forged, "results.json is not the one of SHA256SUMS"),
    "without sums": (lambda place: (place / "SHA256SUMS").unlink(), "has no SHA256SUMS"),
    "gone": (lambda place: (place / "results.json").unlink(), "has no results.json"),
    "rubbish": (lambda place: resummed(place, b"\xff{"), "results.json: "),
    "another": (lambda place: place.rename(place.with_name("20260302T060000Z-ffffffff")), "is the folder of run "),
    "a link": (linked, "is a symbolic link"),
    "no time": (
        lambda place: resummed(place, (place / "results.json").read_bytes().replace(b"2026-03-02T06", b"soon")),
        "run.started is no time",
    ),
    "no year": (
        lambda place: resummed(
            place,
            (place / "results.json").read_bytes().replace(b'"2026-03-02T06:00:00Z"', b'"0001-01-01T00:00:00+23:00"'),
        ),
        "run.started is no time",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_run_that_cannot_be_used_is_told_and_the_others_count(made, run, tmp_path, how):
    store(made(1, "fail"), tmp_path)
    place = store(made(2, "fail"), tmp_path)
    BROKEN[how][0](place)
    found = earlier_of(made(3, "fail"), tmp_path)
    assert len(found.unread) == 1
    assert BROKEN[how][1] in found.unread[0]
    assert (found.runs, brief(found, run)) == (1, {0: ("01", 2, True)})


def test_a_folder_that_cannot_be_listed_is_told(made, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ages, "_before", refuse)
    found = earlier_of(made(3, "fail"), tmp_path)
    assert (found.unread, found.ages) == (["the folder cannot be read: Permission denied"], {})


def test_there_is_a_bound_and_it_is_told(made, run, tmp_path, monkeypatch):
    monkeypatch.setattr(ages, "MOST", 2)
    for day in range(1, 6):
        store(made(day, "fail"), tmp_path)
    found = earlier_of(made(6, "fail"), tmp_path)
    assert (found.runs, brief(found, run)) == (2, {0: ("04", 3, True)})
    assert found.unread == ["3 older ones: 2 runs are as many as are looked at"]


def test_there_is_a_bound_of_bytes_too(made, run, tmp_path, monkeypatch):
    sizes = [(store(made(day, "fail"), tmp_path) / "results.json").stat().st_size for day in (1, 2, 3)]
    monkeypatch.setattr(ages, "MOST_BYTES", sizes[2] + 1)
    found = earlier_of(made(4, "fail"), tmp_path)
    assert (found.runs, brief(found, run)) == (2, {0: ("02", 3, True)})
    assert found.unread == ["1 older ones: 2 runs are as many as are looked at"]


@pytest.mark.parametrize("verdicts", [("fail", "pass"), ("pass", "fail")])
def test_of_an_id_that_a_run_has_twice_the_worse_answer_counts(made, run, tmp_path, verdicts):
    before = made(1, *verdicts)
    first, second = before.checks
    store(replace(before, checks=(first, replace(second, id=first.id, policy=first.policy))), tmp_path)
    assert brief(earlier_of(made(2, "fail"), tmp_path), run) == {0: ("01", 2, True)}


@pytest.fixture
def aged(made, run):
    """A run with an old finding, a new one, one answered for the first time, and a history with a hole."""
    ids = [check.id for check in run.checks]
    kept = {
        ids[0]: Age(since="2026-01-05T06:00:00Z", run="20260105T060000Z-00000000", runs=57, at_least=False),
        ids[1]: Age(since="2026-02-01T06:00:00Z", run="20260201T060000Z-00000000", runs=31, at_least=True),
        ids[2]: Age(since="2026-03-09T06:00:00Z", run="x", runs=1, at_least=False),
        ids[3]: Age(since="2026-03-09T06:00:00Z", run="x", runs=1, at_least=True),
    }
    earlier = Earlier(runs=2, unread=["20260301T060000Z-0000: <b>has no</b> results.json"], ages=kept)
    now = made(9, "fail", "fail", "fail", "fail", "pass", earlier=earlier)
    return replace(
        now, checks=tuple(replace(check, cause=f"cause {number}") for number, check in enumerate(now.checks))
    )


SAID = ("open since 2026-01-05 (57 runs)", "open since 2026-02-01 or longer (31 runs)", "new in this run",
        "first answered in this run")  # fmt: skip


def test_people_are_told_everywhere(aged):
    page, text = render_html(aged), "\n".join(render_summary(aged, width=100))
    full, comment = "\n".join(render_summary(aged, width=100, verbose=True)), render_markdown(aged).replace("\\", "")
    for said in SAID:
        assert page.count(said) == 2, said  # with its finding, and with its check
        assert all(shown.count(said) == 1 for shown in (text, full, comment)), said
    assert "2 earlier runs of this folder read" in page
    assert "&lt;b&gt;has no&lt;/b&gt; results.json" in page
    assert "history: 1 earlier run not read" in re.sub(r"\s+", " ", text)


def test_checks_of_one_cause_tell_the_oldest(aged):
    one = replace(aged, checks=tuple(replace(check, cause="one") for check in aged.checks))
    assert f"{SAID[0]}, 1 of its 4 checks; the others since later" in render_html(one)


def test_without_a_history_there_is_no_word_of_it(aged):
    alone = replace(aged, run=replace(aged.run, earlier=None))
    shown = render_html(alone) + "\n".join(render_summary(alone)) + render_markdown(alone)
    assert not re.search(r"open since|Open since|>History<|new in this run", shown)


def test_results_json_has_it_and_is_read_back(aged, tmp_path):
    (tmp_path / "results.json").write_bytes(render_json(aged))
    assert read_results(tmp_path) == aged
    assert json.loads(render_json(aged))["run"]["earlier"]["ages"][aged.checks[0].id]["runs"] == 57
