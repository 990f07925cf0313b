"""A busy machine: a look at the captures takes longer than an answer is waited for."""

import json
import time
from ipaddress import ip_address

from scapy.layers.inet import IP, TCP

from fwproof.flow import TCP as TCP_NUMBER
from fwproof.flow import Flow
from fwproof.observation import PortState, Probe
from fwproof.probing.agent import VERSION
from fwproof.probing.channel import Agent
from fwproof.probing.observe import Prober
from fwproof.probing.volley import Timing

OWN, TARGET = "10.0.0.1", "10.0.0.2"
WINDOW = 0.1
LINK = {"name": "eth0", "index": 2, "mac": "02:00:00:00:00:01", "up": True, "addresses": [OWN]}
HELLO = {"version": VERSION, "python": "3", "uid": 0, "capabilities": 0, "kernel": "", "interfaces": [LINK]}


class Slow:
    """An agent's channel whose first look takes three times the window; the answer comes while it lasts."""

    def __init__(self):
        self.looks, self.held, self.answers = 0, [], []

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
        probe = IP(bytes.fromhex(request["frames"][0]))
        said = IP(src=TARGET, dst=OWN) / TCP(sport=probe.dport, dport=probe.sport, flags="SA", ack=probe.seq + 1)
        self.held = [
            [time.time_ns(), side, "eth0", role, 6, probe.sport, bytes(packet).hex()]
            for side, role, packet in (("out", "probe", probe), ("in", "answer", said))
        ]
        return {"sent": [[0, time.time_ns()]] * len(request["frames"])}

    def op_get(self, _request):
        self.looks += 1
        seen = self.held if self.looks > 1 else []
        time.sleep(3 * WINDOW if self.looks == 1 else 0)
        return {"packets": seen, "confirmed": [], "tracking": {}, "lost": 0}


def test_an_answer_that_came_during_a_slow_look_is_seen():
    flow = Flow(src=ip_address(OWN), dst=ip_address(TARGET), proto=TCP_NUMBER, sport=50000, dport=22)
    probe = Probe(ref="p", sender="v", receiver="h", flow=flow)
    with Prober({"v": Agent("v", Slow())}, timing=Timing(window=WINDOW)) as prober:
        seen = prober.observe([probe])["p"]
    assert (seen.state, seen.sent) == (PortState.OPEN, 1)
