"""Full sweeps on real kernels: every verdict on a mixed rule set, with and without loss, and how a sweep stops."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.audit.agreement import Agreement
from fwproof.audit.sweeping import Sweeping, entering, predict
from fwproof.errors import AgentRefused
from fwproof.flow import TCP, UDP, Flow
from fwproof.observation import PortState
from fwproof.probing import portset
from fwproof.probing.agent import SWEEP_LOW
from fwproof.probing.frames import sweep_frame
from fwproof.probing.gate import Gate
from fwproof.probing.packets import FINGERPRINT_TOS
from fwproof.probing.sweep import Order, Sweeper
from fwproof.semantics.model import HostModel

from . import sweepnet

pytestmark = pytest.mark.lab
ADMIN = {4: "ICMP communication administratively prohibited", 6: "ICMPv6 administratively prohibited"}
PORT = {4: "ICMP port unreachable", 6: "ICMPv6 port unreachable"}


@pytest.fixture(scope="module")
def net():
    with sweepnet.made() as net:
        yield net


@pytest.fixture(scope="module")
def agents(net):
    started = {host: net.agent(host) for host in ("vantage", "target")}
    yield started
    for agent in started.values():
        agent.close()


@pytest.fixture(autouse=True)
def lossless(net):
    net.lose(0)


class Field:
    """As much of an audit's field as reading counters takes."""

    def __init__(self, agents):
        self.agents, self.gate = agents, Gate()

    def agent(self, host):
        return self.agents[host]


def flow(version, proto):
    flags = frozenset({"SYN"}) if proto == "tcp" else frozenset()
    number = TCP if proto == "tcp" else UDP
    found = Flow(src=sweepnet.VANTAGE[version], dst=sweepnet.TARGET[version], proto=number, sport=SWEEP_LOW,
                 flags=flags, tos=FINGERPRINT_TOS)  # fmt: skip
    return replace(found, length=len(sweep_frame(found, 0)))


def order(version, proto, **more):
    return Order(sender="vantage", receiver="target", flow=flow(version, proto), pps=20000, **more)


def report(net, agents, version, proto, change=lambda text: text, **more):
    """Sweep the target and compare it with its tables, or with what ``change`` makes of those of IPv4."""
    texts = net.texts()
    model = HostModel.build(**{**texts, "iptables_save": change(texts["iptables_save"])})
    predicted = predict(model, flow(version, proto))
    asked = order(version, proto, may_enter=entering(predicted, portset.ALL), **more)
    with Sweeper(agents) as sweeper:
        return Sweeping(Field(agents), sweeper, model, lambda _line: None).report(asked, predicted)


def truth(version, proto):
    """Return what each port must come out as: state and answer, by port set."""
    mixed = {name: portset.of_ports(ports) for name, ports in sweepnet.MIXED[proto].items()}
    found = {"open": mixed["open"], "closed": mixed["closed"], ("rejected", ADMIN[version]): mixed["admin"]}
    found["rejected", PORT[version]] = mixed["port"]
    if proto == "tcp":
        found["rejected", "RST"] = mixed["reset"]
    rest = portset.ALL
    for ports in found.values():
        rest &= ~ports
    return {**found, "silent": rest}


def outcomes(found):
    """Return the ports of each outcome; a let-in UDP port whose refusal the kernel kept back counts as closed."""
    ports = {}
    for each in found.comparisons:
        key = each.state.value
        if each.state is PortState.REJECTED:
            key = ("rejected", each.answer)
        elif each.state is PortState.ACCEPTED_SILENT:
            key = "closed"
        ports[key] = ports.get(key, 0) | each.ports
    return ports


def named(found, version, proto):
    """Give rejected ports that a counter settled, and that nothing answered for, the answer of their rule."""
    ports, mixed = outcomes(found), sweepnet.MIXED[proto]
    settled = ports.pop(("rejected", None), 0)
    for name, answer in (("port", PORT[version]), ("admin", ADMIN[version])):
        key = ("rejected", answer)
        ports[key] = ports.get(key, 0) | settled & portset.of_ports(mixed[name])
        settled &= ~portset.of_ports(mixed[name])
    assert not settled
    return ports


