"""Native nftables against the kernel: the same random rulesets, the same packets, the same decision and counters.

The kernel's own list (``nft -j list ruleset``) is what the model reads. ``FWPROOF_TABLES`` and ``FWPROOF_SEED`` make
a larger or another run.
"""

import json
import os
import random
import re
from collections import Counter
from ipaddress import ip_address
from pathlib import Path

import pytest

from fwproof.decision import Decision
from fwproof.flow import Family, Flow
from fwproof.ruleset import nft
from fwproof.ruleset.asks import Oracle
from fwproof.ruleset.nft_joined import JOINED
from fwproof.ruleset.nft_text import rule_text
from fwproof.semantics.burst import Burst
from fwproof.semantics.model import HostModel

from . import kernel as k
from .random_nft import Ruleset
from .random_tables import Tables, new_flow
from .test_tables import NOTHING, PACKETS, as_it_is, volley
from .test_tables import counters as iptables_counters
from .test_tables import load as load_iptables

CRASHING = re.compile(r"ah spi ")
pytestmark = [pytest.mark.lab]
TABLES = int(os.environ.get("FWPROOF_TABLES", "100"))
SEED = int(os.environ.get("FWPROOF_SEED", "1"))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with k.scratch(tmp_path_factory, NftKernel) as scratch:
        yield scratch


REFUSED = re.compile(r"^/dev/stdin:(\d+):", re.MULTILINE)


class NftKernel(k.Kernel):
    """A kernel that says which lines of a ruleset it refuses."""

    loaded = ()
    undecided = 0
    used = 0

    def ports(self, count):
        """Return the first of some source ports that no packet has had: a connection seen again is not a new one."""
        self.used += count
        return 1024 + (self.used - count) % 60000

    def tried(self, text):
        """Load a ruleset; return the numbers of the lines that nft refuses, in which case nothing is loaded."""
        answer = self._ask({"argv": ["nft", "-f", "-"], "stdin": text})
        lines = sorted({int(number) for number in REFUSED.findall(answer["err"])})
        if answer["status"] < 0:  # nft 1.0.6 fails an assertion of its own where AH and another transport meet
            lines = [number for number, line in enumerate(text.split("\n"), 1) if CRASHING.search(line)]
        assert answer["status"] == 0 or lines, (answer["err"], text)
        return lines


class Undecided(Exception):
    """A random rule asks for what no flow shows: nft lists ``th dport`` of ICMP as its checksum, and ``iiftype``."""


class Open(Exception):
    """The model has no single answer where there should be one."""


class Expected:
    """What the model says of packet after packet: how often each rule's last action is reached, and the decisions."""

    def __init__(self, printed, version, facts, finals, **saves):
        self.family = Family.IPV4 if version == 4 else Family.IPV6
        self.model = HostModel.build(nft_json=printed, addresses=facts[0], routes=facts[1], **saves)
        assert not any(self.model.blind.values()), self.model.blind
        self.burst = Burst(self.model.rules(self.family))
        self.hits, self.finals, self.decisions = Counter(), finals, Counter()

    def add(self, flow):
        leaves = self.model.leaves(flow, None, self._answer)
        asked = {question for leaf in leaves for question, _ in leaf.choices}
        if asked and all(getattr(question.test, "kind", "") in {"packet", "interface"} for question in asked):
            raise Undecided
        unsure = any(step.matched == "depends" for leaf in leaves for step in leaf.trace)
        if unsure or any(getattr(question.test, "kind", "") == "conntrack" for question in asked):
            raise Undecided  # what an ICMP error says of the connection that it is about, or a zone
        leaf = leaves[0]
        if len(leaves) > 1 or leaf.decision is Decision.UNKNOWN:
            raise Open(leaf.reason, asked, flow)
        self.decisions[leaf.decision] += 1
        for step in leaf.trace:
            rule = (step.rule.family, step.rule.table, step.rule.chain, step.rule.rule)
            self.hits[rule] += int(step.matched == "yes" and self._final(step, self.finals.get(rule)))
        return leaf

    def _answer(self, test, packet, rule):
        """Answer the rates, and the one thing that the list does not show: nft has loaded these rules."""
        if test == JOINED:
            return True
        return as_it_is(test) if isinstance(test, Oracle) else self.burst.answer(test, packet, rule)

    @staticmethod
    def _final(step, final):
        """Whether a step is the one behind the counter: the last of a rule of nft, the only one of iptables'."""
        if step.rule.table == "watch":
            return step.action == "continue"
        return step.rule.text.startswith("-A ") or (final is not None and step.action.startswith(final.split()[0]))


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
        packets = volley(rng, version, expected, outward, kernel.ports(PACKETS))
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


