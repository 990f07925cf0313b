"""What follows from what both ends of a sweep saw: the verdict table, over sets of ports."""

import errno
from ipaddress import ip_address

import pytest

from fwproof.flow import TCP, UDP, Flow
from fwproof.observation import PortState as S
from fwproof.probing import portset
from fwproof.probing.swept import Sightings, judge

SYN = Flow(src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.10"), proto=TCP)
UDP4 = Flow(src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.10"), proto=UDP)
SYN6 = Flow(src=ip_address("fd00::1"), dst=ip_address("fd00::10"), proto=TCP)
P = 1 << 80
UNREACHABLE = "ICMP port unreachable"


def outcome(flow, near="", far=None, *, tracking=True, **more):
    """Return what port 80 is, from the kinds that each end has of it."""
    kinds = [None if kinds is None else dict.fromkeys(kinds.split(), P) for kinds in (near, far)]
    served = {"oS": 1 << 1, "C": 1 << 1} if kinds[1] is not None and tracking else {}
    far_kinds = None if kinds[1] is None else {k: kinds[1].get(k, 0) | served.get(k, 0) for k in {*kinds[1], *served}}
    seen = Sightings(asked=P, near=kinds[0], far=far_kinds, tracking=tracking, **more)
    (group,) = judge(flow, seen)
    assert group.ports == P
    return group.state, group.answer


@pytest.mark.parametrize(("flow", "near", "far", "state", "answer"), [
    (SYN, "iS", "iA oS C", S.OPEN, "SYN/ACK"),
    (SYN, "", "iA oS C", S.REPLY_LOST, "SYN/ACK"),
    (SYN, "iR", "iA oR C", S.CLOSED, "RST"),
    (SYN, "iJ", "iA oR C", S.CLOSED, "RST"),
    (SYN, "", "iA oR C", S.REPLY_LOST, "RST"),
    (SYN, "iJ", "iA oJ", S.REJECTED, "RST"),
    (SYN, "iR", "iA oR", S.REJECTED, "RST"),
    (SYN, "", "iA oJ", S.REJECTED, "RST"),
    (SYN, "iI3.3", "iA oI3.3", S.REJECTED, UNREACHABLE),
    (SYN, "", "iA oI3.13", S.REJECTED, "ICMP communication administratively prohibited"),
    (SYN6, "iI1.4", "iA oI1.4", S.REJECTED, "ICMPv6 port unreachable"),
    (SYN, "", "iA", S.SILENT, None),
    (SYN, "", "iA C", S.ACCEPTED_SILENT, None),
    (SYN, "", "", S.NEVER_ARRIVED, None),
    (SYN, "iN3.1", "", S.UNREACHABLE, "ICMP host unreachable"),
    (SYN, "iN3.13", "", S.NEVER_ARRIVED, "ICMP communication administratively prohibited"),
    (SYN, "iS", "", S.NEVER_ARRIVED, "an answer"),
    (UDP4, "iU", "iA oU C", S.OPEN, "UDP"),
    (UDP4, "", "iA oU C", S.REPLY_LOST, "UDP"),
    (UDP4, "iI3.3", "iA oI3.3 C", S.CLOSED, UNREACHABLE),
    (UDP4, "iI3.3", "iA oI3.3", S.REJECTED, UNREACHABLE),
    (UDP4, "", "iA C", S.ACCEPTED_SILENT, None),
    (UDP4, "", "iA", S.SILENT, None),
])  # fmt: skip
def test_the_table(flow, near, far, state, answer):
    assert outcome(flow, near, far) == (state, answer)


@pytest.mark.parametrize(("flow", "near", "far", "marked", "state"), [
    (SYN, "iR", "iA oR", True, S.CLOSED),
    (SYN, "iJ", "iA oJ", True, S.REJECTED),
    (SYN, "iJ", "iA oJ", False, S.NO_ANSWER),
    (SYN, "iS", "iA oS", True, S.OPEN),
    (SYN, "", "iA", True, S.NO_ANSWER),
    (UDP4, "iI3.3", "iA oI3.3", True, S.NO_ANSWER),
    (UDP4, "iI3.13", "iA oI3.13", True, S.REJECTED),
])  # fmt: skip
def test_without_connection_tracking(flow, near, far, marked, state):
    assert outcome(flow, near, far, tracking=False, marked=marked)[0] is state


def test_a_service_without_an_event_says_that_events_mean_nothing():
    seen = Sightings(asked=0b1110, near={"iS": 0b10, "iJ": 0b100}, far={"iA": 0b1110, "oS": 0b10, "oJ": 0b100},
                     tracking=True)  # fmt: skip
    assert not seen.tracked
    assert {group.ports: group.state for group in judge(SYN, seen)} == {
        0b10: S.OPEN, 0b100: S.REJECTED, 0b1000: S.NO_ANSWER}  # fmt: skip


def test_seen_from_the_sender_only():
    assert outcome(SYN, "iS", None)[0] is S.OPEN
    assert outcome(SYN, "iR", None, tracking=False)[0] is S.CLOSED
    assert outcome(SYN, "", None)[0] is S.NO_ANSWER


def test_a_host_that_lost_packets_makes_silence_doubtful():
    for far in ("iA", ""):
        assert outcome(SYN, "", far, lossy=("web",))[0] is S.NO_ANSWER
    assert outcome(SYN, "iS", "iA oS C", lossy=("web",))[0] is S.OPEN
    assert outcome(UDP4, "", "iA C", lossy=("web",))[0] is S.ACCEPTED_SILENT


@pytest.mark.parametrize(("error", "state"), [
    (errno.EPERM, S.REFUSED_LOCALLY), (errno.ENETUNREACH, S.UNREACHABLE), (errno.ENOBUFS, S.NO_ANSWER),
])  # fmt: skip
def test_what_was_not_sent(error, state):
    assert outcome(SYN, "", "", errors={80: error})[0] is state


def test_what_is_worth_another_packet():
    seen = Sightings(asked=0b111110, errors={1: errno.EPERM}, near={"iS": 0b100}, far={"iA": 0b11100, "oS": 0b1100})
    assert portset.words(seen.missing) == "5"
    assert portset.words(seen.unreturned) == "3"
    queued = Sightings(asked=0b10, errors={1: errno.ENOBUFS}, far={})
    assert queued.missing == 0b10


def test_half_open_is_what_answered_and_was_not_reset():
    seen = Sightings(asked=0b11110, near={"iS": 0b110}, far={"iA": 0b11110, "oS": 0b110, "C": 0b1110, "iX": 0b10})
    assert portset.words(seen.half_open) == "2-3"
    refused = Sightings(asked=0b10, far={"iA": 0b10, "C": 0b10, "oR": 0b10})
    assert refused.half_open == 0


def test_a_later_pass_adds_to_what_was_seen():
    first = Sightings(asked=0b110, errors={1: errno.ENOBUFS}, far={"iA": 0b100}, near={}, tracking=False)
    later = Sightings(asked=0b10, far={"iA": 0b10, "oS": 0b10, "C": 0b10}, near={"iS": 0b10}, tracking=True)
    both = first.joined(later)
    assert (both.asked, both.arrived, both.errors, both.tracking) == (0b110, 0b110, {}, True)
    assert {group.ports: group.state for group in judge(SYN, both)} == {0b10: S.OPEN, 0b100: S.SILENT}
