"""What would happen to the packets of a rule without it: followed through the rest of its chain, as far as is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fwproof.ruleset.asks import Oracle, Rate, Recent, atoms
from fwproof.ruleset.model import Act, Rule
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_calls import CALLS
from fwproof.semantics.bdd_chains import Program
from fwproof.semantics.bdd_config import BASE, NOTHING, Config, Touches
from fwproof.semantics.bdd_near import EVERY
from fwproof.semantics.bdd_parts import Exit, Grown, Part, Way, add
from fwproof.semantics.bdd_taking import Met
from fwproof.semantics.bdd_walk import Incoming
from fwproof.semantics.context import Context
from fwproof.semantics.lint_space import Visit


@dataclass(slots=True)
class Passage:
    """What becomes of packets on a stretch of a chain; ``takers`` are the rules that have a part in it.

    ``counted``: some of them meet a rule that keeps count, so that they have a part in what happens to others.
    """

    exits: dict[Exit, Set] = field(default_factory=dict)
    takers: list[int] = field(default_factory=list)
    counted: bool = False


PATIENCE = 64
"""Rules that are asked one by one whether packets stray, before whole parts are: most packets that do, do so soon."""


class Stretch:
    """Follows packets from one rule of a chain to another, as far as can be in whole parts.

    ``near`` is a bitset of rules: no other one takes any of the packets.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a chain, and the part of it that matters
        self, program: Program, grown: Grown, context: Context, first: int, last: int, near: int = EVERY
    ) -> None:  # fmt: skip
        self.program, self.grown, self.context = program, grown, context
        self.first, self.last = first, last
        self.near = (near & (1 << last) - 1) >> first << first
        self.none = program.sets.none
        self._blaming, self._strays, self._patience = False, False, 0
        self._only: tuple[Exit | None] | None = None

    def run(self, some: Mapping[Config, Set], *, takers: int = 0) -> Passage:
        """Follow packets; those that leave at the end of the stretch are in the exit ``next``.

        The first ``takers`` rules that have a part in it are found, and no others.
        """
        passage = Passage()
        left = self._part(self.grown.root, dict(some), passage, takers, NOTHING)
        for config, rest in left.items():
            add(passage.exits, Exit(Way.NEXT, "", config), rest)
        return passage

    def all_go(self, some: Mapping[Config, Set], way: Exit | None) -> bool:
        """Whether all packets go one way in the end, None: are dropped; and meet no rule that counts.

        They are followed no further than to the first that do not.
        """
        self._only, self._strays, self._patience = (way,), False, PATIENCE
        passage = Passage()
        left = self._part(self.grown.root, dict(some), passage, 0, NOTHING)
        ends = {_end(Exit(Way.NEXT, "", config), self.grown.chain.default) for config in left}
        return not self._strays and not passage.counted and ends <= {way}

    def takers(self, some: Mapping[Config, Set], most: int) -> list[int]:
        """Return the first rules that have a part in it, and nothing else.

        What is known of the packets besides their header is forgotten as soon as no rule of the stretch looks at it.
        """
        self._blaming = True
        passage = Passage()
        self._part(self.grown.root, dict(some), passage, most, NOTHING)
        return passage.takers

    def _part(self, part: Part, some: Incoming, passage: Passage, most: int, later: Touches) -> Incoming:
        if part.high <= self.first or part.low >= self.last or not some or not part.among(self.near):
            return some
        if self._blaming and len(passage.takers) >= most:
            return {}
        if self._blaming and not part.touches:
            every = self._blame(part, self.program.sets.union(list(some.values())), passage.takers, most)
            left = some if later else {BASE: every}
            return {config: packets & every for config, packets in left.items() if packets & every != self.none}
        if part.halves is None:
            return self._rule(part, some, passage, most)
        if self._patience and not part.touches:
            some = self._one_by_one(part, some, passage)
        if not part.touches and not part.crowded(self.near):
            for leaf in part.leaves(self.grown.leaves, self.near):
                some = self._rule(leaf, some, passage, most) if some else some
            return some
        whole = self._whole(part) and (len(passage.takers) >= most or self._untouched(part, some))
        return self._through(part, some, passage) if whole else self._halves(part, some, passage, most, later)

    def _one_by_one(self, part: Part, some: Incoming, passage: Passage) -> Incoming:
        """Follow packets a little way rule by rule, and move the beginning of the stretch behind the last one asked."""
        for leaf in part.leaves(self.grown.leaves, self.near):
            some = self._rule(leaf, some, passage, 0)
            self.first, self._patience = leaf.high, self._patience - 1
            if not some or not self._patience:
                break
        self.near = self.near >> self.first << self.first
        return some

    def _blame(self, part: Part, some: Set, takers: list[int], most: int) -> Set:
        """Return what goes through a part in which nothing but the header matters, and note the rules that take some.

        After as many as are asked for nothing is left.
        """
        if part.high <= self.first or part.low >= self.last or some == self.none:
            return some
        if part.halves is not None and part.crowded(self.near):
            inside = self.first <= part.low and part.high <= self.last
            if inside and some & self.program.passed(self.grown, part, self.context) == some:
                return some
            for half in part.halves:
                some = self._blame(half, some, takers, most)
            return some
        for leaf in part.leaves(self.grown.leaves, self.near):
            rest = some & self.program.passed(self.grown, leaf, self.context)
            if rest != some:
                takers.append(leaf.low)
            some = rest if len(takers) < most else self.none
            if some == self.none:
                break
        return some

    def _halves(self, part: Part, some: Incoming, passage: Passage, most: int, later: Touches) -> Incoming:
        assert part.halves is not None
        first, second = part.halves
        after = NOTHING if second.low >= self.last else second.touches
        middle = self._part(first, some, passage, most, later | after)
        return self._part(second, middle, passage, most, later)

    def _whole(self, part: Part) -> bool:
        """Whether the summary of a part says all that is asked, and is less work than its rules."""
        inside = self.first <= part.low and part.high <= self.last
        return inside and part.crowded(self.near) and not self._counts(part)

    def _through(self, part: Part, some: Incoming, passage: Passage) -> Incoming:
        left: Incoming = {}
        for config, packets in some.items():
            rest = packets
            for exit_, passed in self.program.summary(self.grown, part, self.context, config).items():
                here = packets & passed
                if here == self.none:
                    continue
                if exit_.way is Way.NEXT and exit_.config is not None:
                    left[exit_.config] = left[exit_.config] | here if exit_.config in left else here
                elif self._only and _end(exit_, self.grown.chain.default) not in self._only:
                    self._strays = True
                    return {}
                else:
                    add(passage.exits, exit_, here)
                rest = self.none if here == packets else rest & ~here if self._only else rest
                if rest == self.none:  # the exits are disjoint
                    break
            if self._only and rest != self.none and None not in self._only:
                self._strays = True
                return {}
        return left

    def _onward(self, part: Part, some: Incoming) -> Incoming:
        left: Incoming = {}
        for config, packets in some.items():
            for later, passed in self.program.onward(self.grown, part, self.context, config):
                here = packets & passed
                if here != self.none:
                    left[later] = left[later] | here if later in left else here
        return left

    def _untouched(self, part: Part, some: Incoming) -> bool:
        if part.touches:
            return False
        for config, packets in some.items():
            exits = self.program.summary(self.grown, part, self.context, config)
            passed = exits.get(Exit(Way.NEXT, "", config), self.none)
            if packets & passed != packets:
                return False
        return True

    def _counts(self, part: Part) -> bool:
        marks = self.grown.marks
        if not marks:
            marks.append(0)
            for rule in self.grown.chain.rules:
                marks.append(marks[-1] + counting(self.program, rule))
        return marks[part.high] > marks[part.low]

    def _rule(self, part: Part, some: Incoming, passage: Passage, most: int) -> Incoming:
        if self._blaming:
            left = self._onward(part, some)
            if left != some:
                passage.takers.append(part.low)
            return left
        if not passage.counted and self._counts(part):
            fitting = (self.program.matched(self.grown, part.low, self.context, c)[0] & p for c, p in some.items())
            passage.counted = any(each != self.none for each in fitting)
        left = self._through(part, some, passage)
        if len(passage.takers) < most and left != some:
            passage.takers.append(part.low)
        return left


