"""What the proof over all packets costs, against what one would do instead. Run it by hand; it asserts nothing.

    python tests/benchmarks/bench_sets.py [--rules 10000] [--kinds blocklist kube acl] [--versions 4 6]

For each table: reading it, building its sets (atoms included), one proof ("who reaches tcp/11434", with the packet that
shows it), the differences to a table with one rule changed, and lint of the whole table. Beside them, in the same run:

lookup  one packet looked up in the built set, against the same packet followed rule by rule (the median of many)
brute   the proof, against following one packet of every kind that the table tells apart for that service: as many as
        there are atoms of source times atoms of destination. Only a sample is followed, and the time is multiplied.
"""

import argparse
import random
import resource
import statistics
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from big_tables import KINDS, table

from fwproof.flow import Family, Flow, Hook
from fwproof.semantics.bdd import guarded
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.diff import compare
from fwproof.semantics.lint import lint
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings
from fwproof.semantics.space import Claim, SpaceTooLarge
from fwproof.semantics.witness import follow, point

OLLAMA = Claim(proto=6, ports=((11434, 11434),))
HEAD = (
    "table", "rules", "ip", "read", "build", "nodes", "proof", "diff", "lint", "lookup_us", "walk_us", "lookup_x",
    "brute_kinds", "brute_s", "brute_x", "rss_mb",
)  # fmt: skip


def timed(work):
    start = time.perf_counter()
    try:
        found = guarded(work)
    except SpaceTooLarge as limit:
        return None, f"({limit})"
    return found, time.perf_counter() - start


def packets(rng, engine, version, count):
    """Return packets whose addresses lie in atoms that are drawn evenly, so that rare rules are met as well."""
    make = IPv4Address if version == 4 else IPv6Address
    for _ in range(count):
        ends = {}
        for name in ("src", "dst"):
            field = engine.sets.fields[name]
            ends[name] = make(rng.choice(field.starts) if field.starts else rng.getrandbits(field.width))
        yield Flow(proto=6, sport=40000, dport=rng.choice((22, 80, 443, 11434)), flags=frozenset({"SYN"}),
                   iif="eth0", oif="eth1", **ends)  # fmt: skip


def row(kind, rules, version):
    rng, family = random.Random(7), Family.IPV4 if version == 4 else Family.IPV6
    hook = Hook.INPUT if kind == "blocklist" else Hook.FORWARD
    text, key = table(kind, rules, version), "iptables_save" if version == 4 else "ip6tables_save"
    model, read = timed(lambda: HostModel.build(**{key: text}))
    found = [kind, len(model.rules(family)), version, read]
    built, build = timed(lambda: whole(model, family, hook))
    if built is None:
        return [*found, build]
    engine, accepted = built
    _, proof = timed(lambda: openings(model, hook, family, claim=OLLAMA, most=1))
    changed = HostModel.build(**{key: text.replace("-j DROP", "-j ACCEPT", 1)})
    _, difference = timed(lambda: compare(model, changed, family, most=1))
    _, linted = timed(lambda: lint(model, family))
    lookup, walk = against_walk(rng, engine, accepted, model, hook, version)
    sizes = [engine.sets.fields[name].size for name in ("src", "dst")]
    brute = sizes[0] * sizes[1] * walk
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    proof_s = proof if isinstance(proof, float) else float("nan")
    return [*found, build, accepted.node_count(), proof, difference, linted, lookup * 1e6, walk * 1e6, walk / lookup,
            sizes[0] * sizes[1], brute, brute / proof_s, memory]  # fmt: skip


def whole(model, family, hook):
    engine = Engine([model], family)
    host = engine.hosts[0]
    return engine, host.asked(hook).flow({Config(): host.packets()})[1].accepted


def against_walk(rng, engine, accepted, model, hook, version):
    """Return the median seconds of a look-up in the set and of a walk, after asking that both say the same."""
    lookups, walks = [], []
    for flow in packets(rng, engine, version, 60):
        start = time.perf_counter()
        inside = point(engine.sets, flow) & accepted != engine.sets.none
        lookups.append(time.perf_counter() - start)
        start = time.perf_counter()
        leaves = follow(model, replace(flow, oif=None) if hook is Hook.INPUT else flow, hook)
        walks.append(time.perf_counter() - start)
        assert inside == ("accept" in {leaf.decision for leaf in leaves}), flow
    return statistics.median(lookups), statistics.median(walks)


def shown(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rules", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--versions", type=int, nargs="+", choices=[4, 6], default=[4])
    chosen = parser.parse_args()
    print(" ".join(f"{word:>11}" for word in HEAD))
    for kind in chosen.kinds:
        for rules in chosen.rules:
            for version in chosen.versions:
                print(" ".join(f"{shown(value):>11}" for value in row(kind, rules, version)), flush=True)


if __name__ == "__main__":
    main()
