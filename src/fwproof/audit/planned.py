"""What an audit would do, without doing it: hosts, commands, packets and connections, made by the audit's own code.

What depends on a host's live tables is planned as if every host were as its policy says, and said to be so; what is
sent again because it may have got lost is not in the counts, and has its bound in the notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fwproof.audit import listening, locating
from fwproof.audit.asking import SINGLE
from fwproof.audit.ban import status_argv, unharmed
from fwproof.audit.counting import counting_argvs
from fwproof.audit.coverage import most_packets
from fwproof.audit.dropping import log_argv, logged_flow, untried
from fwproof.audit.exercises import GAP
from fwproof.audit.forms import form_probes
from fwproof.audit.gather import places
from fwproof.audit.holding import kept_connections
from fwproof.audit.jails import KINDS, trial_argv
from fwproof.audit.measuring import Aim, claim_of, seated, sources_from
from fwproof.audit.probes import connects, probe_of
from fwproof.flow import Address, Family, Flow
from fwproof.flows import request
from fwproof.forms import on_the_wire
from fwproof.hosts.access import Command, commands
from fwproof.inventory import Access, Host, Inventory
from fwproof.observation import Probe
from fwproof.plan import Check, Kind
from fwproof.planning.limits import burst_size
from fwproof.policy.model import Allow, Bans
from fwproof.probing.agent import PORT_LOW
from fwproof.probing.frames import probe_frames
from fwproof.probing.limit_schedule import schedule
from fwproof.probing.shot import Timing
from fwproof.probing.start import agent_argv, pin_argvs
from fwproof.probing.timetable import together

PHASES = ("flows", "forms", "essential", "drop-log", "bans", "bursts", "measures")
"""The parts of an audit that send, in order of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One host that is logged in to: what is read there once, what starts its agent, what is run during the sending.

    ``during`` is run as often as packets call for it: counters around each wave, a log or a ban list until it shows
    what it should.
    """

    host: Host
    audited: bool
    commands: tuple[Command, ...]
    agent: tuple[tuple[str, ...], ...]
    during: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """``packets`` alike that agents send, or ``connections`` alike that they make, for one check.

    ``frames`` are the packets on the wire: more than one a probe where it goes in fragments. ``seconds`` is how long
    it takes at least. ``flow`` is None for a neighbour solicitation. ``together`` is how much of the host's cap is
    needed within a second by what has its time: two for each packet, as a reset follows a SYN that is answered.
    """

    phase: str
    check: str
    sender: str
    receiver: str
    flow: Flow | None
    form: str = ""
    frames: int = 0
    connections: int = 0
    seconds: float = 0.0
    together: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What only live tables or earlier answers can tell: ``packets`` at most, counted under ``kind`` when sent."""

    kind: str
    check: str
    packets: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """All of it; ``left_out`` says of checks why nothing is sent for them."""

    visits: tuple[Visit, ...]
    packets: tuple[Packet, ...]
    bounds: tuple[Bound, ...]
    left_out: tuple[tuple[str, str], ...]