def counting(program: Program, rule: Rule) -> bool:
    """Whether meeting a rule changes what happens to other packets: it counts, lists, or calls one that does."""
    if rule.target.act in {Act.NOTHING, Act.LOG}:
        return any(isinstance(match.test, Recent) for match in rule.matches)
    return _stateful(rule) or (rule.target.act in CALLS and _some(program, rule.target.chain, counting, "counting"))


def plain(program: Program, rule: Rule) -> bool:
    """Whether a rule does nothing but decide, so that leaving it out can be judged by decisions alone."""
    return not _more(program, rule)


def _more(program: Program, rule: Rule) -> bool:
    if rule.target.act in CALLS:
        called = program.table.chains[rule.target.chain]
        return _stateful(rule) or called.default is not None or _some(program, called.name, _more, "more")
    return _stateful(rule) or rule.target.act not in {Act.ACCEPT, Act.DROP, Act.REJECT, Act.RETURN}


def _stateful(rule: Rule) -> bool:
    tests = (atom for match in rule.matches for atom in atoms(match.test))
    return any(isinstance(test, Rate) or (isinstance(test, Oracle) and test.each) for test in tests)


def _some(program: Program, name: str, what: Callable[[Program, Rule], bool], word: str) -> bool:
    """Whether this is so of some rule of a chain; of chains that call one another for ever it is."""
    key = (word, name)
    if key not in program.notes:
        program.notes[key] = True
        program.notes[key] = any(what(program, rule) for rule in program.table.chains[name].rules)
    return program.notes[key]


