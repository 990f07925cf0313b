"""What the model says of everything that was sent, worked out again from the stored tables by the audit's own code.

The facts of a run hold, beside what was measured, what the tables were said to do. Whoever verifies a run takes only
what was measured from them; a prediction that was stored wrong, or changed, makes no difference to the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fwproof.audit import dropping, exercises, measuring, standing
from fwproof.audit.ban import named_more
from fwproof.audit.forms import arriving, form_probes, rule_form, tracks
from fwproof.audit.listening import sockets_of
from fwproof.audit.probes import ask
from fwproof.codec import Misfit
from fwproof.errors import HostError
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
    SocketFacts,
    StandingFacts,
)
from fwproof.flow import TCP, UDP, Flow
from fwproof.flows import MODEL_PORT, request
from fwproof.observation import Observation, Probe
from fwproof.plan import Check
from fwproof.policy.model import Bans
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel
from fwproof.semantics.traced import compared


@dataclass(frozen=True, slots=True)
class Rederived:
    """Facts with predictions worked out anew.

    By check id: ``as_recorded`` says why that is not done, ``misfits`` what is stored that no such check can have sent.
    """

    facts: Facts
    as_recorded: Mapping[str, str]
    misfits: Mapping[str, str]


def rederived(facts: Facts, checks: Sequence[Check]) -> Rederived:
    """Return facts in which every prediction is made by the models."""
    flows: dict[str, FlowFacts | HostError] = dict(facts.flows)
    exercised: dict[str, Exercised | HostError] = dict(facts.exercised)
    as_recorded: dict[str, str] = {}
    misfits: dict[str, str] = {}
    for check in checks:
        flow, tried = flows.get(check.id), exercised.get(check.id)
        model = facts.models[check.host]
        try:
            if isinstance(flow, FlowFacts):
                flows[check.id] = _flow(check, flow, facts, _needed(model, check))
            if tried is None or isinstance(tried, HostError | NeighbourFacts | Connected):
                continue  # nothing in it is a prediction
            again = _AGAIN.get(type(tried))
            if again is None:
                as_recorded[check.id] = _WHY.get(type(tried).__name__, _OTHER)
            else:
                exercised[check.id] = again(check, tried, facts, _needed(model, check))
        except (Misfit, HostError) as error:
            misfits[check.id] = str(error)
    return Rederived(replace(facts, flows=flows, exercised=exercised), as_recorded, misfits)


_OTHER = "what its probes were to meet is taken as recorded"
_WHY = {"CoverageFacts": "which rules each probe was to meet is taken as recorded; the counters are judged anew"}


def _needed(model: HostModel | HostError, check: Check) -> HostModel:
    if isinstance(model, HostError):
        raise Misfit(f"{check.id}: something was measured of {check.host}, whose tables are not there")
    return model


def _same(check: Check, probe: Probe, seen: Observation | HostError | None) -> None:
    """Raise Misfit where a stored observation is of another probe than the check sends."""
    if not isinstance(seen, Observation):
        return

    def essence(one: Probe) -> tuple[Any, ...]:
        flow = one.flow
        ports = (flow.dport,) if one.form.low_port is None else ()
        return one.sender, one.receiver, one.form, flow.src, flow.dst, flow.proto, flow.icmp_type, flow.flags, ports

    if essence(seen.probe) != essence(probe):
        raise Misfit(f"{check.id}: the stored observation is of {seen.probe.flow}, the check sends {probe.flow}")


def _flow(check: Check, known: FlowFacts, facts: Facts, model: HostModel) -> FlowFacts:
    one = ask(check, model, exercises.own_in(facts.inventory, check), facts.inventory)
    _same(check, one.probe, known.observation)
    flow = known.observation.probe.flow if isinstance(known.observation, Observation) else one.probe.flow
    traced = known.traced and compared(known.traced.path, one.ruling, one.fresh)
    return replace(
        known, flow=flow, ruling=one.ruling, reply=one.reply, fresh=one.fresh, after=one.after, traced=traced
    )


def _forms(check: Check, known: EvasionFacts, facts: Facts, model: HostModel) -> EvasionFacts:
    probes = form_probes(facts.inventory, check)
    if len(probes) != len(known.forms):
        raise Misfit(f"{check.id}: {len(known.forms)} forms are stored, the check sends {len(probes)}")
    found = []
    for probe, each in zip(probes, known.forms, strict=True):
        _same(check, probe, each.known.observation)
        assert check.peer is not None
        ruling = rule_form(model, probe.form, arriving(model, probe, check.peer))
        traced = each.known.traced and compared(each.known.traced.path, ruling)
        one = replace(each.known, ruling=ruling, reply=None, fresh=None, traced=traced)
        found.append(replace(each, form=probe.form, tracked=tracks(model, probe.flow), known=one))
    return EvasionFacts(forms=tuple(found))


def _sockets(check: Check, known: SocketFacts, facts: Facts, model: HostModel) -> SocketFacts:
    before, gap = sockets_of(facts.snapshots[check.host])

    def again(one: FlowFacts) -> FlowFacts:
        talk = converse(model, _asked(one.flow))
        return replace(one, ruling=talk.request.ruling, reply=talk.reply.ruling if talk.reply else None, fresh=None)

    return replace(known, before=before, gap=gap, probed=tuple(map(again, known.probed)))


def _asked(flow: Flow) -> Flow:
    """Return the flow that the model was asked about: the prober chose the source port afterwards."""
    return replace(flow, sport=MODEL_PORT) if flow.proto in {TCP, UDP} else flow


def _burst(check: Check, known: BurstFacts, facts: Facts, model: HostModel) -> BurstFacts:
    told = exercises.foreseen(facts.inventory, check, model)
    found = replace(known, sent=told.sent, predicted=told.predicted, limiter=told.limiter)
    if known.untried:
        return found
    flow = exercises.burst_flow(facts.inventory, check)
    for seen in known.seen:
        assert check.vantage is not None
        _same(check, Probe(ref="", sender=check.vantage, receiver=check.host, flow=flow), seen)
    if len(known.seen) != told.sent:
        raise Misfit(f"{check.id}: {len(known.seen)} packets of the burst are stored, {told.sent} were to be sent")
    return exercises.counted(found, known.seen)


def _log(check: Check, known: LogFacts, facts: Facts, model: HostModel) -> LogFacts:
    told = dropping.foreseen(facts.inventory, check, model)
    return replace(known, refused=told.refused, decided=told.decided, rules=told.rules, log_file=told.log_file)


def _sources(check: Check, facts: Facts) -> list[Any]:
    able = {name for name, fault in facts.agents.items() if fault is None}
    return measuring.sources_from(facts.inventory, check, able.__contains__)


def _measure(check: Check, known: MeasureFacts, facts: Facts, model: HostModel) -> MeasureFacts:
    *_, told = measuring.foreseen(facts.inventory, check, model, _sources(check, facts))
    return replace(
        known, predicted=told.predicted, limiter=told.limiter, limits=told.limits, packets=told.packets,
        seconds=told.seconds, sources=told.sources,
    )  # fmt: skip


def _standing(check: Check, known: StandingFacts, facts: Facts, model: HostModel) -> StandingFacts:
    *_, told = standing.foreseen(facts.inventory, check, model, _sources(check, facts))
    return replace(known, predicted=told.predicted, free=told.free, limiter=told.limiter, sources=told.sources)


def _ban(check: Check, known: BanFacts, facts: Facts, model: HostModel) -> BanFacts:
    del model  # its own are of the time of the ban
    assert isinstance(check.expectation, Bans)
    if known.flow is None or check.peer is None:
        return known
    flow = request(check.expectation.service, check.peer, exercises.own_in(facts.inventory, check))

    def named(now: HostModel | None) -> tuple[str, ...]:
        if known.before is None or now is None or known.before.read_from is None or now.read_from is None:
            return ()
        return named_more(known.before.read_from[0], now.read_from[0], flow.src)

    return replace(known, flow=flow, held=named(known.during), left=named(known.after))


_AGAIN: Mapping[type, Callable[[Check, Any, Facts, HostModel], Exercised]] = {
    EvasionFacts: _forms, SocketFacts: _sockets, BurstFacts: _burst, LogFacts: _log, MeasureFacts: _measure,
    StandingFacts: _standing, BanFacts: _ban,
}  # fmt: skip
