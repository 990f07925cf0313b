"""What each rule takes of the packets that come to a base chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fwproof.ruleset.model import Rule
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_calls import CALLS, callers_first
from fwproof.semantics.bdd_chains import Program, entering
from fwproof.semantics.bdd_config import Config, Touches, project
from fwproof.semantics.bdd_parts import Exits, Grown, Part
from fwproof.semantics.bdd_walk import Incoming
from fwproof.semantics.context import Context


@dataclass(frozen=True, slots=True)
class Met:
    """A rule and packets that it takes: all of them come to it with one config, and are exactly those."""

    context: Context
    grown: Grown
    at: int
    before: Config
    after: Config
    taken: Set

    @property
    def rule(self) -> Rule:
        """The rule."""
        return self.grown.chain.rules[self.at]


class Taking:
    """Finds what each rule of a base chain, and of the chains that it calls, takes of what comes in.

    ``wanted`` leaves out parts of chains: it gets the exits of a part and what may come to it. ``keep`` names
    what is told apart of configs although the chain does not look at it; ``afterwards``: also what its later rules
    look at. ``reached`` is what came to each chain.
    """

    def __init__(  # noqa: PLR0913 - what a pass over a chain is told, most of it by name
        self, program: Program, context: Context, hit: Callable[[Met], None],
        *, keep: Touches = frozenset(), afterwards: bool = False,
        wanted: Callable[[Exits, Set], bool] | None = None,
    ) -> None:  # fmt: skip
        self.program, self.context, self.hit = program, context, hit
        self.sets, self.keep, self.afterwards, self.wanted = program.sets, keep, afterwards, wanted
        self.reached: dict[str, Incoming] = {}
        self._calls: dict[str, dict[Config, list[Set]]] = {}

    def run(self, name: str, incoming: Mapping[Config, Set]) -> None:
        """Report every rule that takes something of what comes to a base chain."""
        self._calls = {name: {config: [some] for config, some in incoming.items()}}
        for each in callers_first(self.program.table):
            arrived = self._calls.pop(each, {})
            if arrived:
                grown = self.program.grown(each)
                parts = {config: self.sets.union(some) for config, some in arrived.items()}
                self.reached[each] = parts
                if grown.chain.rules:
                    self._down(grown, grown.root, parts, self.keep)

    def _down(self, grown: Grown, part: Part, incoming: Incoming, keep: Touches) -> None:
        """Go down to the rules; packets that are alike to a part are taken together."""
        merged: dict[Config, list[Set]] = {}
        for config, some in incoming.items():
            merged.setdefault(project(config, part.touches | keep), []).append(some)
        here = {config: self.sets.union(some) for config, some in merged.items()}
        here = {config: some for config, some in here.items() if self._worth(grown, part, config, some)}
        if not here:
            return
        if part.halves is None:
            for config, some in here.items():
                self._leaf(grown, part.low, config, some)
        elif not part.touches:
            for config, some in here.items():
                self._flat(grown, part, part, config, some)
        else:
            first, second = part.halves
            self._down(grown, first, here, keep | second.touches if self.afterwards else keep)
            after: dict[Config, list[Set]] = {}
            for config, some in here.items():
                for later, left in self.program.onward(grown, first, self.context, config):
                    after.setdefault(later, []).append(some & left)
            self._down(grown, second, {config: self.sets.union(some) for config, some in after.items()}, keep)

    def _worth(self, grown: Grown, part: Part, config: Config, some: Set) -> bool:
        if some == self.sets.none:
            return False
        return self.wanted is None or self.wanted(self.program.summary(grown, part, self.context, config), some)

    def _flat(self, grown: Grown, top: Part, part: Part, config: Config, some: Set) -> None:
        """Go down where nothing but the header matters: what is left of a rule's match by those before it.

        That starts with the rule, which is small, and not with all packets that are left, which are not. ``top`` is
        the part that all of the packets come to.
        """
        if not self._worth(grown, part, config, some):
            return
        if part.halves is None:
            self.sets.tick()
            held, after, _ = self.program.matched(grown, part.low, self.context, config)
            near = self.program.near.rules(grown.chain, part.low)
            left = self.program.untaken(grown, top, self.context, held, near, part.low)
            self._report(grown, part.low, config, after, left & some)
            return
        for half in part.halves:
            self._flat(grown, top, half, config, some)

    def _leaf(self, grown: Grown, at: int, config: Config, some: Set) -> None:
        self.sets.tick()
        held, after, _ = self.program.matched(grown, at, self.context, config)
        self._report(grown, at, config, after, held & some)

    def _report(self, grown: Grown, at: int, before: Config, after: Config, taken: Set) -> None:
        if taken == self.sets.none:
            return
        rule = grown.chain.rules[at]
        self.hit(Met(self.context, grown, at, before, after, taken))
        if rule.target.act in CALLS and not self.program.misled(grown.chain.name, rule):
            called = self.program.grown(rule.target.chain)
            inside = project(entering(called, after), called.root.touches | self.keep)
            self._calls.setdefault(rule.target.chain, {}).setdefault(inside, []).append(taken)
