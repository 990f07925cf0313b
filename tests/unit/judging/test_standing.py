"""Judging how many connections stand at once, as a table of rows."""

from dataclasses import replace

import pytest

from fwproof.errors import AgentRefused
from fwproof.facts import StandingFacts, Untried
from fwproof.judging import judge
from fwproof.measured import Held
from fwproof.plan import Kind
from fwproof.policy.model import Standing

from .test_kinds import ALLOW, FAIL, HTTP, NA, PASS, UNSURE, check_of, facts, told


def seen(stood=5, predicted=5, *, free=True, wire_free=True, again=True, **more):
    held = None if stood is None else Held(tried=6, stood=stood, free=wire_free, again=again)
    return StandingFacts(predicted=predicted, free=free, limiter="the rule", held=held, **more)


ROWS = [
    ("as expected", seen(), PASS, "5 connections stand at once, and one more does not"),
    ("the tables do not tell", seen(predicted=None, free=None), PASS, "5 connections stand"),
    ("no limit", seen(6, 6), FAIL, "by the tables more than 5 connections stand at once, not 5"),
    ("too few", seen(3, 3), FAIL, "by the tables 3 connections stand at once, not 5"),
    ("no limit, unsent", seen(None, 6, untried=Untried.OFF), FAIL, "more than 5 connections stand"),
    ("for all", seen(free=False, wire_free=False), FAIL, "the limit is for all sources, not for each source"),
    ("the wire differs", seen(6), FAIL, "model and wire disagree"),
    ("the wire alone", seen(6, None, free=None), FAIL, "tcp/80: more than 5 connections stand"),
    ("for all on the wire", seen(wire_free=False), FAIL, "on the wire the limit is for all sources"),
    ("never free again", seen(again=False), FAIL, "none stands again once all were closed"),
    ("nobody listens", seen(0, again=False, wire_free=False), UNSURE, "not one connection stands"),
    ("one source", seen(free=None, wire_free=None), UNSURE, "whether others have their own was not tried"),
    ("no vantage", seen(None, untried=Untried.NO_VANTAGE), UNSURE, "no vantage"),
    ("switched off", seen(None, untried=Untried.OFF), NA, "the tables agree with the expectation"),
]


def check(**standing):
    wanted = replace(ALLOW, standing=Standing(**({"limit": 5} | standing)))
    return check_of(Kind.CONNECTIONS, wanted, service=replace(HTTP, name="tcp/80"))


@pytest.mark.parametrize(("found", "verdict", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_standing(found, verdict, said):
    outcome = judge(check(), facts(found))
    told(outcome, verdict, said)
    assert outcome.rule == "the rule"


def test_a_limit_for_all_sources():
    told(judge(check(by="total"), facts(seen(free=False, wire_free=False))), PASS, "5 connections stand")
    told(judge(check(by="total"), facts(seen())), FAIL, "the limit is for each source, not for all sources")
    assert "--connlimit-mask 0" in judge(check(by="total"), facts(seen())).fix


def test_what_stood_in_the_way_is_raised():
    with pytest.raises(AgentRefused):
        judge(check(), facts(AgentRefused("h", "no agent")))
