"""Ad hoc probes, sweeps and bursts: from one vantage to one host of the inventory, compared with the host's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fwproof.audit.agreement import Agreement, Compared, by_trace, compare
from fwproof.audit.allowed import check_allowed, ended_by_signal
from fwproof.audit.field import Field
from fwproof.audit.lock import Lock
from fwproof.audit.modelling import model_of
from fwproof.audit.sweeping import Comparison, Report, Sweeping, entering, predict
from fwproof.audit.tracing import Tracing, tracing
from fwproof.audit.watchdog import watched
from fwproof.decision import Decision, Ruling
from fwproof.errors import FwproofError, HostError, UsageError
from fwproof.facts import FlowFacts
from fwproof.flow import TCP, UDP, Address, Family, Flow
from fwproof.flows import request
from fwproof.inventory import Host, Inventory
from fwproof.observation import Observation, PortState, Probe
from fwproof.policy.model import Service
from fwproof.probing import portset
from fwproof.probing.agent import SWEEP_LOW
from fwproof.probing.channel import Agent
from fwproof.probing.frames import sweep_frame
from fwproof.probing.packets import FINGERPRINT_TOS
from fwproof.probing.sweep import Order, Sweeper
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel
from fwproof.semantics.traced import Traced

MOST_BURST = 64
_LET_IN = frozenset({PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST, PortState.ACCEPTED_SILENT})
_NUMBERS = {"tcp": TCP, "udp": UDP}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be sent: single probes of ``services``, sweeps of ``protocols`` over ``ports``, a burst of each.

    ``burst`` is how many new connections each service gets, 0 for single probes. ``pps`` bounds all of it, in packets a
    second.
    """

    host: str
    vantage: str
    families: tuple[Family, ...]
    services: tuple[Service, ...] = ()
    protocols: tuple[str, ...] = ()
    ports: int = 0
    burst: int = 0
    trace: bool = False
    pps: int = 5000

    @property
    def gap(self) -> float:
        """Seconds between two packets that are no sweep's."""
        return max(1.0 / self.pps, 0.01 if self.burst else 0.002)

    def packets(self) -> tuple[int, float]:
        """Return how many packets this takes when none is lost, and about how many seconds."""
        swept = len(self.families) * len(self.protocols) * self.ports.bit_count()
        single = len(self.families) * len(self.services) * max(self.burst, 1)
        return swept + single, swept / self.pps + single * self.gap + 0.5 * len(self.families) * len(self.protocols)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A single probe, what the tables do with it (None where they could not be read), and how the two compare.

    ``traced`` is what the host's kernel told of the rules that it met, where that was asked for.
    """

    flow: Flow
    seen: Observation
    ruling: Ruling | None
    compared: Compared
    traced: Traced | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """A burst: for each packet whether it was let in (None: it never arrived), as observed and as predicted."""

    flow: Flow
    seen: tuple[Observation, ...]
    let_in: tuple[bool | None, ...]
    predicted: tuple[Decision, ...]
    compared: Compared
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that an ad hoc run saw, and why the host's tables could not be read, if they could not."""

    sweeps: tuple[Report, ...] = ()
    probes: tuple[Probed, ...] = ()
    bursts: tuple[Burst, ...] = ()
    unread: str = ""

    @property
    def status(self) -> int:
        """The exit status: 1 wire and tables disagree somewhere, 6 something is undecided, else 0."""
        said = {each.status for each in self.sweeps}
        kinds = {each.compared.agreement for each in self.probes} | {b.compared.agreement for b in self.bursts}
        if 1 in said or Agreement.DISAGREES in kinds:
            return 1
        return 6 if 6 in said or Agreement.UNDECIDED in kinds or self.unread else 0


def ends(inventory: Inventory, host: str, vantage: str, family: str | None) -> tuple[Family, ...]:
    """Return the families in which a vantage can probe a host; UsageError for what the inventory does not provide."""
    if not inventory.hosts[vantage].vantage:
        allowed = ", ".join(each.name for each in inventory.vantages) or "none"
        raise UsageError(f"{inventory.path}: {vantage} is no vantage: give it `vantage: true`, or use one of {allowed}")
    if host == vantage:
        raise UsageError(f"{host} cannot be probed from itself; choose another vantage")
    both = [inventory.hosts[name] for name in (host, vantage)]
    shared = tuple(each for each in Family if all(one.address(each) for one in both))
    found = tuple(each for each in shared if family in {None, each.value})
    if not found:
        raise UsageError(f"{host} and {vantage} share no address family{f' {family}' if family else ''}")
    return found


