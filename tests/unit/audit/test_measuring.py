"""What is measured, and from where: which limiter, which sources, what an observation says."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from fwproof.audit.measuring import Aim, Seats, claim_of, seated, sources_of
from fwproof.decision import RuleRef
from fwproof.flow import Family, Flow
from fwproof.inventory import Host, SshAddress
from fwproof.measured import Part, let_in
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow, Peers, Policy, Rate, Service
from fwproof.probing.channel import Agent
from fwproof.probing.limit_schedule import Claim, Source
from fwproof.semantics.limits import Limiter

FLOW = Flow(src=ip_address("10.0.5.7"), dst=ip_address("10.0.0.10"), proto=6, sport=1, dport=80)
RULE = RuleRef(family="ip", table="filter", chain="INPUT", rule=1, text="-A INPUT")


def limiter(kind, limit, seconds, admits, *, by="source", mask=2**32 - 1):
    return Limiter(
        kind=kind, list="l", limit=limit, seconds=seconds, by=by, mask=mask, name="n", rule=RULE, admits=admits
    )  # fmt: skip


RECENT = limiter("recent", 20, 60, 19)
CLAIMS = [
    ([RECENT], Claim(burst=19, window=60.0)),
    ([limiter("recent", 0, None, 19), RECENT], Claim(burst=19, window=60.0)),
    ([limiter("recent", 20, 60, 20, mask=0)], Claim(burst=20, window=60.0, shared=True)),
    ([limiter("limit", 10, 1, 5, by="total")], Claim(burst=5, rate=10.0, shared=True)),
    ([limiter("hashlimit", 20, 60, 20), limiter("limit", 500, 1, 20)], Claim(burst=20, rate=1 / 3)),
    ([limiter("connlimit", 5, None, 5)], Claim(burst=7, window=30.0, gap=0.02)),
    ([limiter("recent", 20, 60, None)], Claim(burst=7, window=60.0)),
    ([], Claim(burst=7, window=30.0)),
]


@pytest.mark.parametrize(("limiters", "claim"), CLAIMS)
def test_the_tables_say_what_is_measured_and_else_the_policy(limiters, claim):
    assert claim_of(Aim(host="h", flow=FLOW, limiters=tuple(limiters), rate=Rate(7, 30.0))) == claim


MANY = [Source("v", ip_address(f"10.0.5.{n}")) for n in range(1, 120)]
SEATS = [
    (1, CLASSIC := (Part.BURST, Part.WINDOW), (1, 0, 0)), (12, CLASSIC, (8, 0, 0)),
    (2, (Part.BURST, Part.PACKETS), (2, 0, 0)), (3, (Part.BURST, Part.PACKETS), (2, 1, 0)),
    (5, (Part.BURST, Part.PACKETS, Part.FULL), (2, 3, 0)), (119, (Part.BURST, Part.EVICTION), (8, 0, 98)),
]  # fmt: skip


@pytest.mark.parametrize(("number", "wanted", "sizes"), SEATS)
def test_sources_are_shared_out(number, wanted, sizes):
    seats = seated(MANY[:number], wanted)
    assert (len(seats.main), len(seats.kept), len(seats.crowd)) == sizes
    used = (*seats.main, *seats.kept, *seats.crowd)
    assert len(set(used)) == len(used)
    assert isinstance(seats, Seats)
    assert seats.main[0] == MANY[0]


def test_only_spare_addresses_of_peers_with_an_agent_are_sources():
    def host(name, *addresses):
        return Host(name=name, addresses=tuple(map(ip_address, addresses)), ssh=SshAddress(address="x"))

    hosts = [
        host("near", "10.0.0.2", "10.0.0.3", "fd00::2", "10.0.0.4"), host("far", "10.0.5.7", "10.0.5.8"),
        host("outside", "203.0.113.1", "203.0.113.2"), host("dumb", "10.0.6.1", "10.0.6.2"),
        host("audited", "10.0.0.10", "10.0.0.11"),
    ]  # fmt: skip
    agents = {name: object.__new__(Agent) for name in ("near", "far", "outside", "audited")}
    inventory = SimpleNamespace(hosts={h.name: h for h in hosts}, vantages=hosts)
    field = SimpleNamespace(inventory=inventory, agents=agents)
    allow = Allow(
        id="a", title="a", file="p", line=1, service=Service("tcp", 80, "tcp/80"),
        peers=Peers("inside", (ip_network("10.0.0.0/8"),)), rate=Rate(7, 30.0),
    )  # fmt: skip
    policy = Policy(name="p", path=None, sha256="", hosts=("audited",), services={})
    check = Check(
        id="c", kind=Kind.MEASURE, policy=policy, expectation=allow, host="audited", expected="", family=Family.IPV4,
        vantage="far", peer=ip_address("10.0.5.7"),
    )  # fmt: skip

    def found(one):
        return [f"{source.vantage} {source.address}" for source in sources_of(field, one)]

    assert found(check) == ["far 10.0.5.8", "near 10.0.0.4", "near 10.0.0.3"]
    only = replace(check, vantage="dumb", peer=ip_address("10.0.6.1"))
    assert found(only)[0] == "dumb 10.0.6.2", "what stands in the way of the vantage itself is said later"
    inventory.hosts["near"] = host("near", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5")
    assert found(check) == ["far 10.0.5.8", "near 10.0.0.5", "near 10.0.0.4"], "of four, flows come from two"
    inventory.hosts["far"] = host("far", "10.0.5.7")
    assert found(check) == ["far 10.0.5.7", "near 10.0.0.5", "near 10.0.0.4"]
    assert found(replace(check, vantage=None)) == []


@pytest.mark.parametrize(
    ("state", "arrived", "confirmed", "answer"),
    [
        (PortState.OPEN, True, True, True), (PortState.ACCEPTED_SILENT, True, True, True),
        (PortState.SILENT, True, False, False), (PortState.REJECTED, True, False, False),
        (PortState.NEVER_ARRIVED, False, None, None), (PortState.NO_ANSWER, None, None, False),
        (PortState.OPEN, None, None, True), (PortState.UNREACHABLE, None, None, None),
    ],
)  # fmt: skip
def test_let_in(state, arrived, confirmed, answer):
    probe = Probe(ref="1", sender="v", receiver="h", flow=FLOW)
    assert let_in(Observation(probe=probe, state=state, sent=1, arrived=arrived, confirmed=confirmed)) is answer
