"""What the kernel takes of ``all`` and of the interface, on the wire: each setting in every combination.

The effect of a setting is seen in packets or routes, and compared with what the join of the setting says.
"""

import json
import time
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import product

import pytest

from fwproof.flow import Flow
from fwproof.judging.kernel_settings import SETTINGS

from . import kernel as k

pytestmark = [pytest.mark.lab]
OWN, GATEWAY, OTHER, FAR = "10.0.0.10", "10.0.0.1", "10.0.0.2", "203.0.113.9"
MAC, PEER = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
LINK = "fe80::ff:fe00:1"


def setting(name, family="ipv4", key=None):
    return next(s for s in SETTINGS if s.name == name and s.path.startswith(family) and key in {None, s.key})


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    reason = k.available()
    assert not reason, reason
    scratch = k.Kernel(tmp_path_factory.mktemp("xtables") / "lock")
    for line in (
        f"ip route add {OTHER} dev eth0", f"ip neigh add {OTHER} lladdr 02:00:00:00:00:99 dev eth0",
        f"ip -6 neigh add {LINK} lladdr 02:00:00:00:00:01 dev eth0",
        "ip -6 neigh add fe80::ff:fe00:2 lladdr 02:00:00:00:00:98 dev eth0",
    ):  # fmt: skip
        scratch.run(*line.split())
    time.sleep(2.5)  # the kernel's own multicast reports of the new interfaces have to be over
    yield scratch
    scratch.close()


@pytest.fixture
def fresh(kernel):
    """Everything that the tests change, as it is at first; the counters too."""
    for path, value in {
        "ipv4/ip_forward": 0, "ipv6/conf/all/forwarding": 0, "ipv6/conf/all/force_forwarding": 0,
        "ipv4/conf/all/rp_filter": 0, "ipv4/conf/eth0/rp_filter": 0, "ipv4/conf/all/accept_redirects": 0,
        "ipv4/conf/all/shared_media": 1, "ipv4/conf/eth0/accept_local": 0, "ipv6/conf/eth0/accept_ra": 0,
    }.items():  # fmt: skip
        put(kernel, path, value)
    kernel.clear()
    kernel.watch()
    return kernel


def put(kernel, path, value):
    kernel.run("sh", "-c", f"[ ! -e /proc/sys/net/{path} ] || echo {value} > /proc/sys/net/{path}")


def values_now(kernel):
    text = kernel.run("sh", "-c", "cd /proc/sys/net && grep -rs '' ipv4/conf ipv6/conf ipv4/ip_forward || true")
    return dict(line.split(":", 1) for line in text.splitlines())


def said(kernel, what):
    return what.effective(values_now(kernel), "eth0")


def combined(kernel, what, numbers=(0, 1)):
    """Yield every combination of ``all`` and the interface's own, set."""
    for every, own in product(numbers, numbers):
        put(kernel, what.path.format("all"), every)
        put(kernel, what.path.format("eth0"), own)
        yield every, own


def comes(kernel, data, way="input"):
    """Send a frame and return whether it got past the routing decision."""
    before = kernel.watched()
    kernel.send([("frame", data.hex(), "")])
    return kernel.settle(before["arrived"] + 1)[way] > before[way]


def udp(src, dst=OWN, **more):
    return k.frame(Flow(src=ip_address(src), dst=ip_address(dst), proto=17, sport=4000, dport=53, **more))


def test_rp_filter_is_the_larger_of_all_and_the_interface(fresh):
    what, seen = setting("rp_filter"), set()
    for both in combined(fresh, what, (0, 1, 2)):
        elsewhere, nowhere = comes(fresh, udp("10.9.0.7")), comes(fresh, udp("198.51.100.3"))
        counts = said(fresh, what)
        assert (elsewhere, nowhere) == (counts != 1, counts == 0), both
        seen.add(counts)
    assert seen == {0, 1, 2}


def routed(mac=MAC):
    """Return a frame with a loose source route that has come to its end (RFC 791)."""
    option = bytes([131, 7, 8, *IPv4Address("10.0.0.7").packed, 0])
    body = b"\x0f\xa0\x00\x35\x00\x08\x00\x00"
    head = bytes([0x47, 0]) + (28 + len(body)).to_bytes(2, "big") + b"\0\1\0\0" + bytes([64, 17])
    addresses = IPv4Address(GATEWAY).packed + IPv4Address(OWN).packed
    total = k.checksum(head + b"\0\0" + addresses + option)
    return mac + PEER + b"\x08\x00" + head + total.to_bytes(2, "big") + addresses + option + body


