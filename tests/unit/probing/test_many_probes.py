"""A busy machine, and a large estate: looks that take longer than an answer, more probes than there are ports."""

import time
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP

from fwproof.flow import TCP as TCP_NUMBER
from fwproof.flow import Flow
from fwproof.observation import PortState, Probe
from fwproof.probing import observe, ports
from fwproof.probing.channel import Agent
from fwproof.probing.observe import Prober
from fwproof.probing.shot import Timing

from .links import Link

OWN, TARGET = "10.0.0.1", "10.0.0.2"
WINDOW = 0.1


class Wire(Link):
    """Hosts of which some answer; the first look may take three times the window."""

    own = OWN

    def __init__(self, *, slow=False, mute=()):
        super().__init__()
        self.slow, self.mute = slow, mute

    def op_send(self, request):
        for frame in request["frames"]:
            probe = IP(bytes.fromhex(frame))
            said = IP(src=probe.dst, dst=OWN) / TCP(sport=22, dport=probe.sport, flags="SA", ack=probe.seq + 1)
            self.hold("out", "probe", 6, probe.sport, probe)
            if probe.dst not in self.mute:
                self.hold("in", "answer", 6, probe.sport, said)
        return {"sent": [[0, time.time_ns()]] * len(request["frames"])}

    def op_get(self, request):
        if not self.slow:
            return super().op_get(request)
        self.slow = False
        time.sleep(3 * WINDOW)
        return {"packets": [], "confirmed": [], "tracking": {}, "lost": 0}


def probe_to(target, ref):
    flow = Flow(src=ip_address(OWN), dst=ip_address(target), proto=TCP_NUMBER, sport=50000, dport=22)
    return Probe(ref=ref, sender="v", receiver="h", flow=flow)


def test_an_answer_that_came_during_a_slow_look_is_seen():
    with Prober({"v": Agent("v", Wire(slow=True))}, timing=Timing(window=WINDOW)) as prober:
        seen = prober.observe([probe_to(TARGET, "p")])["p"]
    assert (seen.state, seen.sent) == (PortState.OPEN, 1)


@pytest.mark.parametrize("mute", [{0, 5}, {4, 7}])
def test_a_port_that_is_used_again_takes_nothing_from_the_probe_before(monkeypatch, mute):
    """With four ports, the fifth probe has the first one's: each is told what became of itself."""
    monkeypatch.setattr(ports, "BLOCK", 4)
    monkeypatch.setattr(observe, "_BATCH", 2)
    targets = [f"10.0.1.{n}" for n in range(8)]
    wire = Wire(mute={targets[n] for n in mute})
    with Prober({"v": Agent("v", wire)}, timing=Timing(window=WINDOW)) as prober:
        seen = prober.observe([probe_to(target, target) for target in targets], retries=0)
    assert {n for n, target in enumerate(targets) if seen[target].state is not PortState.OPEN} == mute
    for target in targets:
        assert {end for each in seen[target].packets for end in (IP(each.raw).src, IP(each.raw).dst)} == {OWN, target}
