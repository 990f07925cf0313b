"""A busy machine, and a large estate: looks that take longer than an answer, more probes than there are ports."""

import json
import time
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP

from fwproof.flow import TCP as TCP_NUMBER
from fwproof.flow import Flow
from fwproof.observation import PortState, Probe
from fwproof.probing import observe, ports
from fwproof.probing.agent import VERSION
from fwproof.probing.channel import Agent
from fwproof.probing.observe import Prober
from fwproof.probing.volley import Timing

OWN, TARGET = "10.0.0.1", "10.0.0.2"
WINDOW = 0.1
LINK = {"name": "eth0", "index": 2, "mac": "02:00:00:00:00:01", "up": True, "addresses": [OWN]}
HELLO = {"version": VERSION, "python": "3", "uid": 0, "capabilities": 0, "kernel": "", "interfaces": [LINK]}


class Wire:
    """An agent's channel to hosts of which some answer; its first look may take three times the window."""

    def __init__(self, *, slow=False, mute=()):
        self.slow, self.mute, self.held, self.answers = slow, mute, [], []

    def send(self, data):
        request = json.loads(data)
        answer = getattr(self, f"op_{request['op']}", lambda _: {})(request)
        self.answers.append(json.dumps({"ref": request["ref"], "ok": answer}).encode() + b"\n")

    def readline(self, timeout):
        return self.answers.pop(0)

    def close(self):
        pass

    def op_hello(self, _request):
        return HELLO | {"time": time.time_ns()}

    def op_route(self, _request):
        return {"via": "", "local": False, "index": 2, "source": OWN, "neighbour": "reachable"}

    def op_send(self, request):
        for frame in request["frames"]:
            probe = IP(bytes.fromhex(frame))
            said = IP(src=probe.dst, dst=OWN) / TCP(sport=22, dport=probe.sport, flags="SA", ack=probe.seq + 1)
            self.hold("out", "probe", probe.sport, probe)
            if probe.dst not in self.mute:
                self.hold("in", "answer", probe.sport, said)
        return {"sent": [[0, time.time_ns()]] * len(request["frames"])}

    def hold(self, side, role, port, packet):
        self.held.append([time.time_ns(), side, "eth0", role, 6, port, bytes(packet).hex()])

    def op_get(self, _request):
        seen, self.held = ([], self.held) if self.slow else (self.held, [])
        time.sleep(3 * WINDOW if self.slow else 0)
        self.slow = False
        return {"packets": seen, "confirmed": [], "tracking": {}, "lost": 0}


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
