"""A link that a test makes up, as the channel of the agent that stands on it. Not a test itself."""

import json
import time

from fwproof.probing.agent import VERSION


class Link:
    """Each operation is a method ``op_NAME``; what is ``held`` as captured is fetched once."""

    own = ""

    def __init__(self):
        self.held, self.answers = [], []

    def send(self, data):
        request = json.loads(data)
        answer = getattr(self, f"op_{request['op']}", lambda _: {})(request)
        self.answers.append(json.dumps({"ref": request["ref"], "ok": answer}).encode() + b"\n")

    def readline(self, timeout):
        return self.answers.pop(0)

    def close(self):
        pass

    def op_hello(self, _request):
        link = {"name": "eth0", "index": 2, "mac": "02:00:00:00:00:01", "up": True, "addresses": [self.own]}
        return {
            "version": VERSION, "python": "3", "uid": 0, "capabilities": 0, "kernel": "", "time": time.time_ns(),
            "interfaces": [link],
        }  # fmt: skip

    def op_route(self, _request):
        return {"via": "", "local": False, "index": 2, "source": self.own, "neighbour": "reachable"}

    def op_get(self, _request):
        packets, self.held = self.held, []
        return {"packets": packets, "confirmed": [], "tracking": {}, "lost": 0}

    def hold(self, side, role, proto, port, packet):
        self.held.append([time.time_ns(), side, "eth0", role, proto, port, bytes(packet).hex()])