WRONG = {
    "negation": lambda text: text.replace('"op": "!="', '"op": "=="'),
    "verdict maps": lambda text: _without(text, "vmap"),
    "limits": lambda text: _without(text, "limit"),
    "goto": lambda text: text.replace('{"goto":', '{"jump":'),
    "return": lambda text: text.replace('{"return": null}', '{"continue": null}'),
    "marks": lambda text: _without(text, "mangle"),
    "concatenations": lambda text: text.replace('{"concat": ["10.0', '{"concat": ["10.1').replace(
        '{"concat": ["fd00', '{"concat": ["fd01'),
    "priorities": lambda text: text.replace('"prio": -350', '"prio": 350').replace('"prio": 10,', '"prio": -349,'),
    "SPI": lambda text: text.replace('"right": 256', '"right": 257').replace("[100, 300]", "[301, 400]"),
    "way back": lambda text: text.replace(', "iif"]', "]"),
    "written fields": lambda text: re.sub(r'("field": "(?:ttl|hoplimit|dscp)"}}, "value": )[^}]+', r"\g<1>8", text),
    "any of some bits": lambda text: text.replace('"op": "in"', '"op": "=="'),
    "named sets": lambda text: text.replace('"@ports"', '"@gone"').replace(
        '"right": "@addresses"', '"right": "@nobody"'
    ),
}  # fmt: skip
"""Ways of reading a list wrongly, each of which the comparison has to find."""


def _without(text, kind):
    document = json.loads(text)
    for entry in document["nftables"]:
        if "rule" in entry:
            entry["rule"]["expr"] = [s for s in entry["rule"]["expr"] if kind not in s]
    return json.dumps(document)


@pytest.mark.parametrize("name", WRONG)
def test_the_comparison_finds(kernel, name):
    rng = random.Random(SEED + 1)
    for serial in range(1000):
        try:
            if disagreements(kernel, rng, serial, tamper=WRONG[name]):
                return
        except Open:
            return  # the right list answers what the model hangs on
    pytest.fail(f"a model that misreads {name} agrees with the kernel: the comparison proves nothing")


def test_chains_of_one_priority_are_decided_in_one_of_the_orders(kernel):
    rng = random.Random(2)  # whatever run this is, these rulesets are the ones that show it
    open_ = unknown = 0
    for serial in range(60):
        version = rng.choice([4, 6])
        ruleset = Ruleset(rng, version, serial, outward=False, priorities=[0] * 8)
        model = HostModel.build(nft_json=load(kernel, ruleset), addresses=kernel.facts[0], routes=kernel.facts[1])
        for _ in range(4):
            port = kernel.ports(1)
            flow = new_flow(rng, version, rng.choice(["input", "forward"]), port)
            payload = port.to_bytes(2, "big") + bytes(22) if flow.icmp_type is not None else b""
            leaves = model.leaves(flow)
            may = {leaf.decision for leaf in leaves}
            open_ += len(may) > 1 and all("order" in q.key for leaf in leaves for q, _ in leaf.choices)
            before = kernel.watched()
            kernel.send([("frame", k.frame(flow, payload).hex(), "")])
            now = kernel.settle(before["arrived"] + 1)
            passed = any(now[name] > before[name] for name in ("input", "forward"))
            right = {Decision.ACCEPT} if passed else {Decision.DROP, Decision.REJECT}
            assert may & {*right, Decision.UNKNOWN}, (flow, may, ruleset.text)
            unknown += Decision.UNKNOWN in may
    assert open_, "no packet hangs on the order: the test shows nothing"
    assert unknown < 40, "too many orders to try: the test shows little"


