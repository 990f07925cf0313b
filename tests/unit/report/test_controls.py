"""Controls: which ones checks support, with what outcome, and which nothing checks."""

from dataclasses import replace

import pytest

from fwproof.controls import Control, Framework
from fwproof.report.controls import Claim, State, coverage, of_results
from fwproof.report.controls_text import catalogue_lines, document, lines, markdown, said, summary
from fwproof.report.document import read_results, render_json
from fwproof.report.html import render_html
from fwproof.results import Verdict

HOUSE = Framework(
    id="house-1", title="House rules", source="us",
    controls=(
        Control(id="1.2", text="Doors are shut", shows="that they are", methods=("test",), by=("inbound",)),
        Control(id="1.10", text="Doors are looked at", by=("rules", "coverage"), lacks="the look", review="6 months"),
        Control(id="2.1", text="ufw's door", by=("managers",), section="ufw"),
        Control(id="3.1", text="nftables' door", by=("managers",), lacks="draughts",
                methods=("examine", "test"), section="nftables"),
        Control(id="3.2", text="nftables' latch", by=("persistence",), section="nftables"),
        Control(id="9", text="Doors are painted", lacks="paint"),
    ),
)  # fmt: skip


@pytest.fixture
def covered(check, results):
    def covered(*checks, frameworks=(HOUSE,)):
        run = results(*checks)
        return of_results(replace(run, run=replace(run.run, frameworks=list(frameworks))))

    return covered


def naming(*ids):
    return {"house-1": list(ids)}


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        (["pass"], State.PASSING),
        (["pass", "waived", "not-applicable"], State.PASSING),
        (["pass", "error"], State.UNDETERMINED),
        (["pass", "inconclusive"], State.UNDETERMINED),
        (["error", "fail", "pass"], State.FAILING),
        (["waived"], State.WAIVED),
        (["not-applicable"], State.NOT_APPLICABLE),
    ],
)
def test_the_worst_check_decides_and_nothing_but_passes_is_passing(covered, check, verdicts, state):
    (one,) = covered(*(check(verdict, controls=naming("1.2")) for verdict in verdicts))
    assert [(each.control.id, each.state) for each in one.supported] == [("1.2", state)]
    assert one.states == {state: 1}


def test_every_control_of_the_catalogue_is_somewhere(covered, check):
    (one,) = covered(check(controls=naming("1.2")))
    assert [control.id for control in one.unchecked] == ["1.10", "2.1", "3.1", "3.2"]
    assert [control.id for control in one.beyond] == ["9"]
    assert one.aside == {}


def test_chapters_of_other_managers_are_left_out_once_one_is_named(covered, check):
    (one,) = covered(check(controls=naming("3.1")))
    assert [control.id for control in one.unchecked] == ["1.2", "1.10", "3.2"]
    assert one.aside == {"ufw": 1}


def test_controls_in_reading_order(covered, check):
    ids = ["1.10.1", "1.2.8", "SC-7", "SC-7(5)", "SC-7(18)", "AC-4"]
    (one,) = covered(check("fail", controls={"f": ids}), check(controls={"f": ["AC-4"]}), frameworks=())
    assert [each.control.id for each in one.supported] == ["1.2.8", "1.10.1", "AC-4", "SC-7", "SC-7(5)", "SC-7(18)"]
    (supporter,) = one.supported[2].supporters
    assert (supporter.checks, supporter.counts) == (2, {Verdict.FAIL: 1, Verdict.PASS: 1})


def test_hosts_are_named_where_not_all_are_alike(covered, check):
    checks = [check("fail", host="a", controls=naming("1.2")), check(host="b", controls=naming("1.2"))]
    (one,) = covered(*checks)
    assert one.supported[0].hosts == ("a",)
    assert covered(checks[0])[0].supported[0].hosts == ()
    assert "on a" in "\n".join(lines([one]))


def test_expectations_come_worst_first_and_lead_to_the_check_that_shows_it(covered, check):
    (one,) = covered(
        check(expectation="good", controls=naming("1.2")),
        check("fail", expectation="bad", id="bad[1]", controls=naming("1.2")),
        check(expectation="bad", id="bad[2]", controls=naming("1.2")),
    )
    assert [said(each) for each in one.supported[0].supporters] == ["bad: 1 of 2 fail", "good: 1 pass"]
    assert one.supported[0].supporters[0].lead.id == "bad[1]"


def test_a_run_without_a_catalogue_does_not_say_what_nothing_checks(covered, check):
    (one,) = covered(check(controls={"old-1": ["1.2"]}), frameworks=())
    assert summary(one) == "1 passing; the run holds no catalogue of it, so what nothing checks is not known"
    assert "without a check" not in "\n".join(lines([one]))


def test_what_is_planned_is_no_pass():
    claims = [Claim(controls=naming("1.2"), expectation="e", verdict=None)] * 3
    (one,) = coverage([HOUSE], claims)
    assert one.supported[0].state is State.PLANNED
    assert "e: 3 checks" in "\n".join(lines([one]))
    assert "passing" not in "\n".join(lines([one]))


def test_text_says_supports_and_never_satisfied(covered, check):
    text = "\n".join(lines(covered(check("fail", controls=naming("1.2")))))
    assert "House rules (house-1): 1 failing, 4 without a check, 1 that no check supports by itself" in text
    assert "  failing       1.2            Doors are shut" in text
    assert "Doors are looked at (every 6 months)" in text
    assert "would be supported by rules or coverage" in text
    assert "satisfied" not in text
    assert "A check supports a control; it does not satisfy one." in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_markdown_has_a_row_for_each_control(covered, check):
    text = markdown(covered(check(controls=naming("3.1"))))
    assert "| `3.1` | passing | nftables' door | ssh\\-admin\\: 1 pass |" in text
    assert "Left out\\: 1 control for hosts of ufw\\." in text
    assert len([line for line in text.splitlines() if line.startswith("| `")]) == 5


def test_json_has_each_control_once(covered, check):
    (made,) = document(covered(check("error", controls=naming("1.2"))))
    states = {each["id"]: each["state"] for each in made["controls"]}
    assert states == {"1.2": "undetermined", "1.10": "no checks", "2.1": "no checks", "3.1": "no checks",
                      "3.2": "no checks", "9": "beyond"}  # fmt: skip
    assert made["controls"][0]["supported_by"] == [
        {"expectation": "ssh-admin", "checks": 1, "verdict": "error", "verdicts": {"error": 1}}
    ]


def test_the_catalogue_as_text():
    text = "\n".join(catalogue_lines(HOUSE))
    assert "a check shows: that they are" in text
    assert "supported by: inbound (test)" in text
    assert "hosts of: nftables" in text


def test_the_page_is_the_same_from_the_file(check, results, tmp_path):
    run = results(check("fail", controls=naming("3.1")), hosts=("web",))
    run = replace(run, run=replace(run.run, frameworks=[HOUSE]))
    (tmp_path / "results.json").write_bytes(render_json(run))
    page = render_html(run)
    assert render_html(read_results(tmp_path)) == page
    assert "Doors are looked at (every 6 months)" in page
    assert "would be supported by rules or coverage" in page
    assert "passing</td>" not in page
    assert "<small>By examination and test. Not shown: draughts</small>" in page
    assert "Left out: 1 control for hosts of ufw." in page
    assert "No check supports these by itself: <b>9</b> Doors are painted." in page


def test_the_page_warns_where_planned_checks_did_not_run(check, results):
    run = results(check(controls=naming("1.2")), planned=3)
    assert "2 planned checks did not run; what they support may be among" in render_html(run)
