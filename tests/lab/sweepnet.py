"""Three namespaces, vantage - router - target, with a mixed rule set and a router that loses packets. Not a test."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from ipaddress import ip_address

from fwproof.probing.bootstrap import stream_argv, streamed
from fwproof.probing.channel import Agent
from fwproof.probing.local import ProcessChannel

SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"
VANTAGE = {4: ip_address("10.1.0.1"), 6: ip_address("fd00:1::1")}
TARGET = {4: ip_address("10.2.0.10"), 6: ip_address("fd00:2::10")}
OPEN = {"tcp": (22, 80, 11434), "udp": (53, 123)}
"""Ports that somebody listens on; the others that are accepted are closed."""
LISTENERS = """
import select, socket
socks = []
for kind, ports in ((socket.SOCK_STREAM, (22, 80, 11434)), (socket.SOCK_DGRAM, (53, 123))):
    for port in ports:
        sock = socket.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", port))
        if kind == socket.SOCK_STREAM: sock.listen(128)
        socks.append(sock)
print("ready", flush=True)
while True:
    for sock in select.select(socks, [], [])[0]:
        if sock.type == socket.SOCK_STREAM: sock.accept()[0].close()
        else: sock.sendto(b"pong", sock.recvfrom(4096)[1])
"""
CHAIN = (
    "-p tcp -m multiport --dports 22,80,11434,1000:1099 -j ACCEPT",
    "-p udp -m multiport --dports 53,123,1000:1099 -j ACCEPT",
    "-p tcp --dport 2000:2099 -j REJECT --reject-with tcp-reset",
    "-p tcp --dport 3000:3099 -j REJECT --reject-with {port}",
    "-p udp --dport 3000:3099 -j REJECT --reject-with {port}",
    "-p tcp --dport 4000:4099 -j REJECT --reject-with {admin}",
    "-p udp --dport 4000:4099 -j REJECT --reject-with {admin}",
    "-p tcp --dport 5000:5099 -j DROP",
)
MIXED = {
    "tcp": {"open": [22, 80, 11434], "closed": range(1000, 1100), "reset": range(2000, 2100),
            "port": range(3000, 3100), "admin": range(4000, 4100)},
    "udp": {"open": [53, 123], "closed": range(1000, 1100), "port": range(3000, 3100), "admin": range(4000, 4100)},
}  # fmt: skip
"""What the rules below do, by protocol; every other port is dropped."""


def save(version):
    """Return the target's tables as iptables-save prints them."""
    four = version == 4
    answers = {"port": "icmp-port-unreachable", "admin": "icmp-admin-prohibited"} if four else {
        "port": "icmp6-port-unreachable", "admin": "icmp6-adm-prohibited"}  # fmt: skip
    nd = [] if four else [f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT" for kind in (135, 136)]
    rules = ["-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", *nd, *(rule.format(**answers) for rule in CHAIN)]
    lines = ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]"]
    return "\n".join([*lines, *(f"-A INPUT {rule}" for rule in rules), "COMMIT", ""])


class Net:
    """The namespaces, by the process that holds each; everything ends with those."""

    def __init__(self):
        self.holders, self.others = {}, []

    def argv(self, host, *words):
        return ("nsenter", "-t", str(self.holders[host].pid), "-U", "-n", "--preserve-credentials", *words)

    def run(self, host, *words, stdin=""):
        done = subprocess.run(self.argv(host, *words), input=stdin, capture_output=True, text=True, check=False,
                              env={"PATH": SEARCH})  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def agent(self, host):
        return Agent(host, streamed(ProcessChannel(host, self.argv(host, *stream_argv(sudo=False)))))

    def texts(self):
        """Return what a model of the target is built from, as its snapshot would have it."""
        commands = {"iptables_save": "iptables-save", "ip6tables_save": "ip6tables-save", "addresses": "ip -j address"}
        return {name: self.run("target", *command.split()) for name, command in commands.items()}

    def lose(self, percent):
        """Let the router lose so many of the packets that it passes on, in either direction."""
        rule = f"numgen random mod 1000 < {percent * 10} drop" if percent else ""
        text = (
            f"flush ruleset\ntable inet loss {{\nchain c {{\ntype filter hook forward priority -150\n{rule}\n}}\n}}\n"
        )
        self.run("router", "nft", "-f", "-", stdin=text)

    def hold(self, name, argv):
        holder = subprocess.Popen([*argv, "sh", "-c", "echo up; exec sleep 3600"], stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "up\n", "namespaces cannot be made here: fwproof doctor says why"
        self.holders[name] = holder


@contextmanager
def made():
    """Make the net, and leave nothing behind."""
    net = Net()
    try:
        net.hold("base", ["unshare", "--user", "--map-root-user", "--net"])
        for name in ("vantage", "router", "target"):
            net.hold(name, net.argv("base", "unshare", "--net"))
        _wire(net)
        for version, command in ((4, "iptables-restore"), (6, "ip6tables-restore")):
            net.run("target", command, stdin=save(version))
        service = subprocess.Popen(
            net.argv("target", sys.executable, "-c", LISTENERS), stdout=subprocess.PIPE, text=True
        )
        net.others.append(service)
        assert service.stdout.readline() == "ready\n"
        yield net
    finally:
        for process in (*net.others, *reversed(net.holders.values())):
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()


def _wire(net):
    for host, link in (("vantage", "v"), ("target", "t")):
        net.run("base", "ip", "link", "add", f"{link}0", "type", "veth", "peer", "name", f"r{link}")
        net.run("base", "ip", "link", "set", f"{link}0", "netns", str(net.holders[host].pid))
        net.run("base", "ip", "link", "set", f"r{link}", "netns", str(net.holders["router"].pid))
    for host, link, four, six in (
        ("vantage", "v0", "10.1.0.1/24", "fd00:1::1/64"), ("router", "rv", "10.1.0.254/24", "fd00:1::fe/64"),
        ("router", "rt", "10.2.0.254/24", "fd00:2::fe/64"), ("target", "t0", "10.2.0.10/24", "fd00:2::10/64"),
    ):  # fmt: skip
        net.run(host, "sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0")
        net.run(host, "ip", "address", "add", four, "dev", link)
        net.run(host, "ip", "address", "add", six, "dev", link, "nodad")
        net.run(host, "ip", "link", "set", link, "up")
        net.run(host, "ip", "link", "set", "lo", "up")
    for host, link, four, six in (("vantage", "v0", "10.1.0.254", "fd00:1::fe"), ("target", "t0", "10.2.0.254",
                                  "fd00:2::fe")):  # fmt: skip
        net.run(host, "ip", "route", "add", "default", "via", four, "dev", link)
        net.run(host, "ip", "-6", "route", "add", "default", "via", six, "dev", link)
    net.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
