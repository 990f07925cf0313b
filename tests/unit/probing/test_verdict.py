import errno
import os
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Flow
from fwproof.observation import Passage, PortState
from fwproof.probing.packets import Packet
from fwproof.probing.verdict import Ends, judge

SRC, DST, ROUTER = ip_address("10.0.0.1"), ip_address("10.0.0.10"), ip_address("10.0.0.254")
SYN = Flow(src=SRC, dst=DST, proto=TCP, sport=61000, dport=80)
ASK = replace(SYN, proto=UDP, dport=53)
ECHO = replace(SYN, proto=ICMP, dport=None)


def tcp(*flags, tos=0):
    return Packet(src=DST, dst=SRC, proto=TCP, sport=80, dport=61000, flags=frozenset(flags), tos=tos)


def icmp(code, sender=DST, kind=3):
    quoted = Packet(src=SRC, dst=DST, proto=UDP, sport=61000, dport=53)
    return Packet(src=sender, dst=SRC, proto=ICMP, icmp_type=kind, icmp_code=code, quoted=quoted)


def came(flow):
    return Packet(src=flow.src, dst=flow.dst, proto=flow.proto, sport=flow.sport, dport=flow.dport)


UDP_ANSWER = Packet(src=DST, dst=SRC, proto=UDP, sport=53, dport=61000)
ECHO_ANSWER = Packet(src=DST, dst=SRC, proto=ICMP, icmp_type=0, icmp_code=0)
SYN_ACK, RST = tcp("SYN", "ACK"), tcp("RST", "ACK")
S = PortState

CASES = [
    # flow, arrived, confirmed, emitted, returned, state
    (SYN, True, True, SYN_ACK, SYN_ACK, S.OPEN),
    (SYN, True, None, SYN_ACK, SYN_ACK, S.OPEN),
    (SYN, True, True, RST, RST, S.CLOSED),
    (SYN, True, False, RST, RST, S.REJECTED),
    (SYN, True, None, RST, RST, S.NO_ANSWER),
    (SYN, True, False, icmp(3), icmp(3), S.REJECTED),
    (SYN, True, True, None, None, S.ACCEPTED_SILENT),
    (SYN, True, False, None, None, S.SILENT),
    (SYN, True, None, None, None, S.NO_ANSWER),
    (SYN, True, True, SYN_ACK, None, S.REPLY_LOST),
    (SYN, True, True, RST, None, S.REPLY_LOST),
    (SYN, True, False, RST, None, S.REJECTED),
    (SYN, True, False, icmp(13), None, S.REJECTED),
    (SYN, False, None, None, None, S.NEVER_ARRIVED),
    (SYN, False, None, None, icmp(1, ROUTER), S.UNREACHABLE),
    (SYN, False, None, None, icmp(13, ROUTER), S.NEVER_ARRIVED),
    (SYN, False, None, None, SYN_ACK, S.NEVER_ARRIVED),
    (SYN, None, None, None, SYN_ACK, S.OPEN),
    (SYN, None, None, None, RST, S.NO_ANSWER),
    (SYN, None, None, None, icmp(3), S.REJECTED),
    (SYN, None, None, None, icmp(1, ROUTER), S.UNREACHABLE),
    (SYN, None, None, None, None, S.NO_ANSWER),
    (ASK, True, True, UDP_ANSWER, UDP_ANSWER, S.OPEN),
    (ASK, True, True, icmp(3), icmp(3), S.CLOSED),
    (ASK, True, False, icmp(3), icmp(3), S.REJECTED),
    (ASK, True, None, icmp(3), icmp(3), S.NO_ANSWER),
    (ASK, True, None, icmp(13), icmp(13), S.REJECTED),
    (ASK, True, True, None, None, S.ACCEPTED_SILENT),
    (ASK, None, None, None, icmp(3), S.NO_ANSWER),
    (ECHO, True, True, ECHO_ANSWER, ECHO_ANSWER, S.OPEN),
    (ECHO, True, False, None, None, S.SILENT),
]


@pytest.mark.parametrize(("flow", "arrived", "confirmed", "emitted", "returned", "state"), CASES)
def test_the_table(flow, arrived, confirmed, emitted, returned, state):
    ends = Ends(
        flow=flow,
        left=True,
        watched=arrived is not None,
        arrival=came(flow) if arrived else None,
        confirmed=confirmed,
        emitted=emitted,
        returned=returned,
        target=frozenset({DST}),
    )
    found = judge(ends)
    assert found.state is state, found.note
    seen = returned or emitted
    assert found.answer == (seen.kind if seen else None)