def settled(exits: Mapping[Exit, Set], default: str | None) -> dict[Exit, Set]:
    """Return exits of a chain as what they amount to: a base chain's end is its default, a return is its end."""
    found: dict[Exit, Set] = {}
    for exit_, some in exits.items():
        end = _end(exit_, default)
        if end is not None:
            add(found, end, some)
    return found


def _end(exit_: Exit, default: str | None) -> Exit | None:
    if exit_.way not in {Way.NEXT, Way.RETURN}:
        return exit_
    if default is None:
        return exit_._replace(way=Way.RETURN)
    return exit_._replace(way=Way.ACCEPT) if default == "ACCEPT" else None


def same_without(visit: Visit, met: Met) -> bool:
    """Whether the packets that a rule takes fare the same without it."""
    program, grown = visit.program, met.grown
    after, default = _after(visit, met), grown.chain.default
    if met.rule.target.act not in CALLS:
        ways = [_end(exit_, default) for exit_, _ in program.applied(grown, met.rule, met.context, met.after)]
        return after.all_go({met.before: met.taken}, ways[0] if ways else None)
    without = after.run({met.before: met.taken})
    with_: dict[Exit, Set] = {}
    for exit_, some in program.applied(grown, met.rule, met.context, met.after):
        here = some & met.taken
        if here == program.sets.none:
            continue
        if exit_.way is Way.NEXT and exit_.config is not None:
            for later, rest in after.run({exit_.config: here}).exits.items():
                add(with_, later, rest)
        else:
            add(with_, exit_, here)
    ours, theirs = settled(with_, default), settled(without.exits, default)
    none = program.sets.none
    same = all(ours.get(key, none) == theirs.get(key, none) for key in {*ours, *theirs})
    return same and not without.counted


def next_takers(visit: Visit, met: Met, most: int) -> Passage:
    """Return how the packets that a rule takes fare without it, with the rules that have a part in that."""
    return _after(visit, met).run({met.before: met.taken}, takers=most)


def _after(visit: Visit, met: Met) -> Stretch:
    chain = met.grown.chain
    near = visit.program.near.rules(chain, met.at)
    return Stretch(visit.program, met.grown, met.context, met.at + 1, len(chain.rules), near)
