"""Rule sets whose every path is known beforehand, on one engine each, and traffic that meets them all. Not a test."""

import subprocess
import sys
from contextlib import contextmanager

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Flow
from fwproof.observation import Probe
from fwproof.semantics.model import HostModel

from . import sweepnet

ENGINES = ("nft", "legacy", "native")
"""iptables over nf_tables, iptables-legacy, and nftables by itself."""

PATHS = {
    ("tcp", 1000): ("INPUT:2", "side:1"),
    ("tcp", 1001): ("INPUT:2", "side:2"),
    ("tcp", 1002): ("INPUT:2", "side:3"),
    ("tcp", 1003): ("INPUT:2", "side:4", "INPUT:3"),
    ("tcp", 1004): ("INPUT:2", "side:5", "other:1", "other:2"),
    ("tcp", 1005): ("INPUT:2", "INPUT:policy"),
    ("udp", 2000): ("INPUT:4",),
    ("udp", 2001): ("INPUT:5",),
    ("udp", 9): ("INPUT:policy",),
    ("icmp", None): ("INPUT:6",),
}
"""By protocol and port, the rules below that match, by chain and number; the last one decides."""
ACCEPTED = {("tcp", 1000), ("tcp", 1003), ("udp", 2000), ("icmp", None)}

NATIVE = """
flush ruleset
table inet lab {
  chain INPUT {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    meta l4proto tcp jump side
    tcp dport 1003 accept
    udp dport 2000 accept
    udp dport { 2001, 2002 } drop
    meta l4proto { icmp, icmpv6 } accept
  }
  chain side {
    tcp dport 1000 accept
    tcp dport 1001 drop
    tcp dport 1002 reject with tcp reset
    tcp dport 1003 return
    tcp dport 1004 goto other
  }
  chain other {
    counter meta mark set 1
    drop
  }
}
"""

NOISE = """
import random, socket, sys, time
version, pps = int(sys.argv[1]), float(sys.argv[2])
four = version == 4
target = sys.argv[3]
udp = socket.socket(socket.AF_INET if four else socket.AF_INET6, socket.SOCK_DGRAM)
start, sent = time.monotonic(), 0
while True:
    if sent % 2:
        udp.sendto(b"not a probe", (target, random.choice((9, 2000, 2001, 2002))))
    else:
        with socket.socket(socket.AF_INET if four else socket.AF_INET6, socket.SOCK_STREAM) as tcp:
            tcp.setblocking(False)
            try:
                tcp.connect((target, random.randrange(1000, 1006)))
            except BlockingIOError:
                pass
    sent += 1
    time.sleep(max(0, start + sent / pps - time.monotonic()))
"""


def save(version):
    """Return the rules as iptables-restore wants them."""
    icmp = "icmp" if version == 4 else "ipv6-icmp"
    return f"""*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:other - [0:0]
:side - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -j side
-A INPUT -p tcp -m tcp --dport 1003 -j ACCEPT
-A INPUT -p udp -m udp --dport 2000 -j ACCEPT
-A INPUT -p udp -m multiport --dports 2001,2002 -j DROP
-A INPUT -p {icmp} -j ACCEPT
-A other -j MARK --set-xmark 0x1/0xffffffff
-A other -j DROP
-A side -p tcp -m tcp --dport 1000 -j ACCEPT
-A side -p tcp -m tcp --dport 1001 -j DROP
-A side -p tcp -m tcp --dport 1002 -j REJECT --reject-with tcp-reset
-A side -p tcp -m tcp --dport 1003 -j RETURN
-A side -p tcp -m tcp --dport 1004 -g other
COMMIT
"""


def load(net, engine):
    """Put the rules of one engine on the target."""
    net.run("target", "nft", "flush", "ruleset")
    if engine == "native":
        net.run("target", "nft", "-f", "-", stdin=NATIVE)
        return
    for version, tool in ((4, "iptables"), (6, "ip6tables")):
        net.run("target", f"{tool}-{engine}-restore", stdin=save(version))


def model(net, engine, change=lambda text: text):
    """Return the target's model, of its tables as they are or with a change to their text."""
    four, six = (("iptables-nft-save", "ip6tables-nft-save") if engine != "legacy" else
                 ("iptables-legacy-save", "ip6tables-legacy-save"))  # fmt: skip
    return HostModel.build(
        iptables_save=change(net.run("target", four)), ip6tables_save=change(net.run("target", six)),
        nft_json=change(net.run("target", "nft", "-j", "list", "ruleset")),
        addresses=net.run("target", "ip", "-j", "address"),
    )  # fmt: skip


def flow(version, proto, port=None):
    """Return a probe's flow from the vantage to the target."""
    numbers = {"tcp": TCP, "udp": UDP, "icmp": ICMP if version == 4 else ICMPV6}
    kind = {"icmp_type": 8 if version == 4 else 128, "icmp_code": 0} if proto == "icmp" else {}
    return Flow(src=sweepnet.VANTAGE[version], dst=sweepnet.TARGET[version], proto=numbers[proto], dport=port, **kind)


def probes(version):
    """Return a probe for every path."""
    return [
        Probe(ref=f"{proto} {port}", sender="vantage", receiver="target", flow=flow(version, proto, port))
        for proto, port in PATHS
    ]


def steps(path):
    """Return a path in the words of PATHS."""
    return tuple(f"{met.rule.chain}:{met.rule.rule or 'policy'}" for met in path.met)


@contextmanager
def noise(net, version, pps):
    """Send other people's packets to the same rules meanwhile, so many a second."""
    words = (sys.executable, "-c", NOISE, str(version), str(pps), str(sweepnet.TARGET[version]))
    process = subprocess.Popen(net.argv("vantage", *words))
    try:
        yield process
        assert process.poll() is None, "the noise has ended"
    finally:
        process.kill()
        process.wait()


def left_behind(net):
    """Return what tracing could leave on the target: its table, and a log that is not the one before."""
    tables = net.run("target", "nft", "list", "tables")
    logs = [net.run("target", "sysctl", "-n", f"net.netfilter.nf_log.{family}").strip() for family in (2, 10)]
    return [line for line in tables.splitlines() if "fwproof" in line], logs
