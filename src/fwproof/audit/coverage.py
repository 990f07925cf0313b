"""Gathering for rule coverage: choose the packets, send them in rounds, and read every counter around each round.

One round has every probe; then come rounds of some, by the bits of their numbers, so that no two rules can have
changed places unnoticed, and one of none, which shows other traffic. What the counters then do not explain is sent
again by itself, several times.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from fwproof.audit.counting import Reader
from fwproof.audit.coverage_probes import MOST, Meeting, Origins, ends_of, form_of, instead, probes_of
from fwproof.audit.modelling import model_of
from fwproof.audit.tracing import Meets, untraced
from fwproof.covered import CoverageFacts, CoverProbe, Met, Refs, Round, Trip
from fwproof.decision import RuleRef
from fwproof.errors import HostError
from fwproof.farends import FarEnds
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.flows import neighbour_packets
from fwproof.hosts.collect import collect
from fwproof.judging.coverage_rows import ONE_FAMILY, PACKETS, again
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check
from fwproof.probing.channel import Agent
from fwproof.semantics.cover import Cover, Limits, Why, Witness, cover
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Disagreement
from fwproof.semantics.space import SpaceTooLarge

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

_AGAIN = 24
"""Probes that are sent again by themselves, about a third of a second each."""
_ANSWERED = frozenset({PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST})
_QUICK = 0.3


def most_packets() -> int:
    """Return how many packets one host and family get at most: all probes, those of each bit, more, and single ones."""
    return MOST * (2 + MOST.bit_length()) + 2 * _AGAIN * PACKETS


def gather_coverage(  # noqa: PLR0913 - what is asked, of whom, and how
    field: Field, prober: Prober, check: Check, watch: Watch, *, hopeless: bool, meets: Meets = untraced
) -> CoverageFacts:
    """Send what reaches the rules of a check's host and family, and return what is known of each of them.

    Raises HostError where that cannot be done.
    """
    assert check.family is not None
    model = watch.model
    host = field.inventory.hosts[check.host]
    origins = Origins(field, host, check.family, model)
    limits = origins.limits()
    found = _cover(check, model, limits)
    far = any(each.why is Why.SOURCE for each in found.missed)
    elsewhere = _reached(_cover(check, model, replace(limits, sources=None))) if far else {}
    sending = _Sending(field, prober, check, model, hopeless=hopeless, meets=meets)
    sending.rounds_of(probes_of(found.witnesses, origins))
    away = sending.away()
    if away and not hopeless:
        rest = replace(limits, sources=tuple(each for each in limits.sources or () if each.name not in away))
        more = [each for each in _new(_cover(check, model, rest), sending) if each.source]
        sending.more(probes_of(more, origins, len(sending.probes) + 1))
    sending.neighbours()
    sending.alone()
    return replace(
        sending.facts(), missed={each.rule: each for each in found.missed}, away=away, gaps=tuple(origins.gaps),
        provoked=watch.moved,
        instead={each.rule: words for each in found.missed if (words := instead(each, elsewhere))},
    )  # fmt: skip


def _cover(check: Check, model: HostModel, limits: Limits) -> Cover:
    assert check.family is not None
    try:
        return cover(model, check.family, limits)
    except (SpaceTooLarge, Disagreement) as reason:
        raise HostError(check.host, f"which packets reach its rules cannot be told: {reason}") from reason


def _reached(found: Cover) -> dict[RuleRef, Witness]:
    return {ref: each for each in reversed(found.witnesses) for ref in (*each.depends, *each.reaches)}


def _new(found: Cover, sending: _Sending) -> Iterator[Witness]:
    """Yield the witnesses that reach what nothing has reached so far."""
    met = sending.reached()
    yield from (each for each in found.witnesses if {*each.reaches} - met)


class _Sending:
    """Sends rounds of probes for one host and family, and keeps what came of them."""

    def __init__(  # noqa: PLR0913 - what is asked, of whom, and how
        self, field: Field, prober: Prober, check: Check, model: HostModel, *, hopeless: bool, meets: Meets
    ) -> None:
        assert check.family is not None
        self.field, self.prober, self.check, self.model = field, prober, check, model
        self.family, self.hopeless, self.meets = check.family, hopeless, meets
        self.meeting = Meeting(model, self.family)
        self.reader = Reader(field, check.host, model, self.family)
        self.probes: list[CoverProbe] = []
        self.rounds: list[Round] = []
        self.seen: list[Observation] = []
        self._before = self.reader.read()

    # ---- rounds

    def rounds_of(self, probes: Sequence[CoverProbe]) -> None:
        """Send all probes together, then nothing, then those whose number has each of its bits set."""
        self.probes += probes
        begun = time.monotonic()
        self._round(probes)
        self._idle(time.monotonic() - begun)
        free = [probe for probe in probes if not probe.limited]
        for bit in range(len(free).bit_length()):
            self._round([probe for number, probe in enumerate(free, 1) if number >> bit & 1])

    def more(self, probes: Sequence[CoverProbe]) -> None:
        """Send more probes together, once."""
        self.probes += probes
        if probes:
            self._round(probes)

    def alone(self) -> None:
        """Send by itself each probe whose rules' counters are not explained, and twice where they still are not."""
        known = {probe.name: probe for probe in self.probes}
        for _ in range(2):
            names = again(self.facts())[:_AGAIN]
            begun = time.monotonic()
            for name in names:
                self._round([known[name]] * PACKETS, alone=True)
            if names:
                self._idle((time.monotonic() - begun) / len(names))

    def _idle(self, seconds: float) -> None:
        """Watch the counters for as long as a round takes, with the audit's own traffic as in a round."""
        end, agent = time.monotonic() + seconds, self.field.agents.get(self.check.host)
        while time.monotonic() < end:
            if isinstance(agent, Agent):
                agent.collect(0.02)
            else:
                time.sleep(0.02)
        self._note((), alone=False)

    def _round(self, probes: Sequence[CoverProbe], *, alone: bool = False) -> None:
        sent = {f"{self.check.id} {number}": probe for number, probe in enumerate(probes)}
        found = self.prober.observe(
            [
                Probe(ref=ref, sender=each.sender, receiver=each.receiver, flow=replace(each.flow, iif=None, oif=None),
                      form=form_of(each))
                for ref, each in sent.items()
            ],
            retries=0 if self.hopeless else 2, window=_QUICK if self.hopeless else None,
        )  # fmt: skip
        seen = [each for each in found.values() if isinstance(each, Observation)]
        traced = self.meets(seen)
        self._note([self._trip(probe, found[ref], traced.get(ref)) for ref, probe in sent.items()], alone=alone)
        self.seen += seen

    def _note(self, trips: Iterable[Trip], *, alone: bool) -> None:
        after = self.reader.read()
        moved = self.reader.moved(self._before, after)
        self.rounds.append(Round(trips=tuple(trips), moved=moved, alone=alone))
        self._before = after

    # ---- what became of a packet

    def _trip(self, probe: CoverProbe, seen: Observation | HostError, traced: Refs | None) -> Trip:
        if isinstance(seen, HostError):
            return Trip(probe=probe.name, met=self.meeting.met(probe.flow, probe.hook), sent=0, counted=0,
                        answered=False, state=f"it could not be sent: {seen.message}")  # fmt: skip
        sport = seen.probe.flow.sport if probe.flow.sport is not None else None
        flow = replace(probe.flow, sport=sport)  # the prober chose the port, and a rule may ask for it
        met = self.meeting.met(flow, probe.hook)
        counted, sure = self._counted(probe, seen)
        return Trip(
            probe=probe.name, met=met, sent=seen.sent, counted=counted, sure=sure, state=_state(seen), traced=traced,
            answered=seen.state in _ANSWERED and flow.ctstate is CtState.NEW and (
                seen.state is PortState.OPEN or seen.answer == "RST"
            ),
        )  # fmt: skip

    def _counted(self, probe: CoverProbe, seen: Observation) -> tuple[int, bool]:
        """Return how many packets of a probe met the host's rules, and whether that was seen."""
        if probe.sender == self.check.host:
            # a packet without a route or a neighbour may not have met them
            return (0, False) if seen.state is PortState.UNREACHABLE else (seen.sent, True)
        if seen.arrived is None:
            return seen.sent, False
        return int(seen.arrived), True

    def away(self) -> tuple[str, ...]:
        """Return the sources of which nothing has arrived."""
        there: dict[str, bool] = {}
        senders = {probe.name: probe.sender for probe in self.probes}
        for each in self.rounds:
            for trip in each.trips:
                name = senders[trip.probe]
                there[name] = there.get(name, False) or trip.counted > 0
        return tuple(name for name, any_ in there.items() if not any_ and name != self.check.host)

    def reached(self) -> set[RuleRef]:
        """Return what packets that got to the rules have met for certain, and their answers."""
        trips = [trip for each in self.rounds for trip in each.trips]
        met = {ref for trip in trips if trip.counted for ref in trip.met.certain}
        return met | {ref for trip in trips if trip.answered for ref in trip.met.answer}

    # ---- neighbour discovery

    def neighbours(self) -> None:
        """Solicit the host from a vantage on its link and the other way round, where rules wait for that."""
        host = self.field.inventory.hosts[self.check.host]
        missed = {each.ref for each in self.meeting.elements.all} - self.reached()
        vantage = FarEnds(self.check.policy, self.field.inventory, host).neighbour()
        own = host.address(self.family)
        if self.family is not Family.IPV6 or vantage is None:
            return
        peer = vantage.address(self.family)
        assert isinstance(own, IPv6Address)
        assert isinstance(peer, IPv6Address)
        packets = neighbour_packets(own, peer, self.model.interface_for(own) or "eth0")
        for (asker, asked), to, roles in (
            ((vantage.name, host.name), own, ("solicitation in", "advertisement out")),
            ((host.name, vantage.name), peer, ("solicitation out", "advertisement in")),
        ):
            hooks = (Hook.INPUT, Hook.OUTPUT) if asker == vantage.name else (Hook.OUTPUT, Hook.INPUT)
            first, second = (self.meeting.alone(packets[role], hook) for role, hook in zip(roles, hooks, strict=True))
            if missed & (first | second):
                self._solicit(asker, asked, to, packets[roles[0]], hooks[0], Met(certain=first, answer=second))

    def _solicit(  # noqa: PLR0913, PLR0917 - who asks whom, and what that meets
        self, asker: str, asked: str, target: IPv6Address, flow: Flow, hook: Hook, met: Met
    ) -> None:
        try:
            seen = self.prober.neighbour(asker, asked, target)
        except HostError:
            return
        name = f"p{len(self.probes) + 1}"
        probe = CoverProbe(name=name, sender=asker, receiver=asked, hook=hook, flow=flow, limited=True)
        self.probes.append(probe)
        counted, sure = self._counted(probe, seen)
        self._note([Trip(probe=name, met=met, sent=seen.sent, counted=counted, sure=sure, state=_state(seen),
                         answered=seen.state is PortState.OPEN)], alone=False)  # fmt: skip
        self.seen.append(seen)

    def facts(self) -> CoverageFacts:
        """Return what is known so far, without the reasons for rules that nothing was sent to."""
        return CoverageFacts(
            rules=tuple(each.ref for each in self.meeting.elements.all),
            probes=tuple(self.probes),
            rounds=tuple(self.rounds),
            silent=self.reader.silent(self._before),
            ends=tuple(ends_of(self.model, self.family)),
            seen=tuple(self.seen),
            model=self.model,
        )


def _state(seen: Observation) -> str:
    return f"{seen.state.value}{f' ({seen.answer})' if seen.answer else ''}"


class Watch:
    """The tables of a check's host as they are when the limits are exercised, and how far that moves their counters."""

    def __init__(self, field: Field, check: Check) -> None:
        """Read them; raises the HostError that stands in the way."""
        assert check.family is not None
        model = model_of(collect(field.transports[check.host]), {check.family})
        if isinstance(model, HostError):
            raise model
        self.model, self._family = model, check.family
        self._reader = Reader(field, check.host, model, check.family)
        self._before, self.moved = self._reader.read(), dict[RuleRef, int]()

    @property
    def shared(self) -> bool:
        """Whether a rule of it counts packets of the other family too."""
        return any(rule.ref.family not in ONE_FAMILY for rule in self.model.rules(self._family))

    def end(self) -> None:
        """Read the counters again; where that cannot be told, nothing has moved."""
        with suppress(HostError):
            self.moved = self._reader.moved(self._before, self._reader.read()) or {}
