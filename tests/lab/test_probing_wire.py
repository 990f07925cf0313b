"""The prober on real kernels: three network namespaces of our own, vantage - router - target, no way out."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from fwproof.errors import AgentRefused, HostError
from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Flow
from fwproof.observation import PortState, Probe
from fwproof.probing.bootstrap import stream_argv, streamed
from fwproof.probing.channel import Agent
from fwproof.probing.local import ProcessChannel
from fwproof.probing.observe import Prober
from fwproof.probing.shot import Timing

pytestmark = pytest.mark.lab

SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"

VANTAGE = {4: ip_address("10.1.0.1"), 6: ip_address("fd00:1::1")}
TARGET = {4: ip_address("10.2.0.10"), 6: ip_address("fd00:2::10")}
ROUTER = {4: ip_address("10.1.0.254"), 6: ip_address("fd00:1::fe")}

SERVICES = """
import select, socket, sys
tcp = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(("::", 5353))
mute = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
mute.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
mute.bind(("::", 5354))
print("ready", flush=True)
while True:
    for sock in select.select([tcp, udp, mute], [], [])[0]:
        if sock is tcp:
            peer, _ = sock.accept()
            peer.settimeout(1)
            try:
                peer.recv(4096) and peer.sendall(b"HTTP/1.0 401 Unauthorized\\r\\n\\r\\n")
            except OSError:
                pass
            peer.close()
        elif sock is udp:
            data, peer = sock.recvfrom(4096)
            sock.sendto(b"pong", peer)
        else:
            mute.recvfrom(4096)
