"""The gate: what it lets through, how fast, and what it says where it does not."""

import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from fwproof.errors import AgentRefused, Stopped
from fwproof.flow import TCP, UDP, Flow
from fwproof.forms import PLAIN
from fwproof.inventory import Authorisation, Host, Inventory, SshAddress
from fwproof.probing import gate as gates
from fwproof.probing.channel import Agent
from fwproof.probing.frames import probe_frames, solicitation_frame
from fwproof.probing.gate import Budget, Gate

A, B = ip_address("10.0.0.1"), ip_address("10.0.0.2")
B6 = ip_address("fd00::2")


def inventory(**more):
    hosts = {
        "a": Host(name="a", addresses=(A,), ssh=SshAddress(address="a")),
        "b": Host(name="b", addresses=(B, B6), ssh=SshAddress(address="b"), max_pps=more.pop("max_pps", 1000)),
    }
    return Inventory(path=Path("i.yaml"), sha256="", hosts=hosts, zones={}, **more)


def frames(*dsts, proto=TCP):
    flags = frozenset({"SYN"}) if proto == TCP else frozenset()
    flows = (Flow(src=A, dst=dst, proto=proto, sport=61000, dport=22, flags=flags) for dst in dsts)
    return {"frames": [frame.hex() for flow in flows for frame in probe_frames(flow, 0, PLAIN, 61000)]}


def passes(gate, op="send", share=None, kind="probes", **arguments):
    with gate.passing("a", op, arguments, share, kind):
        pass


def test_only_addresses_of_the_inventory_are_sent_to():
    gate = Gate(inventory())
    passes(gate, **frames(B))
    passes(gate, "connect", address="fd00::2", port=22)
    passes(gate, frames=[solicitation_frame(ip_address("fd00::1"), B6, "02:00:00:00:00:01").hex()])
    for op, arguments in (
        ("send", frames(B, ip_address("10.0.0.3"))), ("connect", {"address": "10.0.0.3"}),
        ("hold", {"address": "10.0.0.3", "count": 1}),
        ("sweep_send", {"frame": frames(ip_address("10.0.0.3"))["frames"][0], "count": 1}),
    ):  # fmt: skip
        with pytest.raises(AgentRefused, match=r"10\.0\.0\.3 is no address of the inventory"):
            passes(gate, op, **arguments)
    assert gate.sent() == [("connections", "a", "b", 1), ("probes", "a", "b", 2)]


def test_a_stop_is_for_all_a_loss_for_one_and_undoing_goes_on():
    gate = Gate(inventory())
    gate.lose("b", "the way is lost")
    with pytest.raises(Stopped, match="b: nothing more is sent: the way is lost"):
        passes(gate, **frames(B))
    passes(gate, **frames(A))
    gate.stop("Ctrl-C")
    with pytest.raises(Stopped, match="Ctrl-C"):
        passes(gate, **frames(A))
    passes(gate, kind="undo", **frames(B))
    with pytest.raises(AgentRefused, match="no address of the inventory"):
        passes(gate, kind="undo", **frames(ip_address("10.0.0.3")))
    passes(gate, "unban")
    begun = time.monotonic()
    for hosts in ((), ("a",)):
        with pytest.raises(Stopped):
            gate.pause(5, *hosts)
    assert time.monotonic() - begun < 1


def test_the_window_closes_by_itself():
    now = [datetime(2026, 3, 1, 22, tzinfo=UTC)]
    given = Authorisation(by="J", hosts=("b",), closes=now[0] + timedelta(seconds=1))
    gate = Gate(inventory(authorisation=given), now=lambda: now[0])
    passes(gate, **frames(B))
    now[0] += timedelta(seconds=1)
    with pytest.raises(Stopped, match="the authorised window closed at 2026-03-01T22:00"):
        passes(gate, **frames(B))
    assert gate.sent() == [("probes", "a", "b", 1)]


def test_no_second_has_more_than_the_limit_whoever_sends():
    budget, taken, lock = Budget(50), [], threading.Lock()
    end = time.monotonic() + 2.5

    def sender():
        while time.monotonic() < end:
            wait = budget.take(7)
            if wait:
                time.sleep(wait)
                continue
            time.sleep(0.01)  # the way to the agent
            with lock:
                taken.append(time.monotonic())
            budget.give(7)

    threads = [threading.Thread(target=sender) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start in taken:
        assert 7 * sum(start <= when < start + 1 for when in taken) <= 50
    assert len(taken) * 7 > 100, "it is used, too"


def test_what_can_never_pass_is_refused_with_what_to_do():
    gate = Gate(inventory(max_pps=10))
    with pytest.raises(AgentRefused, match=r"10 packets go out together, .* lets 9 a second through \(raise max_pps"):
        passes(gate, **frames(*[B] * 5))
    with pytest.raises(AgentRefused, match="raise max_pps"), gate.share("b", 10):
        pass


def test_a_share_is_set_aside_and_what_has_its_time_does_not_wait():
    gate = Gate(inventory(max_pps=20))
    with gate.share("b", 9) as share:
        passes(gate, **frames(*[B] * 9, proto=UDP))  # of the ten that are left
        passes(gate, share=share, **frames(B, B))
        passes(gate, share=share, **frames(B, B))
        begun = time.monotonic()
        with pytest.raises(AgentRefused, match="left no room for packets that have their time"):
            passes(gate, share=share, **frames(B))
        assert time.monotonic() - begun < gates.IN_TIME + 0.3


def test_without_an_inventory_all_but_a_stop_is_let_through():
    gate = Gate()
    passes(gate, **frames(B))
    assert gate.limit("b") is None
    with gate.share("b", 10**6) as share:
        assert share is None


class Deaf:
    """A channel that must not be written to."""

    def send(self, data):
        raise AssertionError(data)


def test_an_agent_is_not_asked_for_what_the_gate_refuses():
    agent = Agent("a", Deaf(), Gate(inventory()))
    with pytest.raises(AgentRefused, match="no address of the inventory"):
        agent.call("send", **frames(ip_address("192.0.2.1")))