def test_source_routes_need_both_all_and_the_interface(fresh):
    what = setting("accept_source_route")
    came = {both: (comes(fresh, routed()), said(fresh, what)) for both in combined(fresh, what)}
    assert all(was == bool(counts) for was, counts in came.values()), came
    assert {was for was, _ in came.values()} == {True, False}


def redirect():
    """Return an ICMP redirect for an echo reply of the host's own, which no socket has to know (icmp_err())."""
    old = Flow(src=ip_address(OWN), dst=ip_address(FAR), proto=1, icmp_type=0, icmp_code=0)
    body = IPv4Address(OTHER).packed + k.ip_packet(old)[:28]
    total = k.checksum(b"\5\1\0\0" + body)
    icmp = b"\5\1" + total.to_bytes(2, "big") + body
    head = bytes([0x45, 0]) + (20 + len(icmp)).to_bytes(2, "big") + b"\0\1\0\0" + bytes([64, 1])
    addresses = IPv4Address(GATEWAY).packed + IPv4Address(OWN).packed
    return (
        MAC + PEER + b"\x08\x00" + head + k.checksum(head + b"\0\0" + addresses).to_bytes(2, "big") + addresses + icmp
    )


def hop(kernel, address):
    """Return the next hop to an address as the kernel has it."""
    return json.loads(kernel.run("ip", "-j", "route", "get", address))[0].get("gateway")


@pytest.mark.parametrize("forwards", [0, 1])
def test_redirects_need_one_of_the_two_on_a_host_and_both_on_a_router(fresh, forwards):
    put(fresh, "ipv4/ip_forward", forwards)
    what, found = setting("accept_redirects"), {}
    for both in combined(fresh, what):
        fresh.run("ip", "route", "flush", "cache")
        assert hop(fresh, FAR) == GATEWAY
        assert comes(fresh, redirect())
        found[both] = (hop(fresh, FAR) == OTHER, bool(said(fresh, what)))
    assert all(was == counts for was, counts in found.values()), found
    assert (
        sorted(was for was, _ in found.values()) == ([False, True, True, True], [False, False, False, True])[forwards]
    )


def test_redirects_are_sent_where_one_of_the_two_says_so(fresh):
    put(fresh, "ipv4/ip_forward", 1)
    fresh.heard("outer")
    what, found = setting("send_redirects"), {}
    for number, both in enumerate(combined(fresh, what)):
        fresh.run("ip", "route", "replace", f"203.0.113.{100 + number}", "via", OTHER, "dev", "eth0")
        data = udp(GATEWAY, f"203.0.113.{100 + number}")
        assert comes(fresh, data, "forward")
        heard = [frame for _, frame in fresh.heard("outer") if frame[12:14] == b"\x08\x00"]
        sent = any(frame[23] == 1 and frame[34] == 5 for frame in heard)
        found[both] = (sent, bool(said(fresh, what)))
        time.sleep(1.1)  # a redirect to the same peer is sent once a second at most (ip_rt_redirect_load)
    assert all(was == counts for was, counts in found.values()), found
    assert sorted(was for was, _ in found.values()) == [False, True, True, True]


def test_forwarding_is_the_interface_s_own_in_ipv4(fresh):
    what = setting("forwarding")
    for every, own in product((0, 1), (0, 1)):
        put(fresh, "ipv4/ip_forward", every)
        put(fresh, "ipv4/conf/eth0/forwarding", own)
        assert comes(fresh, udp(GATEWAY, "10.9.0.7"), "forward") == bool(own) == bool(said(fresh, what)), (every, own)


def test_forwarding_is_that_of_all_in_ipv6_or_forced(fresh):
    what = setting("forwarding", "ipv6")
    forced = "ipv6/conf/eth0/force_forwarding" in values_now(fresh)
    for every, own, force in product((0, 1), (0, 1), (0, 1) if forced else (0,)):
        put(fresh, "ipv6/conf/all/forwarding", every)
        put(fresh, "ipv6/conf/eth0/forwarding", own)
        put(fresh, "ipv6/conf/eth0/force_forwarding", force)
        came = comes(fresh, udp("fd00:0:0:1::1", "fd00:9::7"), "forward")
        assert came == bool(every or force) == bool(said(fresh, what)), (every, own, force)


