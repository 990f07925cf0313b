"""Native nftables against the kernel: the same random rulesets, the same packets, the same decision and counters.

The kernel's own list (``nft -j list ruleset``) is what the model reads. ``FWPROOF_TABLES`` and ``FWPROOF_SEED`` make
a larger or another run.
"""

import json
import os
import random
import re
import time
from collections import Counter

import pytest

from fwproof.decision import Decision
from fwproof.flow import Family
from fwproof.ruleset import nft
from fwproof.semantics.burst import Burst
from fwproof.semantics.model import HostModel

from . import kernel as k
from .random_nft import Ruleset
from .test_tables import PACKETS, volley

pytestmark = [pytest.mark.lab]
TABLES = int(os.environ.get("FWPROOF_TABLES", "200"))
SEED = int(os.environ.get("FWPROOF_SEED", "1"))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    reason = k.available()
    assert not reason, reason
    scratch = NftKernel(tmp_path_factory.mktemp("xtables") / "lock")
    scratch.facts = (
        scratch.run("ip", "-j", "addr"),
        scratch.run("ip", "-j", "route") + scratch.run("ip", "-6", "-j", "route"),
    )
    time.sleep(2.5)  # the kernel's own multicast reports of the new interfaces have to be over
    yield scratch
    scratch.close()


REFUSED = re.compile(r"^/dev/stdin:(\d+):", re.MULTILINE)


class NftKernel(k.Kernel):
    """A kernel that says which lines of a ruleset it refuses."""

    loaded = ()
    undecided = 0

    def tried(self, text):
        """Load a ruleset; return the numbers of the lines that nft refuses, in which case nothing is loaded."""
        answer = self._ask({"argv": ["nft", "-f", "-"], "stdin": text})
        lines = sorted({int(number) for number in REFUSED.findall(answer["err"])})
        assert answer["status"] == 0 or lines, (answer["err"], text)
        return lines


class Undecided(Exception):
    """A random rule asks for bytes that no flow shows (nft reads ``th dport`` of ICMP as its checksum)."""


class Expected:
    """What the model says of packet after packet: how often each rule's last action is reached, and the decisions."""

    def __init__(self, printed, version, facts, finals):
        self.family = Family.IPV4 if version == 4 else Family.IPV6
        self.model = HostModel.build(nft_json=printed, addresses=facts[0], routes=facts[1])
        assert not any(self.model.blind.values()), self.model.blind
        self.burst = Burst(self.model.rules(self.family))
        self.hits, self.finals, self.decisions = Counter(), finals, Counter()

    def add(self, flow):
        leaves = self.model.leaves(flow, None, self.burst.answer)
        asked = {question for leaf in leaves for question, _ in leaf.choices}
        if asked and all(getattr(question.test, "kind", "") == "packet" for question in asked):
            raise Undecided
        assert len(leaves) == 1, (flow, asked)
        leaf = leaves[0]
        assert leaf.decision in {Decision.ACCEPT, Decision.DROP, Decision.REJECT}, leaf
        self.decisions[leaf.decision] += 1
        for step in leaf.trace:
            rule = (step.rule.family, step.rule.table, step.rule.chain, step.rule.rule)
            final = self.finals.get(rule, "counter" if step.rule.table == "watch" else None)
            self.hits[rule] += int(step.matched == "yes" and final is not None and self._final(step, final))
        return leaf

    @staticmethod
    def _final(step, final):
        if step.rule.table == "watch":
            return step.action == "continue"
        return step.action.startswith(final.split()[0])


def load(kernel, ruleset):
    for name in kernel.loaded:
        kernel.run("nft", "delete", "table", *name.split())
    kernel.clear()
    kernel.loaded = ()
    for _ in range(20):
        refused = kernel.tried(ruleset.text)
        if not refused:
            break
        ruleset.without(refused)
    kernel.loaded = ruleset.tables
    kernel.watch()
    return kernel.run("nft", "-j", "list", "ruleset")


def counted(kernel):
    """Return the packets of every rule's counter in the random tables."""
    found, numbers = {}, Counter()
    for entry in json.loads(kernel.run("nft", "-j", "list", "ruleset"))["nftables"]:
        if "rule" not in entry:
            continue
        rule = entry["rule"]
        chain = rule["family"], rule["table"], rule["chain"]
        numbers[chain] += 1
        packets = [s["counter"]["packets"] for s in rule["expr"] if isinstance(s.get("counter"), dict)]
        if packets and rule["table"] != "keep":
            found[(*chain, numbers[chain])] = packets[-1]
    return found


def disagreements(kernel, rng, serial, tamper=None, **options):
    """Return the differences between model and kernel over one random ruleset and its packets, in words."""
    version, outward = rng.choice([4, 6]), rng.random() < 0.25
    ruleset = Ruleset(rng, version, serial, outward=outward, **options)
    printed = load(kernel, ruleset)
    document = nft.parse(printed)
    assert document.kept == document.objects
    assert not document.unparsed
    expected = Expected(tamper(printed) if tamper else printed, version, kernel.facts, ruleset.finals)
    try:
        packets = volley(rng, version, expected, outward, 1024 + serial * PACKETS % 60000)
    except Undecided:
        kernel.undecided += 1
        return []
    before = kernel.watched()
    kernel.send(packets)
    arrived = sum(kind == "frame" for kind, _, _ in packets)
    now = kernel.settle(before["arrived"] + arrived)
    found = []
    for name in ("output",) if outward else ("input", "forward"):
        seen, said = now[name] - before[name], expected.hits["inet", "watch", name, 1]
        if seen != said:
            found.append(f"{name}: the kernel lets {seen} through, the model {said}")
    for rule, seen in counted(kernel).items():
        final = ruleset.finals.get(rule)
        if final is not None and seen != expected.hits[rule]:
            found.append(f"{rule} ({final}): the kernel counts {seen}, the model {expected.hits[rule]}")
    return [f"ruleset {serial}, IPv{version}: {text}\n{kernel.run('nft', 'list', 'ruleset')}" for text in found]


def test_random_rulesets_decide_and_count_as_the_model_says(kernel):
    rng = random.Random(SEED)
    for serial in range(TABLES):
        found = disagreements(kernel, rng, serial)
        assert not found, "\n".join(found[:3])
    assert kernel.undecided < TABLES / 20
