"""Sending the probes of all single-flow checks, in waves, with counters read around each wave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fwproof.audit.counting import all_counters, moved
from fwproof.audit.waves import Asked, expected_counts, waves
from fwproof.decision import RuleRef
from fwproof.errors import HostError
from fwproof.facts import Connected, Counted, FlowFacts
from fwproof.flow import TCP, Address, Family, Flow
from fwproof.flows import request
from fwproof.inventory import Inventory
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

_Counts = dict[str, dict[RuleRef, int] | HostError]
Models = Mapping[str, HostModel | HostError]


@dataclass(frozen=True, slots=True)
class Pace:
    """How a wave is sent, in seconds; None is the prober's own.

    ``gap`` lies between two packets of a sender, ``hopeless`` is how long to wait for what cannot arrive.
    """

    gap: float | None = None
    hopeless: float | None = None


STEADY, BRISK = Pace(), Pace(gap=0.0005, hopeless=0.3)
"""BRISK is for many packets that nothing is to answer: 2,000 a second."""


def probe_of(check: Check, own: Address) -> Probe:
    """Return the probe that a check of a single flow sends; ``own`` is the audited host's address."""
    assert check.service is not None
    assert check.vantage is not None
    assert check.peer is not None
    if check.far is not None and check.to is not None:
        flow = request(check.service, check.peer, check.far)
        return Probe(ref=check.id, sender=check.vantage, receiver=check.to, flow=flow, through=check.host)
    outbound = check.direction == "outbound"
    flow = request(check.service, own, check.peer) if outbound else request(check.service, check.peer, own)
    ends = (check.host, check.vantage) if outbound else (check.vantage, check.host)
    return Probe(ref=check.id, sender=ends[0], receiver=ends[1], flow=flow)


def ask(check: Check, model: HostModel, own: Address, inventory: Inventory) -> Asked:
    """Return a check's probe with what the model says of it; ``own`` is the audited host's address.

    What a host publishes is watched where its nat sends it on to, where that is a host of the inventory.
    """
    probe = probe_of(check, own)
    known = converse(model, probe.flow)
    ruling, after = known.request.ruling, known.request.after
    if check.direction == "forward" and check.far is None and after is not None:
        end = next((host for host in inventory.hosts.values() if after.dst in host.addresses), None)
        if end is not None and end.name not in {check.host, probe.sender}:
            probe = replace(probe, receiver=end.name, through=check.host)
    return Asked(
        check=check, probe=probe, ruling=ruling, reply=known.reply.ruling if known.reply else None,
        fresh=model.evaluate_fresh(probe.flow) if ruling.depends_on else None,
        after=after if check.direction == "forward" else None,
    )  # fmt: skip


def send_all(  # noqa: PLR0913 - what is sent, how, and to whom
    field: Field,
    prober: Prober,
    asked: Sequence[Asked],
    progress: Callable[[str], None],
    *,
    hopeless: Callable[[str, Family], bool],
    models: Models,
) -> dict[str, FlowFacts]:
    """Send every probe and return all that is known of each, by check id.

    Probes to a ``hopeless`` host and family are sent once: nothing can arrive there, so nothing got lost.
    """
    known: dict[str, FlowFacts] = {}
    planned = waves(asked)
    for number, wave in enumerate(planned, 1):
        progress(f"wave {number} of {len(planned)}: {len(wave)} probes")
        known |= send_wave(field, prober, wave, hopeless, models)
    return known


def send_wave(  # noqa: PLR0913, PLR0917 - what is sent, how, and to whom
    field: Field, prober: Prober, wave: Sequence[Asked], hopeless: Callable[[str, Family], bool], models: Models,
    pace: Pace = STEADY,
) -> dict[str, FlowFacts]:  # fmt: skip
    """Send probes together, with counters read before and after; return what is known of each, by its ref."""
    hosts = {one.check.host for one in wave}
    families = {host: {o.probe.flow.family for o in wave if o.check.host == host} for host in hosts}

    def counters() -> _Counts:
        def read(host: str) -> dict[RuleRef, int] | HostError:
            try:
                return all_counters(field, host, families[host], models.get(host))
            except HostError as error:
                return error

        with ThreadPoolExecutor(max(len(hosts), 1)) as pool:
            return dict(zip(hosts, pool.map(read, hosts), strict=True))

    before = counters()
    seen = _observe(prober, wave, hopeless, pace)
    after = counters()
    return {one.probe.ref: _facts(one, wave, seen, before, after) for one in wave}


