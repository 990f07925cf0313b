"""Judging measured limits, as a table of rows."""

from dataclasses import replace
from math import inf

import pytest

from fwproof.errors import AgentRefused
from fwproof.facts import MeasureFacts, Untried
from fwproof.flow import Family
from fwproof.judging import judge
from fwproof.judging.measures import words
from fwproof.measured import Crowd, Held, Interval, Manner, Measured, Part
from fwproof.plan import Kind
from fwproof.policy.model import Rate

from .test_kinds import ALLOW, FAIL, HTTP, NA, PASS, UNSURE, check_of, facts, told

CLASSIC = (Part.BURST, Part.WINDOW, Part.ISOLATION)
WINDOW = Measured(
    sent=22, burst=20, manner=Manner.WINDOW, window=Interval(59.94, 60.06), apart=24, together=None, extends=True
)
BUCKET = Measured(sent=22, burst=20, manner=Manner.BUCKET, rate=Interval(0.332, 0.335), apart=24)


def seen(wire, tables=WINDOW, **more):
    return MeasureFacts(predicted=tables, seen=wire, limiter="the rule", sources=("10.0.0.2 of v",), **more)


def but(measured=WINDOW, **changes):
    return replace(measured, **changes)


NINETEEN = but(burst=19)
SHARED = but(apart=None, together=24)
ROWS = [
    ("as expected", seen(WINDOW), PASS, "20 new connections, then refused; window 60.00 s ± 0.06; per source"),
    ("a bucket", seen(BUCKET, BUCKET), PASS, "then one every 3.00 s ± 0.01"),
    ("the tables do not tell", seen(WINDOW, None), PASS, "measured as expected"),
    ("the seed", seen(NINETEEN, NINETEEN), FAIL, "the limiter admits 19, not 20"),
    ("the seed, unsent", seen(None, NINETEEN, untried=Untried.OFF), FAIL, "the limiter admits 19, not 20"),
    ("the wire alone", seen(NINETEEN, None), FAIL, "the limiter admits 19, not 20"),
    ("the wire differs", seen(NINETEEN), FAIL, "model and wire disagree"),
    ("no limit", seen(but(manner=Manner.NONE, burst=None)), FAIL, "model and wire disagree"),
    ("no limit in the tables", seen(None, but(manner=Manner.NONE, burst=None)), FAIL, "no limiter applies"),
    ("nobody", seen(None, but(burst=0)), FAIL, "is refused to the peers"),
    ("another window", seen(None, but(window=Interval(29.9, 30.1))), FAIL, "the limit's window is not 60 s"),
    ("another window on the wire", seen(but(window=Interval(60.5, inf))), FAIL, "window of over 60.5 s, not 60 s"),
    ("another rate", seen(None, but(BUCKET, rate=Interval(0.65, 0.67))), FAIL, "the limit's rate is not 20 in 60 s"),
    ("a rate 2 % off", seen(but(BUCKET, rate=Interval(0.34, 0.341)), BUCKET), FAIL, "model and wire disagree"),
    ("shared", seen(SHARED, SHARED), FAIL, "the limit is for all sources together"),
    ("shared on the wire", seen(SHARED), FAIL, "model and wire disagree"),
    ("rcheck for update", seen(but(extends=False)), FAIL, "refusal: yes by the tables, no on the wire"),
    ("grouped otherwise", seen(but(together=30)), FAIL, "apart with /24 in common and together with /30 in common on"),
    ("few connections", seen(but(held=Held(tried=21, stood=9)), None), FAIL, "9 of 21 ordinary connections stand, not"),
    ("cut off", seen(but(standing=False), None), FAIL, "the limit counts every packet"),
    ("pushed off", seen(but(crowd=Crowd(sources=98, evicted=True)), None), FAIL, "the limit's list can be filled"),
    ("others in a shared limit", seen(but(burst=12, apart=None), others=8), UNSURE, "8 packets of others were counted"),
    ("others, but per source", seen(but(burst=12), others=8), FAIL, "model and wire disagree"),
    ("lost packets", seen(but(burst=None, manner=Manner.UNSEEN, gaps=("3 lost",))), UNSURE, "burst, window; 3 lost"),
    ("no second source", seen(but(apart=None, window=None)), UNSURE, "not measured: window, isolation"),
    ("no vantage", seen(None, untried=Untried.NO_VANTAGE), UNSURE, "no vantage"),
    ("switched off", seen(None, untried=Untried.OFF), NA, "the tables agree with the expectation"),
    ("nothing known", seen(None, None, untried=Untried.OFF), NA, "the tables do not tell"),
]  # fmt: skip


def check(rate=None):
    expectation = replace(ALLOW, rate=rate or Rate(20, 60.0, measure=CLASSIC))
    return check_of(Kind.MEASURE, expectation, service=HTTP)


@pytest.mark.parametrize(("found", "verdict", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_measures(found, verdict, said):
    outcome = judge(check(), facts(found))
    told(outcome, verdict, said)
    assert outcome.rule == "the rule"


@pytest.mark.parametrize("part", [part for part in Part if part not in CLASSIC])
def test_what_a_policy_names_and_nobody_measured_is_not_a_pass(part):
    told(judge(check(Rate(20, 60.0, measure=(*CLASSIC, part))), facts(seen(WINDOW))), UNSURE, f"not measured: {part}")


def test_a_limit_for_all_sources():
    by = Rate(20, 60.0, by="total", measure=CLASSIC)
    told(judge(check(by), facts(seen(SHARED, SHARED))), PASS, "all sources together")
    told(judge(check(by), facts(seen(WINDOW))), FAIL, "the limit is for each source by itself")


def test_what_stood_in_the_way_is_raised():
    with pytest.raises(AgentRefused):
        judge(check(), facts(AgentRefused("h", "no agent")))


def test_the_evidence_names_sources_gaps_and_other_traffic():
    found = seen(but(gaps=("whether a /64",)), packets=65, seconds=60.2, others=3, counters=("r counted 9",), note="n")
    assert judge(check(), facts(found)).evidence == (
        "65 packets in 60.2 s from 10.0.0.2 of v", "not measured: whether a /64", "r counted 9",
        "3 packets of others were counted by the same rules meanwhile", "n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (but(apart=64), "per source within one /64, too"),
        (but(apart=62, together=126), "per network of /63 to /126 (as per /64)"),
        (but(extends=False), "refused attempts do not count"), (but(standing=True), "standing connections go on"),
        (but(held=Held(tried=6, stood=5, again=True)), "5 of 6 ordinary connections stand at once, free again once"),
        (but(crowd=Crowd(sources=9, evicted=False)), "9 other sources do not push it off the list"),
        (but(manner=Manner.NONE, burst=None), "all of 22 new connections let in"),
    ],
)  # fmt: skip
def test_in_words(found, said):
    assert said in words(found, Family.IPV6)