class _Planner:
    """Plans the checks of one audit; every method yields what one kind of check sends."""

    def __init__(self, inventory: Inventory, *, exercise: bool) -> None:
        self.inventory, self.exercise = inventory, exercise
        self.left_out: list[tuple[str, str]] = []

    def of(self, check: Check) -> Iterator[Packet]:
        """Yield what a check sends."""
        if check.kind in SINGLE and check.vantage is not None:
            yield from self.flow(check)
        elif check.kind is Kind.EVASION:
            yield from (self.probe("forms", check, probe) for probe in form_probes(self.inventory, check))
        elif check.kind is Kind.NEIGHBOUR and check.vantage is not None:
            yield Packet(
                phase="essential", check=check.id, sender=check.vantage, receiver=check.host, flow=None,
                form="neighbour solicitation", frames=1,
            )  # fmt: skip
        elif check.kind is Kind.LOOPBACK and self.watched(check.host):
            yield Packet(
                phase="essential", check=check.id, sender=check.host, receiver=check.host, flow=None,
                form="over loopback", connections=1,
            )  # fmt: skip
        elif check.kind is Kind.DROP_LOG:
            yield from self.drop_log(check)
        elif check.kind in {Kind.BAN_EXERCISE, Kind.RATE, Kind.MEASURE, Kind.CONNECTIONS}:
            yield from self.exercised(check)

    def exercised(self, check: Check) -> Iterator[Packet]:
        """Yield what provokes a ban or uses up a limit."""
        if not self.exercise or check.vantage is None:
            self.omit(check, "exercises are switched off" if not self.exercise else "there is no vantage for it")
            return
        plan = {Kind.BAN_EXERCISE: self.ban, Kind.RATE: self.burst, Kind.MEASURE: self.measure,
                Kind.CONNECTIONS: self.stand}  # fmt: skip
        yield from plan[check.kind](check)

    def omit(self, check: Check, why: str) -> None:
        self.left_out.append((check.id, why))

    def watched(self, name: str) -> bool:
        return self.inventory.hosts[name].access is not Access.READ

    def own(self, check: Check) -> Address:
        assert check.family is not None
        own = self.inventory.hosts[check.host].address(check.family)
        assert own is not None  # no check is planned in a family that the host does not have
        return own

    @staticmethod
    def probe(phase: str, check: Check, probe: Probe, count: int = 1, seconds: float = 0.0) -> Packet:
        """Return a probe with the packets that it takes, which are built as for sending."""
        flow = on_the_wire(probe.form, probe.flow, PORT_LOW)
        frames = len(probe_frames(flow, 0, probe.form, PORT_LOW))
        return Packet(
            phase=phase, check=check.id, sender=probe.sender, receiver=probe.receiver, flow=probe.flow,
            form=probe.form.name, frames=count * frames, seconds=seconds,
        )  # fmt: skip

    def flow(self, check: Check) -> Iterator[Packet]:
        probe = probe_of(check, self.own(check))
        if not self.watched(probe.sender):
            self.omit(check, f"{probe.sender} has access read, so nothing is sent from it")
            return
        planned = self.probe("flows", check, probe)
        yield planned
        if connects(check, probe.flow):
            yield replace(planned, frames=0, connections=1)

    def drop_log(self, check: Check) -> Iterator[Packet]:
        why = untried(self.inventory, check, exercise=self.exercise)
        if why:
            self.omit(check, why.value)
            return
        assert check.vantage is not None
        outbound = check.direction == "outbound"
        ends = (check.host, check.vantage) if outbound else (check.vantage, check.host)
        flow = logged_flow(check, self.own(check))
        yield self.probe("drop-log", check, Probe(ref=check.id, sender=ends[0], receiver=ends[1], flow=flow))

    def ban(self, check: Check) -> Iterator[Packet]:
        assert isinstance(check.expectation, Bans)
        assert check.vantage is not None
        assert check.peer is not None
        if not self.watched(check.host):
            self.omit(check, f"{check.host} has access read, and a ban could not be lifted again")
            return
        bans, own = check.expectation, self.own(check)
        others = ((other.name, address) for other, address in unharmed(self.inventory, check))
        for sender, address in ((check.vantage, check.peer), *([one] if (one := next(others, None)) else [])):
            flow = request(bans.service, address, own)
            probe = self.probe("bans", check, Probe(ref="", sender=sender, receiver=check.host, flow=flow), 1, 2.0)
            yield probe
            if sender == check.vantage:
                yield replace(probe, frames=0, connections=bans.maxretry, form="a bad request")

    def burst(self, check: Check) -> Iterator[Packet]:
        assert isinstance(check.expectation, Allow)
        assert check.expectation.rate is not None
        assert check.vantage is not None
        assert check.peer is not None
        assert check.service is not None
        flow, count = request(check.service, check.peer, self.own(check)), burst_size(check.expectation.rate)
        probe = Probe(ref="", sender=check.vantage, receiver=check.host, flow=flow)
        sent = self.probe("bursts", check, probe, count, count * GAP + Timing().settle)
        yield replace(sent, together=2 * together(n * GAP for n in range(count)))

    def measure(self, check: Check) -> Iterator[Packet]:
        """Yield the schedule of a limit as the policy has it; the tables' own limit may take another."""
        assert isinstance(check.expectation, Allow)
        assert check.expectation.rate is not None
        assert check.service is not None
        rate = check.expectation.rate
        sources = sources_from(self.inventory, check, self.watched)
        flow = request(check.service, sources[0].address, self.own(check))
        aim, seats = Aim(host=check.host, flow=flow, limiters=(), rate=rate), seated(sources, rate.measure)
        plan = schedule(claim_of(aim), seats.main, rate.measure, seats.crowd)
        counts = Counter(salvo.source for _, salvo in plan.shots())
        for source, count in counts.items():
            probe = Probe(
                ref="", sender=source.vantage, receiver=check.host, flow=replace(flow, src=source.address)
            )  # fmt: skip
            sent = self.probe("measures", check, probe, count, plan.seconds)
            yield replace(sent, together=2 * together(at for at, _ in plan.shots()))
        for source, kept, burst in kept_connections(rate.measure, seats.kept, claim_of(aim).burst):
            held = Probe(ref="", sender=source.vantage, receiver=check.host, flow=replace(flow, src=source.address))
            sent = self.probe("measures", check, held, burst, 1.0)
            yield replace(sent, connections=kept, form="kept open")

    def stand(self, check: Check) -> Iterator[Packet]:
        """Yield one connection more than may stand, one of another source, and one after they were closed."""
        assert isinstance(check.expectation, Allow)
        assert check.expectation.standing is not None
        assert check.service is not None
        sources = sources_from(self.inventory, check, self.watched)
        counts = Counter({sources[0]: check.expectation.standing.limit + 2})
        counts.update(sources[1:2])
        for source, kept in counts.items():
            flow = request(check.service, source.address, self.own(check))
            yield Packet(
                phase="measures", check=check.id, sender=source.vantage, receiver=check.host, flow=flow,
                form="kept open", connections=kept, seconds=1.0,
            )  # fmt: skip