def _observe(
    prober: Prober, wave: Sequence[Asked], hopeless: Callable[[str, Family], bool], pace: Pace
) -> dict[str, Observation | HostError]:
    """Send a wave: what may arrive with retries, what cannot or must not without, all at the same time."""
    dead = {place: hopeless(*place) for place in {(o.check.host, o.probe.flow.family) for o in wave}}

    def lane(one: Asked) -> str:
        if dead[one.check.host, one.probe.flow.family]:
            return "hopeless"
        return "once" if one.probe.form.spoofed else "again"

    lanes: dict[str, list[Probe]] = {}
    for one in wave:
        lanes.setdefault(lane(one), []).append(one.probe)

    def send(name: str) -> dict[str, Observation | HostError]:
        window = pace.hopeless if name == "hopeless" else None
        return prober.observe(lanes[name], retries=2 if name == "again" else 0, window=window, gap=pace.gap)

    with ThreadPoolExecutor(3) as pool:
        return {ref: seen for found in pool.map(send, lanes) for ref, seen in found.items()}


def _facts(
    one: Asked, wave: Sequence[Asked], seen: dict[str, Observation | HostError], before: _Counts, after: _Counts
) -> FlowFacts:
    host = one.check.host
    same = [o for o in wave if o.check.host == host and o.probe.flow.family is one.probe.flow.family]
    arrived = {ref: o for ref, o in seen.items() if isinstance(o, Observation)}
    wanted = expected_counts(same, arrived)
    counted, first, second = None, before[host], after[host]
    by = one.decider
    if by in wanted and by is not None and isinstance(first, dict) and isinstance(second, dict):
        distance = moved(first, second, by)
        watched = all(
            each.met_at(host) is not None
            for each in arrived.values()
            if host in {each.probe.receiver, each.probe.through}
        )
        if distance is not None and (watched or distance >= wanted[by]):
            counted = Counted(rule=by, probes=wanted[by], moved=distance)
    observation = seen[one.probe.ref]
    flow = observation.probe.flow if isinstance(observation, Observation) else one.probe.flow
    return FlowFacts(
        flow=flow,
        ruling=one.ruling,
        reply=one.reply,
        fresh=one.fresh,
        observation=observation,
        counted=counted,
        after=one.after,
    )


def connects(check: Check, flow: Flow) -> bool:
    """Whether an ordinary connection is made as well, where the probe of a check finds the way open."""
    return check.expected == "allow" and flow.proto == TCP


def connect_all(
    prober: Prober, checks: Iterable[Check], known: dict[str, FlowFacts]
) -> dict[str, Connected | HostError]:
    """Make one ordinary TCP connection for every allowed TCP flow that the wire showed open."""

    def wanted(check: Check) -> bool:
        facts = known.get(check.id)
        return (
            facts is not None and connects(check, facts.flow)
            and isinstance(facts.observation, Observation) and facts.observation.state is PortState.OPEN
        )  # fmt: skip

    chosen = [check for check in checks if wanted(check)]

    def one(check: Check) -> Connected | HostError:
        flow = known[check.id].flow
        assert flow.dport is not None
        sender = check.host if check.direction == "outbound" else check.vantage
        assert sender is not None
        try:
            source = None if check.direction == "outbound" else flow.src
            made = prober.connect(sender, flow.dst, flow.dport, timeout=3.0, source=source)
        except HostError as error:
            return error
        return Connected(ok=made.ok, detail=f"{made.result} in {made.seconds * 1000:.0f} ms")

    with ThreadPoolExecutor(8) as pool:
        return dict(zip([check.id for check in chosen], pool.map(one, chosen), strict=True))
