"""Measuring a rate limit: which limit the tables have, from which sources it is measured, and what both ends saw.

The same schedule goes to the model, packet by packet, and to the wire; the same reading makes numbers of both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fwproof.audit import exercises
from fwproof.audit.counting import moved, read_counters
from fwproof.audit.holding import KEPT, Keeper
from fwproof.decision import Decision, RuleRef
from fwproof.errors import HostError
from fwproof.facts import MeasureFacts, Untried
from fwproof.farends import one_of
from fwproof.flow import Address, Family, Flow
from fwproof.flows import request
from fwproof.inventory import Host, Inventory
from fwproof.measured import Attempt, Measured, Part, let_in, when
from fwproof.observation import Probe
from fwproof.plan import Check
from fwproof.policy.model import Allow, Rate
from fwproof.probing.channel import Agent
from fwproof.probing.limit_reading import Answer, read
from fwproof.probing.limit_schedule import GAP, Claim, Schedule, Source, schedule
from fwproof.probing.timetable import TimedProbes
from fwproof.semantics.limits import Limiter, NotSettled
from fwproof.semantics.model import HostModel
from fwproof.semantics.walk import TooLarge

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

_CLOSED = 0.02
"""Seconds in which a half-open connection is reset and counted no more, also by a busy host."""
MOST_SOURCES = 8
"""Sources of one measurement, beside the crowd of an eviction."""
MOST_CROWD = 98
"""Sources of an eviction: fewer than the 100 that an xt_recent list holds by itself (``ip_list_tot``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is measured: new connections like ``flow`` to a host that has an agent or not, under these limiters."""

    host: str
    flow: Flow
    limiters: tuple[Limiter, ...]
    rate: Rate


def measure(field: Field, prober: Prober, check: Check, model: HostModel, *, exercise: bool = True) -> MeasureFacts:
    """Measure the limit that a check is about; raises HostError."""
    sources = sources_of(field, check)
    aim, plan, seats, found = foreseen(field.inventory, check, model, sources)
    if not sources or not exercise:
        return replace(found, untried=Untried.OFF if sources else Untried.NO_VANTAGE)
    if not plan.salvos:
        return replace(found, seen=read((), plan.gaps))
    exercises.ends_of(field, check)
    return _on_the_wire(field, prober, aim, (plan, seats), found)


def foreseen(
    inventory: Inventory, check: Check, model: HostModel, sources: Sequence[Source]
) -> tuple[Aim, Schedule, Seats, MeasureFacts]:
    """Return what is to be measured from where, in which order, and what the tables say of it; raises HostError."""
    assert isinstance(check.expectation, Allow)
    assert check.family is not None
    assert check.service is not None
    rate, own = check.expectation.rate, inventory.hosts[check.host].address(check.family)
    assert rate is not None
    assert own is not None
    flow = request(check.service, one_of(check.expectation.peers, check.family), own)
    if sources:
        flow = replace(flow, src=sources[0].address)
    aim = Aim(host=check.host, flow=flow, limiters=limiters_of(model, check.host, flow), rate=rate)
    seats = seated(sources or [Source("", flow.src)], rate.measure)
    plan = schedule(claim_of(aim), seats.main, rate.measure, seats.crowd)
    found = MeasureFacts(
        predicted=predict(model, aim, plan), limiter="; ".join(str(limiter.rule) for limiter in aim.limiters),
        limits=tuple(limiter.name for limiter in aim.limiters), packets=plan.packets, seconds=plan.seconds,
        sources=tuple(f"{source.address} of {source.vantage}" for source in (*seats.main, *seats.kept) if sources),
    )  # fmt: skip
    return aim, plan, seats, found


def sources_of(field: Field, check: Check) -> list[Source]:
    """Return the addresses that a limit can be measured from; see :func:`sources_from`."""
    return sources_from(field.inventory, check, lambda name: isinstance(field.agents.get(name), Agent))


def sources_from(inventory: Inventory, check: Check, able: Callable[[str], bool]) -> list[Source]:
    """Return the addresses that a limit can be measured from, the check's vantage first.

    Spare ones, from which no other probe comes: all but the first of a vantage in a family (of four, but the first
    two), and that one only where the check's vantage has no other. Only addresses that the expectation names, of
    vantages that are ``able``.
    """
    assert isinstance(check.expectation, Allow)
    assert check.family is not None
    if check.vantage is None:
        return []
    peers, hosts = check.expectation.peers, inventory.hosts
    names = [check.vantage, *(v.name for v in inventory.vantages if v.name not in {check.vantage, check.host})]
    found: list[Source] = []
    for name in names:
        if name == check.vantage or able(name):
            found += [Source(name, address) for address in _spare(hosts[name], check.family) if address in peers]
    if not found or found[0].vantage != check.vantage:
        assert check.peer is not None
        found.insert(0, Source(check.vantage, check.peer))
    return found


def _spare(host: Host, family: Family) -> list[Address]:
    """Return the spare addresses of a host, the one that bursts come from first."""
    mine = [address for address in host.addresses if Family.of(address) is family]
    return [address for address in mine[:0:-1] if address != host.other_address(family)]


@dataclass(frozen=True, slots=True)
class Seats:
    """Which sources do what: those of the schedule, those that keep connections open, the crowd of an eviction."""

    main: tuple[Source, ...]
    kept: tuple[Source, ...] = ()
    crowd: tuple[Source, ...] = ()


def seated(sources: Sequence[Source], wanted: Collection[Part]) -> Seats:
    """Share out the sources; the schedule needs a first and a second before any keeps connections open."""
    keeping = sum(part in wanted for part in KEPT) + (Part.FULL in wanted)
    few, crowd = tuple(sources[:MOST_SOURCES]), tuple(sources[MOST_SOURCES:][:MOST_CROWD])
    keeping = min(keeping, max(0, len(few) - 2))
    return Seats(few[: len(few) - keeping], few[len(few) - keeping :], crowd if Part.EVICTION in wanted else ())


def with_kept(prober: Prober, aim: Aim, seats: Seats, found: Measured) -> Measured:
    """Return what was measured together with what takes connections that are kept open; raises HostError."""
    counts = next((limiter.limit for limiter in aim.limiters if limiter.kind == "connlimit"), None)
    keeper = Keeper(
        prober=prober, flow=aim.flow, size=found.burst or claim_of(aim).burst, counts=counts,
        send=lambda plan: send(prober, aim, plan),
    )  # fmt: skip
    return keeper.measure(aim.rate.measure, seats.kept, found)


def limiters_of(model: HostModel, host: str, flow: Flow) -> tuple[Limiter, ...]:
    """Return the limits that decide about a flow; HostError where the tables do not tell."""
    try:
        return model.limiters(flow)
    except (NotSettled, TooLarge) as reason:
        raise HostError(host, f"what the tables do with these packets cannot be told: {reason}",
                        "see `fwproof explain` for the rules that are not understood") from reason  # fmt: skip


def claim_of(aim: Aim) -> Claim:
    """Return what the limit is said to do: by the rule with the smallest limit, or else by the policy."""
    timed = [limiter for limiter in aim.limiters if limiter.seconds and limiter.limit]
    one = min(timed, key=lambda limiter: limiter.limit, default=None)
    if one is None or not one.seconds:
        counting = any(limiter.kind == "connlimit" for limiter in aim.limiters)
        gap = _CLOSED if counting else GAP
        return Claim(burst=aim.rate.limit, window=aim.rate.per, shared=aim.rate.by == "total", gap=gap)
    burst = one.admits if one.admits is not None else aim.rate.limit
    if one.kind == "recent":
        return Claim(burst=burst, window=float(one.seconds), shared=one.mask == 0)
    return Claim(burst=burst, rate=one.limit / one.seconds, shared=one.by == "total")


def predict(model: HostModel, aim: Aim, plan: Schedule) -> Measured | None:
    """Return what the schedule would measure by the model; None where that decides nothing."""
    shots = plan.shots()
    try:
        decisions = model.simulate([(at, replace(aim.flow, src=s.source.address)) for at, s in shots], held=False)
    except TooLarge:
        return None
    known = {Decision.ACCEPT: True, Decision.DROP: False, Decision.REJECT: False}
    answers = [
        Answer(role=salvo.role, source=salvo.source, at=at, let_in=known.get(decision))
        for (at, salvo), decision in zip(shots, decisions, strict=True)
    ]
    return None if any(answer.let_in is None for answer in answers) else read(answers, plan.gaps)


def _on_the_wire(
    field: Field, prober: Prober, aim: Aim, way: tuple[Schedule, Seats], found: MeasureFacts
) -> MeasureFacts:  # fmt: skip
    plan, seats = way
    sources = dict.fromkeys((*(salvo.source for salvo in plan.salvos), *seats.kept))
    notes = {_forget(field, aim.host, source.address) for source in sources} - {""}
    for source in sources:
        field.memory.note(aim.flow.dst, source.address, lasting(aim) + plan.seconds)
    counting = _counting(field, aim)
    before = counting()
    answers = send(prober, aim, plan)
    after = counting()
    seen = with_kept(prober, aim, seats, read(answers, plan.gaps))
    for source in sources:
        _forget(field, aim.host, source.address)
    rules = [limiter.rule for limiter in aim.limiters]
    steps = {rule: moved(before, after, rule) for rule in dict.fromkeys(rules)}
    arrived = sum(answer.let_in is not None for answer in answers)
    known = [step for step in steps.values() if step is not None]
    return replace(
        found, seen=seen, others=max(0, max(known) - arrived) if known else None,
        counters=tuple(f"{rule} counted {step}" for rule, step in steps.items() if step), note="; ".join(sorted(notes)),
        attempts=tuple(Attempt(str(one.source.address), one.at, one.let_in) for one in answers),
    )  # fmt: skip


def lasting(aim: Aim) -> float:
    """Return for how many seconds a used-up limit may count, by the rules and by the policy."""
    claim = claim_of(aim)
    return max(aim.rate.per, claim.window or 0.0, claim.burst / claim.rate if claim.rate else 0.0)


def _counting(field: Field, aim: Aim) -> Callable[[], dict[RuleRef, int]]:
    def count() -> dict[RuleRef, int]:
        try:
            return read_counters(field, aim.host, (aim.flow.family,))
        except HostError:  # a host of nftables alone has no such counters, and the wire tells without
            return {}

    return count


def _forget(field: Field, host: str, address: Address) -> str:
    """Take a source off the host's lists, as far as the kernel lets us; return why not, where it matters."""
    if not exercises.watched(field, host):
        return "earlier connections could not be forgotten: the host's access is read"
    try:
        field.agent(host).call("forget", address=str(address))
    except HostError as error:
        return "" if "no probe of this run has arrived" in error.message else f"not forgotten: {error.message}"
    return ""


def send(prober: Prober, aim: Aim, plan: Schedule) -> list[Answer]:
    """Send a schedule and return what became of each packet, in order of time; raises HostError."""
    timed = []
    for number, salvo in enumerate(plan.salvos):
        flow = replace(aim.flow, src=salvo.source.address)
        sender = salvo.source.vantage
        probes = tuple(
            Probe(ref=f"{number}.{n}", sender=sender, receiver=aim.host, flow=flow) for n in range(salvo.count)
        )  # fmt: skip
        timed.append(TimedProbes(salvo.at, salvo.gap, probes))
    seen = iter(prober.timed(timed))
    answers = [
        Answer(role=salvo.role, source=salvo.source, at=when(one, aim.host), let_in=let_in(one))
        for salvo in plan.salvos
        for _, one in zip(range(salvo.count), seen, strict=False)
    ]
    return sorted(answers, key=lambda answer: answer.at)
