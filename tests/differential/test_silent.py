"""Which drops are logged, over sets, against the kernel: every packet that real tables refuse, logged or not.

Whether NFLOG got a packet is told by the counters of its rules, whether it was refused by a counter of ours behind the
last rule of its hook.
"""

import os
import random
from collections import Counter

import pytest

from fwproof.decision import Decision
from fwproof.flow import Family, Hook
from fwproof.semantics.model import HostModel
from fwproof.semantics.silent import Asking
from fwproof.semantics.witness import point

from . import kernel as k
from .random_tables import SOURCES, Tables, new_flow
from .test_tables import Expected, Undecided, counters, kernel, load  # noqa: F401 - kernel is the fixture

pytestmark = [pytest.mark.lab]
TABLES = int(os.environ.get("FWPROOF_SILENT_TABLES", "20"))
PACKETS = 8
HOOKS = {"input": Hook.INPUT, "forward": Hook.FORWARD, "output": Hook.OUTPUT}


class Sets:
    """What the sets say of packets of one table: whether each may be refused with a line, or without one."""

    def __init__(self, model, family):
        self.asked = {way: Asking(model, hook, family, None, frozenset()) for way, hook in HOOKS.items()}

    def of(self, way, flow):
        """Return what may become of a packet; ``passed`` is all but refused."""
        asking, found = self.asked[way], set()
        here = asking.sets.plain(point(asking.sets, flow))
        for walk in asking.walks:
            if walk.config.state is flow.ctstate and walk.config.direction == flow.ctdir:
                logged = asking.sets.union(list(walk.logged.values()))
                parts = {
                    "logged": walk.refused & logged,
                    "silent": walk.refused & ~logged,
                    "passed": asking.asked.start & ~walk.refused,
                }
                found |= {name for name, some in parts.items() if some & here != asking.sets.none}
        return found


def more_logs(rng, text):
    """Put a rule that logs the same, with a limit or without, before half of those that refuse."""
    lines = []
    for line in text.splitlines():
        rule, _, target = line.rpartition(" -j ")
        if target.startswith(("DROP", "REJECT")) and rng.random() < 0.6:
            limit = rng.choice(["", "", "-m limit --limit 1/hour --limit-burst 9 "])
            lines.append(f'{rule} {limit}-j NFLOG --nflog-prefix "x y" --nflog-group 7')
        lines.append(line)
    return "\n".join(lines) + "\n"


def seen(scratch, version, way, flow, rules):
    """Send a packet and return what the kernel did with it."""
    before, passed = counters(scratch, version, "nft"), scratch.watched()
    data = k.ip_packet(flow) if way == "output" else k.frame(flow)
    scratch.send([(("ip4" if version == 4 else "ip6") if way == "output" else "frame", data.hex(), str(flow.dst))])
    if way != "output":
        scratch.settle(passed["arrived"] + 1)
    after, now = counters(scratch, version, "nft"), scratch.watched()
    if now[way] > passed[way]:
        return "passed"
    return "logged" if any(after[ref] > before[ref] for ref in rules) else "silent"


def compared(scratch, rng, serial, totals):
    """Return a text for each packet with which the kernel did what the sets rule out."""
    version = rng.choice([4, 6])
    family = Family.IPV4 if version == 4 else Family.IPV6
    outward = rng.random() < 0.3
    tables = Tables(rng, version, f"s{serial}", outward=outward)
    printed = load(scratch, more_logs(rng, tables.text), version, "nft")
    expected = Expected(printed, version, *scratch.facts)
    sets = Sets(expected.model, family)
    rules = {
        (rule.ref.table, rule.ref.chain, rule.ref.rule)
        for rule in expected.model.rules(family)
        if rule.target.name == "NFLOG"
    }
    found = []
    for number in range(PACKETS):
        way = "output" if outward else rng.choice(["input", "input", "forward"])
        flow = new_flow(rng, version, way, 20000 + serial * 50 + number)
        try:
            leaf = expected.add(flow)
        except Undecided:
            continue
        routed = leaf.by is not None and leaf.by.table == "routing"
        if (str(flow.src) not in SOURCES[version] and way != "output") or routed or flow.icmp_type is not None:
            continue  # the routing drops some of those by itself, and no rule is asked about logs
        did, said = seen(scratch, version, way, flow, rules), sets.of(way, flow)
        totals[did] += 1
        totals["certain"] += len(said) == 1
        if did not in said:
            found.append(f"table {serial}: {way} {flow}: the kernel {did}, the sets {said}\n{printed}")
    return found


@pytest.fixture(scope="module")
def totals():
    return Counter()


def test_a_drop_is_logged_or_silent_as_the_sets_say(kernel, totals):  # noqa: F811 - the fixture
    rng = random.Random(int(os.environ.get("FWPROOF_SEED", "4")))
    for serial in range(TABLES):
        found = compared(kernel, rng, serial, totals)
        assert not found, found[0]
    assert totals["logged"] >= TABLES // 3, totals
    assert totals["silent"] >= TABLES // 3, totals
    assert totals["certain"] >= TABLES * 2, totals


def test_the_comparison_can_fail(kernel, monkeypatch):  # noqa: F811 - the fixture
    """Sets that take no rule for one that logs are found out."""
    monkeypatch.setattr(Asking, "_take", lambda self, walk: None)
    rng = random.Random(4)
    assert any(compared(kernel, rng, serial, Counter()) for serial in range(TABLES))


def test_both_ends_agree_where_nothing_is_asked():
    model = HostModel.build(iptables_save="*filter\n:INPUT DROP [0:0]\nCOMMIT\n")
    flow = new_flow(random.Random(1), 4, "input", 4000)
    assert Sets(model, Family.IPV4).of("input", flow) == {"silent"}
    assert model.decide(flow, "input").decision is Decision.DROP
