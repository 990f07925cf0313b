"""The differences of two random tables against single packets: what is decided otherwise is in a change, and back."""

import os
import random
from collections import Counter
from dataclasses import replace

import pytest

from fwproof.decision import Decision
from fwproof.flow import CtState, Family
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import PATHS
from fwproof.semantics.diff import Kind, compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.witness import dressed, follow

from .random_tables import Tables
from .test_sets import a_packet

TABLES = int(os.environ.get("FWPROOF_DIFF_TABLES", "40"))
PACKETS = 40
STATES = {"NEW": Config(CtState.NEW), "INVALID": Config(CtState.INVALID), "ESTABLISHED": Config(CtState.ESTABLISHED)}


def within(values, number):
    spans, raw = values
    if raw:
        return any(number & mask == value for value, mask in spans)
    return any(low <= number <= high for low, high in spans)


def holds(room, flow, hook):
    face = flow.oif if hook == "output" else flow.iif
    if room.interfaces is not None and face not in room.interfaces:
        known = [name for name in room.interfaces if name.endswith("*") and face.startswith(name[:-1])]
        if not known and "" not in room.interfaces:
            return False
    if not (within(room.sources, int(flow.src)) and within(room.destinations, int(flow.dst))):
        return False
    for protos, detail in room.services:
        if within((protos, False), flow.proto):
            number = flow.dport if flow.dport is not None else (flow.icmp_type or 0) * 256 + (flow.icmp_code or 0)
            return detail is None or within((detail, False), number)
    return False


def changed(rng, text):
    """Return tables with one rule left out, turned round or moved."""
    lines = text.split("\n")
    if rng.random() < 0.25:
        chain = rng.choice(["INPUT", "FORWARD", "OUTPUT"])
        swap = {f":{chain} ACCEPT [0:0]": f":{chain} DROP [0:0]", f":{chain} DROP [0:0]": f":{chain} ACCEPT [0:0]"}
        start = lines.index("*filter")
        return "\n".join(lines[:start] + [swap.get(line, line) for line in lines[start:]])
    rules = [at for at, line in enumerate(lines) if line.startswith("-A ") and "POSTROUTING" not in line]
    if not rules:
        return text
    at = rng.choice(rules)
    kind = rng.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at] = lines[at].replace("-j DROP", "-j ACCEPT") if "-j DROP" in lines[at] else lines[at].replace(
            "-j ACCEPT", "-j DROP")  # fmt: skip
    elif kind == 2:
        lines[at] = lines[at].replace("! ", "", 1)
    elif lines[at + 1].startswith("-A "):
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    return "\n".join(lines)


def outcomes(rng, spoil=None):
    seen = Counter()
    for serial in range(TABLES):
        version = rng.choice([4, 6])
        family = Family.IPV4 if version == 4 else Family.IPV6
        text = Tables(rng, version, serial, outward=rng.random() < 0.3).text
        key = "iptables_save" if version == 4 else "ip6tables_save"
        texts = (text, changed(rng, text))[:: rng.choice([1, -1])]
        old, new = (HostModel.build(**{key: each}) for each in texts)
        found = compare(old, new, family, most=500)
        assert not found.unlisted
        found = spoil(found) if spoil else found
        for hook in PATHS:
            for name, config in STATES.items():
                for _ in range(PACKETS):
                    flow = replace(dressed(a_packet(rng, version, hook), config), ttl=64)
                    sides = [{leaf.decision for leaf in follow(model, flow, hook)} for model in (old, new)]
                    said = {c.kind for c in found.changes if c.hook is hook and name in c.states
                            and (c.more or any(holds(room, flow, hook) for room in c.rooms))}  # fmt: skip
                    seen[judged(sides, said, found, texts, flow)] += 1
    return seen


def test_what_is_decided_otherwise_is_in_a_change():
    seen = outcomes(random.Random(int(os.environ.get("FWPROOF_SEED", "1"))))
    assert min(seen["more"], seen["less"]) > 20, seen
    assert seen["same"] > 1000, seen


@pytest.mark.parametrize("kind", [Kind.REACHABLE, Kind.UNREACHABLE])
def test_the_comparison_can_fail(kind):
    """A comparison that leaves out one kind of change is caught."""
    with pytest.raises(AssertionError):
        outcomes(
            random.Random(1), lambda found: replace(found, changes=tuple(c for c in found.changes if c.kind != kind))
        )


def judged(sides, said, found, texts, flow):
    """Compare what single packets say with the changes; a room may hold packets that a hidden field leaves out."""
    accept = [Decision.ACCEPT in side and len(side) == 1 for side in sides]
    refuse = [Decision.ACCEPT not in side and Decision.UNKNOWN not in side for side in sides]
    if accept[1] and refuse[0]:
        assert Kind.REACHABLE in said, ("became-reachable", flow, said, *texts)
        return "more"
    if accept[0] and refuse[1]:
        assert Kind.UNREACHABLE in said, ("stopped-being-reachable", flow, said, *texts)
        return "less"
    if found.same:
        assert sides[0] == sides[1], (flow, sides, *texts)
        return "same"
    return "not asked"
