"""A sweep of one host, compared with its tables port by port; what the wire leaves open is settled, or said to be.

Silence where a rule rejects with an ICMP error proves nothing: the kernel sends a burst of about six and then one a
second to one address (icmp(7), icmp_ratelimit). Such ports are settled by the rule's own counter, which must move by
exactly as many packets as arrived; else by a trace of one packet each, where the host may be traced; else by sending
them once more, or by asking a few of them slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fwproof.audit.agreement import Agreement, compare
from fwproof.audit.counting import moved, read_counters
from fwproof.audit.field import Field
from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.errors import FwproofError, HostError
from fwproof.flow import Flow
from fwproof.observation import PortState
from fwproof.probing import portset
from fwproof.probing.sweep import Order, Sweeper
from fwproof.probing.swept import Swept
from fwproof.semantics.model import HostModel
from fwproof.semantics.portwise import PortRuling, may_enter, rulings
from fwproof.semantics.traced import Traced

Counters = dict[RuleRef, int]
_ASKED_AGAIN = 8192
"""Ports that are sent once more to see a rule's counter move; more would double a sweep."""
_TRACED = 1000
"""Ports that are traced at most, for each ruling; what the kernel tells of more would overrun its buffer."""
_TRIES = 3
_SAMPLE, _PAUSE = 3, 1.1
"""Ports of one rule that are asked slowly, and the seconds before each: one ICMP error a second is let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Ports of one outcome on the wire and one ruling; ``settled`` is how an open question was settled, if it was."""

    ports: int
    state: PortState
    answer: str | None
    note: str
    ruling: Ruling | None
    agreement: Agreement
    why: str = ""
    settled: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A sweep with its comparison; ``counted`` has for each rule the packets that it should have counted and did.

    ``extra`` counts the packets that were sent to settle what was open.
    """

    swept: Swept
    comparisons: tuple[Comparison, ...]
    counted: tuple[tuple[RuleRef, int, int], ...] = ()
    extra: int = 0

    def of(self, *agreements: Agreement) -> tuple[Comparison, ...]:
        """Return the comparisons that came out so."""
        return tuple(each for each in self.comparisons if each.agreement in agreements)

    @property
    def status(self) -> int:
        """The exit status: 1 wire and tables disagree, 6 something is undecided, else 0."""
        if self.of(Agreement.DISAGREES):
            return 1
        return 6 if self.of(Agreement.UNDECIDED) else 0


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the tables do with a port set."""

    ports: int
    known: PortRuling

    @property
    def sure(self) -> bool:
        """Whether one rule alone decides, by dropping or rejecting."""
        ruling = self.known.ruling
        return ruling.by is not None and len(ruling.may) == 1 and ruling.refused


def predict(model: HostModel | None, flow: Flow) -> tuple[Predicted, ...]:
    """Return what a host's tables do with a probe, by port; nothing without a model."""
    if model is None:
        return ()
    return tuple(Predicted(portset.of_ranges(known.ranges), known) for known in rulings(model, flow))


def entering(predicted: Sequence[Predicted], ports: int) -> int:
    """Return how many ports the tables may let in; all where they are not known."""
    if not predicted:
        return ports.bit_count()
    return sum((each.ports & ports).bit_count() for each in predicted if may_enter(each.known.ruling))


Trace = Callable[[Order, Comparison], Mapping[int, Traced]]
"""Traces one packet to each port of a comparison; returns what was told, by port."""


