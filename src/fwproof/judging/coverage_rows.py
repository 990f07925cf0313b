"""Rule by rule: whether a probe reached it, whether the kernel says so, and if not why not. Pure.

A counter shows that a rule met a packet where it moved at least as far as what was sent explains, while other traffic
alone does not move it so far. Where other traffic does, it shows it all the same if every packet of the rule's base
chain is accounted for elsewhere: each ends at exactly one rule or default of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from fwproof.covered import CoverageFacts, Met, Refs, Round, Trip
from fwproof.decision import RuleRef
from fwproof.semantics.cover_found import Missed, Why


class Status(StrEnum):
    """What is known of one rule or default."""

    CONFIRMED = "confirmed"
    """A probe reached it, and the kernel says so."""
    REACHED = "reached"
    """A probe reached it by the model, and nothing of the kernel shows it."""
    DISAGREES = "disagrees"
    """The model and the kernel say different things about it."""
    UNREACHABLE = "unreachable"
    """Proved: no packet reaches it."""
    ELSEWHERE = "elsewhere"
    """Packets reach it, and none from the vantages that there are."""
    DEPENDS = "depends"
    """A probe reaches it if something answers so that no header decides, and that was not seen."""
    UNSENT = "unsent"
    """Packets reach it that are no probes: of another form, state or mark."""
    UNKNOWN = "unknown"
    """Not known: its probe did not get there, or something is not understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One rule or default, its status and the reason; ``packets`` are known to have met it, ``moved`` were counted.

    ``probes`` are the names of those that reach it, or may.
    """

    rule: RuleRef
    status: Status
    why: str
    probes: tuple[str, ...] = ()
    packets: int = 0
    moved: int | None = None


_MISSED = {
    Why.UNREACHABLE: Status.UNREACHABLE, Why.ORACLE: Status.DEPENDS, Why.SOURCE: Status.UNSENT,
    Why.STATE: Status.UNSENT, Why.MARK: Status.UNSENT, Why.UNREAL: Status.UNSENT, Why.UNKNOWN: Status.UNKNOWN,
}  # fmt: skip


PACKETS = 5
"""Packets of a probe that is sent again: more than other traffic usually moves a counter by meanwhile."""
ONE_FAMILY = frozenset({"ip", "ip6"})
"""Tables that see packets of one address family alone."""


def rows(facts: CoverageFacts) -> tuple[Row, ...]:
    """Return what is known of each rule and default, in the order of the tables."""
    known = Counted(facts)
    return tuple(_row(known, rule) for rule in facts.rules)


def again(facts: CoverageFacts) -> tuple[str, ...]:
    """Return the probes to send once more, each by itself, since their counters do not say what they should."""
    known, found = Counted(facts), dict[str, None]()
    limited = {probe.name for probe in facts.probes if probe.limited}
    for rule in facts.rules:
        found |= dict.fromkeys(_doubtful(known, rule))
    return tuple(name for name in found if name not in limited)


def _doubtful(known: Counted, rule: RuleRef) -> Iterator[str]:
    """Yield the probes that may be why a rule's counter does not say what it should."""
    stray, short = known.stray(rule), known.short(rule)
    if short:
        yield from (trip.probe for each in short for trip in each.trips(rule) if _meets(trip, rule))
    elif stray:
        # a probe that meets it after all has moved it whenever it was sent, and each was sent twice at least
        for name in stray[0].probes:
            rounds = [each for each in known.valid if name in each.probes]
            if len(rounds) > 1 and all(each in stray for each in rounds):
                yield name
    elif known.expected(rule) and not known.shown(rule) and (known.noise(rule) or 0) < PACKETS:
        yield from (t.probe for each in known.valid for t in each.trips(rule) if rule in t.met.certain and t.counted)


def _meets(trip: Trip, rule: RuleRef) -> bool:
    """Whether a packet of a trip, or its answer, is known to have met a rule."""
    return bool((rule in trip.met.certain and trip.counted) or (rule in trip.met.answer and trip.answered))


