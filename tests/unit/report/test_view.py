"""What a run says: findings by cause, the verdict as a whole, hosts and controls."""

from __future__ import annotations

import itertools

import pytest

from fwproof.report import view
from fwproof.results import Verdict


def test_findings_group_by_cause_worst_first(check, results):
    run = results(
        check("inconclusive", cause="lost"),
        check("fail", cause="loop", severity="low"),
        check("fail", cause="deny", severity="medium"),
        check("fail", cause="deny", severity="critical", host="b"),
        check("pass", cause="deny"),
        check("fail", cause="", reason="alone", severity="high"),
        check("fail", cause="twice", severity="high"),
        check("fail", cause="twice", severity="high"),
    )
    found = view.findings(run, Verdict.FAIL, Verdict.INCONCLUSIVE)
    assert [(finding.number, finding.cause, len(finding.checks)) for finding in found] == [
        (1, "deny", 2), (2, "twice", 2), (3, "alone", 1), (4, "loop", 1), (5, "lost", 1),
    ]  # fmt: skip
    assert (found[0].severity, found[0].hosts) == ("critical", ("web", "b"))


def test_the_lead_is_the_check_that_shows_most(check, results):
    poor, rich = check("fail", cause="c"), check("fail", cause="c", id="rich", rule="-j DROP", proved="drop")
    (finding,) = view.findings(results(poor, rich), Verdict.FAIL)
    assert finding.lead is rich


def test_nothing_of_a_finding_is_lost(check, results):
    run = results(
        check("fail", cause="c", rule="one", evidence=["a"], artefacts=["x"]),
        check("fail", cause="c", rule="two", evidence=["b"], artefacts=["x", "y"]),
    )
    (finding,) = view.findings(run, Verdict.FAIL)
    assert (finding.rules, finding.evidence, finding.artefacts) == (("one", "two"), ("a", "b"), ("x", "y"))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("", "inconclusive"), ("pass", "pass"), ("pass fail", "fail"), ("pass error", "error"),
        ("error fail", "fail"), ("pass inconclusive", "inconclusive"), ("inconclusive error", "error"),
        ("waived", "waived"), ("waived pass", "pass"), ("not-applicable", "not-applicable"),
        ("not-applicable pass", "pass"),
    ],
)  # fmt: skip
def test_overall(verdicts, expected):
    assert view.overall(Verdict(word) for word in verdicts.split()) is Verdict(expected)


def test_unknown_is_never_green(check, results):
    """Whatever the mix: a run is a pass only when something passed and nothing is wrong, open or untested."""
    for size in range(4):
        for mix in itertools.combinations_with_replacement([verdict.value for verdict in Verdict], size):
            bad = {"fail", "error", "inconclusive"} & set(mix)
            green = view.outcome(results(*map(check, mix))) is Verdict.PASS
            assert green == ("pass" in mix and not bad)
            assert view.outcome(results(*map(check, mix), planned=size + 1)) is not Verdict.PASS


def test_a_host_without_answers_is_no_pass(check, results):
    cards = view.hosts(results(check(host="seen"), hosts=("silent", "seen")))
    assert [(card.record.name, card.verdict.value) for card in cards] == [("silent", "inconclusive"), ("seen", "pass")]


def test_a_host_without_a_record_is_shown(check, results):
    (card,) = view.hosts(results(check(host="stray")))
    assert (card.record.name, card.record.limits) == ("stray", ["the run holds no record of this host"])


@pytest.mark.parametrize(
    ("made", "planned", "headline", "basis"),
    [
        ([], 3, "Nothing was tested", "says nothing about any firewall"),
        (["pass"], 1, "web does what the policy says", "1 of 1 check passed and none failed."),
        (["pass"], 2, "Not established", "1 planned but not run."),
        (["fail", "pass"], 2, "web does not do what the policy says", "1 of 2 checks failed, from 1 cause."),
        (["error"], 1, "Not established: no check could be carried out", "1 could not be carried out."),
        (["error", "pass"], 2, "Not established: some checks could not be carried out", "1 could not be carried out."),
        (["inconclusive"], 1, "Not established: some questions are still open", "1 could not be decided."),
        (["waived"], 1, "Every deviation is covered by a waiver", "1 failed under a waiver."),
        (["not-applicable"], 1, "No check applied to these hosts", "1 did not apply."),
    ],
)
def test_sentences(check, results, made, planned, headline, basis):
    said = view.verdict_sentences(results(*map(check, made), planned=planned))
    assert said[0].startswith(headline)
    assert basis in said[1]


def test_counts_line(check, results):
    run = results(check("fail"), check("error"), check("waived"), planned=5)
    assert view.counts_line(run) == (
        "fwproof: planned 5 · run 3 · passed 0 · failed 1 · waived 1 · errors 1 · inconclusive 0 · not applicable 0"
    )