def spelled(ports):
    return {outcome: portset.words(some) for outcome, some in ports.items()}


@pytest.mark.parametrize("loss", [0, 2, 5])
@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_no_verdict_is_wrong(net, agents, version, proto, loss):
    net.lose(loss)
    real = truth(version, proto)
    found = report(net, agents, version, proto)
    ports = named(found, version, proto)
    if loss:  # the kernel gives few ICMP errors a second, so one that was lost may not come again; that is said
        lost = ports.pop("reply-lost", 0)
        assert lost.bit_count() <= 2
        assert not lost & ~(real["open"] | real["closed"])
        ports |= {key: ports.get(key, 0) | lost & real[key] for key in ("open", "closed")}
    assert spelled(ports) == spelled(real)
    assert {each.agreement for each in found.comparisons} == {Agreement.AGREES}
    assert found.status == 0
    swept = found.swept
    assert sum(swept.passes) <= 65535 * (1.10 if loss else 1.01)
    assert bool(swept.retried) == bool(loss), "a lost packet is sent again, and only that"
    assert not swept.sightings.lossy


def test_conntrack_tells_nothing_of_a_port_that_another_sweep_asked_from_the_same(net, agents, monkeypatch):
    """Why source ports follow the clock: with a clock that stands, a closed port looks rejected."""
    closed = portset.of_ports(sweepnet.MIXED["udp"]["closed"])
    monkeypatch.setattr("fwproof.probing.sweep.time.time", lambda: 1e9)
    found = []
    for _ in range(2):
        with Sweeper(agents) as sweeper:
            found.append(sweeper.sweep(order(6, "udp", ports=closed | portset.of_ports([53, 3000]))))
    assert [each.ports(PortState.CLOSED, PortState.ACCEPTED_SILENT) == closed for each in found] == [True, False]


def test_every_disagreement_is_listed(net, agents):
    """Tables that are not the host's: another port open, a rejected range dropped, another kind of answer."""
    changes = {
        "22,80,11434": "22,81,11434",
        "-A INPUT -p tcp -m tcp --dport 2000:2099 -j REJECT --reject-with tcp-reset\n": "",
        "--dport 5000:5099 -j DROP": "--dport 5000:5099 -j REJECT --reject-with tcp-reset",
        "--dport 4000:4099 -j REJECT --reject-with icmp-admin-prohibited":
            "--dport 4000:4099 -j REJECT --reject-with icmp-host-prohibited",
    }  # fmt: skip

    def change(text):
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        return text

    found = report(net, agents, 4, "tcp", change)
    wrong = 0
    for each in found.of(Agreement.DISAGREES):
        wrong |= each.ports
    others = portset.of_ports([80, 81, *range(2000, 2100), *range(5000, 5100)])
    assert wrong & others == others
    assert wrong & ~others & ~portset.of_ports(range(4000, 4100)) == 0
    assert wrong & portset.of_ports(range(4000, 4100)), "the few that the kernel answered tell the kind"
    assert found.status == 1


def test_nothing_stays_half_open(net, agents):
    with Sweeper(agents) as sweeper:
        for version in (4, 6):
            sweeper.sweep(order(version, "tcp", ports=portset.of_ports(sweepnet.OPEN["tcp"])))
    assert "SYN-RECV" not in net.run("target", "ss", "-tan")


def test_half_open_connections_are_taken_back_where_the_vantage_does_not(net, agents):
    """A vantage whose own rules drop the SYN/ACK sends no reset by itself."""
    net.run(
        "vantage",
        "nft",
        "-f",
        "-",
        stdin="table ip t {\nchain i {\ntype filter hook input priority 0; policy drop;\n}\n}\n",
    )
    try:
        with Sweeper(agents) as sweeper:
            swept = sweeper.sweep(order(4, "tcp", ports=portset.of_ports(sweepnet.OPEN["tcp"])))
        assert swept.resets == 3
        assert swept.ports(PortState.OPEN) == portset.of_ports(sweepnet.OPEN["tcp"])
        assert "SYN-RECV" not in net.run("target", "ss", "-tan")
    finally:
        net.run("vantage", "nft", "flush", "ruleset")


