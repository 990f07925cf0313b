"""What the IPv4 and the IPv6 tables of a host let through differently, zone by zone.

Addresses of the two families cannot be compared, so sources (destinations, of what the host sends) are told apart by
the zones that they are in. Of each part of the address space and each service it is computed exactly whether all of
the addresses, some or none can open a connection; and, where that depends on limits, on which.

Not compared is what only one family has: ICMP but for echo (RFC 4890 says what ICMPv6 needs), IGMP, DHCP, extension
headers, and addresses of link-local, multicast and loopback kind.

What is passed on is what the tables let through, whether the host forwards at the moment or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.flow import Family, Flow, Hook
from fwproof.ruleset.asks import Interface, atoms
from fwproof.semantics.bdd import Set, guarded
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import unread
from fwproof.semantics.model import HostModel
from fwproof.semantics.parity_limits import Limited
from fwproof.semantics.parity_rooms import Cell, Room, rooms_of
from fwproof.semantics.parity_state import Pair, State, incomparable, limits, overlaid, rank, status
from fwproof.semantics.parity_view import ENDS, FACES, Face, Side, View, Where, cuts_of
from fwproof.semantics.parity_zones import Group, Parts, parts_of
from fwproof.semantics.reach import Disagreement, own_of
from fwproof.semantics.ruling import REFUSED, rule_on
from fwproof.semantics.space import SpaceTooLarge
from fwproof.semantics.walk import TooLarge
from fwproof.semantics.witness import dressed, follow, pick

HOOKS = (Hook.INPUT, Hook.OUTPUT, Hook.FORWARD)
_DECIDED = {
    Decision.ACCEPT: "let through by", Decision.DROP: "dropped by", Decision.REJECT: "rejected by",
    Decision.DEPENDS: "beyond that refused by", Decision.UNKNOWN: "not known because of",
}  # fmt: skip
MOST_PAIRS = 40_000
"""Combinations of parts and interfaces that are compared at a hook; beyond a tenth, of interfaces only those that a
rule names are told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one family stands to a difference.

    ``status``: open, closed, limited (by ``depends_on``), or open in part (to some addresses of a zone). ``witness`` is
    one packet, ``ruling`` what happens to it and by which rule; None where that takes too long to tell.
    """

    status: str
    depends_on: tuple[str, ...]
    witness: Flow
    ruling: Ruling | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Services that the two families treat differently at a hook, in disjoint rooms."""

    hook: Hook
    rooms: tuple[Room, ...]
    sides: Mapping[Family, Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Everything that differs.

    ``unknown``: what could not be compared, with the reasons; ``alone``: groups without a counterpart, which were not;
    ``partly``: what is open to a part of a zone in both families, of which it is not known whether it is the same part.
    """

    differences: tuple[Difference, ...]
    unknown: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether everything was compared, and nothing differs."""
        return not (self.differences or self.unknown)


def difference_lines(found: Difference) -> Iterator[str]:
    """Yield a difference as lines for people: the rooms, then each family with its rule and a packet."""
    yield from (f"{found.hook}: {room}" for room in found.rooms)
    for family, standing in found.sides.items():
        yield f"    {family.display}: {standing_text(standing)}"


def standing_text(standing: Standing, *, example: bool = True) -> str:
    """Return how a family stands in words: its status, the rule that decides on its packet, and the packet."""
    ruling, flow, text = standing.ruling, standing.witness, standing.status
    if standing.depends_on:
        text += f" ({'; '.join(standing.depends_on)})"
    if ruling is not None and ruling.by is not None:
        text += f", {_DECIDED[ruling.decision]} {ruling.by}"
    face = flow.iif or flow.oif
    return f"{text}; for example {flow}" + (f" on {face}" if face else "") if example else text


def parity(model: HostModel, groups: Sequence[Group]) -> Parity:
    """Return how the families differ; ``groups`` are zones and hosts. Raises SpaceTooLarge and Disagreement."""
    blind = [f"{family.display}: {reason}" for family in Family
             for reason in model.blind.get(family, ("its rules were not read",))]  # fmt: skip
    if blind:
        return Parity(differences=(), unknown=tuple(dict.fromkeys(blind)))
    return guarded(lambda: _parity(model, groups))


def _parity(model: HostModel, groups: Sequence[Group]) -> Parity:
    own = {family: own_of(model, family) for family in Family}
    zones = parts_of([group for group in groups if not group.single], own)
    fine = parts_of(groups, own)
    fine = zones if fine.unmatched else fine
    found: list[Difference] = []
    unread_ = [f"{family.display}: {reason}" for family in Family for reason in unread(model, family)]
    unknown = list(unread_)
    unknown += [f"the zones cannot be compared: {reason}" for reason in zones.unmatched]
    partly: list[str] = []
    for parts, hooks in ((fine, (Hook.INPUT, Hook.OUTPUT)), (zones, (Hook.FORWARD,))):
        sides = _sides(model, parts)
        for hook in hooks:
            at = _Hook(sides, hook, parts)
            found += at.differences()
            unknown += at.unknown(unread_)
            partly += at.partly()
    return Parity(
        differences=tuple(found), unknown=tuple(dict.fromkeys(unknown)), alone=zones.alone,
        partly=tuple(dict.fromkeys(partly)),
    )  # fmt: skip


def _sides(model: HostModel, parts: Parts) -> tuple[Side, Side]:
    cuts = {family: cuts_of(model, family) for family in Family}
    v4 = Side(model, Family.IPV4, parts, cuts[Family.IPV6])
    return v4, Side(model, Family.IPV6, parts, cuts[Family.IPV4])


class _Hook:
    """Compares the families at one hook."""

    def __init__(self, sides: tuple[Side, Side], hook: Hook, parts: Parts) -> None:
        self.hook, self.parts = hook, parts
        self.views = (View(sides[0], hook), View(sides[1], hook))
        self.wheres: list[Where] = list(product(parts.keys, repeat=len(ENDS[hook])))
        self.faces = self._words(lambda _: True)
        if len(self.wheres) * len(self.faces) > MOST_PAIRS // 10:
            self.faces = self._words(self._named())
        if len(self.wheres) * len(self.faces) > MOST_PAIRS:
            raise SpaceTooLarge(f"more than {MOST_PAIRS} combinations of zones and interfaces at {hook}")
        self.cells: dict[Pair, list[Cell]] = {}
        self._compare()

    def _words(self, wanted: Callable[[str], bool]) -> list[Face]:
        """Return the interfaces that are told apart; those left out are alike to a pattern or to any other."""
        words = []
        for name in FACES[self.hook]:
            both = dict.fromkeys(word for view in self.views for word in view.sets.fields[name].words if word != "lo")
            words.append([word for word in both if word and wanted(word)] + [""])
        return list(product(*words))

    def _named(self) -> Callable[[str], bool]:
        """Return whether some rule of either family names an interface."""
        rules = (rule for view in self.views for rule in view.side.model.rules(view.side.family))
        tests = (atom for rule in rules for match in rule.matches for atom in atoms(match.test))
        names = {test.name.removesuffix("+") for test in tests if isinstance(test, Interface)}
        return lambda word: word.removesuffix("*") in names

    def _compare(self) -> None:
        every = [dict(view.faces(self.faces)) for view in self.views]
        for where in self.wheres:
            self.views[0].sets.tick()
            statuses = [view.status(where) for view in self.views]
            if all(status.some == status.unknown == view.sets.none
                   for view, status in zip(self.views, statuses, strict=True)):  # fmt: skip
                continue
            for face in self.faces:
                rows = [view.rows(some, faces[face]) for view, status, faces in
                        zip(self.views, statuses, every, strict=True) for some in status]  # fmt: skip
                for number in rows[0]:
                    for pair, spans in overlaid([row[number] for row in rows]).items():
                        self.cells.setdefault(pair, []).append(Cell(face, where, number, spans))

    def _text(self, cells: Iterable[Cell]) -> list[str]:
        return [f"{self.hook}: {room}" for room in rooms_of(cells, self.hook, self.faces, self.parts.keys)]

    def unknown(self, unread_: Sequence[str]) -> Iterator[str]:
        """Yield what cannot be compared; a table that was not read, and is told of already, is not told once more."""
        found = dict.fromkeys(reason for view in self.views for reason in view.unclear)
        told = all(any(each.endswith(reason) for each in unread_) for reason in found)
        reasons = "; ".join(found)
        for pair, cells in self.cells.items():
            if any(state[2] for state in pair):
                yield from () if told else (f"{text}: {reasons}" for text in self._text(cells))
            elif incomparable(pair):
                asked = "; ".join(dict.fromkeys(q for value in limits(pair) for q in value.questions))
                yield from (f"{text}: depends on {asked}" for text in self._text(cells))

    def partly(self) -> Iterator[str]:
        """Yield what is open to a part of a zone in both families alike."""
        for (one, other), cells in self.cells.items():
            if one == other and one[0] != one[1] and not one[2]:
                yield from self._text(cells)

    def differences(self) -> Iterator[Difference]:
        """Yield what differs, by the rule that lets it in where it is let in."""
        for pair, cells in self.cells.items():
            if pair[0] == pair[1] or any(state[2] for state in pair) or incomparable(pair):
                continue
            wide = rank(pair[1]) > rank(pair[0])
            for ref, mine in self._by_rule(self.views[wide], cells).items():
                first = max(mine, key=lambda cell: (len(cell.where[0]) == 0, cell.number == 6, cell.face != ("",)))
                standings = [self._standing(view, state, first, ref if at == wide else None, open_=at == wide)
                             for at, (view, state) in enumerate(zip(self.views, pair, strict=True))]  # fmt: skip
                yield Difference(
                    hook=self.hook, rooms=rooms_of(mine, self.hook, self.faces, self.parts.keys),
                    sides=dict(zip(Family, standings, strict=True)),
                )  # fmt: skip

    def _region(self, view: View, cell: Cell) -> Set:
        ((_, face),) = view.faces([cell.face])
        return view.start & view.inside(cell.where) & face & view.service(cell.number, cell.spans)

    def _by_rule(self, view: View, cells: Iterable[Cell]) -> dict[RuleRef | None, list[Cell]]:
        found: dict[RuleRef | None, list[Cell]] = {}
        for cell in cells:
            for ref, spans in view.by_rule(self._region(view, cell), cell.number):
                found.setdefault(ref, []).append(cell._replace(spans=spans))
        return found

    def _standing(self, view: View, state: State, cell: Cell, ref: RuleRef | None, *, open_: bool) -> Standing:
        sets = view.sets
        region = self._region(view, cell)
        if open_ and state[1] is not False:
            let = view.accepted & region & view.deciders.get(ref, sets.all)
            some = sets.must(let) if sets.must(let) != sets.none else sets.may(let)
        else:
            shut = region & ~sets.may(view.open)
            limited = sets.may(view.accepted) & ~sets.must(view.open)
            some = shut if shut != sets.none else region & limited
        for end in ENDS[self.hook]:  # the first address of a network is no ordinary one
            nice = some & ~sets.within(end, view.side.edges)
            some = nice if nice != sets.none else some
        router = view.side.model.router(view.side.family)
        flow = dressed(pick(sets, some, router, self.hook), Config(), self.hook)
        questions = tuple(
            dict.fromkeys(q for value in state[:2] if isinstance(value, Limited) for q in value.questions)
        )
        return Standing(status=status(state), depends_on=questions, witness=flow, ruling=self._ruling(view, flow, some))

    def _ruling(self, view: View, flow: Flow, some: Set) -> Ruling | None:
        """Ask the walk of single packets about a witness; raises Disagreement when it says something else."""
        try:
            ruling = rule_on(follow(view.side.model, flow, self.hook))
        except TooLarge:
            return None
        sets = view.sets
        if some & view.accepted == sets.none:
            expected = ruling.may <= REFUSED
        elif some & ~view.accepted == sets.none:
            expected = ruling.accepted
        else:
            expected = Decision.ACCEPT in ruling.may
        if not expected:
            raise Disagreement(
                f"fwproof contradicts itself about {flow} at {self.hook}: alone it is {ruling.decision} by {ruling.by},"
                " over all packets it is not. This is a fault of fwproof; please report it with the rule tables."
            )
        return ruling
