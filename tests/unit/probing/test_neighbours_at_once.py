"""Several solicitations of one vantage at a time: none takes what another waits for."""

import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6

from fwproof.observation import PortState
from fwproof.probing.channel import Agent
from fwproof.probing.neighbour import solicit
from fwproof.probing.shot import Timing

from .links import Link

OWN = "fd00::1"
TARGETS = [ip_address(f"fd00::1:{n:x}") for n in range(1, 41)]


class Wire(Link):
    """Every target answers at once, as often as it is asked."""

    own = OWN

    def __init__(self, mute=()):
        super().__init__()
        self.mute, self.asked, self.told = set(mute), [], []

    def op_solicited(self, request):
        self.told.append(ip_address(request["target"]))
        return {}

    def op_get(self, request):
        time.sleep(request["wait"] if not self.held else 0)
        return super().op_get(request)

    def op_send(self, request):
        packet = IPv6(bytes.fromhex(request["frames"][0]))
        target = ip_address(packet[ICMPv6ND_NS].tgt)
        self.asked.append(target)
        self.caught("out", packet)
        if target not in self.mute:
            self.caught("in", IPv6(src=str(target), dst=OWN, hlim=255) / ICMPv6ND_NA(tgt=str(target), S=1))
        return {"sent": [[0, time.time_ns()]]}

    def caught(self, direction, packet):
        self.hold(direction, "neighbour", 58, 0, packet)


@pytest.mark.parametrize("other", TARGETS[:2])
def test_another_solicitation_takes_nothing_of_one_under_way(other):
    """The other one begins and ends between the capture of the first one's answer and the look at it."""

    class Interrupted(Agent):
        def collect(self, wait=0.0):
            super().collect(wait)
            if wire.asked and not begun:
                begun.append(other)
                others.append(solicit(self, None, other, Timing(window=0.05)))

    wire, begun, others = Wire(), [], []
    seen = solicit(Interrupted("v", wire), None, TARGETS[0], Timing(window=0.05))
    for each, target in zip((seen, *others), (TARGETS[0], other), strict=True):
        assert (each.state, each.sent) == (PortState.OPEN, 1)
        assert {packet.raw[48:64] for packet in each.packets} == {target.packed}


def test_many_threads_ask_through_one_agent():
    wire = Wire(mute=TARGETS[::8])
    agent = Agent("v", wire)
    with ThreadPoolExecutor(len(TARGETS)) as pool:
        found = list(pool.map(lambda target: solicit(agent, None, target, Timing(window=0.3)), TARGETS))
    states = [PortState.NO_ANSWER if target in wire.mute else PortState.OPEN for target in TARGETS]
    assert [each.state for each in found] == states
    assert [each.sent for each in found] == [3 if target in wire.mute else 1 for target in TARGETS]
    assert not agent._files._listening  # nobody listens any more, so nothing is kept


def test_what_was_captured_before_is_no_answer():
    wire = Wire(mute=TARGETS)
    wire.caught("in", IPv6(src=str(TARGETS[0]), dst=OWN, hlim=255) / ICMPv6ND_NA(tgt=str(TARGETS[0])))
    assert solicit(Agent("v", wire), None, TARGETS[0], Timing(window=0.02)).state is PortState.NO_ANSWER


ASKED, ANSWER = 135, 136
SEEN = {
    PortState.NEVER_ARRIVED: ([], []),
    PortState.SILENT: ([("in", ASKED)], []),
    PortState.REPLY_LOST: ([("in", ASKED), ("out", ANSWER)], []),
    PortState.OPEN: ([("in", ASKED), ("out", ANSWER)], [("in", ANSWER)]),
}


@pytest.mark.parametrize("state", SEEN)
def test_each_end_counts_for_what_it_saw_of_this_solicitation_alone(state):
    """Beside it others ask for the same address, and whoever has it asks for it as well (RFC 4862, 5.4)."""
    target = TARGETS[0]
    packets = {
        ASKED: IPv6(src="fd00::9", dst="ff02::1:ff01:1", hlim=255) / ICMPv6ND_NS(tgt=str(target)),
        ANSWER: IPv6(src=str(target), dst=OWN, hlim=255) / ICMPv6ND_NA(tgt=str(target), S=1),
    }
    watching, asking = Wire(), Wire(mute=TARGETS)

    class Asking(Agent):
        def call(self, op, **words):
            answer = super().call(op, **words)
            if op == "send":
                ends = zip((watching, asking), (("out", ASKED), ("in", ASKED)), SEEN[state], strict=True)
                for wire, noise, seen in ends:
                    for direction, kind in (noise, *seen):
                        wire.caught(direction, packets[kind])
            return answer

    found = solicit(Asking("v", asking), Agent("h", watching), target, Timing(window=0.02))
    assert found.state is state
    assert found.arrived is (state is not PortState.NEVER_ARRIVED)
    assert {*watching.told} == {target}, "an agent tells of no address that it was not told of"


def test_an_answer_that_takes_its_time_is_waited_for():
    class Slow(Wire):
        looks = 0

        def op_get(self, request):
            self.looks += bool(self.asked)
            if self.looks == 3:
                target = TARGETS[0]
                self.caught("in", IPv6(src=str(target), dst=OWN, hlim=255) / ICMPv6ND_NA(tgt=str(target), S=1))
            return super().op_get(request)

    wire = Slow(mute=TARGETS)
    begun = time.monotonic()
    found = solicit(Agent("v", wire), None, TARGETS[0], Timing(window=20))
    assert (found.state, found.sent, wire.looks) == (PortState.OPEN, 1, 4)
    assert time.monotonic() - begun < 10
