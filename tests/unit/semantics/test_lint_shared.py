"""A rule of a table that both families share is wrong only if it is for both."""

import pytest

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.semantics.lint_finding import Finding, Kind
from fwproof.semantics.lint_shared import of_both

V4, V6 = Family.IPV4, Family.IPV6


def finding(kind, table="inet", number=1):
    ref = RuleRef(family=table, table="t", chain="c", rule=number, text="ip saddr 10.0.0.1 accept")
    return Finding(kind=kind, rule=ref, why="for a reason")


ROWS = [
    ("dead in one family alone", {V4: [], V6: [finding(Kind.NEVER)]}, []),
    ("redundant in one family alone", {V4: [finding(Kind.REDUNDANT)], V6: []}, []),
    ("dead in both", {V4: [finding(Kind.NEVER)], V6: [finding(Kind.NEVER)]}, [V4, V6]),
    ("dead in both, and about one", {V4: [finding(Kind.SHADOWED)], V6: [finding(Kind.NEVER)]}, [V4]),
    ("dead in both for other reasons", {V4: [finding(Kind.SHADOWED)], V6: [finding(Kind.REDUNDANT)]}, [V4, V6]),
    ("over-broad in one", {V4: [finding(Kind.OVER_BROAD)], V6: []}, [V4]),
    ("a table of one family", {V4: [finding(Kind.NEVER, "ip")], V6: []}, [V4]),
    ("another rule of the other family", {V4: [finding(Kind.NEVER)], V6: [finding(Kind.NEVER, number=2)]}, []),
    ("one family was asked", {V6: [finding(Kind.NEVER)]}, [V6]),
    ("netdev", {V4: [finding(Kind.NEVER, "netdev")], V6: []}, []),
]


@pytest.mark.parametrize(("what", "found", "kept"), ROWS, ids=[row[0] for row in ROWS])
def test_shared_rules(what, found, kept):
    assert [family for family, _ in of_both(found)] == kept
