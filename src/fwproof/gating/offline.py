"""What a policy asks, answered from tables alone: the judges of the audit, with facts that no host had to give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fwproof.audit import measuring, standing
from fwproof.audit.dropping import drop_log
from fwproof.audit.exercises import burst
from fwproof.audit.field import Field
from fwproof.audit.outcomes import outcome_of
from fwproof.audit.probes import ask
from fwproof.errors import HostError, NotGranted
from fwproof.facts import Exercised, Facts, FlowFacts
from fwproof.flow import Family
from fwproof.inventory import Inventory
from fwproof.plan import Check, Kind
from fwproof.planning.plan import plan
from fwproof.policy.model import Policy
from fwproof.policy.table_model import Coverage
from fwproof.probing.observe import Prober
from fwproof.results import Outcome, Verdict
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Snapshot

TABLES = frozenset({
    Kind.CLAIM, Kind.INBOUND, Kind.OUTBOUND, Kind.INBOUND_DEFAULT, Kind.OUTBOUND_DEFAULT, Kind.FORWARD_DEFAULT,
    Kind.RATE, Kind.MEASURE, Kind.CONNECTIONS, Kind.LOOPBACK, Kind.ESTABLISHED, Kind.NEIGHBOUR, Kind.DROP_LOG,
    Kind.PARITY, Kind.RULES, Kind.FORWARD, Kind.DROP_PATHS,
})  # fmt: skip
"""Checks that tables answer, or a part of them; every other one needs a host or its kernel."""
_PROBED = frozenset({Kind.RATE, Kind.MEASURE, Kind.CONNECTIONS, Kind.DROP_LOG})
_NO_WIRE = "the gate sent no packet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A check with its outcome; ``untested`` says why there is none that counts, empty where there is."""

    check: Check
    outcome: Outcome
    untested: str = ""


def checks_of(policy: Policy, inventory: Inventory, name: str, families: Iterable[Family]) -> tuple[Check, ...]:
    """Return the checks of one host of a policy in some families; that probes reach each rule is always asked."""
    coverage = policy.coverage or Coverage(
        id="coverage", title="Probes reach every rule that they can, and each rule counts what the tables say",
        file=str(policy.path), line=1, severity="medium",
    )  # fmt: skip
    asked, wanted = replace(policy, hosts=(name,), coverage=coverage), set(families)
    return tuple(check for check in plan(asked, inventory) if check.family is None or check.family in wanted)


def facts_of(inventory: Inventory, name: str, model: HostModel, snapshot: Snapshot, checks: Sequence[Check]) -> Facts:
    """Return what tables tell of checks, and that nothing was sent."""
    facts = Facts(inventory=inventory, snapshots={name: snapshot}, models={name: model}, agents={name: None})
    flows: dict[str, FlowFacts | HostError] = {}
    exercised: dict[str, Exercised | HostError] = {}
    field, prober = Field(inventory), Prober({})
    for check in checks:
        if check.kind in _PROBED:
            exercised[check.id] = _unprovoked(field, prober, check, model)
        elif check.vantage is not None and check.kind in TABLES and check.service is not None:
            flows[check.id] = _unsent(inventory, check, model)
    return replace(facts, flows=flows, exercised=exercised)


def _unsent(inventory: Inventory, check: Check, model: HostModel) -> FlowFacts:
    assert check.family is not None
    own = inventory.hosts[check.host].address(check.family)
    assert own is not None
    asked = ask(check, model, own, inventory)
    return FlowFacts(
        flow=asked.probe.flow, ruling=asked.ruling, reply=asked.reply, fresh=asked.fresh,
        observation=NotGranted(check.host, _NO_WIRE),
    )  # fmt: skip


def _unprovoked(field: Field, prober: Prober, check: Check, model: HostModel) -> Exercised | HostError:
    try:
        if check.kind is Kind.RATE:
            return burst(field, prober, check, model, exercise=False)
        if check.kind is Kind.MEASURE:
            return measuring.measure(field, prober, check, model, exercise=False)
        if check.kind is Kind.CONNECTIONS:
            return standing.stand(field, prober, check, model, exercise=False)
        return drop_log(field, prober, check, model, exercise=False)
    except HostError as error:
        return error


def judged(checks: Iterable[Check], tables: Facts, wire: Facts | None, asked: Mapping[str, bool]) -> list[Judged]:
    """Return every check with its outcome: by packets of the twin where they were ``asked``, else by tables alone."""
    found = []
    every = list(checks)
    both = {check.family for check in every} >= set(Family)
    for check in every:
        if check.kind is Kind.PARITY and not both:
            why = "it compares two families, and one is looked at"
            found.append(Judged(check=check, outcome=_untested(why), untested=why))
        elif wire is not None and asked.get(check.id):
            found.append(Judged(check=check, outcome=outcome_of(check, wire)))
        elif check.kind not in TABLES:
            why = "only packets tell, and none were sent" if check.kind in {Kind.EVASION, Kind.COVERAGE} else (
                "only the host itself tells"
            )  # fmt: skip
            found.append(Judged(check=check, outcome=_untested(why), untested=why))
        else:
            found.append(_by_tables(check, tables))
    return found


def _by_tables(check: Check, facts: Facts) -> Judged:
    """Judge by tables; that they let something through, or limit it, is no answer of the wire."""
    outcome = outcome_of(check, facts)
    unsent = _NO_WIRE in outcome.reason and outcome.verdict is Verdict.INCONCLUSIVE
    if unsent or (outcome.verdict is Verdict.NOT_APPLICABLE and check.kind in _PROBED):
        why = "the tables have it right; only packets tell the rest, and none were sent"
        return Judged(check=check, outcome=_untested(why), untested=why)
    return Judged(check=check, outcome=outcome)


def _untested(why: str) -> Outcome:
    return Outcome(verdict=Verdict.NOT_APPLICABLE, reason=f"not tested: {why}", cause="", fix="")