class Sweeping:
    """Sweeps one host from one vantage; ``model`` is None where its tables could not be read.

    ``trace``, where the host may be traced, settles what the sweep leaves open.
    """

    def __init__(
        self, field: Field, sweeper: Sweeper, model: HostModel | None, progress: Callable[[str], None],
        trace: Trace | None = None,
    ) -> None:  # fmt: skip
        self.field, self.sweeper, self.model, self.progress, self.trace = field, sweeper, model, progress, trace

    def report(self, order: Order, predicted: Sequence[Predicted]) -> Report:
        """Make the sweep and compare it; raises HostError."""
        before = self._counters(order, predicted)
        swept = self.sweeper.sweep(order, self.progress)
        after = self._counters(order, predicted)
        found = list(_compared(swept, predicted))
        counted = tuple(_counted(swept, predicted, before, after))
        exact = {rule for rule, expected, seen in counted if expected == seen}
        extra = 0
        for each in [one for one in found if _open(one)]:
            plain = each.ruling is not None and each.ruling.by in exact
            settled, sent = ((each,), 0) if plain else self._traced(order, each)
            extra += sent
            if len(settled) == 1 and settled[0].agreement is Agreement.UNDECIDED:
                counted_, sent = self._settle(order, each, exact)
                settled, extra = (counted_,), extra + sent
            found[found.index(each) : found.index(each) + 1] = settled
        return Report(swept=swept, comparisons=tuple(found), counted=counted, extra=extra)

    def _counters(self, order: Order, predicted: Sequence[Predicted]) -> Counters:
        """Return the rules' counters as far as there are any; empty where nothing would be learned."""
        return counters(self.field, order) if any(each.sure for each in predicted) else {}

    def _traced(self, order: Order, one: Comparison) -> tuple[tuple[Comparison, ...], int]:
        """Trace a packet to each of the ports, if they are not too many; return them by what the kernel told."""
        count = one.ports.bit_count()
        if self.trace is None or count > _TRACED:
            return (one,), 0
        self.progress(f"tracing {count} silent ports")
        told = self.trace(order, one)
        good = portset.of_ports([port for port, each in told.items() if each.agrees])
        bad = {port: each.why for port, each in told.items() if each.agrees is False}
        found = []
        if good:
            by = one.ruling.by if one.ruling else None
            found.append(_settled(replace(one, ports=good), f"one packet each was traced, and met {by}"))
        for why in dict.fromkeys(bad.values()):
            ports = portset.of_ports([port for port, each in bad.items() if each == why])
            found.append(replace(one, ports=ports, agreement=Agreement.DISAGREES, why=why))
        rest = one.ports & ~good & ~portset.of_ports(list(bad))
        return (*found, *([replace(one, ports=rest)] if rest else [])), count

    def _settle(self, order: Order, one: Comparison, exact: set[RuleRef]) -> tuple[Comparison, int]:
        """Settle ports whose silence may be a rule's, and return how many packets it took."""
        by = one.ruling.by if one.ruling else None
        assert by is not None
        count = one.ports.bit_count()
        if by in exact:
            return _settled(one, f"the rule counted exactly the packets of the sweep that it decides: {by}"), 0
        sent, said = 0, ""
        again = replace(order, ports=one.ports, retries=2)
        for _ in range(_TRIES if count <= _ASKED_AGAIN else 0):
            before = counters(self.field, order)
            swept = self.sweeper.sweep(again)
            distance = moved(before, counters(self.field, order), by)
            sent += swept.sent
            arrived = sum(each.bit_count() for each in swept.arrivals)
            if distance is None:
                break
            if arrived == distance and swept.sightings.arrived == one.ports:
                return _settled(
                    one, f"asked again, {arrived} packets arrived and the rule counted {distance}: {by}"
                ), sent
            said = f"; its counter moved by {distance} for {arrived} packets"
        slow, packets = self._slowly(order, one)
        return (slow or replace(one, why=one.why + said)), sent + packets

    def _slowly(self, order: Order, one: Comparison) -> tuple[Comparison | None, int]:
        """Ask a few of the ports, each when the kernel may send an ICMP error again."""
        if one.ruling is None or one.ruling.may != {Decision.REJECT}:
            return None, 0
        ports = list(portset.members(one.ports))
        chosen = ports[:: max(1, len(ports) // _SAMPLE)][:_SAMPLE]
        self.progress(f"asking {len(chosen)} of {len(ports)} silent ports slowly: {one.ruling.by}")
        answers, sent = set[str | None](), 0
        for port in chosen:
            self.field.gate.pause(_PAUSE)
            slow = self.sweeper.sweep(replace(order, ports=portset.of_ports([port]), pps=1))
            sent += slow.sent
            if slow.ports(PortState.REJECTED) != slow.asked:
                return None, sent
            answers |= {group.answer for group in slow.groups}
        if len(answers) != 1:
            return None, sent
        (answer,) = answers
        compared = compare(order.flow, one.ruling, None, PortState.REJECTED, answer)
        if compared.agreement is not Agreement.AGREES:
            return replace(one, agreement=compared.agreement, why=compared.why, answer=answer), sent
        how = (
            f"asked slowly, {len(chosen)} of {len(ports)} were answered ({answer}), "
            f"and no rule tells the others apart: {one.ruling.by}"
        )
        return replace(_settled(one, how), answer=answer), sent


def _compared(swept: Swept, predicted: Sequence[Predicted]) -> Iterator[Comparison]:
    for group in swept.groups:
        rest = group.ports
        for each in predicted:
            ports, ruling = group.ports & each.ports, each.known.ruling
            if ports:
                rest &= ~ports
                found = compare(swept.flow, ruling, each.known.reply, group.state, group.answer)
                yield Comparison(
                    ports=ports, state=group.state, answer=group.answer, note=group.note, ruling=ruling,
                    agreement=found.agreement, why=found.why,
                )  # fmt: skip
        if rest:
            clear = group.state not in _UNCLEAR
            yield Comparison(
                ports=rest, state=group.state, answer=group.answer, note=group.note, ruling=None,
                agreement=Agreement.OBSERVED_ONLY if clear else Agreement.UNDECIDED,
                why="" if clear else "the wire does not say",
            )  # fmt: skip


_UNCLEAR = {PortState.NO_ANSWER, PortState.NEVER_ARRIVED, PortState.UNREACHABLE, PortState.REFUSED_LOCALLY}


def _open(one: Comparison) -> bool:
    """Whether a rule's counter could settle it: it arrived, and one rule alone should have decided about it."""
    if one.agreement is not Agreement.UNDECIDED or one.ruling is None or one.ruling.by is None:
        return False
    arrived = one.state is PortState.SILENT or (one.state is PortState.NO_ANSWER and "arrived" in one.note)
    return arrived and len(one.ruling.may) == 1 and one.ruling.refused


def _settled(one: Comparison, how: str) -> Comparison:
    assert one.ruling is not None
    rejected = one.ruling.may == {Decision.REJECT}
    state = PortState.REJECTED if rejected else PortState.SILENT
    return replace(one, state=state, agreement=Agreement.AGREES, why="", settled=how)


def _counted(
    swept: Swept, predicted: Sequence[Predicted], before: Counters, after: Counters
) -> Iterator[tuple[RuleRef, int, int]]:
    """Yield for each rule that alone refuses ports how many packets it should have counted, and how many it did."""
    wanted: dict[RuleRef, int] = {}
    for each in predicted:
        by = each.known.ruling.by
        if each.sure and by is not None:
            wanted[by] = wanted.get(by, 0) + sum((each.ports & ports).bit_count() for ports in swept.arrivals)
    for rule, expected in wanted.items():
        distance = moved(before, after, rule)
        if distance is not None and expected:
            yield rule, expected, distance


def counters(field: Field, order: Order) -> Counters:
    """Return the counters of a host's rules, of both kinds of tables; of those that cannot be read there are none."""
    found: Counters = {}
    family = order.flow.family
    with suppress(HostError):
        found |= read_counters(field, order.receiver, [family])
    with suppress(FwproofError):
        model = HostModel.build(nft_json=field.agent(order.receiver).counters("nft"))
        found |= {rule.ref: rule.counters.packets for rule in model.rules(family) if rule.counters}
    return found
