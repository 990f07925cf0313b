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


def test_named_services_come_first_and_samples_are_told_apart(check, results):
    run = results(
        check(service="tcp/9", kind="inbound-default", expected="deny"),
        check(service="web", kind="inbound-default", expected="deny", vantage="outside"),
        check(service="web", vantage="admin"),
    )
    (table,) = matrices(run)
    assert (table.services, table.samples) == (("web", "tcp/9"), frozenset({"tcp/9"}))
    pairs = [(pair.peer, pair.service, pair.sample, pair.expected) for pair in table.pairs()]
    assert pairs[0] == ("admin", "web", False, "allow")
    assert min(pair[:3] for pair in pairs[1:]) == ("admin", "tcp/9", True)
    assert ("outside", "web", True, "deny") in pairs


def test_families_that_agree_are_one_span_and_others_are_not(check, results):
    run = results(
        check(service="a", family="ipv4"), check(service="a", family="ipv6"),
        check(service="b", family="ipv4"), check("fail", service="b", family="ipv6"),
    )  # fmt: skip
    (table,) = matrices(run)
    (row,) = table.rows
    spans = {service: [(span.mark, span.width) for span in table.spans(row, service)] for service in table.services}
    assert spans == {"a": [(Mark.OPEN, 2)], "b": [(Mark.OPEN, 1), (Mark.WRONGLY_BLOCKED, 1)]}
    assert [family for family, _ in table.spans(row, "a")[0].sides] == ["ipv4", "ipv6"]


def test_a_mostly_empty_matrix_is_sparse_and_shows_no_mark_for_what_it_leaves_out(check, results):
    run = results(*(check(vantage=f"v{n}", service=f"s{n}") for n in range(3)))
    (table,) = matrices(run)
    assert table.sparse
    assert table.marks == {Mark.OPEN}
    (full,) = matrices(results(check(service="a"), check(service="b")))
    assert not full.sparse


def test_alike_hosts_fold_and_others_do_not(check, results):
    run = results(check(host="a"), check(host="b"), check("fail", host="c"))
    assert [table.hosts for table in folded(matrices(run))] == [("a", "b"), ("c",)]
