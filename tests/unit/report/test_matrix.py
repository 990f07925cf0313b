"""The matrix: each cell says what its worst check says, and nothing is left out."""

from __future__ import annotations

import pytest

from fwproof.report.matrix import Mark, folded, in_matrix, mark_of, matrices, other_checks


@pytest.mark.parametrize(
    ("expected", "verdict", "mark"),
    [
        ("allow", "pass", Mark.OPEN), ("deny", "pass", Mark.BLOCKED), ("deny", "fail", Mark.WRONGLY_OPEN),
        ("allow", "fail", Mark.WRONGLY_BLOCKED), ("deny", "waived", Mark.WAIVED), ("allow", "error", Mark.ERROR),
        ("deny", "inconclusive", Mark.INCONCLUSIVE), ("deny", "not-applicable", Mark.NOT_APPLICABLE),
    ],
)  # fmt: skip
def test_marks(check, expected, verdict, mark):
    assert mark_of(check(verdict, expected=expected)) is mark


def test_marks_differ_without_colour():
    assert len({(mark.glyph, mark.word) for mark in Mark}) == len({mark.meaning for mark in Mark}) == len(Mark)


def test_every_check_has_one_place(check, results):
    run = results(check(), check(vantage=None), check(service=None), check(expected="20 of 25"), check(family=None))
    placed = [one for table in matrices(run) for row in table.rows for cell in row.cells for one in cell.checks]
    assert len(placed) + len(other_checks(run)) == len(run.checks)
    assert [in_matrix(one) for one in run.checks] == [True, False, False, False, False]


def test_shape(check, results):
    run = results(
        check(vantage="admin", service="ssh", family="ipv6"),
        check("fail", vantage="outside", service="web", family="ipv4", expected="deny"),
        check(vantage="store", service="tcp/5432", direction="outbound"),
    )
    inbound, outbound = matrices(run)
    assert (inbound.direction, outbound.direction) == ("inbound", "outbound")
    assert (inbound.services, inbound.families) == (("ssh", "web"), ("ipv4", "ipv6"))
    marks = {row.peer: [cell.mark for cell in row.cells] for row in inbound.rows}
    blank = Mark.NOT_TESTED
    assert marks == {"admin": [blank, Mark.OPEN, blank, blank], "outside": [blank, blank, Mark.WRONGLY_OPEN, blank]}


def test_the_worst_check_speaks_for_its_cell(check, results):
    (table,) = matrices(results(check(), check("fail", id="worse"), check("inconclusive")))
    (cell,) = table.rows[0].cells
    assert (cell.mark, cell.checks[0].id, len(cell.checks)) == (Mark.WRONGLY_BLOCKED, "worse", 3)


def test_alike_hosts_fold_and_others_do_not(check, results):
    run = results(check(host="a"), check(host="b"), check("fail", host="c"))
    assert [table.hosts for table in folded(matrices(run))] == [("a", "b"), ("c",)]
