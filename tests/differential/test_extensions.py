"""Corners of single modules against the kernel that random tables seldom meet."""

import itertools
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.flow import CtState, Family, Flow
from fwproof.semantics.model import HostModel

from . import kernel as k
from .test_tables import NOTHING, Expected

pytestmark = [pytest.mark.lab]
TCP6 = Flow(
    src=ip_address("fd00:0:0:5::7"), dst=ip_address("fd00:0:0:1::10"), proto=6, sport=4000, dport=22, iif="eth0",
    flags=frozenset({"SYN"}), length=60,
)  # fmt: skip
TCP4 = replace(TCP6, src=ip_address("10.0.5.7"), dst=ip_address("10.0.0.10"), length=40)


@pytest.fixture
def kernel(tmp_path_factory):
    with k.scratch(tmp_path_factory) as scratch:
        scratch.run("nft", "delete", "table", "inet", "keep")
        yield scratch


def first_rules(kernel, version, lines, flows, data=None):
    """Return, of each packet, how many of the rules of raw PREROUTING it fits, in the kernel and in the model.

    All packets are sent at once; what is compared are the sums by rule.
    """
    name = "iptables" if version == 4 else "ip6tables"
    text = "*raw\n:PREROUTING ACCEPT [0:0]\n" + "".join(f"-A PREROUTING {line}\n" for line in lines)
    text += "-A PREROUTING -i eth0 -j DROP\nCOMMIT\n"  # so that nothing is answered
    kernel.run(f"{name}-legacy-restore", stdin=text)
    expected = Expected(kernel.run(f"{name}-legacy-save", "-t", "raw"), version, *kernel.facts)
    for flow in flows:
        expected.add(flow)
    kernel.send([("frame", each.hex(), "") for each in data or map(k.frame, flows)])
    for _ in range(100):
        counted = [line for line in kernel.run(f"{name}-legacy-save", "-c", "-t", "raw").splitlines() if "-A" in line]
        seen = [int(line[1:].split(":")[0]) for line in counted]
        if seen[-1] == len(flows):
            break
        time.sleep(0.01)
    assert seen[-1] == len(flows)
    said = [expected.hits["raw", "PREROUTING", number] for number in range(1, len(lines) + 1)]
    return seen[:-1], said


HEADERS = ("hop", "route", "frag", "auth", "esp", "none", "dst", "prot")


@pytest.mark.parametrize("proto", [6, 17, 50, 58, 59, 135])
def test_ipv6header_of_packets_without_extension_headers(kernel, proto):
    chosen = [",".join(pair) for pair in itertools.combinations(HEADERS, 2)] + list(HEADERS)
    lines = [
        f"-m ipv6header {no} --header {names} {soft}" for names in chosen for no in ("", "!") for soft in ("", "--soft")
    ]
    values = {6: {}, 50: {"spi": 5}, 58: {"icmp_type": 128, "icmp_code": 0}}.get(proto, {})
    flow = replace(TCP6, proto=proto, ctstate=CtState.INVALID, **values)
    seen, said = first_rules(kernel, 6, lines, [flow])
    assert seen == said
    assert set(seen) == {0, 1}


def test_an_extension_header_is_no_transport_protocol(kernel):
    """AH before TCP: to -p the packet is TCP, and -m ah sees it."""
    packet = bytearray(k.frame(TCP6))
    ah = bytes([6, 4, 0, 0]) + (77).to_bytes(4, "big") + bytes(16)
    packet[14 + 6] = 51
    packet[18:20] = (len(packet) - 54 + len(ah)).to_bytes(2, "big")
    packet[54:54] = ah
    lines = ["-p ah", "! -p ah", "-p tcp", "-m ah --ahspi 77", "-m ah --ahspi 78"]
    seen, said = first_rules(kernel, 6, lines, [TCP6], [bytes(packet)])
    assert seen == [0, 1, 1, 1, 0]
    assert said == [0, 1, 1, 0, 0]  # a flow has no extension headers; all else is the same


@pytest.mark.parametrize("version", [4, 6])
def test_the_way_back_to_sources_that_nobody_should_have(kernel, version):
    sources = {
        4: ["10.0.0.10", "10.9.0.1", "127.0.0.1", "127.0.0.9", "10.9.0.255", "255.255.255.255", "198.51.100.9",
            "0.0.0.0", "0.0.0.7", "224.0.0.9", "10.9.0.200"],
        6: ["fd00:0:0:1::10", "fd00:9::1", "fe80::9", "2001:db8:bad::9", "fd00:9::9", "2001:db8::9"],
    }[version]  # fmt: skip
    flags = ("--loose", "--accept-local", "--invert")
    lines = ["-m rpfilter " + " ".join(some) for count in range(4) for some in itertools.combinations(flags, count)]
    flows = [replace(TCP4 if version == 4 else TCP6, src=ip_address(source)) for source in sources]
    if version == 4:
        flows += [replace(flow, dst=ip_address("255.255.255.255")) for flow in flows[7:9]]
    seen, said = [
        list(each) for each in zip(*(first_rules(kernel, version, lines, [flow]) for flow in flows), strict=True)
    ]
    assert seen == said
    assert {number for each in seen for number in each} == {0, 1}


TRACKING = {
    "-t raw -j CT --notrack": False, "-t raw -j NOTRACK": False, "-t raw -m socket": False,
    "-t raw -j CT --ctevents new": True, "-t mangle -m helper --helper ftp": True,
    "-t mangle -m connlabel --label 5": True, "-t mangle -m conntrack --ctstate NEW": True,
    "-t mangle -m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 1": True,
    "-t mangle -m connbytes --connbytes 5 --connbytes-dir both --connbytes-mode bytes": True, "-t mangle -p tcp": False,
    "-t mangle -m connmark --mark 5": True, "-t mangle -j CONNMARK --save-mark": True,
}  # fmt: skip


def test_what_makes_the_kernel_track_connections(kernel):
    for number, (rule, tracks) in enumerate(TRACKING.items()):
        _, table, what = rule.split(" ", 2)
        kernel.run("iptables-legacy-restore", stdin=NOTHING)
        text = f"*{table}\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp {what if what != '-p tcp' else ''}\nCOMMIT\n"
        text += "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp\nCOMMIT\n"
        kernel.run("iptables-legacy-restore", stdin=text)
        saved = kernel.run("iptables-legacy-save")
        flow = replace(TCP4, proto=17, flags=frozenset(), sport=5000 + number, length=28)
        kernel.send([("frame", k.frame(flow).hex(), "")])
        time.sleep(0.1)
        counted = kernel.run("iptables-legacy-save", "-c", "-t", "nat")
        assert ("[1:28] -A PREROUTING" in counted) == tracks, rule
        assert HostModel.build(iptables_save=saved).tracking(Family.IPV4).connections == tracks, rule
