"""A solicitation or advertisement that is lost is asked again; what was dropped is not."""

from ipaddress import ip_address

import pytest

from fwproof.flow import ICMPV6, Flow
from fwproof.observation import Observation, PortState, Probe
from fwproof.probing import neighbour
from fwproof.probing.shot import Timing

TARGET = ip_address("fd00::10")
FLOW = Flow(src=ip_address("fd00::1"), dst=TARGET, proto=ICMPV6, icmp_type=135, icmp_code=0)


def seen(state):
    probe = Probe(ref="neighbour", sender="a", receiver="b", flow=FLOW)
    return Observation(probe=probe, state=state, sent=1, arrived=True, confirmed=None)


@pytest.mark.parametrize(
    ("states", "final", "sent"),
    [
        ([PortState.OPEN], PortState.OPEN, 1),
        ([PortState.REPLY_LOST, PortState.OPEN], PortState.OPEN, 2),
        ([PortState.NEVER_ARRIVED, PortState.REPLY_LOST, PortState.OPEN], PortState.OPEN, 3),
        ([PortState.REPLY_LOST] * 3, PortState.REPLY_LOST, 3),
        ([PortState.NO_ANSWER, PortState.OPEN], PortState.OPEN, 2),
        ([PortState.NO_ANSWER] * 3, PortState.NO_ANSWER, 3),
        ([PortState.SILENT, PortState.OPEN], PortState.SILENT, 1),
        ([PortState.REFUSED_LOCALLY, PortState.OPEN], PortState.REFUSED_LOCALLY, 1),
    ],
)
def test_what_was_lost_is_asked_again(monkeypatch, states, final, sent):
    answers = iter(states)
    monkeypatch.setattr(neighbour, "_solicit_once", lambda *_: seen(next(answers)))
    got = neighbour.solicit(None, None, TARGET, Timing())
    assert (got.state, got.sent) == (final, sent)