def test_the_tos_tells_whose_reset_it_is():
    flow = replace(SYN, tos=0x28)
    ends = Ends(flow=flow, left=True, arrival=came(flow), confirmed=None, target=frozenset({DST}))
    assert judge(replace(ends, returned=tcp("RST", tos=0x28))).state is PortState.CLOSED
    assert judge(replace(ends, returned=tcp("RST", tos=0))).state is PortState.REJECTED
    untracked = replace(ends, confirmed=False, returned=tcp("RST", tos=0x28))
    assert judge(untracked).state is PortState.CLOSED


def test_what_was_never_sent():
    assert judge(Ends(flow=SYN, error=1)).state is PortState.REFUSED_LOCALLY
    assert judge(Ends(flow=SYN, error=113)).state is PortState.UNREACHABLE


SIX = Flow(src=ip_address("fd00::1"), dst=ip_address("fd00::2"), proto=TCP, sport=61000, dport=80)


@pytest.mark.parametrize(
    ("flow", "error", "words"),
    [
        (
            SYN,
            errno.ENOBUFS,
            "Its queue or its table of neighbours may be full, which holds net.ipv4.neigh.default.gc_t",
        ),
        (
            SIX,
            errno.EINVAL,
            "Its table of neighbours may be full, which holds net.ipv6.neigh.default.gc_thresh3 of all",
        ),
        (SYN, errno.EINVAL, ""),
        (SIX, errno.EHOSTUNREACH, ""),
    ],
)
def test_a_full_table_of_neighbours_is_named(flow, error, words):
    found = judge(Ends(flow=flow, error=error))
    assert found.state is PortState.UNREACHABLE
    assert found.note.startswith(f"The sender's kernel says: {os.strerror(error)}.")
    assert words in found.note
    assert ("neighbours" in found.note) is bool(words)
    stuck = judge(Ends(flow=SYN, neighbour="incomplete", next_hop="10.0.0.254"))
    assert stuck.state is PortState.UNREACHABLE
    assert "10.0.0.254" in stuck.note


def test_a_router_is_named():
    ends = Ends(flow=SYN, left=True, returned=icmp(1, ROUTER), target=frozenset({DST}))
    assert str(ROUTER) in judge(ends).note


def test_rewriting_is_told():
    other = replace(came(SYN), src=ROUTER)
    ends = Ends(flow=SYN, left=True, arrival=other, confirmed=True, returned=SYN_ACK, target=frozenset({DST}))
    assert "NAT" in judge(ends).note


def test_icmpv6_port_unreachable_has_its_own_code():
    four = Packet(src=DST, dst=SRC, proto=ICMPV6, icmp_type=1, icmp_code=4, quoted=came(ASK))
    ends = Ends(flow=ASK, left=True, arrival=came(ASK), returned=four, target=frozenset({DST}))
    assert judge(ends).state is PortState.NO_ANSWER
    assert judge(replace(ends, returned=replace(four, icmp_code=1))).state is PortState.REJECTED


THROUGH = [
    # came to the router, left it, its own answer, arrived at the far end, emitted there, returned, state
    (True, True, "", True, SYN_ACK, SYN_ACK, S.OPEN),
    (True, True, "", True, SYN_ACK, None, S.REPLY_LOST),
    (True, True, "", True, None, None, S.SILENT),
    (True, True, "", False, None, None, S.NEVER_ARRIVED),
    (True, True, "", False, None, SYN_ACK, S.OPEN),
    (True, False, "", False, None, None, S.SILENT),
    (True, False, "ICMP administratively prohibited", False, None, icmp(13, ROUTER), S.REJECTED),
    (True, True, "", None, None, SYN_ACK, S.OPEN),
    (True, True, "", None, None, None, S.NO_ANSWER),
    (True, False, "", None, None, None, S.SILENT),
    (False, False, "", False, None, None, S.NEVER_ARRIVED),
    (False, False, "", True, SYN_ACK, SYN_ACK, S.OPEN),
]


@pytest.mark.parametrize(("came_", "went", "refusal", "arrived", "emitted", "returned", "state"), THROUGH)
def test_a_probe_that_goes_through_a_watched_host(came_, went, refusal, arrived, emitted, returned, state):
    passage = Passage(host="router", came=came_, went=went, refusal=refusal)
    found = judge(
        Ends(
            flow=SYN, left=True, watched=arrived is not None, arrival=came(SYN) if arrived else None,
            confirmed=False if arrived else None, emitted=emitted, returned=returned, passage=passage,
        )
    )  # fmt: skip
    assert found.state is state, found
    if came_ and not went:
        assert "router" in found.note


def test_what_a_receiver_sends_on_is_told():
    onward = replace(came(SYN), dst=ip_address("172.17.0.2"), dport=8080)
    found = judge(
        Ends(flow=SYN, left=True, arrival=came(SYN), confirmed=True, emitted=SYN_ACK, returned=SYN_ACK, sent_on=onward)
    )
    assert "The host sent it on (NAT): 10.0.0.1:61000 > 172.17.0.2:8080" in found.note
