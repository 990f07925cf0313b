"""Asking everything that needs the wire: the waves, then what is provoked on purpose."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv6Address

from fwproof.audit import coverage, exercises, measuring, standing
from fwproof.audit.ban import Exercise
from fwproof.audit.dropping import drop_log, read_log
from fwproof.audit.field import Field
from fwproof.audit.forms import ask_forms, forms_of
from fwproof.audit.jails import look_at_jails
from fwproof.audit.listening import ask_sockets, look_again
from fwproof.audit.locating import locate
from fwproof.audit.probes import BRISK, ask, connect_all, send_all, send_wave
from fwproof.audit.tracing import Tracing, tracing
from fwproof.audit.waves import Asked
from fwproof.covered import CoverageFacts
from fwproof.errors import HostError, NotGranted, Stopped
from fwproof.evidence.droplog import DropLine, parse_log
from fwproof.facts import (
    BanFacts,
    BurstFacts,
    Connected,
    EvasionFacts,
    Exercised,
    Facts,
    FlowFacts,
    LogFacts,
    MeasureFacts,
    NeighbourFacts,
    StandingFacts,
)
from fwproof.flow import Address, Family, Hook
from fwproof.flows import neighbour_packets
from fwproof.inventory import Access
from fwproof.observation import Observation, PortState
from fwproof.plan import Check, Kind
from fwproof.probing.observe import Prober
from fwproof.semantics.model import HostModel

_Flows = dict[str, FlowFacts | HostError]
_Do = Callable[[Check], Exercised | HostError | None]
_DEFAULTS = {Kind.INBOUND_DEFAULT, Kind.OUTBOUND_DEFAULT, Kind.FORWARD_DEFAULT}
SINGLE = {Kind.INBOUND, Kind.OUTBOUND, Kind.FORWARD, *_DEFAULTS}


class Asking:
    """One round of questions; ``all`` asks them, and each failure belongs to its own checks.

    ``exercise`` False provokes nothing: what needs a burst or a dropped packet is then answered by the tables
    alone, and a ban not at all.
    """

    def __init__(  # noqa: PLR0913 - what is known, what is asked, and how
        self, field: Field, facts: Facts, checks: Sequence[Check], prober: Prober, progress: Callable[[str], None],
        *, exercise: bool,
    ) -> None:  # fmt: skip
        self.field, self.facts, self.checks, self.prober = field, facts, checks, prober
        self.progress, self.exercise = progress, exercise
        self.done: dict[str, Exercised | HostError] = {}
        self.stopped = False
        self.tracing = Tracing()

    def all(self) -> tuple[_Flows, dict[str, Exercised | HostError]]:
        """Return the answers by check id: of single flows, and of everything that is tried in its own way."""
        if self.exercise:
            self._await_windows()
        models = {name: model for name, model in self.facts.models.items() if isinstance(model, HostModel)}
        with tracing(self.field, self.prober, models, self.progress) as self.tracing:
            flows = self._flows()
            self._forms()
        self._sockets(flows)
        # these meet neither each other nor a limit, and no counter is read meanwhile
        lanes = [
            *self._lanes(Kind.NEIGHBOUR, self._neighbour),
            *self._lanes(Kind.LOOPBACK, self._loopback),
            *self._lanes(Kind.DROP_LOG, self._drop_log),
        ]
        self._run(lanes, "trying loopback, neighbours and drop logs")
        if self.exercise:
            self._run(self._lanes(Kind.BAN_EXERCISE, self._ban), "exercising bans")
        # after these, for the lines that they leave in the logs
        self.done |= look_at_jails(self.field, self.checks, self.progress)
        watches = self._watches()
        # bursts come last: they use up limits that the others meet as well
        self._run(self._lanes(Kind.RATE, self._burst), "exercising bursts" if self.exercise else "")
        self._run(self._lanes(Kind.MEASURE, self._measure), "measuring limits" if self.exercise else "")
        self._run(self._lanes(Kind.CONNECTIONS, self._stand), "keeping connections open" if self.exercise else "")
        self._reach(watches)
        return flows, self.done

    # ---- single flows

    def _flows(self) -> _Flows:
        single = [check for check in self.checks if check.kind in SINGLE and check.vantage is not None]
        asked: list[Asked] = []
        flows: _Flows = {}
        for check in single:
            try:
                flows |= self._unsent(check, asked)
            except HostError as error:
                flows[check.id] = error
        known = send_all(
            self.field, self.prober, asked, self.progress, hopeless=self.hopeless, models=self.facts.models
        )
        connected = connect_all(self.prober, single, known)
        with self.field.gate.counted_as("path"):
            located = locate(self.prober, known, self.hopeless)
        lines = self._drop_lines({check.host for check in single})
        for check in single:
            if check.id in known:
                facts = self.tracing.of(check.host, known[check.id])
                stopped = located.get(check.id, "")
                facts = replace(facts, connected=connected.get(check.id), stopped=stopped)
                flows[check.id] = replace(facts, logged=_line_of(facts, lines.get(check.host, ())))
        return flows

    def _unsent(self, check: Check, asked: list[Asked]) -> _Flows:
        """Add a check's probe to what is asked; return its facts where the host's tier lets nobody send it.

        Raises what stands in the way of an end, unless its tier does not provide for watching it.
        """
        one = ask(check, self.facts.model(check.host), self._own(check), self.field.inventory)
        for name in filter(None, (one.probe.sender, one.probe.through, one.probe.receiver)):
            if self.field.inventory.hosts[name].access is not Access.READ:
                self.field.agent(name)
            elif name == one.probe.sender:
                gap = NotGranted(name, "its access is read, so nothing can be sent from it", "grant it observe")
                facts = FlowFacts(
                    flow=one.probe.flow, ruling=one.ruling, reply=one.reply, fresh=one.fresh, observation=gap
                )
                return {check.id: facts}
        asked.append(one)
        return {}

    # ---- forms

    def _forms(self) -> None:
        """Try every form in one wave: each rule's counter must account for all that it should have decided."""
        asked: dict[str, list[Asked]] = {}
        for check in self.checks:
            if check.kind is not Kind.EVASION:
                continue
            try:
                asked[check.id] = ask_forms(self.field, check, self.facts.model(check.host))
            except HostError as error:
                self.done[check.id] = error
        wave = [one for each in asked.values() for one in each]
        if wave:
            self.progress(f"trying {len(wave)} packets in forms that evade rules")
        known = send_wave(self.field, self.prober, wave, self.hopeless, self.facts.models, BRISK) if wave else {}
        known |= {one.probe.ref: self.tracing.of(one.check.host, known[one.probe.ref]) for one in wave}
        for id_, each in asked.items():
            self.done[id_] = EvasionFacts(forms=forms_of(each, known, self.facts.models))

    # ---- listening sockets

    def _sockets(self, flows: _Flows) -> None:
        """Probe the sockets that listen, and list them once more: what changes meanwhile is no finding."""
        asked: dict[str, list[Asked]] = {}
        checks = [check for check in self.checks if check.kind is Kind.LISTENERS]
        for check in checks:
            try:
                model = self.facts.model(check.host)
                asked[check.id] = ask_sockets(self.field, check, model, flows.values())
            except HostError as error:
                self.done[check.id] = error
        if asked:
            self.progress(f"comparing listening sockets with rules and wire: {len(asked)} checks")
            mine = [check for check in checks if check.id in asked]
            with self.field.gate.counted_as("listeners"):
                self.done |= look_again(self.field, self.prober, asked, mine, self.hopeless, self.facts.models)

    def _own(self, check: Check) -> Address:
        assert check.family is not None
        own = self.field.inventory.hosts[check.host].address(check.family)
        assert own is not None
        return own

    def hopeless(self, host: str, family: Family) -> bool:
        """Whether nothing can arrive at a host, by its own tables: they drop IPv6 neighbour discovery.

        Waiting for what cannot come takes most of an audit's time; it is sent once all the same.
        """
        model, own = self.facts.models.get(host), self.field.inventory.hosts[host].address(family)
        if isinstance(model, HostError) or model is None or not isinstance(own, IPv6Address):
            return False
        peer = IPv6Address("fe80::1")
        packets = neighbour_packets(own, peer, model.interface_for(own) or "eth0")
        return any(model.decide(packets[role], hook).refused for role, hook in
                   (("solicitation in", Hook.INPUT), ("advertisement out", Hook.OUTPUT)))  # fmt: skip

    def _drop_lines(self, hosts: Iterable[str]) -> Mapping[str, Sequence[DropLine]]:
        """Read the drop logs once; a log that cannot be read only leaves the probes without that evidence."""
        lines = {}
        for name in hosts:
            log_file = self.field.inventory.hosts[name].drop_log
            if log_file is None or name not in self.field.transports:
                continue
            try:
                lines[name] = tuple(parse_log(read_log(self.field, name, log_file)))
            except HostError:
                continue
        return lines

    # ---- exercises

    def _await_windows(self) -> None:
        """Wait until what an earlier audit's bursts used up is free again: no probe could tell it from a fault."""
        memory = self.field.memory
        used = [(check, check.peer) for check in self.checks if check.kind is Kind.RATE and check.peer is not None]
        for check in self.checks:
            if check.kind in {Kind.MEASURE, Kind.CONNECTIONS}:
                used += [(check, source.address) for source in measuring.sources_of(self.field, check)]
        left = [memory.left(self._own(check), source) for check, source in used]
        if max(left, default=0.0) > 0.0:
            self.progress(f"waiting {max(left):.0f} s: an earlier burst still counts against the limit")
            with suppress(Stopped):  # which each check then says
                self.field.gate.pause(max(left))

    def _lanes(self, kind: Kind, do: _Do) -> list[tuple[Hashable, Check, _Do]]:
        """Return the checks of a kind, each with its lane: what shares one is tried one after another."""
        return [(self._lane(check), check, do) for check in self.checks if check.kind is kind]

    def _lane(self, check: Check) -> Hashable:
        alone = check.kind is Kind.RATE and check.family is not None and self.hopeless(check.host, check.family)
        return check.kind, check.host, check.family, check.vantage if alone else None

    def _run(self, chosen: Sequence[tuple[Hashable, Check, _Do]], words: str) -> None:
        """Try checks one after another in each lane, and the lanes at the same time."""
        if not chosen:
            return
        if words:
            self.progress(f"{words}: {len(chosen)} checks")
        lanes = dict.fromkeys(lane for lane, _, _ in chosen)

        def one_lane(mine: Hashable) -> None:
            for lane, check, do in chosen:
                if lane == mine and not self.stopped:
                    self._try(check, do)

        with ThreadPoolExecutor(len(lanes)) as pool:
            try:
                list(pool.map(one_lane, lanes))
            except BaseException:
                self.stopped = True  # what is under way is still put back, and nothing new is begun
                raise

    def _try(self, check: Check, do: _Do) -> None:
        answer: Exercised | HostError | None
        try:
            answer = do(check)
        except HostError as error:
            answer = error
        if answer is not None:
            self.done[check.id] = answer

    # ---- rule coverage

    def _watches(self) -> dict[str, coverage.Watch]:
        """Read the tables whose coverage is asked for as they are now: bans may have left rules in them."""
        watches: dict[str, coverage.Watch] = {}
        for check in (check for check in self.checks if check.kind is Kind.COVERAGE):
            try:
                self.facts.model(check.host)
                watches[check.id] = coverage.Watch(self.field, check)
            except HostError as error:
                self.done[check.id] = error
        return watches

    def _reach(self, watches: Mapping[str, coverage.Watch]) -> None:
        """Reach rules after everything else, since limits may count that.

        The families of a host are tried one after the other where a table is of both, whose counters would mix.
        """

        def reach(check: Check) -> CoverageFacts:
            assert check.family is not None
            hopeless = self.hopeless(check.host, check.family)
            watch = watches[check.id]
            meets = self.tracing.meets(check.host, watch.model)
            return coverage.gather_coverage(self.field, self.prober, check, watch, hopeless=hopeless, meets=meets)

        for watch in watches.values():
            watch.end()
        asked = [check for check in self.checks if check.id in watches]
        both = {check.host for check in asked if watches[check.id].shared}
        lanes = [(check.host, None if check.host in both else check.family) for check in asked]
        models = {check.host: watches[check.id].model for check in asked}
        tracer = tracing(self.field, self.prober, models, self.progress)
        with tracer as self.tracing, self.field.gate.counted_as("coverage"):
            self._run([(lane, check, reach) for lane, check in zip(lanes, asked, strict=True)], "reaching rules")

    def _neighbour(self, check: Check) -> NeighbourFacts | None:
        return None if check.vantage is None else exercises.neighbour(self.field, self.prober, check)

    def _loopback(self, check: Check) -> Connected | None:
        return exercises.loopback(self.field, self.prober, check, self.facts.model(check.host))

    def _drop_log(self, check: Check) -> LogFacts:
        model = self.facts.model(check.host)
        return drop_log(self.field, self.prober, check, model, exercise=self.exercise)

    def _ban(self, check: Check) -> BanFacts:
        return Exercise(self.field, self.prober, check).run()

    def _burst(self, check: Check) -> BurstFacts:
        model = self.facts.model(check.host)
        return exercises.burst(self.field, self.prober, check, model, exercise=self.exercise)

    def _stand(self, check: Check) -> StandingFacts:
        return standing.stand(self.field, self.prober, check, self.facts.model(check.host), exercise=self.exercise)

    def _measure(self, check: Check) -> MeasureFacts:
        model = self.facts.model(check.host)
        return measuring.measure(self.field, self.prober, check, model, exercise=self.exercise)


def _line_of(facts: FlowFacts, lines: Sequence[DropLine]) -> DropLine | None:
    seen = facts.observation
    if not isinstance(seen, Observation) or seen.state in {PortState.OPEN, PortState.CLOSED}:
        return None
    return next((line for line in reversed(lines) if line.is_of(facts.flow)), None)