@contextmanager
def opened(inventory: Inventory, wish: Wish, progress: Callable[[str], None]) -> Iterator[Adhoc]:
    """Connect to both hosts, read the target's tables, and start the agents; raises HostError without a vantage."""
    check_allowed(inventory, [wish.host])
    lock = Lock([inventory.hosts[wish.host]], lab=inventory.lab is not None)
    field = Field(inventory)
    try:
        with ended_by_signal(field.gate.stop):
            field.enter_lab(progress)
            progress(f"connecting to {wish.host} and {wish.vantage}, reading {wish.host}")
            field.open([wish.host, wish.vantage], {wish.host: ()}, trace=wish.trace)
            field.agent(wish.vantage)
            if wish.trace and wish.host not in field.traceable:
                field.agent(wish.host)
                raise field.untraced[wish.host]
            run = Adhoc(field, wish, progress)
            with watched(field, [wish.host], {wish.host: run.model}.get, progress):
                yield run
    finally:
        try:
            field.close()
        finally:
            lock.release()


class Adhoc:
    """One ad hoc run over open connections."""

    def __init__(self, field: Field, wish: Wish, progress: Callable[[str], None]) -> None:
        self.field, self.wish, self.progress = field, wish, progress
        self.host, self.vantage = (field.inventory.hosts[name] for name in (wish.host, wish.vantage))
        model = model_of(field.snapshots[wish.host], set(wish.families))
        self.model: HostModel | None = model if isinstance(model, HostModel) else None
        self.unread = str(model) if isinstance(model, HostError) else ""

    def run(self) -> Found:
        """Send everything; raises HostError."""
        return Found(
            sweeps=tuple(self._sweeps()) if self.wish.protocols else (),
            probes=() if self.wish.burst else self._probes(),
            bursts=tuple(self._bursts()) if self.wish.burst else (), unread=self.unread,
        )  # fmt: skip

    @property
    def _agents(self) -> dict[str, Agent]:
        return {name: agent for name, agent in self.field.agents.items() if isinstance(agent, Agent)}

    def _ends(self, family: Family) -> tuple[Address, Address]:
        return _address(self.vantage, family), _address(self.host, family)

    def _sweeps(self) -> Iterator[Report]:
        with Sweeper(self._agents) as sweeper:
            trace = self._trace if self.wish.trace and self.model is not None else None
            sweeping = Sweeping(self.field, sweeper, self.model, self.progress, trace)
            for family in self.wish.families:
                for protocol in self.wish.protocols:
                    yield self._sweep(sweeping, family, _NUMBERS[protocol])

    def _trace(self, order: Order, one: Comparison) -> dict[int, Traced]:
        """Trace one packet to each port of a comparison."""
        src, dst = order.flow.src, order.flow.dst
        name = "tcp" if order.flow.proto == TCP else "udp"
        flows = [request(Service(name, port, name), src, dst) for port in portset.members(one.ports)]
        return {probed.flow.dport or 0: probed.traced for probed in self._probed_all(flows, once=True) if probed.traced}

    def _sweep(self, sweeping: Sweeping, family: Family, proto: int) -> Report:
        src, dst = self._ends(family)
        flags = frozenset({"SYN"}) if proto == TCP else frozenset[str]()
        flow = Flow(src=src, dst=dst, proto=proto, sport=SWEEP_LOW, flags=flags, tos=FINGERPRINT_TOS)
        flow = replace(flow, length=len(sweep_frame(flow, 0)))
        predicted = predict(self.model, flow)
        order = Order(
            sender=self.vantage.name, receiver=self.host.name, flow=flow, ports=self.wish.ports, pps=self.wish.pps,
            may_enter=entering(predicted, self.wish.ports),
        )  # fmt: skip
        return sweeping.report(order, predicted)

    def _flows(self, *, spare: bool = False) -> list[Flow]:
        found = []
        for family in self.wish.families:
            src, dst = self._ends(family)
            src = (self.vantage.spare_address(family) or src) if spare else src
            found += [request(service, src, dst) for service in self.wish.services]
        return found

    def _probes(self) -> tuple[Probed, ...]:
        if not self.wish.services:
            return ()
        return self._probed_all(self._flows())

    def _probed_all(self, flows: Sequence[Flow], *, once: bool = False) -> tuple[Probed, ...]:
        """Send single probes, and say of each what became of it; ``once`` sends none again."""
        models = {self.host.name: self.model} if self.wish.trace and self.model is not None else {}
        with self.field.prober as prober, tracing(self.field, prober, models, self.progress) as trace:
            if self.host.name in self.field.untraced:
                raise self.field.untraced[self.host.name]
            probes = [
                Probe(ref=str(at), sender=self.vantage.name, receiver=self.host.name, flow=flow)
                for at, flow in enumerate(flows)
            ]
            seen = prober.observe(probes, retries=0 if once else 2)
        return tuple(self._probed(flow, seen[str(at)], trace) for at, flow in enumerate(flows))

    def _probed(self, flow: Flow, seen: Observation | HostError, trace: Tracing) -> Probed:
        if isinstance(seen, HostError):
            raise seen
        if self.model is None:
            return Probed(flow=flow, seen=seen, ruling=None, compared=_alone([seen]))
        known = converse(self.model, flow)
        ruling, reply = known.request.ruling, known.reply.ruling if known.reply else None
        fresh = self.model.evaluate_fresh(flow) if ruling.depends_on else None
        facts = FlowFacts(flow=flow, ruling=ruling, reply=reply, fresh=fresh, observation=seen)
        traced = trace.of(self.host.name, facts).traced
        compared = by_trace(compare(flow, ruling, reply, seen.state, seen.answer), traced)
        return Probed(flow=flow, seen=seen, ruling=ruling, compared=compared, traced=traced)

    def _bursts(self) -> Iterator[Burst]:
        with self.field.prober as prober:
            for flow in self._flows(spare=True):
                self.progress(f"burst of {self.wish.burst}: {flow}")
                seen = prober.burst(self.vantage.name, self.host.name, flow, self.wish.burst, gap=self.wish.gap)
                yield self._burst(flow, seen)

    def _burst(self, flow: Flow, seen: Sequence[Observation]) -> Burst:
        let_in = tuple(None if one.arrived is False else one.confirmed or one.let_in for one in seen)
        predicted: tuple[Decision, ...] = ()
        if self.model is not None:
            try:
                predicted = tuple(self.model.simulate_burst(flow, len(seen), self.wish.gap))
            except FwproofError as error:
                self.progress(f"the tables do not tell how the burst ends: {error}")
        compared = _compared(let_in, predicted) if predicted else _alone(seen)
        return Burst(
            flow=flow, seen=tuple(seen), let_in=let_in, predicted=predicted, compared=compared, note=self._forget(flow)
        )

    def _forget(self, flow: Flow) -> str:
        """Take the source off the host's xt_recent lists, so that the burst does not count on."""
        agent = self.field.agents.get(self.host.name)
        if not isinstance(agent, Agent):
            return "what the burst used up stays used up for its window"
        try:
            agent.forget(flow.src)
        except HostError as error:
            return f"the burst could not be forgotten: {error.message}"
        return ""


def _address(host: Host, family: Family) -> Address:
    address = host.address(family)
    assert address is not None  # the families are those that both ends have
    return address


def _alone(seen: Iterable[Observation]) -> Compared:
    if all(one.let_in is not None for one in seen):
        return Compared(Agreement.OBSERVED_ONLY)
    return Compared(Agreement.UNDECIDED, "the wire does not say")


def _compared(let_in: Sequence[bool | None], predicted: Sequence[Decision]) -> Compared:
    if None in let_in:
        return Compared(Agreement.UNDECIDED, "not every packet arrived, or the wire does not say what became of it")
    unsure = {Decision.DEPENDS, Decision.UNKNOWN}
    wrong = [at for at, (seen, said) in enumerate(zip(let_in, predicted, strict=True), 1)
             if said not in unsure and bool(seen) is not (said is Decision.ACCEPT)]  # fmt: skip
    if wrong:
        said = predicted[wrong[0] - 1].value
        return Compared(Agreement.DISAGREES, f"packet {wrong[0]} was {'' if let_in[wrong[0] - 1] else 'not '}let in, "
                                             f"the tables say {said}")  # fmt: skip
    return Compared(Agreement.OBSERVED_ONLY if unsure & set(predicted) else Agreement.AGREES)