def test_what_the_vantages_own_rules_refuse_is_said(net, agents):
    rule = "table ip t {\nchain o {\ntype filter hook output priority 0\ntcp dport 100-199 drop\n}\n}\n"
    net.run("vantage", "nft", "-f", "-", stdin=rule)
    try:
        with Sweeper(agents) as sweeper:
            swept = sweeper.sweep(order(4, "tcp", ports=portset.of_ranges([(1, 300)])))
    finally:
        net.run("vantage", "nft", "flush", "ruleset")
    assert swept.ports(PortState.REFUSED_LOCALLY) == portset.of_ranges([(100, 199)])


def test_what_a_router_drops_never_arrived(net, agents):
    text = (
        "flush ruleset\ntable inet t {\nchain f {\ntype filter hook forward priority 0\ntcp dport 100-199 drop\n}\n}\n"
    )
    net.run("router", "nft", "-f", "-", stdin=text)
    with Sweeper(agents) as sweeper:
        swept = sweeper.sweep(order(6, "tcp", ports=portset.of_ranges([(1, 300)])))
    assert swept.ports(PortState.NEVER_ARRIVED) == portset.of_ranges([(100, 199)])
    assert swept.passes == (300, 100, 100, 100)


def test_an_answer_that_is_dropped_on_the_way_back_is_told(net, agents):
    text = "flush ruleset\ntable inet t {\nchain f {\ntype filter hook forward priority 0\ntcp sport 22 drop\n}\n}\n"
    net.run("router", "nft", "-f", "-", stdin=text)
    with Sweeper(agents) as sweeper:
        swept = sweeper.sweep(order(4, "tcp", ports=portset.of_ranges([(20, 25)])))
    assert swept.ports(PortState.REPLY_LOST) == portset.of_ports([22])
    assert swept.passes == (6, 1, 1, 1), "what was answered is sent again"


def test_a_full_connection_table_is_not_made_fuller(agents, monkeypatch):
    real = agents["target"].call

    def nearly_full(op, **more):
        answer = real(op, **more)
        return {**answer, "room": [120000, 262144]} if "room" in answer else answer

    monkeypatch.setattr(agents["target"], "call", nearly_full)
    with Sweeper(agents) as sweeper, pytest.raises(AgentRefused, match="above half"):
        sweeper.sweep(order(4, "tcp"))
    with Sweeper(agents) as sweeper:
        assert sweeper.sweep(order(4, "tcp", ports=portset.of_ranges([(1, 100)]), may_enter=100)).sent == 100


SENDER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
sys.path[:0] = {path!r}
from tests.lab.test_sweep_wire import *
class Held(sweepnet.Net):
    def argv(self, host, *words):
        return ("nsenter", "-t", str({pids!r}[host]), "-U", "-n", "--preserve-credentials", *words)
net = Held()
with Sweeper({{host: net.agent(host) for host in ("vantage", "target")}}) as sweeper:
    asked = order(4, "udp", retries=0)
    sweeper.sweep(Order(sender="vantage", receiver="target", flow=asked.flow, pps=2000), print)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGSTOP])
def test_sending_stops_within_a_second(how):
    """Ctrl-C, an auditor that is gone, and one that hangs as a cut connection does."""
    with sweepnet.made() as net:
        path = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]
        program = SENDER.format(path=path, pids={name: holder.pid for name, holder in net.holders.items()})
        sender = subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE)
        net.others.append(sender)
        assert b"65,535 packets" in sender.stdout.readline()
        time.sleep(1.0)
        os.kill(sender.pid, how)
        first = _sent(net)
        assert 500 < first < 20000, "it was sending"
        time.sleep(1.0)
        later = _sent(net)
        assert later - first <= 2100
        time.sleep(1.5)
        assert _sent(net) - later <= 4, "nothing but what keeps neighbour entries fresh"


def _sent(net):
    (link,) = json.loads(net.run("vantage", "ip", "-s", "-j", "link", "show", "v0"))
    return link["stats64"]["tx"]["packets"]