def test_connections_do_not_outlive_the_tables(kernel):
    text = (
        "table ip once {\n chain c {\n type filter hook forward priority 0\n ct mark 5 counter\n ct mark set 5\n }\n}\n"
    )
    flow = Flow(src=ip_address("10.0.5.7"), dst=ip_address("10.9.0.7"), proto=17, sport=1023, dport=53, iif="eth0")
    for _ in range(2):
        for name in kernel.loaded:
            kernel.run("nft", "delete", "table", *name.split())
        kernel.clear()
        kernel.run("nft", "-f", "-", stdin=text)
        kernel.loaded = ("ip once",)
        kernel.watch()
        before = kernel.watched()
        kernel.send([("frame", k.frame(flow).hex(), "")])
        assert kernel.settle(before["arrived"] + 1)["forward"] == before["forward"] + 1
        assert counted(kernel)["ip", "once", "c", 1] == 0


def test_the_right_reading_is_not_found_wrong(kernel):
    rng = random.Random(SEED + 1)
    assert not [each for serial in range(20) for each in disagreements(kernel, rng, serial)]


def test_rules_written_out_are_the_same_rules_to_nft(kernel):
    text = (Path(__file__).parents[2] / "fixtures" / "rules" / "everything.nft").read_text(encoding="utf-8")
    for name in kernel.loaded:
        kernel.run("nft", "delete", "table", *name.split())
    kernel.loaded = ()
    kernel.run("nft", "-f", "-", stdin=text)
    listed = json.loads(kernel.run("nft", "-j", "list", "table", "inet", "t"))["nftables"]
    rules = [entry["rule"] for entry in listed if "rule" in entry]
    assert len(rules) > 130
    for rule in rules:
        if any("meter" in statement for statement in rule["expr"]):
            continue  # its name is taken by the rule itself
        written = rule_text(nft.NftRule(statements=tuple(rule["expr"]), comment=rule.get("comment", "")))
        kernel.run("nft", "-f", "-", stdin=f"add rule inet t {rule['chain']} {written}\n")
        again = json.loads(kernel.run("nft", "-j", "list", "chain", "inet", "t", rule["chain"]))["nftables"][-1]["rule"]
        assert _plain(again["expr"]) == _plain(rule["expr"]), written
    for name in ("inet t", "ip a", "bridge b", "arp b", "netdev n"):
        kernel.run("nft", "delete", "table", *name.split())


def _plain(value):
    """Return JSON without the counters' values and without an order of sets."""
    if isinstance(value, dict):
        if "set" in value and isinstance(value["set"], list):
            return {"set": sorted((_plain(each) for each in value["set"]), key=repr)}
        return {key: {} if key == "counter" and isinstance(each, dict) else _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def together(kernel, rng, serial):
    """Return the differences over legacy tables of iptables and native ones of nft in one kernel."""
    version, outward = rng.choice([4, 6]), rng.random() < 0.25
    name = "iptables" if version == 4 else "ip6tables"
    old = Tables(rng, version, kernel.used, outward=outward)
    legacy = load_iptables(kernel, old.text, version, "legacy")
    places = rng.sample([-350, -310, -160, -120, -10, 10, 70, 80], 8)
    ruleset = Ruleset(rng, version, serial, outward=outward, priorities=places)
    saves = {f"{name}_legacy_save": legacy}
    expected = Expected(load(kernel, ruleset), version, kernel.facts, ruleset.finals, **saves)
    try:
        packets = volley(rng, version, expected, outward, kernel.ports(PACKETS))
    except Undecided:
        return []
    before = kernel.watched()
    kernel.send(packets)
    kernel.settle(before["arrived"] + sum(kind == "frame" for kind, _, _ in packets))
    found = []
    for rule, seen in counted(kernel).items():
        if ruleset.finals.get(rule) is not None and seen != expected.hits[rule]:
            found.append(f"nft {rule}: the kernel counts {seen}, the model {expected.hits[rule]}")
    family = "ip" if version == 4 else "ip6"
    for rule, seen in iptables_counters(kernel, version, "legacy").items():
        if (
            rule[1].startswith("OUTPUT") == outward
            and rule[1] != "POSTROUTING"
            and seen != expected.hits[family, *rule]
        ):
            found.append(f"legacy {rule}: the kernel counts {seen}, the model {expected.hits[family, *rule]}")
    return [f"{each}\n{legacy}\n{kernel.run('nft', 'list', 'ruleset')}" for each in found]


def test_legacy_and_native_tables_decide_together(kernel):
    rng = random.Random(SEED + 3)
    for serial in range(TABLES // 4):
        found = together(kernel, rng, serial)
        assert not found, found[0]
    for each in ("iptables", "ip6tables"):
        kernel.run(f"{each}-legacy-restore", stdin=NOTHING)
