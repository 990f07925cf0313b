"""Looking for a dropped packet's own line: what was there before is not it, and a used-up limit is waited for."""

from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from fwproof.audit import dropping
from fwproof.audit.dropping import drop_log
from fwproof.errors import HostError
from fwproof.flow import Family
from fwproof.inventory import Access, Host, SshAddress
from fwproof.observation import Observation, PortState
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy, Service
from fwproof.policy.table_model import DropLog
from fwproof.probing.channel import Agent
from fwproof.semantics.model import HostModel

PEER, OWN = ip_address("203.0.113.66"), ip_address("10.0.0.10")
LINE = "Nov 1 00:00:00 h fw drop:  IN=eth0 OUT= SRC=203.0.113.66 DST=10.0.0.10 LEN=44 PROTO=TCP SPT={} DPT=9"
OTHER = LINE.replace("203.0.113.66", "203.0.113.67")
TABLE = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
{}-A INPUT {} -j LOG --log-prefix "fw drop: "
{}-A INPUT -j DROP
COMMIT
"""
LIMIT = "-m limit --limit 1/sec --limit-burst 1"


class World:
    """A host whose log and counters follow a script: one step for each packet that is sent."""

    def __init__(self, steps, limit=LIMIT, old=()):
        self.steps, self.limit, self.log = list(steps), limit, list(old)
        self.port, self.logged, self.dropped, self.slept = 61000, 0, 0, []

    def observe(self, probes, *, retries, extra=False):
        assert retries == 0
        found = {}
        for probe in probes:
            lines, logged = self.steps.pop(0) if self.steps else ((), 0)
            self.log += [line.format(self.port) for line in lines]
            self.logged, self.dropped = self.logged + logged, self.dropped + 1
            flow = replace(probe.flow, sport=self.port)
            self.port += 1
            found[probe.ref] = Observation(
                probe=replace(probe, flow=flow), state=PortState.SILENT, sent=1, arrived=True, confirmed=False
            )
        return found

    def run(self, argv, *, name):
        text = "\n".join(self.log)
        if name != "drop-log":
            text = TABLE.format(f"[{self.logged}:0] ", self.limit, f"[{self.dropped}:0] ")
        return SimpleNamespace(status=0, stdout=text, stderr="")

    def facts(self, monkeypatch):
        gate = SimpleNamespace(pause=lambda seconds, _host="": self.slept.append(seconds))
        monkeypatch.setattr(dropping, "_LOG_WAIT", 0.0)
        host = Host(name="h", addresses=(OWN,), ssh=SshAddress(address="x"), drop_log="/log", access=Access.READ)
        agent = object.__new__(Agent)
        field = SimpleNamespace(
            gate=gate,
            inventory=SimpleNamespace(hosts={"h": host}),
            transports={"h": self},
            agents={},
            agent=lambda _: agent,
        )
        check = Check(
            id="c", kind=Kind.DROP_LOG, policy=Policy(name="p", path=None, sha256="", hosts=("h",), services={}),
            expectation=DropLog(directions=("inbound",), exercise=True, id="d", title="d", file="f", line=1), host="h",
            expected="logged", family=Family.IPV4, vantage="v", peer=PEER, service=Service("tcp", 9, "tcp/9"),
            direction="inbound",
        )  # fmt: skip
        model = HostModel.build(iptables_save=TABLE.format("", self.limit, ""))
        return drop_log(field, self, check, model)


def test_its_own_line_is_found_at_once(monkeypatch):
    world = World([((OTHER, LINE), 2)])
    found = world.facts(monkeypatch)
    assert found.line.sport == 61000
    assert (found.sent, found.others, found.counted, world.slept) == (1, 1, (2, 1), [])


def test_a_line_that_was_there_before_is_not_its_own(monkeypatch):
    found = World([], limit="", old=[LINE.format(61000)]).facts(monkeypatch)
    assert (found.line, found.others, found.lines_read) == (None, 0, 1)
    found = World([((LINE,), 1)], limit="", old=[LINE.format(61000)]).facts(monkeypatch)
    assert found.line is not None, "the same line once more is a new one"


def test_a_used_up_limit_is_waited_for(monkeypatch):
    world = World([((), 0)] * 7 + [((LINE,), 1)])
    found = world.facts(monkeypatch)
    assert (found.line.sport, found.sent) == (61007, 9)
    assert world.slept == [1.0, 1.0]


def test_a_limit_that_others_use_up_is_tried_a_few_times(monkeypatch):
    world = World([((OTHER,), 1)] * 20)
    found = world.facts(monkeypatch)
    assert (found.line, found.sent, found.others, found.counted) == (None, 13, 13, (13, 13))
    assert world.slept == [1.0] * 3


@pytest.mark.parametrize(
    ("limit", "steps"),
    [("", [((), 0)]), ("-m limit --limit 3/hour", [((), 0)]), (LIMIT, [((), 1)])],
    ids=["there is none", "it is too slow", "the rule logged it"],
)
def test_no_limit_is_waited_for_where_that_tells_nothing(monkeypatch, limit, steps):
    world = World(steps, limit=limit)
    found = world.facts(monkeypatch)
    assert (found.line, found.sent, world.slept) == (None, 1, [])


def test_lines_of_other_rules_do_not_use_a_limit_up(monkeypatch):
    found = World([((OTHER.replace("fw drop", "martian"),), 0)]).facts(monkeypatch)
    assert (found.line, found.others) == (None, 0)


def test_a_log_that_cannot_be_read_is_an_error(monkeypatch):
    world = World([])
    world.run = lambda argv, *, name: SimpleNamespace(status=1, stdout="", stderr="tail: no")
    with pytest.raises(HostError, match="/log cannot be read: tail: no"):
        world.facts(monkeypatch)


def test_a_drop_that_nobody_tries_is_asked_about_for_a_packet_that_the_routing_lets_come():
    """Strict rp_filter drops what comes from nowhere, before any rule; that is not the drop in question."""
    address = SshAddress(address="x")
    hosts = {"h": Host(name="h", addresses=(OWN,), ssh=address, drop_log="/log", access=Access.READ),
             "far": Host(name="far", addresses=(ip_address("10.0.5.7"),), ssh=address)}  # fmt: skip
    check = Check(
        id="c", kind=Kind.DROP_LOG, policy=Policy(name="p", path=None, sha256="", hosts=("h",), services={}),
        expectation=DropLog(directions=("inbound",), id="d", title="d", file="f", line=1), host="h",
        expected="logged", family=Family.IPV4, vantage=None, peer=None, service=None, direction="inbound",
    )  # fmt: skip
    model = HostModel.build(
        iptables_save=TABLE.format("", LIMIT, ""), sysctls="net.ipv4.conf.all.rp_filter = 1\n",
        addresses='[{"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 24}]}]',
        routes='[{"dst": "10.0.0.0/16", "dev": "eth0"}, {"dst": "10.0.0.0/24", "dev": "eth0"}]',
    )  # fmt: skip
    found = drop_log(SimpleNamespace(inventory=SimpleNamespace(hosts=hosts)), None, check, model)
    assert (found.refused, len(found.rules)) == (True, 1)
    assert found.decided.startswith("ip filter INPUT rule 2")
    alone = {"h": hosts["h"]}
    barred = drop_log(SimpleNamespace(inventory=SimpleNamespace(hosts=alone)), None, check, model)
    assert "rp_filter" in barred.decided