def _bounds(checks: Sequence[Check]) -> Iterator[Bound]:
    for check in checks:
        if check.kind is Kind.COVERAGE:
            yield Bound(
                kind="coverage", check=check.id, packets=most_packets(), what="what reaches the rules that it has"
            )
        elif check.kind is Kind.LISTENERS:
            yield Bound(
                kind="listeners", check=check.id, packets=listening.MOST, what="sockets that nothing else probes"
            )
    if any(check.kind in SINGLE and check.vantage is not None for check in checks):
        most = locating.MOST * locating.HOPS
        yield Bound(kind="path", check="", packets=most, what="routers on the way of probes that never arrive")


def planned(checks: Sequence[Check], inventory: Inventory, *, exercise: bool) -> Planned:
    """Return what an audit of checks would do."""
    names, jails = places(checks, inventory)
    planner = _Planner(inventory, exercise=exercise)
    packets = tuple(packet for check in checks for packet in planner.of(check))
    return Planned(
        visits=tuple(_visit(inventory.hosts[name], jails, checks) for name in names),
        packets=tuple(sorted(packets, key=lambda packet: PHASES.index(packet.phase))),
        bounds=tuple(_bounds(checks)), left_out=tuple(planner.left_out),
    )  # fmt: skip


def _visit(host: Host, jails: dict[str, tuple[str, ...]], checks: Sequence[Check]) -> Visit:
    start = agent_argv(host)
    pin = pin_argvs(host.agent) if start and host.agent else ()
    own = [check for check in checks if check.host == host.name]
    during: list[tuple[str, ...]] = []
    if any(check.vantage for check in own):
        during += counting_argvs([family for family in Family if host.address(family)])
        during += [log_argv(host.drop_log)] if host.drop_log else []
    during += [trial_argv(host)] if any(c.kind in KINDS for c in own) else []
    during += [status_argv(c.expectation.jail) for c in own if isinstance(c.expectation, Bans) and c.family]
    return Visit(
        host=host, audited=host.name in jails, agent=(*pin, start) if start else (),
        commands=commands(host, jails[host.name]) if host.name in jails else (), during=tuple(dict.fromkeys(during)),
    )  # fmt: skip
