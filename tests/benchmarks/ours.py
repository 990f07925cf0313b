"""What fwproof needs for one large table: run in a process of its own, it prints its figures as JSON.

    python tests/benchmarks/ours.py KIND RULES VERSION

Processor seconds unless the name says more, which other work on the machine changes little: ``read`` the text,
``build`` the accepted set (atoms included), ``proof`` on what is built ("who reaches tcp/11434", with a packet that
shows it), ``query`` the same as ``fwproof query`` asks it, from nothing; ``diff`` to a table with one rule changed,
``lint`` of the whole table. ``index`` is the first decision on a packet, which makes the look-up; ``decide_us`` a later
one and ``walk_us`` the walk that asks every rule (medians, after asking that both say the same). ``read_mb``,
``lookup_mb`` and ``peak_mb`` are the memory after reading, with the look-up as well, and at most in all.
"""

import json
import random
import statistics
import sys
import time
from dataclasses import replace

from big_tables import hook_of, memory, packets, table

from fwproof.flow import Family
from fwproof.semantics.bdd import guarded
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.diff import compare
from fwproof.semantics.lint import lint
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings
from fwproof.semantics.space import Claim, SpaceTooLarge
from fwproof.semantics.witness import pick

PORT = ((11434, 11434),)
MANY, SOME = 2000, 40


def timed(work):
    """Return what work returns and its processor seconds; None and how it gave up where sets became too large."""
    begun, start = time.perf_counter(), time.process_time()
    try:
        found = guarded(work)
    except SpaceTooLarge:
        return None, f"too large ({time.perf_counter() - begun:.0f} s)"
    return found, time.process_time() - start


def whole(model, family, hook):
    engine = Engine([model], family, [("proto", ((6, 6),)), ("dport", PORT)])
    host = engine.hosts[0]
    return engine, host.asked(hook).flow({Config(): host.packets()})[1].accepted


def claimed(engine, accepted, router):
    sets = engine.sets
    some = accepted & sets.within("proto", ((6, 6),)) & sets.within("dport", PORT)
    return None if some == sets.none else pick(sets, some, router)


def measure(kind, rules, version):
    family = Family.IPV4 if version == 4 else Family.IPV6
    hook, key = hook_of(kind), "iptables_save" if version == 4 else "ip6tables_save"
    text = table(kind, rules, version)
    model, seconds = timed(lambda: HostModel.build(**{key: text}))
    found = {"rules": len(model.rules(family)), "read": seconds, "read_mb": memory()}
    found |= lookups(kind, text, model, version, hook)
    built, found["build"] = timed(lambda: whole(model, family, hook))
    if built is not None:
        witness, found["proof"] = timed(lambda: claimed(*built, model.router(family)))
        found["answer"] = witness is not None
        del built
        _, found["query"] = timed(
            lambda: openings(model, hook, family, claim=Claim(proto=6, ports=PORT), most=1)
        )  # fmt: skip
        changed = HostModel.build(**{key: text.replace("-j DROP", "-j ACCEPT", 1)})
        _, found["diff"] = timed(lambda: compare(model, changed, family, most=1))
        _, found["lint"] = timed(lambda: lint(model, family))
    return found | {"peak_mb": memory()}


def lookups(kind, text, model, version, hook):
    flows = list(packets(random.Random(7), text, version, hook, MANY))
    _, first = timed(lambda: model.decide(flows[0], hook))
    found = {"index": first}
    said, fast = zip(*(clocked(model.decide, flow, hook) for flow in flows * 2), strict=True)
    asked, slow = zip(*(clocked(model.evaluate, flow, hook) for flow in flows[:SOME]), strict=True)
    assert [replace(ruling, trace=()) for ruling in asked] == list(said[:SOME])
    found |= {"decide_us": statistics.median(fast[MANY:]) * 1e6, "walk_us": statistics.median(slow) * 1e6}
    return found | {"walk_x": found["walk_us"] / found["decide_us"], "lookup_mb": memory()}


def clocked(ask, flow, hook):
    start = time.process_time()
    ruling = ask(flow, hook)
    return ruling, time.process_time() - start


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