"""

STATEFUL = """
table inet t {
  chain i {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    icmp type echo-request accept
    icmpv6 type echo-request accept
    tcp dport { 8080, 8081, 9090 } accept
    udp dport { 5353, 5354, 5355 } accept
    tcp dport 2000 reject with tcp reset
    tcp dport 3000 reject
    udp dport 3000 reject
  }
  chain o {
    type filter hook output priority 0; policy accept;
    tcp sport 9090 drop
  }
}
"""


@dataclass
class Net:
    """Three namespaces, by the process that holds each."""

    holders: dict

    def argv(self, host, *words):
        return ("nsenter", "-t", str(self.holders[host].pid), "-U", "-n", "--preserve-credentials", *words)

    def run(self, host, *words, stdin=""):
        path = {"PATH": SEARCH}
        done = subprocess.run(
            self.argv(host, *words), input=stdin, capture_output=True, text=True, check=False, env=path
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def rules(self, host, text):
        self.run(host, "nft", "-f", "-", stdin="flush ruleset\n" + text.replace("} }", "}\n}"))

    def agent(self, host):
        return Agent(host, streamed(ProcessChannel(host, self.argv(host, *stream_argv(sudo=False)))))


def hold(argv):
    holder = subprocess.Popen([*argv, "sh", "-c", "echo up; exec sleep 600"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "up\n", "namespaces cannot be made here: fwproof doctor says why"
    return holder


@pytest.fixture(scope="module")
def net():
    for tool in ("unshare", "nsenter", "ip", "nft"):
        assert shutil.which(tool, path=SEARCH), f"{tool} is needed to make namespaces"
    base = hold(["unshare", "--user", "--map-root-user", "--net"])
    net = Net({"base": base})
    for name in ("vantage", "router", "target"):
        net.holders[name] = hold(net.argv("base", "unshare", "--net"))
    pids = {name: str(holder.pid) for name, holder in net.holders.items()}
    for host, link in (("vantage", "v"), ("target", "t")):
        net.run("base", "ip", "link", "add", f"{link}0", "type", "veth", "peer", "name", f"r{link}")
        net.run("base", "ip", "link", "set", f"{link}0", "netns", pids[host])
        net.run("base", "ip", "link", "set", f"r{link}", "netns", pids["router"])
    setup(net)
    services = subprocess.Popen(net.argv("target", sys.executable, "-c", SERVICES), stdout=subprocess.PIPE, text=True)
    assert services.stdout.readline() == "ready\n"
    yield net
    for process in (services, *net.holders.values()):
        process.kill()
        process.wait()
        process.stdout.close()


def setup(net):
    def ip(host, line):
        net.run(host, "ip", *line.split())

    for host in ("vantage", "router", "target"):
        ip(host, "link set lo up")
    for host, link, four, six in (
        ("vantage", "v0", "10.1.0.1/24", "fd00:1::1/64"),
        ("router", "rv", "10.1.0.254/24", "fd00:1::fe/64"),
        ("router", "rt", "10.2.0.254/24", "fd00:2::fe/64"),
        ("target", "t0", "10.2.0.10/24", "fd00:2::10/64"),
    ):
        net.run(host, "sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0")
        ip(host, f"address add {four} dev {link}")
        ip(host, f"address add {six} dev {link} nodad")
        ip(host, f"link set {link} up")
    for host, link, four, six in (
        ("vantage", "v0", "10.1.0.254", "fd00:1::fe"),
        ("target", "t0", "10.2.0.254", "fd00:2::fe"),
    ):
        ip(host, f"route add default via {four} dev {link}")
        ip(host, f"-6 route add default via {six} dev {link}")
    net.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


@pytest.fixture(scope="module")
def agents(net):
    started = {host: net.agent(host) for host in ("vantage", "router", "target")}
    yield started
    for agent in started.values():
        agent.close()


@pytest.fixture(scope="module")
def prober(agents):
    with Prober(agents, timing=Timing(window=0.6, settle=0.25)) as prober:
        yield prober


@pytest.fixture(autouse=True)
def clean(net):
    for host in ("vantage", "router", "target"):
        net.rules(host, "")
    net.rules("target", STATEFUL)


def flow(version, proto, port=None, **more):
    return Flow(src=VANTAGE[version], dst=TARGET[version], proto=proto, dport=port, **more)


def ask(prober, *flows, sender="vantage", receiver="target", **more):
    probes = [Probe(ref=str(index), sender=sender, receiver=receiver, flow=each) for index, each in enumerate(flows)]
    found = prober.observe(probes, **more)
    assert list(found) == [probe.ref for probe in probes]
    return list(found.values())


def states(observations):
    return [seen.state if not isinstance(seen, HostError) else seen for seen in observations]


CASES = [
    (TCP, 8080, PortState.OPEN, True),
    (TCP, 8081, PortState.CLOSED, True),
    (TCP, 9999, PortState.SILENT, False),
    (TCP, 2000, PortState.REJECTED, False),
    (TCP, 3000, PortState.REJECTED, False),
    (TCP, 9090, PortState.ACCEPTED_SILENT, True),
    (UDP, 5353, PortState.OPEN, True),
    (UDP, 5354, PortState.ACCEPTED_SILENT, True),
    (UDP, 5355, PortState.CLOSED, True),
    (UDP, 9999, PortState.SILENT, False),
    (UDP, 3000, PortState.REJECTED, False),
    ("icmp", None, PortState.OPEN, True),
]


@pytest.mark.parametrize("version", [4, 6])
def test_each_state_is_told_apart(prober, version):
    icmp = ICMP if version == 4 else ICMPV6
    flows = [flow(version, icmp if proto == "icmp" else proto, port) for proto, port, _, _ in CASES]
    found = ask(prober, *flows)
    assert states(found) == [state for _, _, state, _ in CASES], [seen.note for seen in found]
    assert [seen.let_in for seen in found] == [let_in for _, _, _, let_in in CASES]
    assert all(seen.arrived and seen.confirmed is let_in for seen, (_, _, _, let_in) in zip(found, CASES, strict=True))
    assert all(seen.packets for seen in found)


def test_no_half_open_connection_stays(net, prober):
    ask(prober, *[flow(4, TCP, port) for port in (8080, 9090) for _ in range(5)])
    net.rules("vantage", "table inet t { chain i { type filter hook input priority 0; ip saddr 10.2.0.10 drop; } }")
    lost = ask(prober, flow(4, TCP, 8080), retries=0)
    time.sleep(0.2)
    sockets = Path(f"/proc/{net.holders['target'].pid}/net/tcp6").read_text().splitlines()
    half_open = [line for line in sockets if line.split()[3] == "03"]  # TCP_SYN_RECV, net/tcp_states.h
    assert half_open == []
    assert states(lost) == [PortState.OPEN], "the capture is before the sender's own input rules"


def test_reply_dropped_on_the_way_back(net, prober):
    net.rules("router", "table inet t { chain f { type filter hook forward priority 0; tcp sport 8080 drop; } }")
    (seen,) = ask(prober, flow(4, TCP, 8080))
    assert (seen.state, seen.sent, seen.let_in) == (PortState.REPLY_LOST, 2, True)


def test_blocked_before_the_target_with_a_control(net, prober):
    net.rules("router", "table inet t { chain f { type filter hook forward priority 0; tcp dport 8080 drop; } }")
    blocked, other = ask(prober, flow(4, TCP, 8080), flow(4, TCP, 8081))
    assert (blocked.state, blocked.sent, blocked.arrived) == (PortState.NEVER_ARRIVED, 3, False)
    assert "did arrive" in blocked.note
    assert other.state is PortState.CLOSED


def test_a_control_packet_is_sent_where_no_other_probe_serves(net, agents):
    net.rules("router", "table inet t { chain f { type filter hook forward priority 0; tcp dport 8080 drop; } }")
    with Prober(agents, timing=Timing(window=0.3)) as prober:
        (seen,) = ask(prober, flow(4, TCP, 8080), retries=0)
    assert seen.state is PortState.NEVER_ARRIVED
    assert "did arrive" in seen.note


def test_a_way_that_comes_up_late_is_not_called_blocked(net, agents, monkeypatch):
    net.rules("router", "table inet t { chain f { type filter hook forward priority 0; policy drop; } }")
    with Prober(agents, timing=Timing(window=0.3)) as prober:
        send, volleys = prober._volley, []

        def opening_after_the_first(cases, timing, tos=0):
            if cases and volleys:
                net.rules("router", "")
            volleys.extend(cases[:1])
            send(cases, timing, tos)

        monkeypatch.setattr(prober, "_volley", opening_after_the_first)
        (seen,) = ask(prober, flow(4, TCP, 8080), retries=0)
    assert (seen.state, seen.sent) == (PortState.OPEN, 2)


def test_nothing_arrives_at_all(net, agents):
    net.rules("router", "table inet t { chain f { type filter hook forward priority 0; policy drop; } }")
    with Prober(agents, timing=Timing(window=0.3)) as prober:
        (seen,) = ask(prober, flow(6, TCP, 8080), retries=0)
    assert seen.state is PortState.UNREACHABLE
    assert "nor control packets" in seen.note


@pytest.mark.parametrize(
    ("reject", "state"),
    [("icmpx type host-unreachable", PortState.UNREACHABLE), ("icmpx type admin-prohibited", PortState.NEVER_ARRIVED)],
)
def test_a_router_refuses(net, prober, reject, state):
    net.rules("router", f"table inet t {{ chain f {{ type filter hook forward priority 0; reject with {reject}\n }} }}")
    (seen,) = ask(prober, flow(4, TCP, 8080))
    assert seen.state is state
    assert str(ROUTER[4]) in seen.note


@pytest.mark.parametrize("version", [4, 6])
def test_the_senders_own_rules_refuse(net, prober, version):
    net.rules("vantage", "table inet t { chain o { type filter hook output priority 0; th dport 8080 drop; } }")
    (seen,) = ask(prober, flow(version, TCP, 8080))
    assert (seen.state, seen.sent) == (PortState.REFUSED_LOCALLY, 1)


@pytest.mark.parametrize("address", ["10.1.0.77", "fd00:1::77"])
def test_nobody_on_the_link(prober, address):
    absent = ip_address(address)
    (seen,) = ask(prober, Flow(src=VANTAGE[absent.version], dst=absent, proto=TCP, dport=22), receiver="nobody")
    assert seen.state is PortState.UNREACHABLE
    assert address in seen.note


@pytest.mark.parametrize("address", ["10.1.0.78", "fd00:1::78"])
def test_the_kernel_gives_up_resolving_while_we_watch(net, prober, address):
    absent = ip_address(address)
    net.run("vantage", "sysctl", "-qw", f"net.ipv{absent.version}.neigh.v0.retrans_time_ms=50")
    probe = Flow(src=VANTAGE[absent.version], dst=absent, proto=TCP, dport=22)
    begun = time.monotonic()
    (seen,) = ask(prober, probe, receiver="nobody", window=8.0)
    assert time.monotonic() - begun < 6, "the sender's own ICMP error says it at once"
    assert (seen.state, seen.sent) == (PortState.UNREACHABLE, 1)
    assert address in seen.note, "the sender's own ICMP error is not a router's"


def test_without_a_route(net, prober):
    net.run("vantage", "ip", "route", "add", "unreachable", "192.0.2.0/24")
    (seen,) = ask(prober, Flow(src=VANTAGE[4], dst=ip_address("192.0.2.1"), proto=UDP, dport=53), receiver="nobody")
    assert seen.state is PortState.UNREACHABLE


def test_one_end_only(agents):
    with Prober({"vantage": agents["vantage"]}, timing=Timing(window=0.4)) as prober:
        found = ask(prober, *[flow(4, TCP, port) for port in (8080, 8081, 2000, 9999)], retries=1)
    assert states(found) == [PortState.OPEN, PortState.CLOSED, PortState.REJECTED, PortState.NO_ANSWER]
    assert all(seen.arrived is None and seen.confirmed is None for seen in found)


def test_without_conntrack_silence_is_no_proof(net, agents):
    net.rules("target", "table inet t { chain i { type filter hook input priority 0; tcp dport 9999 drop; } }")
    with Prober(agents, timing=Timing(window=0.4)) as prober:
        found = ask(prober, *[flow(4, TCP, port) for port in (8080, 8081, 9999)])
    assert states(found) == [PortState.OPEN, PortState.CLOSED, PortState.NO_ANSWER]
    assert found[2].arrived
    assert found[2].let_in is None


def test_untracked_silence_is_no_proof_even_where_conntrack_runs(net, agents):
    raw = "chain r { type filter hook prerouting priority -300; tcp dport { 8080, 9999 } notrack\n}\n"
    filtering = "chain i { type filter hook input priority 0; ct state established accept\ntcp dport 9999 drop\n}\n"
    net.rules("target", f"table inet t {{ {raw}{filtering} }}")
    with Prober(agents, timing=Timing(window=0.4)) as prober:
        found = ask(prober, *[flow(4, proto, port) for proto, port in ((TCP, 8080), (TCP, 9999), (UDP, 5354))])
    assert states(found) == [PortState.OPEN, PortState.NO_ANSWER, PortState.ACCEPTED_SILENT]
    assert [seen.confirmed for seen in found] == [None, None, True]


@pytest.mark.parametrize("version", [4, 6])
def test_burst_counts_what_a_limit_lets_in(net, prober, version):
    family = "ip" if version == 4 else "ip6"
    net.rules(
        "target",
        f"table {family} t {{ set s {{ type {'ipv4' if version == 4 else 'ipv6'}_addr; flags dynamic; }}\n"
        f"chain i {{ type filter hook input priority 0; ct state established accept\n"
        f"tcp dport 8080 ct state new add @s {{ {family} saddr limit rate over 20/minute burst 20 packets }} drop\n"
        "} }",
    )
    found = prober.burst("vantage", "target", flow(version, TCP, 8080), 25, gap=0.01)
    assert [seen.confirmed for seen in found] == [True] * 20 + [False] * 5
    assert [seen.state for seen in found] == [PortState.OPEN] * 20 + [PortState.SILENT] * 5
    assert all(seen.arrived and seen.sent == 1 for seen in found)
    assert len({seen.probe.flow.sport for seen in found}) == 25


def test_nat_on_the_way_is_noticed(net, prober):
    net.rules("router", "table ip n { chain p { type nat hook postrouting priority 100; masquerade; } }")
    (seen,) = ask(prober, flow(4, TCP, 8080))
    assert seen.state is PortState.OPEN
    assert "10.2.0.254" in seen.note


PROXY = """
import socket
server = socket.create_server(("::", 7777), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""


@pytest.mark.parametrize("version", [4, 6])
def test_what_answers_in_the_place_of_the_target_is_told(net, prober, version):
    net.rules("router", "table inet n { chain p { type nat hook prerouting priority -100;"
                        " tcp dport { 9999, 9998 } redirect to :7777; } }")  # fmt: skip
    with subprocess.Popen(net.argv("router", sys.executable, "-c", PROXY), stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout.readline() == "ready\n"
        open_, shut = ask(prober, flow(version, TCP, 9999), flow(version, TCP, 2000))
        proxy.kill()
    (reset,) = ask(prober, flow(version, TCP, 9998))
    assert (open_.state, open_.answer, open_.arrived) == (PortState.NEVER_ARRIVED, "SYN/ACK", False)
    assert open_.answered_for
    assert not shut.answered_for
    assert (reset.state, reset.answer, reset.answered_for) == (PortState.NEVER_ARRIVED, "RST", False)


def test_a_host_may_probe_itself(net, prober):
    here = Flow(src=ip_address("127.0.0.1"), dst=ip_address("127.0.0.1"), proto=TCP, dport=8080)
    (seen,) = ask(prober, here, sender="target")
    assert (seen.state, seen.arrived, seen.confirmed) == (PortState.OPEN, True, None)
    net.rules("target", "table inet t { chain o { type filter hook output priority 0; oif lo drop; } }")
    (refused,) = ask(prober, here, sender="target")
    assert refused.state is PortState.REFUSED_LOCALLY


def test_neighbour_discovery(net, prober):
    fine = prober.neighbour("vantage", "router", ROUTER[6])
    assert (fine.state, fine.arrived) == (PortState.OPEN, True)
    net.rules("router", "table ip6 t { chain i { type filter hook input priority 0; policy drop; } }")
    dropped = prober.neighbour("vantage", "router", ROUTER[6])
    assert (dropped.state, dropped.arrived, dropped.packets != ()) == (PortState.SILENT, True, True)
    net.rules("vantage", "table ip6 t { chain o { type filter hook output priority 0; policy drop; } }")
    assert prober.neighbour("vantage", "router", ROUTER[6]).state is PortState.REFUSED_LOCALLY
    with pytest.raises(AgentRefused, match="not on one of its links"):
        prober.neighbour("vantage", "target", TARGET[6])


def test_a_packet_that_the_senders_queue_had_no_room_for_is_told(net, prober):
    net.run("vantage", "tc", "qdisc", "add", "dev", "v0", "root", "bfifo", "limit", "1")
    try:
        seen = prober.observe([Probe(ref="p", sender="vantage", receiver="target", flow=flow(4, TCP, 8080))])["p"]
    finally:
        net.run("vantage", "tc", "qdisc", "del", "dev", "v0", "root")
    assert (seen.state, seen.sent) == (PortState.UNREACHABLE, 3)
    assert "Its queue or its table of neighbours may be full" in seen.note


def test_connect(net, prober):
    request = b"GET / HTTP/1.0\r\n\r\n"
    assert prober.connect("vantage", TARGET[4], 8080, payload=request).data.startswith(b"HTTP/1.0 401")
    assert prober.connect("vantage", TARGET[6], 8080).result == "connected"
    assert prober.connect("vantage", TARGET[4], 8081).result == "ECONNREFUSED"
    assert prober.connect("vantage", TARGET[4], 9999, timeout=0.3).result == "timeout"
    net.rules("target", "table inet t { chain i { type filter hook input priority 0; iif lo drop; } }")
    assert prober.connect("target", ip_address("127.0.0.1"), 8080, timeout=0.3).result == "timeout"
    net.rules("target", "")
    assert prober.connect("target", ip_address("127.0.0.1"), 8080).ok


def test_a_dead_agent_spoils_its_own_probes_only(net, agents):
    dead = net.agent("router")
    dead.close()
    known = {"vantage": agents["vantage"], "router": dead}
    with Prober(known, timing=Timing(window=0.3)) as prober:
        good = Probe(ref="good", sender="vantage", receiver="target", flow=flow(4, TCP, 8080))
        bad = Probe(ref="bad", sender="vantage", receiver="router", flow=flow(4, TCP, 22))
        found = prober.observe([good, bad])
    assert isinstance(found["bad"], HostError)
    assert found["good"].state is PortState.OPEN


def test_two_audits_do_not_share_a_host(net, agents, prober):
    ask(prober, flow(4, TCP, 8080))
    second = net.agent("vantage")
    try:
        with pytest.raises(AgentRefused, match="another fwproof audit"):
            second.call("capture", cookie=1)
    finally:
        second.close()


def test_sources_are_forgotten_only_when_they_probed(net, agents, prober):
    net.run(
        "target",
        "iptables-nft",
        "-I",
        "INPUT",
        "-p",
        "tcp",
        "--dport",
        "8080",
        "-m",
        "recent",
        "--set",
        "--name",
        "LIM",
    )
    ask(prober, flow(4, TCP, 8080))
    with pytest.raises(AgentRefused, match="no probe of this run has arrived"):
        agents["target"].forget(ip_address("10.2.0.99"))
    if os.geteuid() != 0:  # the lists of a user namespace belong to the machine's root
        with pytest.raises(AgentRefused, match="forgets by itself"):
            agents["target"].forget(VANTAGE[4])
        return
    assert agents["target"].forget(VANTAGE[4]) == ("LIM",)
    assert agents["target"].forget(VANTAGE[4]) == ()
