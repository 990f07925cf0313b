"""How silence that may be a reject rule's is settled: by its counter, by asking again, slowly, or not at all."""

from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from fwproof.audit import sweeping
from fwproof.audit.agreement import Agreement
from fwproof.audit.sweeping import Sweeping, predict
from fwproof.decision import RuleRef
from fwproof.flow import TCP, Flow
from fwproof.observation import PortState
from fwproof.probing import portset
from fwproof.probing.sweep import Order
from fwproof.probing.swept import Sightings, Swept, judge
from fwproof.semantics.model import HostModel
from fwproof.semantics.traced import Path, Traced

TEXT = (
    "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 10:19 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n"
)
ADDRESSES = '[{"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16}]}]'
SYN = Flow(src=ip_address("10.0.5.7"), dst=ip_address("10.0.0.10"), proto=TCP, sport=65000, flags=frozenset({"SYN"}))
MODEL = HostModel.build(iptables_save=TEXT, addresses=ADDRESSES)
REJECTED = portset.of_ranges([(10, 19)])
RULE = RuleRef(family="ip", table="filter", chain="INPUT", rule=1, text=TEXT.split("\n")[2])
ORDER = Order(sender="v", receiver="t", flow=SYN, ports=portset.of_ranges([(1, 30)]))


class Wire:
    """A target that counts, and answers with ICMP errors for ``answers`` ports; ``noise`` is counted as well."""

    def __init__(self, monkeypatch, *, answers=0, noise=(), counts=True, kind="I3.3"):
        self.answers, self.noise, self.kind, self.count, self.asked = answers, list(noise), kind, 0, []
        known = (lambda *_: {RULE: self.count}) if counts else lambda *_: {}
        monkeypatch.setattr(sweeping, "counters", known)

    def sweep(self, order, _progress=None):
        self.asked.append(order.ports)
        self.count += (order.ports & REJECTED).bit_count() + (self.noise.pop(0) if self.noise else 0)
        told = portset.of_ports(list(portset.members(order.ports & REJECTED))[: self.answers])
        seen = Sightings(
            asked=order.ports,
            near={"i" + self.kind: told},
            far={"iA": order.ports, "o" + self.kind: told},
            tracking=True,
        )
        return Swept(
            sender="v", receiver="t", flow=SYN, asked=order.ports, groups=judge(SYN, seen), sightings=seen,
            passes=(order.ports.bit_count(),), resets=0, seconds=1.0, pps=order.pps, arrivals=(order.ports,),
        )  # fmt: skip


def report(wire, trace=None):
    field = SimpleNamespace(gate=SimpleNamespace(pause=lambda _seconds: None))
    return Sweeping(field, wire, MODEL, lambda _line: None, trace).report(ORDER, predict(MODEL, SYN))


def tracer(asked, *, wrong=(), untold=()):
    """Trace every port, with another rule than the model's for some, and nothing for others."""

    def trace(_order, one):
        asked.append(one.ports)
        agrees = {port: port not in wrong for port in portset.members(one.ports)}
        return {
            port: Traced(path=Path(), agrees=None if port in untold else good, why="" if good else "the kernel had X")
            for port, good in agrees.items()
        }

    return trace


def rejected(found):
    return [each for each in found.comparisons if each.ports & REJECTED]


def test_the_counter_of_the_sweep_itself_settles_it(monkeypatch):
    wire = Wire(monkeypatch, answers=2)
    found = report(wire)
    assert found.status == 0
    assert {each.state for each in rejected(found)} == {PortState.REJECTED}
    assert (found.extra, len(wire.asked)) == (0, 1)
    assert (RULE, 10, 10) in found.counted


def test_a_trace_settles_what_counters_leave_open_and_asks_nothing_where_they_do_not(monkeypatch):
    asked = []
    found = report(Wire(monkeypatch, answers=2), tracer(asked))
    assert (found.status, found.extra, asked) == (0, 0, [])
    wire = Wire(monkeypatch, noise=(3,))
    found = report(wire, tracer(asked))
    assert (found.status, found.extra, asked, len(wire.asked)) == (0, 10, [REJECTED], 1)
    assert "one packet each was traced, and met ip filter INPUT rule 1" in rejected(found)[0].settled


def test_a_trace_that_names_another_rule_is_a_disagreement_of_those_ports(monkeypatch):
    found = report(Wire(monkeypatch, noise=(3,)), tracer([], wrong=(12, 13)))
    (bad,) = found.of(Agreement.DISAGREES)
    assert (portset.words(bad.ports), bad.why, found.status) == ("12-13", "the kernel had X", 1)
    assert sum(each.ports for each in rejected(found)) == REJECTED


def test_what_a_trace_does_not_tell_is_asked_again(monkeypatch):
    wire = Wire(monkeypatch, noise=(3, 0))
    found = report(wire, tracer([], untold=range(10, 20)))
    assert [portset.words(each) for each in wire.asked] == ["1-30", "10-19"]
    assert (found.status, found.extra) == (0, 20)
    found = report(Wire(monkeypatch, noise=(3, 0)), tracer([], untold=(10,)))
    assert [portset.words(each.ports) for each in found.of(Agreement.UNDECIDED)] == ["10"]


def test_too_many_ports_are_not_traced(monkeypatch):
    asked = []
    monkeypatch.setattr(sweeping, "_TRACED", 9)
    assert report(Wire(monkeypatch, noise=(3, 0)), tracer(asked)).status == 0
    assert asked == []


def test_other_traffic_makes_it_ask_again(monkeypatch):
    wire = Wire(monkeypatch, noise=(3, 1, 0))
    found = report(wire)
    assert [portset.words(each) for each in wire.asked] == ["1-30", "10-19", "10-19"]
    assert (found.status, found.extra) == (0, 20)
    assert "asked again, 10 packets arrived" in rejected(found)[0].settled


@pytest.mark.parametrize("counts", [True, False])
def test_a_few_are_asked_slowly_where_counters_do_not_tell(monkeypatch, counts):
    wire = Wire(monkeypatch, noise=[5] * 9, counts=counts, answers=1)
    found = report(wire)
    assert [each.bit_count() for each in wire.asked][-3:] == [1, 1, 1]
    assert found.status == 0
    assert "asked slowly, 3 of 9 were answered" in "".join(each.settled for each in found.comparisons)


def test_another_answer_than_the_rules_is_a_disagreement(monkeypatch):
    found = report(Wire(monkeypatch, counts=False, answers=1, kind="I3.13"))
    assert found.status == 1
    assert all(each.agreement is Agreement.DISAGREES for each in rejected(found))


def test_what_nothing_settles_stays_undecided(monkeypatch):
    found = report(Wire(monkeypatch, noise=[5] * 9))
    assert found.status == 6
    (one,) = found.of(Agreement.UNDECIDED)
    assert one.ports == REJECTED
    assert "its counter moved by 15 for 10 packets" in one.why
