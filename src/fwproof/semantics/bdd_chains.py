"""Chains as sets: where every packet leaves a chain, put together from halves.

A part of a chain is summed up once for each :class:`~fwproof.semantics.bdd_tests.Config` that matters to it, and
two parts are composed; a called chain is its own summary. That is exact, and much quicker than rule by rule
where rules overlap. What is in no exit of a summary is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fwproof.ruleset.asks import Recent
from fwproof.ruleset.model import Act, Rule, Table
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_calls import call_sites, rings
from fwproof.semantics.bdd_config import (
    BASE,
    NOTHING,
    VISITS,
    Config,
    Touches,
    changed,
    project,
    restore,
    touches_of,
)
from fwproof.semantics.bdd_nat import translated
from fwproof.semantics.bdd_near import Near
from fwproof.semantics.bdd_parts import Exit, Exits, Grown, Matched, Part, Way, add, view
from fwproof.semantics.bdd_tests import Asker, asking_rule
from fwproof.semantics.context import Context
from fwproof.semantics.nat import side_of
from fwproof.semantics.space import SpaceTooLarge

MOST_CONFIGS = 2000
"""Combinations of marks, lists and visits that one part of a chain is summed up for."""
_THROUGH = Exit(Way.NEXT, "", BASE)
_GOES_ON = frozenset({Act.NOTHING, Act.LOG})
_QUIET = _GOES_ON | {Act.CHANGE}


class Program:
    """One table of one host, ready to be walked by sets.

    ``notes`` is free for a caller's facts about chains. ``lenient``: a target that is not understood may as well do
    nothing, so that no later rule seems unreachable.
    """

    def __init__(self, table: Table, asker: Asker, changes: frozenset[str], *, lenient: bool = False) -> None:
        self.table = table
        self.lenient = lenient
        self.asker = asker
        self.sets = asker.sets
        self.rings = rings(table)
        self._changes = changes
        self._sites = call_sites(table)
        self._grown: dict[str, Grown] = {}
        self.near = Near(self.sets)
        self.notes: dict[tuple[str, str], bool] = {}

    def grown(self, name: str) -> Grown:
        """Return a chain with its tree."""
        if name not in self._grown:
            chain = self.table.chains[name]
            nth: dict[tuple[int, int], int] = {}
            seen: Counter[str] = Counter()
            counted = self._sites[name] > 1
            leaves = []
            for at, rule in enumerate(chain.rules):
                for index, match in enumerate(rule.matches):
                    asked = getattr(match.test, "name", "")
                    nth[at, index] = seen[asked]
                    seen[asked] += 1
                touches = self._called(name, rule) | touches_of(
                    rule, visited=counted, changes=self._changes, written=self.asker.written
                )
                leaves.append(Part(at, at + 1, touches, None))
            self._grown[name] = Grown(chain, leaves, counted=counted, nth=nth)
        return self._grown[name]

    def _called(self, name: str, rule: Rule) -> Touches:
        if rule.target.act not in {Act.JUMP, Act.GOTO} or self.misled(name, rule):
            return NOTHING
        called = self.grown(rule.target.chain)
        own = frozenset({VISITS}) if called.counted and VISITS in called.root.touches else NOTHING
        return called.root.touches | own

    def misled(self, name: str, rule: Rule) -> str:
        """Return why a rule cannot call the chain that it names, empty where it can."""
        called = self.table.chains[rule.target.chain]
        if called.default is not None:
            return f"chain {called.name} is a base chain, which no rule can jump to"
        if self.rings[called.name] == self.rings[name]:
            return f"chain {called.name} calls itself"
        return ""

    def summary(self, grown: Grown, part: Part, context: Context, config: Config) -> Exits:
        """Return where packets that come to a part with a config leave it; the exits are disjoint."""
        seen = view(context)
        if (seen, config) in part.restored:
            return part.restored[seen, config]
        known = project(config, part.touches)
        key = (seen, known)
        if key not in part.known:
            if len(part.known) >= MOST_CONFIGS:
                raise SpaceTooLarge(f"more than {MOST_CONFIGS} combinations of marks and lists")
            part.known[key] = self._summed(grown, part, context, known)
        found = part.known[key]
        if config == known:
            return found
        touches = part.touches
        all_known = {
            exit_ if exit_.config is None else exit_._replace(config=restore(exit_.config, config, touches)): some
            for exit_, some in found.items()
        }
        if touches and len(part.restored) < MOST_CONFIGS:  # those of the others are many, and quickly made
            part.restored[seen, config] = all_known
        return all_known

    def _summed(self, grown: Grown, part: Part, context: Context, config: Config) -> Exits:
        self.sets.tick()
        if part.low == part.high:
            return {Exit(Way.NEXT, "", config): self.sets.all}
        if part.halves is None:
            return self.rule(grown, part.low, context, config)
        first, second = part.halves
        found: dict[Exit, Set] = {}
        for exit_, some in self.summary(grown, first, context, config).items():
            if exit_.way is not Way.NEXT:
                add(found, exit_, some)
                continue
            assert exit_.config is not None
            for later, rest in self.summary(grown, second, context, exit_.config).items():
                both = some & rest
                if both != self.sets.none:
                    add(found, later, both)
        return found

    def untaken(self, grown: Grown, part: Part, context: Context, some: Set, near: int, at: int) -> Set:  # noqa: PLR0913, PLR0917
        """Return what the rules before a place leave of packets, in a part where nothing but the header matters.

        No other rule than those of ``near`` takes any of the packets.
        """
        if part.low >= at or some == self.sets.none:
            return some
        if part.high <= at and part.crowded(near):
            return some & self.passed(grown, part, context)
        if part.halves is not None and part.crowded(near):
            for half in reversed(part.halves):
                some = self.untaken(grown, half, context, some, near, at)
            return some
        none = self.sets.none
        for leaf in part.leaves(grown.leaves, near & (1 << at) - 1):
            some &= self.passed(grown, leaf, context)
            if some == none:
                break
        return some

    def passed(self, grown: Grown, part: Part, context: Context) -> Set:
        """Return the packets that go through a part in which nothing but the header matters.

        That is less work than the whole summary, which also says where all others go.
        """
        seen = view(context)
        found = part.through.get(seen)
        if found is None:
            if part.halves is None:
                found = self.summary(grown, part, context, BASE).get(_THROUGH, self.sets.none)
            else:
                self.sets.tick()
                first, second = part.halves
                found = self.passed(grown, first, context) & self.passed(grown, second, context)
            part.through[seen] = found
        return found

    def onward(self, grown: Grown, part: Part, context: Context, config: Config) -> Iterable[tuple[Config, Set]]:
        """Yield the packets that go through a part, which they come to with a config, with what is known then."""
        if not part.touches:
            yield config, self.passed(grown, part, context)
            return
        for exit_, some in self.summary(grown, part, context, config).items():
            if exit_.way is Way.NEXT and exit_.config is not None:
                yield exit_.config, some

    def rule(self, grown: Grown, at: int, context: Context, config: Config) -> Exits:
        """Return where packets that come to one rule leave it."""
        rule = grown.chain.rules[at]
        found: dict[Exit, Set] = {}
        held, after, missed = self.matched(grown, at, context, config, _worth_asking(rule))
        for left, some in missed:
            if some != self.sets.none:
                add(found, Exit(Way.NEXT, "", left), some)
        if held != self.sets.none:
            for exit_, some in self.applied(grown, rule, context, after):
                both = some & held
                if both != self.sets.none:
                    add(found, exit_, both)
        return found

    def matched(self, grown: Grown, at: int, context: Context, config: Config, most: int | None = None) -> Matched:
        """Return the packets that a rule takes, what is known of them then, and those that it leaves, likewise.

        ``most`` is how many of its matches are asked.
        """
        touches = grown.leaves[at].touches
        known = project(config, touches)
        most = len(grown.chain.rules[at].matches) if most is None else most
        key = (view(context), known, most)
        matches = grown.leaves[at].matches
        if key not in matches:
            matches[key] = self._matched(grown, at, context, known, most)
        held, after, missed = matches[key]
        if config == known:
            return matches[key]
        return held, restore(after, config, touches), [(restore(each, config, touches), some) for each, some in missed]

    def _matched(self, grown: Grown, at: int, context: Context, config: Config, most: int) -> Matched:
        sets, rule = self.sets, grown.chain.rules[at]
        held, missed, pending = sets.all, [], list[Set]()
        visit = max(0, dict(config.visits).get(grown.chain.name, 0) - 1)
        for index, match in enumerate(rule.matches[:most]):
            if isinstance(match.test, Recent) and match.test.action == "set":
                before, held = held, self._product(held, pending)
                missed.append((config, before & ~held))
                config, pending = config._replace(listed=config.listed | {(match.test.list, match.test.side)}), []
                if match.negated:
                    missed.append((config, held))
                    return sets.none, config, missed
                continue
            name = getattr(match.test, "name", "")
            key = asking_rule(rule.ref, grown.chain.name, name, grown.nth[at, index], visit)
            pending.append(self.asker.holds(match, context, config, key))
        before, held = held, self._product(held, pending)
        missed.append((config, before & ~held))
        return held, config, missed

    def _product(self, held: Set, factors: list[Set]) -> Set:
        """Intersect, the lowest fields first, which keeps the intermediate diagrams small."""
        if len(factors) > 1:
            factors.sort(key=lambda some: -(some.node_level() or 0))
        for some in factors:
            held = some & held
        return held

    def applied(self, grown: Grown, rule: Rule, context: Context, config: Config) -> Iterable[tuple[Exit, Set]]:
        """Yield where packets that a rule has taken go, as sets of all packets."""
        target, every = rule.target, self.sets.all
        act = target.act
        if act in {Act.JUMP, Act.GOTO}:
            yield from self._call(grown, rule, context, config)
        elif act is Act.ACCEPT:
            yield Exit(Way.ACCEPT, "", config), every
        elif act in {Act.SOURCE_NAT, Act.DESTINATION_NAT}:
            yield from self._translate(rule, context, config)
        elif act is Act.REJECT:
            yield Exit(Way.REJECT, target.reject_with or "", None), every
        elif act is Act.RETURN:
            yield Exit(Way.RETURN, "", config), every
        elif act in {Act.MARK, Act.CONNMARK, Act.NOTRACK, Act.CHANGE}:
            yield Exit(Way.NEXT, "", changed(config, target, context)), every
        elif act in _GOES_ON:
            yield Exit(Way.NEXT, "", config), every
        elif act is not Act.DROP:
            yield from self._unclear(rule, target.reason or str(act), config)

    def _translate(self, rule: Rule, context: Context, config: Config) -> Iterable[tuple[Exit, Set]]:
        """Let a nat target write the packet; it ends the chain like ACCEPT (nf_nat_setup_info)."""
        side = side_of(rule.target, context.hook)
        if side is None:
            yield from self._unclear(rule, f"{rule.target.name} does nothing known at {context.hook}", config)
        elif self.lenient and side == "dst":
            yield Exit(Way.UNKNOWN, f"{rule.target.name} writes the destination", None), self.sets.all
        else:
            for after, some in translated(self.asker, rule, context, config):
                yield Exit(Way.ACCEPT, "", after), some

    def _unclear(self, rule: Rule, reason: str, config: Config) -> Iterable[tuple[Exit, Set]]:
        if not self.lenient:
            yield Exit(Way.UNKNOWN, reason, None), self.sets.all
            return
        there = self.sets.oracle(f"what {rule.ref.table} {rule.ref.chain} {rule.ref.rule} does", reason)
        yield Exit(Way.UNKNOWN, reason, None), there
        yield Exit(Way.NEXT, "", config), ~there

    def _call(self, grown: Grown, rule: Rule, context: Context, config: Config) -> Iterable[tuple[Exit, Set]]:
        why = self.misled(grown.chain.name, rule)
        if why:
            yield from self._unclear(rule, why, config)
            return
        called = self.grown(rule.target.chain)
        back = Way.NEXT if rule.target.act is Act.JUMP else Way.RETURN
        for exit_, some in self.summary(called, called.root, context, entering(called, config)).items():
            yield (exit_._replace(way=back) if exit_.way in {Way.NEXT, Way.RETURN} else exit_), some


def entering(called: Grown, config: Config) -> Config:
    """Return what is known inside a chain that is called: its visits are counted where that matters."""
    if not called.counted or VISITS not in called.root.touches:
        return config
    visits = dict(config.visits)
    visits[called.chain.name] = visits.get(called.chain.name, 0) + 1
    return config._replace(visits=frozenset(visits.items()))


def _worth_asking(rule: Rule) -> int:
    """Return how many matches of a rule matter: of one that only counts or logs, those up to a list it fills."""
    target = rule.target
    if target.act not in _QUIET or (target.act is Act.CHANGE and target.changes):
        return len(rule.matches)
    sets = [at for at, match in enumerate(rule.matches) if isinstance(match.test, Recent)]
    return sets[-1] + 1 if sets else 0