def icmp6(src, dst, kind, body):
    """Return a frame of neighbour discovery, with the hop limit that it needs (RFC 4861)."""
    ends = IPv6Address(src).packed + IPv6Address(dst).packed
    size = (4 + len(body)).to_bytes(4, "big")
    total = k.checksum(ends + size + b"\0\0\0\x3a" + bytes([kind, 0, 0, 0]) + body)
    icmp = bytes([kind, 0]) + total.to_bytes(2, "big") + body
    to = b"\x33\x33\x00\x00\x00\x01" if dst == "ff02::1" else MAC
    return to + PEER + b"\x86\xdd" + b"\x60\0\0\0" + len(icmp).to_bytes(2, "big") + b"\x3a\xff" + ends + icmp


def test_router_advertisements_are_the_interface_s_own_matter(fresh):
    what, found = setting("accept_ra", "ipv6"), {}
    for number, (forwards, every, own) in enumerate(product((0, 1), (0, 1), (0, 1, 2))):
        put(fresh, "ipv6/conf/all/forwarding", forwards)
        put(fresh, "ipv6/conf/all/accept_ra", every)
        put(fresh, "ipv6/conf/eth0/accept_ra", own)
        prefix = IPv6Address(f"fd77:0:0:{number}::")
        option = bytes([3, 4, 64, 0xC0]) + (3600).to_bytes(4, "big") * 2 + bytes(4) + prefix.packed
        comes(fresh, icmp6(LINK, "ff02::1", 134, bytes([64, 0, 0, 0]) + bytes(8) + option))
        learnt = str(prefix) in fresh.run("ip", "-6", "route", "show", "dev", "eth0")
        found[forwards, every, own] = (learnt, bool(said(fresh, what)))
    assert all(was == counts for was, counts in found.values()), found
    assert {was for was, _ in found.values()} == {True, False}


def test_redirects_of_ipv6_are_the_interface_s_own_and_no_router_takes_them(fresh):
    what, found = setting("accept_redirects", "ipv6"), {}
    for number, (forwards, every, own) in enumerate(product((0, 1), (0, 1), (0, 1))):
        put(fresh, "ipv6/conf/all/forwarding", forwards)
        put(fresh, "ipv6/conf/all/accept_redirects", every)
        put(fresh, "ipv6/conf/eth0/accept_redirects", own)
        far = f"2001:db8:77::{number + 1}"
        fresh.run("ip", "-6", "route", "replace", f"{far}/128", "via", LINK, "dev", "eth0")
        assert hop(fresh, far) == LINK
        body = bytes(4) + IPv6Address("fe80::ff:fe00:2").packed + IPv6Address(far).packed
        comes(fresh, icmp6(LINK, "fd00:0:0:1::10", 137, body))
        found[forwards, every, own] = (hop(fresh, far) == "fe80::ff:fe00:2", bool(said(fresh, what)))
    assert all(was == counts for was, counts in found.values()), found
    assert {was for was, _ in found.values()} == {True, False}


def segment_routed():
    """Return a frame with a segment routing header that has segments left (RFC 8754)."""
    inner = b"\x0f\xa0\x00\x35\x00\x08\x00\x00"
    header = bytes([17, 4, 4, 1, 1, 0, 0, 0]) + IPv6Address("fd00:9::7").packed + IPv6Address("fd00:0:0:1::10").packed
    ends = IPv6Address("fd00:0:0:1::1").packed + IPv6Address("fd00:0:0:1::10").packed
    size = (len(header) + len(inner)).to_bytes(2, "big")
    return MAC + PEER + b"\x86\xdd" + b"\x60\0\0\0" + size + bytes([43, 64]) + ends + header + inner


def test_segment_routing_is_the_smaller_of_the_two(fresh):
    put(fresh, "ipv6/conf/all/forwarding", 1)
    what, found = setting("segment_routing", "ipv6", "seg6_enabled"), {}
    for both in combined(fresh, what):
        fresh.heard("far")
        comes(fresh, segment_routed())
        time.sleep(0.05)
        passed = any(frame[12:14] == b"\x86\xdd" and frame[20] == 43 for _, frame in fresh.heard("far"))
        found[both] = (passed, bool(said(fresh, what)))
    assert all(was == counts for was, counts in found.values()), found
    assert {was for was, _ in found.values()} == {True, False}


def test_loopback_addresses_come_over_the_wire_where_one_of_the_two_says_so(fresh):
    what = setting("route_localnet")
    came = {both: (comes(fresh, udp(GATEWAY, "127.0.0.9")), bool(said(fresh, what))) for both in combined(fresh, what)}
    assert all(was == counts for was, counts in came.values()), came
    assert sorted(was for was, _ in came.values()) == [False, True, True, True]
