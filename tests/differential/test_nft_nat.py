"""Native nat of nftables against the kernel: the random tables of test_nat.py as iptables translates them to nft.

What the model reads is the kernel's own list of them. ``FWPROOF_TABLES`` and ``FWPROOF_SEED`` make a larger or another
run.
"""

import os
import random
import re
from collections import Counter

import pytest

from fwproof.decision import Decision
from fwproof.semantics.model import HostModel

from .random_nat import NatTables, nat_flow, stray
from .test_nat import EMPTY, NOTHING, PACKETS, _far, ends, kernel, sysctls, tagged
from .test_nft import counted

__all__ = ["kernel"]
pytestmark = [pytest.mark.lab]
TABLES = int(os.environ.get("FWPROOF_TABLES", "100"))
SEED = int(os.environ.get("FWPROOF_SEED", "1"))


class Expected:
    """What the model says of packet after packet."""

    def __init__(self, printed, facts):
        self.model = HostModel.build(nft_json=printed, **facts)
        assert not any(self.model.blind.values()), self.model.blind
        self.hits, self.away = Counter(), {}

    def add(self, flow, number):
        leaves = self.model.leaves(flow)
        assert len(leaves) == 1, (flow, [leaf.choices for leaf in leaves])
        (leaf,) = leaves
        assert leaf.decision in {Decision.ACCEPT, Decision.DROP}, leaf
        for step in leaf.trace:
            rule = (step.rule.family, step.rule.table, step.rule.chain, step.rule.rule)
            self.hits[rule] += int(step.matched == "yes" and step.rule.rule is not None)
        seen = {step.rule.chain for step in leaf.trace if step.rule.table == "filter"}
        if leaf.decision is Decision.ACCEPT and "INPUT" not in seen:
            after = leaf.subject.flow
            self.away[number] = ("far" if after.oif == "eth1" else "outer", ends(after, leaf.subject.unknown))


def load(kernel, text, version):
    """Load tables as nft's own; return what nft then lists, and the translation."""
    kernel.clear()
    for each in ("iptables", "ip6tables"):
        kernel.run(f"{each}-legacy-restore", stdin=NOTHING + EMPTY)
    name = "iptables" if version == 4 else "ip6tables"
    native = kernel.run(f"{name}-restore-translate", "-f", "/dev/stdin", stdin=text)
    native = "\n".join(line for line in native.split("\n") if not line.startswith("#"))
    # nft lists prefixes of the older "ct original saddr" wrongly
    native = re.sub(r"(ct \w+) ([sd]addr)", r"\1 ip \2" if version == 4 else r"\1 ip6 \2", native)
    kernel.run("nft", "-f", "-", stdin=native)
    kernel.watch()
    return kernel.run("nft", "-j", "list", "ruleset"), native


def disagreements(kernel, rng, serial, tamper=None):
    """Return the differences between model and kernel over one random table and its packets, in words."""
    version, outward = rng.choice([4, 4, 6]), rng.random() < 0.25
    facts = {**kernel.facts, "sysctls": sysctls(kernel, rng, version)}
    text = NatTables(rng, version, outward=outward).text
    # whether an IPv6 address is "unicast" to fib hangs on routes that the model leaves open
    printed, native = load(kernel, text.replace("UNICAST", "LOCAL") if version == 6 else text, version)
    expected, packets = Expected(tamper(printed) if tamper else printed, facts), []
    for at in range(PACKETS):
        number = serial * PACKETS + at
        flow = nat_flow(rng, version, 1024 + number % 60000, outward=outward)
        flow = stray(flow) if rng.random() < 0.1 else flow
        expected.add(flow, number)
        kind = ("ip4" if version == 4 else "ip6") if outward else "frame"
        packets.append((kind, tagged(flow, number).hex(), str(flow.dst)))
    before = kernel.watched()
    kernel.send(packets)
    kernel.settle(before["arrived"] + sum(kind == "frame" for kind, _, _ in packets))
    found = [
        f"{rule}: the kernel counts {seen}, the model {expected.hits[rule]}"
        for rule, seen in counted(kernel).items()
        # what the host answers goes through mangle POSTROUTING as well
        if rule[1:3] != ("mangle", "POSTROUTING") and seen != expected.hits[rule]
    ]
    found += _far(kernel, expected, version)
    return [f"table {serial}, IPv{version}: {text}\n{native}\n{facts['sysctls']}" for text in found]


def test_random_native_translations_are_followed(kernel):
    rng = random.Random(SEED)
    for serial in range(TABLES):
        found = disagreements(kernel, rng, serial)
        assert not found, "\n".join(found[:3])


SABOTAGE = {
    "ports": ('"port": 8', '"port": 9'),
    "redirect": ('{"redirect": null}', '{"accept": null}'),
    "nat state": ('"dnat"}}', '"snat"}}'),
    "negation": ('"op": "!="', '"op": "=="'),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_the_comparison_can_fail(kernel, what):
    rng = random.Random(7)  # whatever run this is, these tables are the ones that show it
    found = []
    for serial in range(TABLES + 100, TABLES + 400):
        found += disagreements(kernel, rng, serial, tamper=lambda text: text.replace(*SABOTAGE[what]))
        if found:
            break
    assert found, f"a model that reads {what} wrong agrees with the kernel: the comparison proves nothing"
