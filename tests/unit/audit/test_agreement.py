"""What the wire shows against what the tables say."""

from ipaddress import ip_address

import pytest

from fwproof.audit.agreement import Agreement, Compared, answer_of, by_trace, compare
from fwproof.decision import Decision, Ruling
from fwproof.flow import TCP, UDP, Flow
from fwproof.observation import PortState as S
from fwproof.semantics.traced import Path, Traced

SYN = Flow(src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.10"), proto=TCP)
SYN6 = Flow(src=ip_address("fd00::1"), dst=ip_address("fd00::10"), proto=TCP)
DATAGRAM = Flow(src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.10"), proto=UDP)
PORT = "ICMP port unreachable"


def ruling(*may, reject_with=None):
    return Ruling(decision=may[0], by=None, may=frozenset(may), reject_with=reject_with)


ACCEPT, DROP, ODD = (
    ruling(Decision.ACCEPT),
    ruling(Decision.DROP),
    ruling(Decision.UNKNOWN, Decision.ACCEPT, Decision.DROP),
)
RESET, ICMP = (
    ruling(Decision.REJECT, reject_with="tcp-reset"),
    ruling(Decision.REJECT, reject_with="icmp-port-unreachable"),
)
LIMITED = ruling(Decision.DEPENDS, Decision.ACCEPT, Decision.DROP)


@pytest.mark.parametrize(
    ("said", "state", "answer", "agreement"),
    [
        (ACCEPT, S.OPEN, "SYN/ACK", Agreement.AGREES),
        (ACCEPT, S.CLOSED, "RST", Agreement.AGREES),
        (ACCEPT, S.REPLY_LOST, "RST", Agreement.AGREES),
        (ACCEPT, S.SILENT, None, Agreement.DISAGREES),
        (ACCEPT, S.REJECTED, "RST", Agreement.DISAGREES),
        (DROP, S.SILENT, None, Agreement.AGREES),
        (DROP, S.OPEN, "SYN/ACK", Agreement.DISAGREES),
        (DROP, S.CLOSED, "RST", Agreement.DISAGREES),
        (DROP, S.REJECTED, PORT, Agreement.DISAGREES),
        (DROP, S.ACCEPTED_SILENT, None, Agreement.DISAGREES),
        (RESET, S.REJECTED, "RST", Agreement.AGREES),
        (RESET, S.REJECTED, PORT, Agreement.DISAGREES),
        (RESET, S.SILENT, None, Agreement.DISAGREES),
        (ICMP, S.REJECTED, PORT, Agreement.AGREES),
        (ICMP, S.REJECTED, "RST", Agreement.DISAGREES),
        (ICMP, S.SILENT, None, Agreement.UNDECIDED),
        (ICMP, S.CLOSED, "RST", Agreement.DISAGREES),
        (LIMITED, S.OPEN, "SYN/ACK", Agreement.AGREES),
        (LIMITED, S.SILENT, None, Agreement.AGREES),
        (LIMITED, S.REJECTED, "RST", Agreement.DISAGREES),
        (ODD, S.OPEN, "SYN/ACK", Agreement.OBSERVED_ONLY),
        (ODD, S.SILENT, None, Agreement.OBSERVED_ONLY),
        (ODD, S.REJECTED, "RST", Agreement.OBSERVED_ONLY),
        *(
            (each, state, None, Agreement.UNDECIDED)
            for each in (ACCEPT, DROP, ICMP)
            for state in (S.NO_ANSWER, S.NEVER_ARRIVED, S.UNREACHABLE, S.REFUSED_LOCALLY)
        ),
    ],
)
def test_wire_and_tables(said, state, answer, agreement):
    found = compare(SYN, said, None, state, answer)
    assert found.agreement is agreement
    assert bool(found.why) == (agreement in {Agreement.DISAGREES, Agreement.UNDECIDED})


def test_let_in_and_mute():
    """TCP answers what it lets in, unless its answer is refused; UDP need not."""
    assert compare(SYN, ACCEPT, ACCEPT, S.ACCEPTED_SILENT, None).agreement is Agreement.UNDECIDED
    assert compare(SYN, ACCEPT, DROP, S.ACCEPTED_SILENT, None).agreement is Agreement.AGREES
    assert compare(DATAGRAM, ACCEPT, ACCEPT, S.ACCEPTED_SILENT, None).agreement is Agreement.AGREES


@pytest.mark.parametrize(
    ("flow", "words", "answer"),
    [
        (SYN, "tcp-reset", "RST"),
        (SYN, "icmp-port-unreachable", PORT),
        (SYN, "icmp-host-unreachable", "ICMP host unreachable"),
        (SYN, "icmp-admin-prohibited", "ICMP communication administratively prohibited"),
        (SYN6, "icmp6-adm-prohibited", "ICMPv6 administratively prohibited"),
        (SYN6, "icmp6-no-route", "ICMPv6 no route"),
        (SYN6, "icmp6-port-unreachable", "ICMPv6 port unreachable"),
        (SYN, None, None),
        (SYN, "something-else", None),
    ],
)
def test_what_a_reject_rule_answers(flow, words, answer):
    assert answer_of(flow, words) == answer


@pytest.mark.parametrize(
    ("found", "agrees", "agreement"),
    [
        (Agreement.AGREES, True, Agreement.AGREES),
        (Agreement.AGREES, False, Agreement.DISAGREES),
        (Agreement.AGREES, None, Agreement.AGREES),
        (Agreement.UNDECIDED, True, Agreement.AGREES),
        (Agreement.UNDECIDED, False, Agreement.DISAGREES),
        (Agreement.UNDECIDED, None, Agreement.UNDECIDED),
        (Agreement.OBSERVED_ONLY, True, Agreement.OBSERVED_ONLY),
        (Agreement.DISAGREES, True, Agreement.DISAGREES),
    ],
)
def test_what_a_trace_adds(found, agrees, agreement):
    assert by_trace(Compared(found), Traced(path=Path(), agrees=agrees)).agreement is agreement
    assert by_trace(Compared(found), None).agreement is found
