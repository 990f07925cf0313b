"""What a limit let in over time, from what both ends saw to the results."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.facts import MeasureFacts
from fwproof.flow import TCP, Flow
from fwproof.judging import judge
from fwproof.judging.admitted import admissions_of
from fwproof.measured import Attempt, attempts_of
from fwproof.observation import Observation, PortState, Probe, Seen
from fwproof.plan import Kind
from fwproof.policy.model import Rate
from fwproof.results import Admissions, Attempts

from .test_kinds import ALLOW, INSIDE, burst, check_of, facts
from .test_measures import WINDOW, seen

RATE = Rate(limit=20, per=60.0)


def _seen(host, direction, time):
    return Seen(host=host, direction=direction, time=time, summary="", raw=b"")


def observed(src, arrived_at, state, *, sent_at=0.0):
    flow = Flow(src=ip_address(src), dst=ip_address("10.0.0.9"), proto=TCP, sport=1, dport=80)
    probe = Probe(ref="", sender="v", receiver="h", flow=flow)
    packets = [_seen("v", "out", sent_at)] if sent_at else []
    packets += [_seen("h", "in", arrived_at)] if arrived_at else []
    return Observation(
        probe=probe, state=state, sent=1, arrived=bool(arrived_at), confirmed=None, packets=tuple(packets)
    )


def test_times_are_those_of_the_host_that_watched_and_of_the_sender_elsewhere():
    found = attempts_of(
        [
            observed("10.0.0.2", 1000.5, PortState.SILENT, sent_at=2000.0),
            observed("10.0.0.1", 1000.0, PortState.OPEN, sent_at=2000.1),
            observed("10.0.0.3", 0.0, PortState.NEVER_ARRIVED, sent_at=1000.7),
        ],
        "h",
    )
    assert found == (
        Attempt("10.0.0.1", 1000.0, True), Attempt("10.0.0.2", 1000.5, False), Attempt("10.0.0.3", 1000.7, None)
    )  # fmt: skip


def test_series_are_by_source_and_count_from_the_first_of_any():
    attempts = [Attempt("b", 100.25, False), Attempt("a", 100.0, True), Attempt("a", 101.00004, None)]
    assert admissions_of(RATE, attempts) == Admissions(
        limit=20, per=60.0, by="source",
        series=[Attempts(source="a", at=[0.0, 1.0], fates="y?"), Attempts(source="b", at=[0.25], fates="n")],
    )  # fmt: skip


@pytest.mark.parametrize("attempts", [[], [Attempt("a", 0.0, None)]])
def test_what_was_not_sent_or_has_no_time_is_not_drawn(attempts):
    assert admissions_of(RATE, attempts) is None


def test_bursts_and_measurements_hand_them_on():
    packets = tuple(observed("10.0.0.2", 50.0 + n, PortState.OPEN if n < 2 else PortState.SILENT) for n in range(3))
    check = check_of(Kind.RATE, replace(ALLOW, rate=RATE), INSIDE)
    out = judge(check, facts(burst(20, 20, seen=packets)))
    assert [(series.at, series.fates) for series in out.admissions.series] == [([0.0, 1.0, 2.0], "yyn")]
    check = check_of(Kind.MEASURE, replace(ALLOW, rate=RATE), INSIDE)
    measured: MeasureFacts = seen(WINDOW, attempts=(Attempt("10.0.0.2", 5.0, True),))
    out = judge(check, facts(measured))
    assert [series.fates for series in out.admissions.series] == ["y"]
    assert judge(check, facts(seen(WINDOW))).admissions is None
