"""Where on the way a probe was stopped: which packets are sent to find out, and what is said of the answers."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP

from fwproof.audit.locating import HOPS, locate
from fwproof.errors import HostError
from fwproof.facts import FlowFacts
from fwproof.flows import request
from fwproof.observation import Observation, PortState, Probe, Seen
from fwproof.policy.model import Service
from fwproof.semantics.model import HostModel

OUTSIDE, OWN = ip_address("203.0.113.66"), ip_address("10.0.0.10")
RULING = HostModel.build(iptables_save="").evaluate(request(Service("tcp", 80, "x"), OUTSIDE, OWN))
LOST = PortState.NEVER_ARRIVED


def facts(state=LOST, port=80, sender="v", answer=None):
    probe = Probe(ref="r", sender=sender, receiver="h", flow=request(Service("tcp", port, "x"), OUTSIDE, OWN))
    seen = Observation(probe=probe, state=state, sent=3, arrived=False, confirmed=False, answer=answer)
    return FlowFacts(flow=probe.flow, ruling=RULING, observation=seen)


def exceeded(router):
    raw = bytes(IP(src=router, dst=str(OUTSIDE)) / ICMP(type=11) / IP(src=str(OUTSIDE), dst=str(OWN)) / TCP(dport=80))
    return Seen(host="v", direction="in", time=0.0, summary="", raw=raw)


class Prober:
    """Answers the TTLs that are named in ``routers``; a packet with a TTL of ``arrives`` or more arrives."""

    def __init__(self, routers=(), arrives=99, fault=None):
        self.routers, self.arrives, self.fault, self.sent = dict(enumerate(routers, 1)), arrives, fault, []

    def observe(self, probes, *, retries):
        assert retries == 0
        self.sent += probes
        return {probe.ref: self.fault or self.one(probe) for probe in probes}

    def one(self, probe):
        router = self.routers.get(probe.flow.ttl)
        return Observation(
            probe=probe, state=LOST, sent=1, arrived=probe.flow.ttl >= self.arrives, confirmed=None,
            packets=(exceeded(router),) if router else (),
        )  # fmt: skip


def located(prober, *known, hopeless=False):
    return locate(prober, {str(n): each for n, each in enumerate(known)}, lambda _host, _family: hopeless)


@pytest.mark.parametrize(
    ("prober", "words"),
    [
        (Prober(["203.0.113.1"]), "203.0.113.1, hop 1 of the way, still answers for it"),
        (Prober(["203.0.113.1", None, "192.0.2.9"]), "192.0.2.9, hop 3 of the way"),
        (Prober(), ""),
        (Prober(["203.0.113.1"], arrives=2), ""),
        (Prober(fault=HostError("v", "gone")), ""),
    ],
)
def test_the_last_router_that_answers_is_named(prober, words):
    assert located(prober, facts()).get("0", "").startswith(words)
    assert bool(located(prober, facts())) is bool(words)
    assert [probe.flow.ttl for probe in prober.sent[:HOPS]] == list(range(1, HOPS + 1))


def test_what_is_stopped_at_one_place_is_looked_for_once():
    prober = Prober(["203.0.113.1"])
    assert set(located(prober, facts(), facts(), facts(port=81), facts(PortState.UNREACHABLE, 82))) == set("0123")
    assert len(prober.sent) == 3 * HOPS
    many = Prober(["203.0.113.1"])
    found = located(many, *(facts(port=port) for port in range(1, 40)), facts(port=1))
    assert len(many.sent) == 12 * HOPS
    assert len(found) == 13


def test_nothing_is_sent_for_what_arrived_was_explained_or_cannot_arrive():
    prober = Prober(["203.0.113.1"])
    explained = facts(answer="ICMP time exceeded")
    assert not located(prober, facts(PortState.SILENT), facts(PortState.OPEN), explained)
    assert not located(prober, replace(facts(), observation=HostError("v", "gone")))
    assert not located(prober, facts(), hopeless=True)
    assert not prober.sent
