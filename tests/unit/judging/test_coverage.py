"""Rule coverage: what counters show of a rule, what they do not, and the verdict that follows."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwproof.covered import CoverageFacts, CoverProbe, Met, Round, Trip
from fwproof.decision import RuleRef
from fwproof.errors import HostError
from fwproof.flow import Family, Flow, Hook
from fwproof.judging import judge
from fwproof.judging.coverage_rows import PACKETS, Status, again, rows
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.policy.table_model import Accepted, Coverage
from fwproof.results import Verdict
from fwproof.semantics.cover_found import Missed, Why


def rule(number, family="ip"):
    text = f"-A INPUT rule {number}" if number else "DROP"
    return RuleRef(family=family, table="filter", chain="INPUT", rule=number or None, text=text)


R1, R2, R3, POLICY = rule(1), rule(2), rule(3), rule(0)


def trip(probe, *certain, counted=1, maybe=(), answer=(), after=(), answered=False, **more):
    met = Met(certain=frozenset(certain), maybe=frozenset(maybe), answer=frozenset(answer), after=frozenset(after))
    given = {"sent": max(counted, 1), "state": "never-arrived", **more}
    return Trip(probe=probe, met=met, counted=counted, answered=answered, **given)


def sent(*trips, alone=False, **moved):
    names = {"r1": R1, "r2": R2, "r3": R3, "policy": POLICY}
    return Round(trips=trips, moved={names[name]: moved.get(name, 0) for name in names}, alone=alone)


IDLE = sent()


def facts(*rounds, **more):
    flow = Flow(src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.2"),
                proto=17, sport=61000, dport=9)  # fmt: skip
    names = dict.fromkeys(each.probe for r in rounds for each in r.trips)
    limited = more.pop("limited", ())
    probes = [
        CoverProbe(name=name, sender="v", receiver="web", hook=Hook.INPUT, flow=flow, limited=name in limited)
        for name in names
    ]
    return CoverageFacts(rules=(R1, R2, R3, POLICY), probes=tuple(probes), rounds=rounds, **more)


def row(found, which):
    return next(each for each in rows(found) if each.rule == which)


def test_a_counter_that_moves_with_its_probe_confirms():
    found = row(facts(sent(trip("p1", R1), trip("p2", R2), r1=1, r2=1), IDLE), R1)
    assert (found.status, found.probes, found.packets, found.moved) == (Status.CONFIRMED, ("p1",), 1, 1)


def test_a_counter_that_stays_behind_disagrees():
    found = row(facts(sent(trip("p1", R1), trip("p2", R1), r1=1), IDLE), R1)
    assert found.status is Status.DISAGREES
    assert found.why == "by the model 2 packets of p1, p2 met it, and its counter moved by 1"


def test_what_is_sent_again_by_itself_decides():
    first, alone = sent(trip("p1", R1)), [trip("p1", R1)] * PACKETS
    assert again(facts(first, IDLE)) == ("p1",)
    right = sent(*alone, alone=True, r1=PACKETS)
    assert row(facts(first, IDLE, right), R1).status is not Status.DISAGREES
    assert row(facts(first, IDLE, sent(*alone, alone=True, r1=0)), R1).status is Status.DISAGREES


def test_what_a_limit_counts_is_not_sent_again():
    found = facts(sent(trip("p1", R1)), IDLE, limited=("p1",))
    assert again(found) == ()
    assert row(found, R1).status is Status.DISAGREES


def test_two_rules_that_changed_places_are_found_by_the_rounds_of_some():
    both = sent(trip("p1", R1), trip("p2", R2), r1=1, r2=1)
    first = sent(trip("p1", R1), r2=1)
    found = facts(both, IDLE, first, sent(trip("p2", R2), r1=1))
    assert set(again(found)) == {"p1", "p2"}
    assert {each.status for each in rows(found)[:2]} == {Status.DISAGREES}


def test_a_rule_that_counts_a_probe_that_does_not_meet_it_disagrees():
    found = facts(sent(trip("p1", R1), trip("p2", R2), r1=1, r2=1, r3=1), IDLE, sent(trip("p1", R1), r1=1, r3=1),
                  sent(trip("p2", R2), r2=1))  # fmt: skip
    assert again(found) == ("p1",)
    alone = sent(*[trip("p1", R1)] * PACKETS, alone=True, r1=PACKETS, r3=PACKETS)
    once = replace(found, rounds=(*found.rounds, alone, IDLE))
    assert row(once, R3).status is Status.UNKNOWN, "once may be chance"
    assert again(once) == ("p1",)
    found = row(replace(once, rounds=(*once.rounds, alone, IDLE)), R3)
    assert found.status is Status.DISAGREES
    assert "p1 does not meet it" in found.why


def test_one_stray_packet_accuses_nobody():
    found = facts(sent(trip("p1", R1), r1=1, r3=1), IDLE, sent(trip("p1", R1), r1=1))
    assert again(found) == ()
    assert row(found, R3).status is Status.UNKNOWN


def test_other_traffic_hides_what_a_counter_would_show():
    found = facts(sent(trip("p1", R1), r1=9), sent(r1=7), ends=(frozenset({R1, R2}),), silent={R2: "no counter"})
    assert row(found, R1).status is Status.REACHED
    assert "other traffic alone moves it by 7" in row(found, R1).why
    assert again(found) == (), "five packets would show no more"
    assert again(facts(sent(trip("p1", R1), r1=9), sent(r1=2))) == ("p1",)


def test_what_no_other_rule_of_the_hook_counted_was_counted_here():
    ends = (frozenset({R1, R2, POLICY}),)
    busy = facts(sent(trip("p1", R1), trip("p2", R2), r1=9, r2=1), sent(r1=7), ends=ends)
    assert row(busy, R1).status is Status.CONFIRMED
    assert "no other rule of its hook" in row(busy, R1).why
    leak = facts(sent(trip("p1", R1), trip("p2", R2), r1=9, r2=1, policy=1), sent(r1=7), ends=ends)
    assert row(leak, R1).status is Status.REACHED


def test_a_rule_without_a_counter_is_reached_and_not_confirmed():
    found = facts(sent(trip("p1", R1)), IDLE, silent={R1: "it has no counter"})
    assert (row(found, R1).status, row(found, R1).why, row(found, R1).moved) == (
        Status.REACHED, "it has no counter", None
    )  # fmt: skip


def test_the_kernels_trace_confirms_where_no_counter_does():
    found = facts(sent(trip("p1", R1, traced=frozenset({R1}))), IDLE, silent={R1: "it has no counter"})
    assert row(found, R1).status is Status.CONFIRMED


def test_an_answer_counts_once_it_was_seen():
    answered = trip("p1", R1, answer=[R2], answered=True)
    assert row(facts(sent(answered, r1=1, r2=1), IDLE), R2).status is Status.CONFIRMED
    assert row(facts(sent(answered, r1=1), IDLE), R2).status is Status.DISAGREES
    silent = replace(answered, answered=False)
    assert row(facts(sent(silent, r1=1), IDLE), R2).status is Status.UNKNOWN


def test_what_hangs_on_an_oracle_is_confirmed_when_it_moves():
    assert row(facts(sent(trip("p1", R1, maybe=[R2]), r1=1, r2=1), IDLE), R2).status is Status.CONFIRMED
    missed = {R2: Missed(rule=R2, why=Why.ORACLE, text="if so", needs=("limit: yes",))}
    still = facts(sent(trip("p1", R1, maybe=[R2]), r1=1), IDLE, missed=missed)
    assert (row(still, R2).status, row(still, R2).why) == (Status.DEPENDS, "if so (limit: yes)")
    assert row(replace(still, provoked={R2: 5}), R2).status is Status.CONFIRMED


def test_what_is_proved_unreachable_and_counts_disagrees():
    missed = {R3: Missed(rule=R3, why=Why.UNREACHABLE, text="shadowed", causes=(R1,))}
    quiet = facts(sent(trip("p1", R1), r1=1), IDLE, missed=missed)
    assert row(quiet, R3).status is Status.UNREACHABLE
    assert row(quiet, R3).why == f"shadowed; {R1}"
    assert row(facts(sent(trip("p1", R1), r1=1), sent(r3=1), missed=missed), R3).status is Status.DISAGREES
    both = rule(3, "inet")
    missed = {both: replace(missed[R3], rule=both)}
    found = CoverageFacts(rules=(both,), rounds=(Round(trips=(), moved={both: 1}),), missed=missed)
    assert row(found, both).status is Status.UNREACHABLE, "packets of the other family reach it"


WHYS = [
    (Why.SOURCE, {}, Status.UNSENT), (Why.SOURCE, {R3: "a vantage at x would do"}, Status.ELSEWHERE),
    (Why.STATE, {}, Status.UNSENT), (Why.MARK, {}, Status.UNSENT), (Why.UNREAL, {}, Status.UNSENT),
    (Why.UNKNOWN, {}, Status.UNKNOWN),
]  # fmt: skip


@pytest.mark.parametrize(("why", "instead", "status"), WHYS)
def test_what_no_probe_reaches_says_why(why, instead, status):
    missed = {R3: Missed(rule=R3, why=why, text="since")}
    found = row(facts(sent(trip("p1", R1), r1=1), IDLE, missed=missed, instead=instead), R3)
    assert found.status is status
    assert found.why == instead.get(R3, "since")


def test_a_probe_that_did_not_get_there_proves_nothing():
    lost = trip("p1", R1, counted=0)
    found = row(facts(sent(lost), IDLE), R1)
    assert (found.status, found.why) == (Status.UNKNOWN, "p1 would reach it, and did not: never-arrived")


def test_where_nobody_watched_only_a_counter_that_moved_says_something():
    blind = trip("p1", R1, sure=False)
    assert row(facts(sent(blind, r1=1), IDLE), R1).status is Status.CONFIRMED
    assert row(facts(sent(blind), IDLE), R1).status is not Status.DISAGREES


def test_counters_mean_nothing_when_the_tables_changed():
    changed = Round(trips=(trip("p1", R1),), moved=None)
    found = row(facts(changed, IDLE), R1)
    assert (found.status, found.why) == (
        Status.UNKNOWN, "p1 would reach it, but the tables changed while it was sent"
    )  # fmt: skip


# ---- the verdict


def judged(found, **asks):
    expectation = Coverage(id="coverage", title="t", file="f", line=1, **asks)
    policy = Policy(name="p", path=Path("p"), sha256="", hosts=("web",), services={})
    check = Check(id="c", kind=Kind.COVERAGE, policy=policy, expectation=expectation, host="web", expected="",
                  family=Family.IPV4)  # fmt: skip
    return judge(check, SimpleNamespace(exercised={"c": found}))


DEAD = {each: Missed(rule=each, why=Why.UNREACHABLE, text="dead") for each in (R3, POLICY)}
GOOD = facts(sent(trip("p1", R1), trip("p2", R2), r1=1, r2=1), IDLE, missed=DEAD)


def test_all_that_can_be_reached_was():
    outcome = judged(GOOD)
    assert outcome.verdict is Verdict.PASS
    assert outcome.reason == (
        "2 of 2 rules and defaults that packets can reach are confirmed (100%), 2 of all 4 were reached"
    )
    assert [each.status for each in outcome.coverage.rules] == ["confirmed"] * 2 + ["unreachable"] * 2
    assert outcome.coverage.probes[0].packet == "udp 10.0.0.1 -> 10.0.0.2:9, NEW"


def test_a_disagreement_fails_unless_it_is_accepted():
    wrong = facts(sent(trip("p1", R1), trip("p2", R2), r1=1), IDLE, missed=DEAD)
    outcome = judged(wrong)
    assert outcome.verdict is Verdict.FAIL
    assert outcome.rule == str(R2)
    known = (Accepted(rule=R2.text, finding="", reason="a driver counts it"),)
    outcome = judged(wrong, accepted=known)
    assert outcome.verdict is Verdict.PASS
    assert outcome.coverage.rules[1].status == "accepted"
    assert outcome.coverage.rules[1].why.startswith("a driver counts it; disagrees: ")


@pytest.mark.parametrize(("least", "verdict"), [(0.5, Verdict.PASS), (0.51, Verdict.FAIL)])
def test_a_minimum_is_of_what_packets_can_reach(least, verdict):
    missed = {**DEAD, R2: Missed(rule=R2, why=Why.SOURCE, text="from elsewhere")}
    outcome = judged(facts(sent(trip("p1", R1), r1=1), IDLE, missed=missed), at_least=least)
    assert outcome.verdict is verdict
    assert ("from elsewhere" in outcome.reason) == (verdict is Verdict.FAIL)


def test_what_is_not_known_is_no_pass():
    missed = {**DEAD, R2: Missed(rule=R2, why=Why.UNKNOWN, text="not understood")}
    outcome = judged(facts(sent(trip("p1", R1), r1=1), IDLE, missed=missed))
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "not understood" in outcome.reason


def test_nothing_reached_is_no_pass():
    missed = {each: Missed(rule=each, why=Why.SOURCE, text="from elsewhere") for each in (R1, R2, R3, POLICY)}
    assert judged(facts(IDLE, missed=missed)).verdict is Verdict.INCONCLUSIVE


def test_what_could_not_be_looked_at_is_an_error():
    with pytest.raises(HostError):
        judged(HostError("web", "is down"))