class Tally:
    """One round, by rule: what was sent that has to do with it, and how far its counter moved."""

    def __init__(self, each: Round) -> None:
        self.alone, self._moved = each.alone, each.moved or {}
        self.probes = dict.fromkeys(trip.probe for trip in each.trips)
        self.counted = sum(trip.counted for trip in each.trips)
        self._trips: dict[RuleRef, list[Trip]] = {}
        for trip in each.trips:
            for rule in trip.met.all:
                self._trips.setdefault(rule, []).append(trip)

    def trips(self, rule: RuleRef) -> list[Trip]:
        """Return what was sent that has anything to do with a rule."""
        return self._trips.get(rule, [])

    def moved(self, rule: RuleRef) -> int:
        """Return how far a rule's counter moved."""
        return self._moved.get(rule, 0)

    def least(self, rule: RuleRef, *, sure: bool = False) -> int:
        """Return how many packets a rule has met at least; only those known to have arrived where ``sure``."""
        trips = [trip for trip in self.trips(rule) if trip.sure or not sure]
        certain = sum(trip.counted for trip in trips if rule in trip.met.certain)
        return certain + sum(trip.answered for trip in trips if rule in trip.met.answer)

    def most(self, rule: RuleRef) -> int:
        """Return how many packets it can have counted because of the probes; one and its answers may come thrice."""
        return sum(
            trip.sent if rule in trip.met.certain and rule not in trip.met.beside else 3 * trip.sent
            for trip in self.trips(rule)
        )


class Counted:
    """What the counters say of each rule, over all rounds in which they mean something."""

    def __init__(self, facts: CoverageFacts) -> None:
        self.facts = facts
        self.valid = [Tally(each) for each in facts.rounds if each.moved is not None]
        self.traced = {rule for each in facts.rounds for trip in each.trips for rule in trip.traced or ()}
        self.lost: dict[RuleRef, str] = {}
        for each in facts.rounds:
            changed = "but the tables changed while it was sent" if each.moved is None else ""
            for trip in each.trips:
                words = f"{trip.probe} would reach it, {changed or f'and did not: {trip.state}'}"
                for rule in trip.met.certain:
                    self.lost.setdefault(rule, words)

    def expected(self, rule: RuleRef) -> bool:
        """Whether packets are known to have met a rule, by what was seen of them and by the model."""
        return any(each.least(rule) for each in self.valid)

    def noise(self, rule: RuleRef) -> int | None:
        """Return the most that a counter moved while nothing was sent that has to do with the rule."""
        return max((each.moved(rule) for each in self.valid if not each.trips(rule)), default=None)

    def short(self, rule: RuleRef) -> list[Tally]:
        """Return the rounds in which a rule counted fewer packets than it must have met."""
        if rule in self.facts.silent:
            return []
        return [each for each in self.valid if each.moved(rule) < each.least(rule, sure=True)]

    def stray(self, rule: RuleRef) -> list[Tally]:
        """Return the rounds in which a rule counted more than other traffic does, and met nothing by the model."""
        if rule in self.facts.silent:
            return []
        rounds = [each for each in self.valid if each.probes and not each.trips(rule)]
        return [each for each in rounds if each.moved(rule) > self._idle(rule)]

    def shown(self, rule: RuleRef) -> str:
        """Return how the counter of a rule shows that it met its packets, empty where it does not."""
        noise, rounds = self.noise(rule), [each for each in self.valid if each.least(rule)]
        if rule in self.facts.silent or any(each.moved(rule) < each.least(rule) for each in rounds):
            return ""
        if noise is not None and max(each.least(rule) for each in rounds) > noise:
            return "its counter moved as far as what was sent explains"
        if any(rule in ends and self._accounted(ends - {rule}, rounds) for ends in self.facts.ends):
            return "other traffic counts here too, and no other rule of its hook counted a packet that is not explained"
        return ""

    def _accounted(self, others: frozenset[RuleRef], rounds: list[Tally]) -> bool:
        readable = not any(each in self.facts.silent for each in others)
        return readable and all(each.moved(other) <= each.most(other) for other in others for each in rounds)

    def moved_with(self, rule: RuleRef, may: Callable[[Met], Refs]) -> bool:
        """Whether a rule that probes may meet moved while they were sent, and not by other traffic."""
        noise = self.noise(rule)
        rounds = [each for each in self.valid if any(rule in may(t.met) and t.counted for t in each.trips(rule))]
        return noise is not None and any(each.moved(rule) > noise for each in rounds)

    def disagreement(self, rule: RuleRef) -> str:
        """Return how the kernel contradicts the model about a rule, empty where it does not."""
        if rule in self.facts.silent:
            return ""
        return self._too_few(rule) or self._impossible(rule) or self._too_many(rule)

    def _too_few(self, rule: RuleRef) -> str:
        """Judge what was sent again by that, and what could not be by the one time."""
        for each in self.short(rule):
            names = dict.fromkeys(trip.probe for trip in each.trips(rule) if _meets(trip, rule))
            repeated = any(other.alone and other.probes.keys() & names for other in self.valid)
            if each.alone or not repeated:
                packets = f"{each.least(rule)} packet{'s' if each.least(rule) > 1 else ''}"
                return (
                    f"by the model {packets} of {', '.join(names)} met it, and its counter moved by {each.moved(rule)}"
                )
        return ""

    def _impossible(self, rule: RuleRef) -> str:
        missed = self.facts.missed.get(rule)
        if missed is None or missed.why is not Why.UNREACHABLE or rule.family not in ONE_FAMILY:
            return ""  # packets of the other family may reach it
        total = sum(each.moved(rule) for each in self.valid)
        return f"the model proves that no packet reaches it, and its counter moved by {total}" if total else ""

    def _too_many(self, rule: RuleRef) -> str:
        """Judge a probe that moves a counter which it should not by two times that it was sent by itself."""
        idle = self._idle(rule)
        stray = [each for each in self.stray(rule) if each.alone and each.moved(rule) >= each.counted > idle]
        for name in dict.fromkeys(name for each in stray for name in each.probes):
            mine = [each for each in stray if name in each.probes]
            if len(mine) > 1 and len(mine) == sum(each.alone and name in each.probes for each in self.valid):
                return (
                    f"by the model {name} does not meet it, and while {mine[0].counted} packets of it were sent its"
                    f" counter moved by {mine[0].moved(rule)}; without them by at most {idle}"
                )
        return ""

    def _idle(self, rule: RuleRef) -> int:
        """Return the most that a counter moved while nothing was sent at all."""
        return max((each.moved(rule) for each in self.valid if not each.probes), default=0)


