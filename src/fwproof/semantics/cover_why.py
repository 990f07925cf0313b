"""Why a rule is reached by none of the packets of a cover: what would reach it, or the proof that nothing does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Flow
from fwproof.semantics.bdd_walk import unread
from fwproof.semantics.cover_choose import Option, options_of
from fwproof.semantics.cover_found import Limits, Missed, Why
from fwproof.semantics.cover_reach import DEFAULT, Reach, Region, Start
from fwproof.semantics.lint_dead import dead
from fwproof.semantics.lint_finding import Kind
from fwproof.semantics.lint_space import CONFIGS, Space
from fwproof.semantics.space import SpaceTooLarge

if TYPE_CHECKING:
    from fwproof.semantics.cover import Search

_STATES = frozenset(CtState)
_ODD = "only packets reach it that no network brings, such as the first of a connection with odd TCP flags"
_EXTENDED = "only packets with IPv6 extension headers reach it, and a packet of a cover has none"
_ELSEWHERE = "only packets from or to elsewhere reach it"
_NEARLY = "every packet is decided by the rules before it, or does not come to its chain"
_SEEMS = "some packet seems to reach it, and none was found that does"


def reasons(search: Search, rest: Collection[int], lost: Collection[int]) -> dict[int, Missed]:
    """Return why each of the elements ``rest`` is reached by no packet within the limits of a search.

    ``lost`` are elements that some set of packets reaches, of which none was found that does.
    """
    why = _Reasons(search, set(rest) - set(lost))
    for number in sorted(set(rest) & set(lost)):
        why.add(number, Why.UNKNOWN, _SEEMS)
    try:
        why.by_packets()
        why.by_mark()
        why.by_proof()
    except SpaceTooLarge as limit:
        for number in sorted(why.left):
            why.add(number, Why.UNKNOWN, str(limit))
    return why.found


class _Ledger(Space):
    """What came to each rule by the sets of a cover, in place of those that lint would make anew."""

    def __init__(self, reach: Reach) -> None:
        self.host, self.sets = reach.host, reach.host.sets
        self.visits, self.met = reach.visits, {}
        self.tables = {id(visit.stage.table): visit.stage.table for visit in reach.visits.values()}
        self.blind, self.callers = set(), {}


class _Reasons:
    """Goes through the reasons, the nearest first, until every element has one."""

    def __init__(self, search: Search, left: set[int]) -> None:
        self.search, self.left = search, left
        self.found: dict[int, Missed] = {}

    def add(  # noqa: PLR0913 - the parts of a reason
        self, number: int, why: Why, text: str, *, needs: tuple[str, ...] = (), kind: str = "",
        causes: tuple[RuleRef, ...] = (), example: Flow | None = None,
    ) -> None:  # fmt: skip
        """Give an element its reason."""
        self.left.discard(number)
        self.found[number] = Missed(
            rule=self.search.elements.all[number].ref, why=why, text=text, needs=needs, kind=kind, causes=causes,
            example=example,
        )  # fmt: skip

    def _seems(self, number: int, region: Region, *more: str) -> None:
        """Say that packets reach an element of which none can be shown, and what is asked about them."""
        sets = self.search.sets
        asked = (*sets.asked(region.some), *more)
        if sets.plain(region.some) == sets.none:
            self.add(number, Why.ORACLE, _EXTENDED, needs=tuple(name for name in asked if name in sets.extensions))
        else:
            self.add(number, Why.UNKNOWN, _SEEMS, needs=asked)

    def by_packets(self) -> None:
        """Look at packets of every state from anywhere to anywhere, real ones first; their marks are 0."""
        starts = list(self.search.origins.starts(Limits(states=_STATES))) if self.left else []
        reached = [self.search.reach.of(start, self.left) for start in starts]
        for number, option, example in self._examples(starts, reached, real=True):
            states = tuple(dict.fromkeys(starts[at].config.state.value for at in option.where))
            if self.search.limits.states & set(states):
                self.add(number, Why.SOURCE, _ELSEWHERE, example=example)
            else:
                self.add(number, Why.STATE, "only packets of another state reach it", needs=states, example=example)
        for number, _, example in self._examples(starts, reached, real=False):
            self.add(number, Why.UNREAL, _ODD, example=example)
        for regions in reached:
            for number in self.left & set(regions):
                self._seems(number, regions[number])

    def _examples(
        self, starts: Sequence[Start], reached: Sequence[Mapping[int, Region]], *, real: bool
    ) -> Iterator[tuple[int, Option, Flow]]:
        options = options_of(self.search.sets, starts, reached, real=real)
        for number, option in options.items():
            if number not in self.left:
                continue
            found = self.search.drawn(starts, option.where, number, options)
            if found is not None:
                yield number, option, found.witness.flow

    def by_mark(self) -> None:
        """Look at packets that have a mark before the first rule, in every state."""
        text = "only packets reach it that have a mark before the first rule"
        for start, regions in self.search.origins.marked(
            Limits(states=_STATES), set(self.left), self.search.reach, self.search.elements
        ):
            marks = ("mark", start.config.mark), ("connmark", start.config.connmark)
            needs = tuple(f"{name} {value:#x}" for name, value in marks if isinstance(value, int) and value)
            for number, _, example in self._examples([start], [regions], real=False):
                self.add(number, Why.MARK, text, needs=needs, example=example)
            for number in set(regions) & self.left:
                self._seems(number, regions[number], *needs)

    def by_proof(self) -> None:
        """Prove of what is left that nothing reaches it: in any state, with any mark, on any answers of oracles."""
        if not self.left:
            return
        search = self.search
        self._seeming()
        # what is not understood ends the way of packets here; for lint it may as well do nothing
        space = Space(search.model, search.family) if search.reach.unknown else _Ledger(search.reach)
        for number in sorted(self.left):
            element = search.elements.all[number]
            table, places = id(element.table), [place for place in element.places if place[1] != DEFAULT]
            if table not in search.reach.visited:
                self._unvisited(number)
            elif table in space.blind:
                self.add(number, Why.UNKNOWN, "its table was not read whole", needs=unread(search.model, search.family))
            elif places and not any(space.met.get((table, *place)) for place in places):
                self._dead(space, number)
            elif search.reach.unknown:
                text = "something before it is not understood, and may let packets through to it"
                self.add(number, Why.UNKNOWN, text, needs=tuple(search.reach.unknown))
            else:
                self.add(number, Why.UNREACHABLE, _NEARLY, kind=Kind.UNREACHABLE.value)

    def _seeming(self) -> None:
        """Set apart what packets with some other mark may reach: nothing is proved of it."""
        search = self.search
        if search.origins.marks.complete:
            return
        for start in search.origins.starts(Limits(), CONFIGS):
            for number, region in search.reach.of(start, self.left).items():
                self._seems(number, region)

    def _unvisited(self, number: int) -> None:
        table = self.search.elements.all[number].table
        based = [chain for chain in table.chains.values() if chain.default is not None]
        if not based:
            text = "no packet comes to its table, which has no base chain"
        elif table.name == "nat" or all(chain.kind == "nat" for chain in based):
            text = "no packet comes to its table: no rule makes the kernel track connections, and nat needs that"
        else:
            self.add(number, Why.UNKNOWN, "no way that is followed leads through its table")
            return
        self.add(number, Why.UNREACHABLE, text, kind=Kind.UNREACHABLE.value)

    def _dead(self, space: Space, number: int) -> None:
        element = self.search.elements.all[number]
        name, at = next(place for place in element.places if place[1] != DEFAULT)
        arrivals = [v for v in space.visits.values() if v.stage.table is element.table and name in v.reached]
        finding = dead(space, element.table, element.table.chains[name], at, arrivals)
        self.add(number, Why.UNREACHABLE, finding.why, kind=finding.kind.value, causes=finding.causes)
