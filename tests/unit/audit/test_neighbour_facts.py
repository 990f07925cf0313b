"""What is made of a neighbour solicitation: silence by itself says nothing of the host."""

from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from fwproof.audit import exercises
from fwproof.flow import ICMPV6, Flow
from fwproof.observation import Observation, PortState, Probe

OWN, PEER = ip_address("fd00::10"), ip_address("fd00::1")


@pytest.mark.parametrize(
    ("state", "answered", "words"),
    [
        (PortState.OPEN, True, "was answered, after 2 packets"),
        (PortState.SILENT, False, "arrived, and no advertisement left the host, after 2 packets"),
        (PortState.NO_ANSWER, None, "was not answered, after 2 packets. Why."),
        (PortState.NEVER_ARRIVED, None, "was not answered, after 2 packets. Why."),
        (PortState.REPLY_LOST, None, "was not answered, after 2 packets. Why."),
        (PortState.UNREACHABLE, None, "was not answered, after 2 packets. Why."),
        (PortState.REFUSED_LOCALLY, None, "was not answered, after 2 packets. Why."),
    ],
)
def test_only_a_watched_silence_is_a_no(monkeypatch, state, answered, words):
    flow = Flow(src=PEER, dst=OWN, proto=ICMPV6, icmp_type=135, icmp_code=0)
    probe = Probe(ref="neighbour", sender="v", receiver="h", flow=flow)
    seen = Observation(probe=probe, state=state, sent=2, arrived=None, confirmed=None, note="Why.")
    monkeypatch.setattr(exercises, "ends_of", lambda *_: ("v", PEER, OWN))
    found = exercises.neighbour(None, SimpleNamespace(neighbour=lambda *_: seen), SimpleNamespace(host="h"))
    assert (found.answered, found.detail) == (answered, f"a solicitation from v for {OWN} {words}")
