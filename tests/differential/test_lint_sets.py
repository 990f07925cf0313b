"""Lint's claims against what really happens without the rule, on random tables.

Every rule that is said to take nothing, or to be redundant, is left out, and all packets are decided again; every
rule that is not said to be dead has a packet that the walk of single packets sees it take.
"""

import os
import random
from collections import Counter
from dataclasses import replace

import pytest

from fwproof.flow import Family
from fwproof.semantics import bdd_near, bdd_parts, lint_stretch
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.lint import lint
from fwproof.semantics.lint_finding import Kind
from fwproof.semantics.lint_space import CONFIGS, PATHS
from fwproof.semantics.model import HostModel

from .random_tables import Tables

TABLES = int(os.environ.get("FWPROOF_LINT_TABLES", "25"))
DEAD = {Kind.NEVER, Kind.UNREACHABLE, Kind.SHADOWED, Kind.CONTRADICTED}


def build(text, version):
    return HostModel.build(**{"iptables_save" if version == 4 else "ip6tables_save": text})


def without(text, ref):
    """Return the tables with one rule that does nothing any more, and those where it is left out."""
    lines, table, seen = text.split("\n"), "", Counter()
    for at, line in enumerate(lines):
        if line.startswith("*"):
            table = line[1:]
        if line.startswith("-A "):
            chain = line.split()[1]
            seen[table, chain] += 1
            if (table, chain, seen[table, chain]) == (ref.table, ref.chain, ref.rule):
                idle = line.split(" -j ")[0].split(" -g ")[0]
                return "\n".join([*lines[:at], idle, *lines[at + 1 :]]), "\n".join(lines[:at] + lines[at + 1 :])
    raise AssertionError(ref)


def same(first, second, family):
    """Whether two hosts decide every packet the same, on every way and in every state."""
    engine = Engine([first, second], family)
    sets = engine.sets
    for path in PATHS:
        for config in CONFIGS:
            ends = [host.route(path).flow({config: host.packets()})[1] for host in engine.hosts]
            if ends[0].accepted != ends[1].accepted:
                return False
            for each in ("rejected", "unknown"):
                ours, theirs = (getattr(end, each) for end in ends)
                if any(ours.get(key, sets.none) != theirs.get(key, sets.none) for key in {*ours, *theirs}):
                    return False
    return True


def wrong_claims(rng, serial, spoil=None):
    version = rng.choice([4, 6])
    family = Family.IPV4 if version == 4 else Family.IPV6
    text = Tables(rng, version, serial, outward=rng.random() < 0.3).text
    model = build(text, version)
    findings = lint(model, family)
    if spoil:
        findings = [replace(f, rule=spoil(model, family, f)) for f in findings]
    found, kinds = [], Counter(finding.kind for finding in findings)
    counts = any(word in text for word in ("limit", "recent", "hashlimit"))
    for finding in findings:
        if finding.kind in DEAD or finding.kind is Kind.REDUNDANT:
            changes = without(text, finding.rule)[: 1 if counts else 2]
            if not all(same(model, build(changed, version), family) for changed in changes):
                found.append(f"{finding.kind} {finding.rule}: {finding.why}\n{text}")
    return found, kinds


@pytest.mark.parametrize("short", [bdd_near.SHORT, 0])
def test_leaving_out_what_lint_names_changes_nothing(monkeypatch, short):
    """The tables are small: without ``short``, their chains would have no bitsets of the rules that overlap."""
    monkeypatch.setattr(bdd_near, "SHORT", short)
    rng = random.Random(int(os.environ.get("FWPROOF_SEED", "1")))
    kinds = Counter()
    for serial in range(TABLES):
        found, seen = wrong_claims(rng, serial)
        assert not found, found[0]
        kinds += seen
    assert kinds[Kind.REDUNDANT] > TABLES / 4
    assert kinds[Kind.SHADOWED] + kinds[Kind.CONTRADICTED] > TABLES / 10, kinds


def test_the_comparison_can_fail():
    """A lint that names the rule before the right one is caught."""

    def spoil(model, family, finding):
        here = [
            r.ref for r in model.rules(family) if (r.ref.table, r.ref.chain) == (finding.rule.table, finding.rule.chain)
        ]
        return here[max(0, here.index(finding.rule) - 1)]

    rng = random.Random(4)
    assert any(wrong_claims(rng, serial, spoil)[0] for serial in range(20))


@pytest.mark.parametrize(
    ("few", "patience"), [(0, 0), (3, 1), (bdd_near.FEW, 0), (bdd_near.FEW, lint_stretch.PATIENCE)]
)
def test_rules_that_overlap_are_all_that_matters(monkeypatch, few, patience):
    """Asking only the rules whose addresses and ports overlap finds what asking all of them does."""
    rng = random.Random(int(os.environ.get("FWPROOF_SEED", "1")))
    for serial in range(TABLES):
        version = rng.choice([4, 6])
        text = Tables(rng, version, serial, outward=rng.random() < 0.3).text
        family = Family.IPV4 if version == 4 else Family.IPV6
        found = []
        for short in (1 << 30, 0):
            monkeypatch.setattr(bdd_near, "SHORT", short)
            monkeypatch.setattr(bdd_parts, "FEW", few)
            monkeypatch.setattr(lint_stretch, "PATIENCE", patience)
            found.append(lint(build(text, version), family))
        assert found[0] == found[1], text