def _row(known: Counted, rule: RuleRef) -> Row:
    status, why = _status(known, rule)
    counted = None if rule in known.facts.silent else sum(each.moved(rule) for each in known.valid if each.probes)
    packets: dict[str, int] = {}
    for trip in (trip for each in known.valid for trip in each.trips(rule)):
        met = (trip.counted if rule in trip.met.certain else 0) + (trip.answered if rule in trip.met.answer else 0)
        packets[trip.probe] = packets.get(trip.probe, 0) + met
    sent = {probe: number for probe, number in packets.items() if number}
    if not sent and status is Status.CONFIRMED:  # those that may have met it, when it moved
        rounds = [each for each in known.valid if each.moved(rule)]
        sent = {trip.probe: 0 for each in rounds for trip in each.trips(rule) if rule in trip.met.maybe}
    return Row(rule=rule, status=status, why=why, probes=tuple(sent), packets=sum(sent.values()), moved=counted)


def _status(known: Counted, rule: RuleRef) -> tuple[Status, str]:
    against = known.disagreement(rule)
    if against:
        return Status.DISAGREES, against
    traced = rule in known.traced
    shown = "the kernel's trace names it" if traced else _confirmed(known, rule)
    if shown:
        return Status.CONFIRMED, shown
    if known.expected(rule):
        return Status.REACHED, _unseen(known, rule)
    return _unreached(known, rule)


def _confirmed(known: Counted, rule: RuleRef) -> str:
    """Return how a counter shows that a rule was met, empty where none does."""
    if rule in known.facts.silent:
        return ""
    if known.expected(rule):
        return known.shown(rule)
    if known.moved_with(rule, lambda met: met.maybe):
        return "whether it is met hangs on what no header shows; its counter moved"
    if known.moved_with(rule, lambda met: met.answer | met.after):
        return "its counter moved by what followed a probe, such as an answer or a reset"
    provoked = known.facts.provoked.get(rule, 0)
    return f"its counter moved by {provoked} while limits were exercised" if provoked > (known.noise(rule) or 0) else ""


def _unreached(known: Counted, rule: RuleRef) -> tuple[Status, str]:
    """Return why nothing that was sent has reached a rule."""
    if rule in known.lost:
        return Status.UNKNOWN, known.lost[rule]
    missed = known.facts.missed.get(rule)
    if missed is None:
        return Status.UNKNOWN, "nothing was sent that reaches it"
    if rule in known.facts.instead:
        return Status.ELSEWHERE, known.facts.instead[rule]
    return _MISSED[missed.why], _reason(missed)


def _unseen(known: Counted, rule: RuleRef) -> str:
    if rule in known.facts.silent:
        return known.facts.silent[rule]
    return f"its counter does not show it: other traffic alone moves it by {known.noise(rule) or 0} meanwhile"


def _reason(missed: Missed) -> str:
    needs = f" ({', '.join(missed.needs)})" if missed.needs else ""
    by = f"; {', '.join(map(str, missed.causes))}" if missed.causes else ""
    example = f"; for example {missed.example}" if missed.example is not None and missed.why is not Why.ORACLE else ""
    return f"{missed.text}{needs}{by}{example}"
