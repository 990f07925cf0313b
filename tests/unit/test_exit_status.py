"""The exit status: what counts, what does not, and what no option can turn green."""

from __future__ import annotations

from itertools import product

import pytest

from fwproof.exit_status import SEVERITIES, Gate
from fwproof.results import Verdict

FAIL, ERROR, OPEN, PASS = Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS
WAIVED, NONE = Verdict.WAIVED, Verdict.NOT_APPLICABLE


def status(gate: Gate, *found: tuple[str, Verdict], said: int = 1, others: int = 0, alone: bool = True) -> int:
    return gate.status(found, said, others_failed=others, alone=alone)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([PASS], 0),
        ([PASS, WAIVED], 0),
        ([PASS, FAIL], 1),
        ([FAIL, ERROR], 1),
        ([PASS, ERROR], 6),
        ([OPEN], 6),
        ([NONE], 5),
        ([], 5),
        ([NONE, PASS], 0),
    ],
)
def test_without_options(verdicts, expected):
    assert status(Gate(), *(("high", verdict) for verdict in verdicts)) == expected


@pytest.mark.parametrize("bound", SEVERITIES)
@pytest.mark.parametrize(("verdict", "code"), [(FAIL, 1), (ERROR, 6), (OPEN, 6)])
def test_only_what_is_severe_enough_counts(bound, verdict, code):
    for severity in SEVERITIES:
        counts = SEVERITIES.index(severity) <= SEVERITIES.index(bound)
        assert status(Gate(bound), (severity, verdict), ("low", PASS)) == (code if counts else 0)


def test_a_severity_that_is_not_known_counts():
    assert status(Gate("critical"), ("unheard of", FAIL)) == 1


def test_a_severe_question_is_not_hidden_by_a_mild_violation():
    assert status(Gate("high"), ("low", FAIL), ("critical", ERROR)) == 6


@pytest.mark.parametrize("verdict", [FAIL, ERROR, OPEN, PASS, WAIVED])
def test_exit_zero(verdict):
    assert status(Gate(exit_zero=True), ("critical", verdict)) == 0


@pytest.mark.parametrize("gate", [Gate(), Gate("critical"), Gate(exit_zero=True), Gate("critical", exit_zero=True)])
def test_no_option_turns_green_what_kept_the_audit_from_working(gate):
    for said, verdict in product((2, 3, 4, 5), Verdict):
        assert status(gate, ("low", verdict), said=said) == said
    assert status(gate) == status(gate, ("low", NONE)) == 5
    assert status(gate, ("low", FAIL), others=1) == 1


@pytest.mark.parametrize("left", SEVERITIES)
def test_what_was_not_judged_is_an_open_question(left):
    assert Gate().status([("low", PASS)], 1, others_failed=0, alone=True, unjudged=[left]) == 6
    assert Gate().status([("low", FAIL)], 1, others_failed=0, alone=True, unjudged=[left]) == 1
    expected = 6 if left in {"critical", "high"} else 0
    assert Gate("high").status([("low", FAIL)], 1, others_failed=0, alone=True, unjudged=[left]) == expected


def test_other_tests_of_the_session_make_it_no_empty_audit():
    assert status(Gate(), ("high", NONE), said=0, alone=False) == 0
