"""Large rule tables of three kinds, as iptables-save prints them, for benchmarks and scale tests.

``blocklist``: thousands of single addresses before a few services. ``kube``: a dispatch by address to a small
chain for each pod. ``acl``: nested prefixes and port ranges that overlap heavily, as in ClassBench's ACLs.
"""

import random
import re
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from fwproof.flow import Flow, Hook

PORTS = (22, 53, 80, 123, 443, 587, 993, 3306, 5432, 6379, 8080, 8443, 9090, 9100, 11434, 27017)
KINDS = ("blocklist", "kube", "acl")


def table(kind, count, version=4, seed=1):
    """Return the text of a filter table with about ``count`` rules."""
    rng = random.Random(seed)
    return {"blocklist": _blocklist, "kube": _kube, "acl": _acl}[kind](rng, count, version)


def memory():
    """Return the most memory that this process had, in megabytes; getrusage() would count its parent's as well."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


def hook_of(kind):
    """Return the hook that a table's rules are about."""
    return Hook.INPUT if kind == "blocklist" else Hook.FORWARD


def packets(rng, text, version, hook, count):
    """Yield first packets whose addresses lie in networks that rules name, drawn evenly."""
    named = {option: re.findall(rf" -{option} (\S+)", text) for option in "sd"}
    own = IPv4Address("192.0.2.1") if version == 4 else IPv6Address("2001:db8::1")
    for _ in range(count):
        src = _inside(rng, rng.choice(named["s"]))
        dst = own if hook is Hook.INPUT else _inside(rng, rng.choice(named["d"]))
        yield Flow(src=src, dst=dst, proto=rng.choice((6, 6, 17)), sport=40000, iif="eth0",
                   dport=rng.choice((22, 80, 443, 11434)), flags=frozenset({"SYN"}),
                   oif=None if hook is Hook.INPUT else "eth1")  # fmt: skip


def _inside(rng, text):
    network = ip_network(text)
    return network[rng.randrange(network.num_addresses)]


def _wrap(chain, rules, chains=()):
    heads = [f":{name} {'DROP' if name == chain else 'ACCEPT'} [0:0]" for name in ("INPUT", "FORWARD", "OUTPUT")]
    return "\n".join(["*filter", *heads, *(f":{name} - [0:0]" for name in chains), *rules, "COMMIT", ""])


def _net(value, length, version):
    bits = 32 if version == 4 else 128
    make = IPv4Address if version == 4 else IPv6Address
    return f"{make(value >> (bits - length) << (bits - length))}/{length}"


def _head(chain):
    return [f"-A {chain} -i lo -j ACCEPT", f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            f"-A {chain} -m conntrack --ctstate INVALID -j DROP"]  # fmt: skip


def _services(rng, chain, version):
    bits = 32 if version == 4 else 128
    rules = [f"-A {chain} -s {_net(rng.getrandbits(bits), bits // 2, version)} -p tcp -m tcp --dport {port} "
             "-m conntrack --ctstate NEW -j ACCEPT" for port in PORTS[:8]]  # fmt: skip
    inside = "10.0.0.0/16" if version == 4 else "fd00::/48"
    icmp = "-p icmp -m icmp --icmp-type 8" if version == 4 else "-p ipv6-icmp -m icmp6 --icmpv6-type 128"
    return [*rules, f"-A {chain} -s {inside} -p tcp -m tcp --dport 11434 -j ACCEPT",
            f"-A {chain} {icmp} -m limit --limit 10/sec -j ACCEPT",
            f"-A {chain} -p tcp -j REJECT --reject-with tcp-reset"]  # fmt: skip


def _blocklist(rng, count, version):
    bits = 32 if version == 4 else 128
    rules, seen = _head("INPUT"), []
    while len(rules) < count - 11:
        kind = rng.random()
        length = bits if kind >= 0.03 or kind < 0.01 else bits - 8
        value = rng.choice(seen) if seen and kind < 0.01 else rng.getrandbits(bits)
        seen.append(value)
        rules.append(f"-A INPUT -s {_net(value, length, version)} -j DROP")
    return _wrap("INPUT", rules + _services(rng, "INPUT", version))


def _kube(rng, count, version):
    bits = 32 if version == 4 else 128
    pods = 10 << 24 | 244 << 16 if version == 4 else 0xFD00 << 112
    chains, inside, dispatch = [], [], []
    for number in range(max(1, (count - 15) // 9)):
        name = f"POD-{number}"
        chains.append(name)
        dispatch.append(f"-A DISPATCH -d {_net(pods + rng.randrange(1 << 16), bits, version)} -j {name}")
        inside.append(f"-A {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
        for _ in range(4):
            source = _net(pods + rng.randrange(1 << 16), bits - rng.choice([0, 4, 8]), version)
            inside.append(f"-A {name} -s {source} -p tcp -m tcp --dport {rng.choice(PORTS)} -j ACCEPT")
        inside.append(f"-A {name} ! -s {_net(pods, bits - 16, version)} -j RETURN")
        inside.append(f'-A {name} -m limit --limit 1/sec -j LOG --log-prefix "{name} "')
        inside.append(f"-A {name} -j REJECT")
    main = [*_head("FORWARD"), "-A FORWARD -j DISPATCH", *_services(rng, "FORWARD", version)]
    return _wrap("FORWARD", main + dispatch + inside, ["DISPATCH", *chains])


def _acl(rng, count, version):
    bits, top = (32, 14) if version == 4 else (128, 32)
    lengths = [16, 20, 24, 24, 24, 28, 32, 32] if version == 4 else [32, 48, 56, 64, 64, 128]
    nets = []
    for _ in range(max(8, count // 50)):
        base = rng.getrandbits(bits) >> (bits - top) << (bits - top)
        nets += [(base | rng.getrandbits(bits - top), rng.choice(lengths)) for _ in range(12)]
    rules = _head("FORWARD")
    while len(rules) < count:
        ends = [f"{option} {_net(*rng.choice(nets), version)}" for option in ("-s", "-d") if rng.random() > 0.08]
        service = rng.random()
        if service < 0.55:
            ends.append(f"-p tcp -m tcp --dport {rng.choice(PORTS)}")
        elif service < 0.7:
            low = rng.randrange(60000)
            ends.append(f"-p {rng.choice(['tcp', 'udp'])} -m multiport --dports {low}:{low + rng.randrange(1, 5000)}")
        elif service < 0.85:
            ends.append(f"-p udp -m udp --dport {rng.choice(PORTS)}")
        if ends:
            rules.append(f"-A FORWARD {' '.join(ends)} -j {rng.choice(['ACCEPT', 'ACCEPT', 'DROP'])}")
    return _wrap("FORWARD", rules)
