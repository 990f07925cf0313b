"""A kernel to compare with: scratch namespaces of our own, a pair of interfaces, and packets built by hand.

Everything happens in a user and network namespace that ends with this object; there is no route out of it.
"""

import json
import os
import select
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import ClassVar

AGENT = textwrap.dedent(
    """
    import json, os, socket, struct, subprocess, sys
    raw = {}
    def run(argv, stdin):
        done = subprocess.run(argv, input=stdin, text=True, capture_output=True)
        return {"status": done.returncode, "out": done.stdout, "err": done.stderr}
    def send(packets):
        for kind, data, to in packets:
            data = bytes.fromhex(data)
            if kind.startswith("frame"):
                by = kind.removeprefix("frame").strip() or "outer"
                if by not in raw:
                    raw[by] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                    raw[by].bind((by, 0))
                raw[by].send(data)
            else:
                family = socket.AF_INET6 if kind == "ip6" else socket.AF_INET
                if kind not in raw:
                    raw[kind] = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
                try:
                    raw[kind].sendto(data, (to, 0))
                except PermissionError:
                    pass  # its own output rules refused it
        return {}
    def forget():
        # conntrack's whole table: NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE without a tuple (nf_conntrack_netlink.c)
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
        link.send(struct.pack("=IHHIIBBH", 20, 0x0102, 5, 1, 0, 0, 0, 0))
        status = struct.unpack_from("=i", link.recv(4096), 16)[0]
        link.close()
        return {"status": status}
    def heard(interfaces):
        # the frames that came in by interfaces since the last time; the first time, none
        frames = []
        for name in interfaces:
            if ("heard", name) not in raw:
                raw["heard", name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                raw["heard", name].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
                raw["heard", name].bind((name, 3))
                raw["heard", name].setblocking(False)
                continue
            try:
                while True:
                    data, where = raw["heard", name].recvfrom(2048)
                    if where[2] != socket.PACKET_OUTGOING:
                        frames.append((name, data.hex()))
            except BlockingIOError:
                pass
        return frames
    for line in sys.stdin:
        order = json.loads(line)
        if "argv" in order:
            answer = run(order["argv"], order["stdin"])
        elif "forget" in order:
            answer = forget()
        else:
            answer = heard(order["heard"]) if "heard" in order else send(order["packets"])
        print(json.dumps(answer), flush=True)
    """
)

SETUP = """
sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.accept_dad=0
sysctl -qw net.ipv6.conf.default.mldv1_unsolicited_report_interval=1
sysctl -qw net.ipv6.conf.default.mldv2_unsolicited_report_interval=1
ip link set lo up
ip link add outer address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02
ip link add far type veth peer name eth1
ip link set outer up
ip link set eth0 up
ip link set eth1 up
ip link set far up
ip addr add 10.0.0.10/32 dev eth0
ip route add 10.0.0.1 dev eth0
ip addr add fd00:0:0:1::10/128 dev eth0 nodad
ip addr add 10.9.0.1/24 dev eth1
ip addr add fd00:9::1/64 dev eth1 nodad
ip neigh add 10.9.0.7 lladdr 02:00:00:00:00:99 dev eth1
ip -6 neigh add fd00:9::7 lladdr 02:00:00:00:00:99 dev eth1
ip route add default via 10.0.0.1 dev eth0
ip neigh add 10.0.0.1 lladdr 02:00:00:00:00:99 dev eth0
ip -6 route add fd00:0:0:1::1 dev eth0
ip -6 route add default via fd00:0:0:1::1 dev eth0
ip route add blackhole 198.51.100.0/24
ip -6 route add blackhole 2001:db8:bad::/48
ip -6 neigh add fd00:0:0:1::1 lladdr 02:00:00:00:00:99 dev eth0
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.icmp_ratelimit=0
sysctl -qw net.ipv6.conf.outer.disable_ipv6=1 net.ipv6.conf.far.disable_ipv6=1
"""

SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"
# one after the other: the legacy tables' files in /proc belong to whoever is root when the network is made
OWN = ("unshare", "--user", "--map-root-user", "unshare", "--net")

WATCH = """
table inet watch {
  counter arrived { }
  counter came { }
  counter input { }
  counter forward { }
  counter output { }
  chain first {
    type filter hook prerouting priority -1000
    iifname "eth0" counter name arrived
    iifname "eth1" counter name came
  }
  chain input { type filter hook input priority 1000; iifname "eth0" counter name input; }
  chain forward { type filter hook forward priority 1000; counter name forward; }
  chain output { type filter hook output priority 1000; counter name output; }
}
"""


def available():
    """Return why no scratch kernel can be had here, or an empty text."""
    tried = subprocess.run(
        [*OWN, "nft", "list", "ruleset"],
        env=os.environ | {"PATH": SEARCH},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"no namespaces with netfilter here: {tried.stderr.strip()}"


KEEP = """
table inet keep {
  chain first {
    type filter hook prerouting priority 2000
    ct state new counter
  }
}
"""
"""Keeps connections tracked while tables come and go."""


class Kernel:
    """Namespaces of our own with an agent inside that runs commands and sends packets.

    ``done`` counts, over all kernels of a run, the tables that were loaded and the packets that were sent.
    """

    done: ClassVar = Counter()

    def __init__(self, lock, keep=KEEP):
        environment = os.environ | {"XTABLES_LOCKFILE": str(lock), "PATH": SEARCH}
        self.process = subprocess.Popen(
            [*OWN, "--kill-child", sys.executable, "-IS", "-c", AGENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        # 02:…:99 is nobody, so that what the host sends is not routed by it a second time
        try:
            for line in SETUP.strip().splitlines():
                self.run(*line.split())
            self.run("nft", "-f", "-", stdin=keep)
        except BaseException:
            self.close()
            raise

    def _ask(self, order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], 30)[0], "the agent does not answer"
        return json.loads(self.process.stdout.readline())

    def run(self, *argv, stdin="", check=True):
        answer = self._ask({"argv": argv, "stdin": stdin})
        loads = argv[0].endswith("-restore") or argv[:2] == ("nft", "-f")
        Kernel.done["tables"] += int(loads and "table inet watch" not in stdin)
        assert not check or answer["status"] == 0, (argv, answer["err"], stdin)
        return answer["out"]

    def clear(self):
        """Remove all tables but the one that keeps connections tracked, and all connections.

        Ports come round in a long run, and a connection that was seen before is not a new one.
        """
        answer = self._ask({"forget": True})
        assert answer["status"] == 0, answer
        names = [f"{family} {name}" for family in ("ip", "ip6") for name in ("raw", "mangle", "filter", "nat")]
        names.append("inet watch")
        self.run("nft", "-f", "-", stdin="".join(f"table {name} {{ }}\ndelete table {name}\n" for name in names))

    def watch(self):
        """Put counters before the first and after the last rule of every hook, on nobody's priorities."""
        self.run("nft", "-f", "-", stdin=WATCH)

    def watched(self):
        found = json.loads(self.run("nft", "-j", "list", "counters", "table", "inet", "watch"))
        return {o["counter"]["name"]: o["counter"]["packets"] for o in found["nftables"] if "counter" in o}

    def settle(self, arrived, name="arrived"):
        """Wait until as many packets have arrived as were sent; return all counters."""
        for _ in range(100):
            now = self.watched()
            if now[name] >= arrived:
                break
            time.sleep(0.01)
        assert now[name] == arrived, (name, now, arrived)
        return now

    def send(self, packets):
        Kernel.done["packets"] += len(packets)
        self._ask({"packets": packets})

    def heard(self, *interfaces):
        """Return the Ethernet frames that reached the far ends since the last call, each with its interface."""
        return [(name, bytes.fromhex(data)) for name, data in self._ask({"heard": interfaces})]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


@contextmanager
def scratch(tmp_path_factory, kind=Kernel, settle=2.5):
    """Give a kernel that knows its ``facts``, addresses and routes as ip prints them.

    ``settle``: seconds until its own multicast reports of the new interfaces are over, where packets are counted.
    """
    reason = available()
    assert not reason, reason
    made = kind(tmp_path_factory.mktemp("xtables") / "lock")
    made.facts = (made.run("ip", "-j", "addr"), made.run("ip", "-j", "route") + made.run("ip", "-6", "-j", "route"))
    time.sleep(settle)
    yield made
    made.close()


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128}


def other_transport(flow):
    """Return the bytes above IP of a protocol that conntrack does not know, or of SCTP without a right checksum."""
    if flow.proto == 50:
        return flow.spi.to_bytes(4, "big") + bytes(20)
    if flow.proto == 51:
        return b"\x3b\4\0\0" + flow.spi.to_bytes(4, "big") + bytes(16)
    if flow.proto in {33, 132}:
        ports = flow.sport.to_bytes(2, "big") + flow.dport.to_bytes(2, "big")
        # DCCP: data offset 4 words and a REQUEST; SCTP: a tag, a checksum that is wrong, an INIT
        rest = b"\4\0\0\0\1\0\0\0" + bytes(8) if flow.proto == 33 else bytes(4) + b"\1\2\3\4\1\0\0\x14" + bytes(16)
        return ports + rest
    return b"\x3b\0\1\0" + bytes(4) if flow.proto == 135 else bytes(8)  # a Mobility Header of type 1


def transport(flow, payload=b""):
    """Return the bytes above IP, with a right checksum, because conntrack looks at it."""
    six = flow.dst.version == 6
    if flow.proto not in {1, 6, 17, 58}:
        return other_transport(flow)
    if flow.proto == 6:
        flags = sum(FLAGS[name] for name in flow.flags)
        body = flow.sport.to_bytes(2, "big") + flow.dport.to_bytes(2, "big") + b"\0\0\0\1" + b"\0" * 4
        body += bytes([5 << 4, flags]) + b"\4\0\0\0\0\0" + payload
        at = 16
    elif flow.proto == 17:
        body = flow.sport.to_bytes(2, "big") + flow.dport.to_bytes(2, "big")
        body += (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload
        at = 6
    else:
        body = bytes([flow.icmp_type, flow.icmp_code, 0, 0]) + (payload or b"\0\7\0\1" + b"\0" * 20)
        at = 2
    pseudo = b""
    if flow.proto != 1:
        pseudo = flow.src.packed + flow.dst.packed
        size = len(body).to_bytes(4 if six else 2, "big")
        pseudo += size + b"\0\0\0" + bytes([flow.proto]) if six else b"\0" + bytes([flow.proto]) + size
    value = checksum(pseudo + body) or 0xFFFF
    return body[:at] + value.to_bytes(2, "big") + body[at + 2 :]


def ip_packet(flow, payload=b""):
    """Return a whole IP packet for a flow."""
    body = transport(flow, payload)
    if isinstance(flow.dst, IPv4Address):
        head = bytes([0x45, flow.tos]) + (20 + len(body)).to_bytes(2, "big") + b"\0\1\0\0"
        head += bytes([flow.ttl, flow.proto]) + b"\0\0" + flow.src.packed + flow.dst.packed
        return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body
    head = (6 << 28 | flow.tos << 20).to_bytes(4, "big") + len(body).to_bytes(2, "big")
    return head + bytes([flow.proto, flow.ttl]) + flow.src.packed + flow.dst.packed + body


def frame(flow, payload=b""):
    """Return an Ethernet frame that brings a flow's packet to eth0."""
    kind = b"\x08\x00" if flow.dst.version == 4 else b"\x86\xdd"
    source = bytes.fromhex((flow.mac_src or "02:00:00:00:00:01").replace(":", ""))
    return bytes.fromhex("020000000002") + source + kind + ip_packet(flow, payload)
