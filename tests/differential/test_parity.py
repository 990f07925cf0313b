"""The packets that parity shows, sent through the kernel's own tables of both families: let through, and not."""

import os
import random
from dataclasses import replace
from ipaddress import ip_network
from itertools import count

import pytest

from fwproof.decision import Decision
from fwproof.flow import Family, Hook
from fwproof.semantics.model import HostModel
from fwproof.semantics.parity import parity
from fwproof.semantics.parity_zones import Group

from . import kernel as k

pytestmark = [pytest.mark.lab]
TABLES = int(os.environ.get("FWPROOF_PARITY_TABLES", "25"))
ZONES = [
    Group(name, (ip_network(v4), ip_network(v6)))
    for name, v4, v6 in (("internal", "10.0.0.0/16", "fd00::/48"), ("admin", "10.0.0.1", "fd00:0:0:1::1"),
                         ("outside", "203.0.113.0/24", "2001:db8:ff::/64"))
]  # fmt: skip
SAVED = (("iptables", Family.IPV4), ("ip6tables", Family.IPV6))
PORTS = count(20000)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with k.scratch(tmp_path_factory) as scratch:
        yield scratch


def loaded(kernel, v4, v6):
    """Load the tables of both families in place of all others; return their model, as the tools print them."""
    kernel.clear()
    saved = []
    for (tool, _), lines in zip(SAVED, (v4, v6), strict=True):
        head = [":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT DROP [0:0]", ":MORE - [0:0]"]
        kernel.run(f"{tool}-nft-restore", stdin="\n".join(["*filter", *head, *lines, "COMMIT", ""]))
        saved.append(kernel.run(f"{tool}-nft-save"))
    kernel.watch()
    addresses, routes = kernel.facts
    return HostModel.build(iptables_save=saved[0], ip6tables_save=saved[1], addresses=addresses, routes=routes)


def passes(kernel, flow, hook):
    """Send one packet and return whether the kernel lets it through the hook."""
    payload = next(PORTS).to_bytes(2, "big") + bytes(22) if flow.icmp_type is not None else b""
    before = kernel.watched()
    if hook is Hook.INPUT:
        flow = replace(flow, mac_src="02:00:00:00:00:01")
        kernel.send([("frame", k.frame(flow, payload).hex(), "")])
        kernel.settle(before["arrived"] + 1)
    else:
        kernel.send([("ip4" if flow.dst.version == 4 else "ip6", k.ip_packet(flow, payload).hex(), str(flow.dst))])
    return kernel.watched()[hook.value] - before[hook.value] == 1


def told_and_seen(kernel, host):
    """Yield each packet of each difference that can be sent here, what parity says of it, and what the kernel does."""
    found = parity(host, ZONES)
    assert found.unknown == ()
    for one in found.differences:
        for standing in one.sides.values():
            flow, face = standing.witness, standing.witness.iif or standing.witness.oif
            if one.hook is Hook.FORWARD or face != "eth0" or flow.proto not in {1, 6, 17, 58}:
                continue
            assert standing.ruling.decision in {Decision.ACCEPT, Decision.DROP}
            sent = flow if flow.sport is None else replace(flow, sport=next(PORTS))  # no connection twice
            said = standing.ruling.decision is Decision.ACCEPT
            yield f"{one.hook} {sent}", standing.status, said, passes(kernel, sent, one.hook)


WEB, SSH = (f"-p tcp -m tcp --dport {port} -j ACCEPT" for port in (8080, 22))
KNOWN = {
    "only IPv4": ([f"-A INPUT -s 10.0.0.0/16 {WEB}"], [], ["open", "closed"]),
    "only IPv6": ([], [f"-A INPUT -s fd00::/48 {WEB}"], ["closed", "open"]),
    "other zones": ([f"-A INPUT -s 10.0.0.1 {SSH}"], [f"-A INPUT -s 2001:db8:ff::/64 {SSH}"],
                    ["closed", "closed", "open", "open"]),
    "ping": ([], ["-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT"], ["closed", "open"]),
    "sent": ([f"-A OUTPUT -d 203.0.113.0/24 {SSH}"], [], ["open", "closed"]),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_the_kernel_confirms_known_differences(kernel, name):
    v4, v6, standings = KNOWN[name]
    seen = list(told_and_seen(kernel, loaded(kernel, v4, v6)))
    assert sorted(status for _, status, _, _ in seen) == sorted(standings)
    for packet, status, said, let in seen:
        assert (packet, let) == (packet, said)
        assert let == (status == "open")


def test_the_comparison_can_fail(kernel):
    host = loaded(kernel, [f"-A INPUT -s 10.0.0.0/16 {WEB}"], [])
    loaded(kernel, [], [f"-A INPUT -s fd00::/48 {WEB}"])
    assert [said == let for _, _, said, let in told_and_seen(kernel, host)] == [False, False]


NETS = [("", ""), ("10.0.0.0/16", "fd00::/48"), ("10.0.0.0/17", "fd00::/49"), ("10.0.0.1", "fd00:0:0:1::1"),
        ("203.0.113.0/24", "2001:db8:ff::/64")]  # fmt: skip
ASKED = ["", "-p tcp -m tcp --dport 22", "-p tcp -m tcp --dport 1000:2000", "-p udp -m udp --dport 53", "ECHO",
         "-p tcp -m multiport --dports 22,80", "-p tcp -m tcp ! --dport 80", "-m conntrack --ctstate NEW",
         "-p tcp -m tcp --tcp-flags SYN,ACK SYN"]  # fmt: skip


def random_rules(rng):
    """Return two rule lists that say the same in each family, but for what was drawn anew in the second."""
    lists = ([], [])
    for chain in ("INPUT", "OUTPUT", "MORE"):
        for _ in range(rng.randrange(1, 5)):
            drawn = (rng.choice(NETS), rng.choice(ASKED), rng.choice(["ACCEPT", "ACCEPT", "DROP", "MORE", "RETURN"]))
            other = drawn if rng.random() < 0.7 else (rng.choice(NETS), rng.choice(ASKED), drawn[2])
            for at, (nets, asked, target) in enumerate((drawn, other)):
                peer = "" if chain == "MORE" or not nets[at] else f"-{'s' if chain == 'INPUT' else 'd'} {nets[at]}"
                echo = ("-p icmp -m icmp --icmp-type 8", "-p ipv6-icmp -m icmp6 --icmpv6-type 128")[at]
                jump = "ACCEPT" if chain == target == "MORE" else target
                lists[at].append(" ".join([f"-A {chain}", peer, asked.replace("ECHO", echo), f"-j {jump}"]))
    return lists


def test_the_kernel_confirms_every_packet_of_random_tables(kernel):
    rng = random.Random(int(os.environ.get("FWPROOF_SEED", "1")))
    sent = 0
    for _ in range(TABLES):
        v4, v6 = random_rules(rng)
        for packet, _, said, let in told_and_seen(kernel, loaded(kernel, v4, v6)):
            assert (packet, let) == (packet, said), (v4, v6)
            sent += 1
    assert sent >= TABLES  # those on other interfaces cannot be sent here
