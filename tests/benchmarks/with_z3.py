"""The same proof by Z3, from nothing: the table as one formula over bit vectors, and whether it can hold.

    python tests/benchmarks/with_z3.py KIND RULES VERSION

Runs where z3-solver is installed. Only what the tables of :mod:`big_tables` ask is translated; anything else fails.
Prints processor seconds for making the formula and for solving it, whether tcp/11434 can be reached, and the memory.
"""

import json
import sys
import time
from functools import reduce

import z3
from big_tables import hook_of, memory, table

from fwproof.flow import CtState, Family
from fwproof.ruleset.asks import Conntrack, Constant, Interface, Limit, Within
from fwproof.ruleset.iptables import parse
from fwproof.ruleset.model import Act

STATES = list(CtState)
INTERFACES = ["", "lo", "eth0"]
QUIET = {Act.NOTHING, Act.LOG}


class Formula:
    """A table of one family; ``fields`` are the header's variables, and every limit is a variable of its own."""

    def __init__(self, tables, family):
        sizes = {"src": 32 if family is Family.IPV4 else 128, "proto": 8, "sport": 16, "dport": 16, "icmp": 16,
                 "state": 3, "iif": 2}  # fmt: skip
        sizes["dst"] = sizes["src"]
        self.fields = {name: z3.BitVec(name, size) for name, size in sizes.items()}
        self.chains, self.known, self.limits = tables["filter"].chains, {}, 0

    def match(self, match):
        holds = self.test(match.test)
        return z3.Not(holds) if match.negated else holds

    def test(self, test):
        if isinstance(test, Constant):
            return z3.BoolVal(test.value)
        if isinstance(test, Within):
            here = self.fields[test.field]
            return z3.Or([self.span(here, *span) for span in test.ranges])
        if isinstance(test, Interface):
            return self.fields["iif"] == INTERFACES.index(test.name)
        if isinstance(test, Conntrack) and not test.rest:
            states = z3.Or([self.fields["state"] == STATES.index(state) for state in sorted(test.states)])
            return z3.Not(states) if test.states_negated else states
        assert isinstance(test, Limit), test
        self.limits += 1
        return z3.Bool(f"limit {self.limits}")

    @staticmethod
    def span(here, low, high):
        return here == low if low == high else z3.And(z3.UGE(here, low), z3.ULE(here, high))

    def chain(self, name):
        """Return when a chain accepts, and when it goes on behind its end."""
        if name not in self.known:
            start = (z3.BoolVal(False), z3.BoolVal(True))
            self.known[name] = reduce(self.before, reversed(self.chains[name].rules), start)
        return self.known[name]

    def before(self, after, rule):
        accepts, ends = after
        act = rule.target.act
        if act in QUIET:
            return after
        holds = z3.And([self.match(match) for match in rule.matches])
        if act is Act.ACCEPT:
            return z3.Or(holds, accepts), z3.And(z3.Not(holds), ends)
        if act in {Act.DROP, Act.REJECT}:
            return z3.And(z3.Not(holds), accepts), z3.And(z3.Not(holds), ends)
        if act is Act.RETURN:
            return z3.And(z3.Not(holds), accepts), z3.Or(holds, ends)
        assert act is Act.JUMP, rule
        inside, through = self.chain(rule.target.chain)
        return (z3.If(holds, z3.Or(inside, z3.And(through, accepts)), accepts),
                z3.If(holds, z3.And(through, ends), ends))  # fmt: skip


def main():
    kind, rules, version = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    family = Family.IPV4 if version == 4 else Family.IPV6
    tables = parse(table(kind, rules, version), family).tables
    start = time.process_time()
    formula = Formula(tables, family)
    base = hook_of(kind).value.upper()
    accepts, ends = formula.chain(base)
    if formula.chains[base].default == "ACCEPT":
        accepts = z3.Or(accepts, ends)
    fields = formula.fields
    # a packet has a protocol's fields only if it is of that protocol, as every rule with ports says itself
    solver = z3.SolverFor("QF_BV")
    solver.add(accepts, fields["proto"] == 6, fields["dport"] == 11434, fields["state"] == STATES.index(CtState.NEW),
               fields["iif"] != INTERFACES.index("lo"))  # fmt: skip
    made = time.process_time()
    answer = str(solver.check())
    done = time.process_time()
    print(json.dumps({"terms": made - start, "solve": done - made, "total": done - start,
                      "answer": {"sat": True, "unsat": False}.get(answer), "peak_mb": memory()}))  # fmt: skip


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    main()
