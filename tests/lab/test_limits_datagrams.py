"""Rate limits of UDP and of echo requests, measured on real kernels as those of TCP are in test_limits_wire.py."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.audit.measuring import Aim, claim_of, predict, seated, send
from fwproof.flows import request
from fwproof.measured import Manner, Part
from fwproof.policy.model import Rate, Service
from fwproof.probing.limit_reading import read
from fwproof.probing.limit_schedule import Source, schedule

from .test_limits_wire import ADDRESSES, TARGET, load, narrow, net, prober

__all__ = ["net", "prober"]
pytestmark = pytest.mark.lab

SERVICES = {"udp": Service("udp", 5300, "udp"), "icmp": Service("icmp", None, "ping", "echo-request")}
MATCHES = {
    ("udp", 4): "-p udp -m udp --dport 5300 -m conntrack --ctstate NEW",
    ("udp", 6): "-p udp -m udp --dport 5300 -m conntrack --ctstate NEW",
    ("icmp", 4): "-p icmp -m icmp --icmp-type 8",
    ("icmp", 6): "-p ipv6-icmp -m icmp6 --icmpv6-type 128",
}
BUCKETS = {
    "limit": ("-m limit --limit 10/sec --limit-burst 5", 5, 10.0, True),
    "hashlimit": (
        "-m hashlimit --hashlimit-upto 20/sec --hashlimit-burst 8 --hashlimit-mode srcip --hashlimit-name NAME", 8,
        20.0, False,
    ),
}  # fmt: skip


def measure(net, prober, version, proto, rules, parts):
    model = load(net, version, rules)
    flow = request(SERVICES[proto], ip_address(ADDRESSES[version][0]), ip_address(TARGET[version]))
    aim = Aim(
        host="target", flow=flow, limiters=model.limiters(replace(flow, sport=50000)), rate=Rate(5, 3.0, measure=parts)
    )
    sources = [Source("vantage", ip_address(address)) for address in ADDRESSES[version]]
    seats = seated(sources, parts)
    plan = schedule(claim_of(aim), seats.main, parts, seats.crowd)
    seen = read(send(prober, aim, plan), plan.gaps)
    return seen, predict(model, aim, plan), plan.seconds


@pytest.mark.parametrize(
    ("case", "proto", "version"),
    [("limit", "udp", 4), ("limit", "icmp", 6), ("hashlimit", "udp", 6), ("hashlimit", "icmp", 4)],
)
def test_a_bucket_of_datagrams(net, prober, case, proto, version):
    words, size, rate, shared = BUCKETS[case]
    match = MATCHES[proto, version]
    words = words.replace("NAME", f"d{proto}{version}")
    rules = f"-A INPUT {match} {words} -j ACCEPT\n-A INPUT {match} -j DROP"

    def holds(seen):
        assert seen.burst in {size, None}, "None: a stall while the burst went on let a token in"
        assert seen.rate.may_be(rate)

    parts = (Part.BURST, Part.WINDOW, Part.ISOLATION)
    seen, said, _ = narrow(
        lambda: measure(net, prober, version, proto, rules, parts), holds, lambda m: m.rate, 0.03 * rate
    )  # fmt: skip
    assert (seen.burst, seen.manner, seen.shared) == (size, Manner.BUCKET, shared)
    assert (said.burst, said.manner, said.shared) == (size, Manner.BUCKET, shared)
    assert said.rate.overlaps(seen.rate)


@pytest.mark.parametrize("proto", SERVICES)
def test_a_window_of_datagrams(net, prober, proto):
    match = MATCHES[proto, 4]
    name = f"--name dgram{proto} --mask 255.255.255.255 --rsource"
    rules = (f"-A INPUT {match} -m recent --rcheck --seconds 2 --hitcount 5 {name} -j DROP\n"
             f"-A INPUT {match} -m recent --set {name} -j ACCEPT")  # fmt: skip
    seen, said, _ = measure(net, prober, 4, proto, rules, (Part.BURST, Part.WINDOW))
    assert (
        (seen.burst, seen.manner, seen.extends) == (said.burst, said.manner, said.extends) == (5, Manner.WINDOW, False)
    )
    assert seen.window.may_be(2)
