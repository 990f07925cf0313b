"""Waves: what is sent together, and what a rule's counter must have counted for it."""

from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from fwproof.audit.waves import Asked, expected_counts, waves
from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.flows import request
from fwproof.observation import Observation, PortState, Probe
from fwproof.policy.model import Service

HTTP = Service("tcp", 80, "http")
FLOWS = {
    4: request(HTTP, ip_address("10.0.5.7"), ip_address("10.0.0.10")),
    6: request(HTTP, ip_address("fd00::7"), ip_address("fd00::10")),
}


def rule(number):
    return RuleRef(family="ip", table="filter", chain="INPUT", rule=number, text=f"rule {number}")


def asked(ref, number, *, host="a", family=4, direction="inbound", depends=False, fresh=None):
    ruling = Ruling(
        decision=Decision.DEPENDS if depends else Decision.DROP, by=rule(number) if number else None,
        may=frozenset({Decision.DROP}), depends_on=("a limit",) if depends else (),
    )  # fmt: skip
    first = Ruling(decision=Decision.ACCEPT, by=rule(fresh), may=frozenset({Decision.ACCEPT})) if fresh else None
    check = SimpleNamespace(host=host, direction=direction)
    probe = Probe(ref=ref, sender="v", receiver=host, flow=FLOWS[family])
    return Asked(check=check, probe=probe, ruling=ruling, reply=None, fresh=first)


def seen(one, state, *, arrived=True, sent=1):
    return Observation(probe=one.probe, state=state, sent=sent, arrived=arrived, confirmed=None)


GROUPS = [
    ("one rule, one wave", [("x", 1, {}), ("y", 1, {})], ["xy"]),
    ("two rules of one host never meet", [("x", 1, {}), ("y", 2, {}), ("z", 1, {})], ["xz", "y"]),
    ("two hosts share a wave", [("x", 1, {}), ("y", 2, {"host": "b"})], ["xy"]),
    ("two families share a wave", [("x", 1, {}), ("y", 2, {"family": 6})], ["xy"]),
    ("what no rule decides is a group too", [("x", None, {}), ("y", 1, {})], ["x", "y"]),
    ("a limit that is unused decides", [("x", 9, {"depends": True, "fresh": 1}), ("y", 1, {})], ["xy"]),
    ("nothing", [], []),
]


@pytest.mark.parametrize(("what", "probes", "expected"), GROUPS, ids=[row[0] for row in GROUPS])
def test_probes_that_one_rule_decides_go_together(what, probes, expected):
    planned = waves(asked(ref, number, **more) for ref, number, more in probes)
    assert ["".join(one.probe.ref for one in wave) for wave in planned] == expected


COUNTS = [
    # what, state, arrived, packets sent, direction, counted
    ("dropped there", PortState.SILENT, True, 1, "inbound", 1),
    ("sent again, arrived once", PortState.OPEN, True, 3, "inbound", 1),
    ("never arrived", PortState.NEVER_ARRIVED, False, 3, "inbound", 0),
    ("no neighbour", PortState.UNREACHABLE, False, 3, "inbound", 0),
    ("no single reading", PortState.NO_ANSWER, True, 1, "inbound", 0),
    ("nobody watched, no answer", PortState.NO_ANSWER, None, 3, "inbound", 3),
    ("nobody watched, answered", PortState.OPEN, None, 1, "inbound", 1),
    ("nobody watched, no neighbour", PortState.UNREACHABLE, None, 1, "inbound", 0),
    ("out, refused by the own rules", PortState.REFUSED_LOCALLY, False, 1, "outbound", 1),
    ("out, lost on the way", PortState.NEVER_ARRIVED, False, 3, "outbound", 3),
    ("out, no neighbour", PortState.UNREACHABLE, False, 3, "outbound", 0),
]


@pytest.mark.parametrize(("what", "state", "arrived", "sent", "direction", "counted"), COUNTS, ids=str)
def test_what_the_deciding_rule_must_have_counted(what, state, arrived, sent, direction, counted):
    one = asked("x", 1, direction=direction)
    expected = {rule(1): counted} if counted else {}
    assert expected_counts([one], {"x": seen(one, state, arrived=arrived, sent=sent)}) == expected


def test_counts_add_up_by_rule_and_leave_out_what_failed():
    probes = [asked("x", 1), asked("y", 1), asked("z", 2), asked("lost", 1), asked("nobody", None)]
    outcomes = {one.probe.ref: seen(one, PortState.SILENT) for one in probes if one.probe.ref != "lost"}
    assert expected_counts(probes, outcomes) == {rule(1): 2, rule(2): 1}


def test_what_depends_on_a_limit_counts_only_when_it_was_let_in():
    one = asked("x", 9, depends=True, fresh=1)
    assert expected_counts([one], {"x": seen(one, PortState.OPEN)}) == {rule(1): 1}
    assert expected_counts([one], {"x": seen(one, PortState.SILENT)}) == {}
