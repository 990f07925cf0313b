"""The mutation score: how many slips in the rules that change what they mean some expectation of the policy notices.

A slip that no expectation notices is one that a review has to find. Mutants that mean the same as the tables are told
apart by comparing all packets, and count for nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fwproof.errors import HostError
from fwproof.flow import Family, Flow, Hook
from fwproof.gating.mutants import Mutant, mutants
from fwproof.gating.suggest import NOTHING, suggestion
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.results import Outcome, Verdict
from fwproof.semantics.diff import Change, Comparison, compare
from fwproof.semantics.diff import Kind as Changed
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Disagreement
from fwproof.semantics.space import SpaceTooLarge

Judge = Callable[[Check, HostModel], Outcome]
_HOOKS = {Kind.INBOUND_DEFAULT: Hook.INPUT, Kind.OUTBOUND_DEFAULT: Hook.OUTPUT, Kind.FORWARD_DEFAULT: Hook.FORWARD}
_COST = {
    Kind.LOOPBACK: 1, Kind.NEIGHBOUR: 1, Kind.ESTABLISHED: 2, Kind.FORWARD_DEFAULT: 3, Kind.OUTBOUND_DEFAULT: 3,
    Kind.INBOUND_DEFAULT: 3, Kind.CLAIM: 4, Kind.DROP_LOG: 5, Kind.RATE: 5, Kind.RULES: 6, Kind.PARITY: 7,
}  # fmt: skip
"""What is asked first of those that are as likely to notice: what takes the least time."""
_SINGLE = 8
_SEED = 20_250_101
"""Of the sample, where not every mutant can be tried: the same in every run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """A mutant that means something else and that no expectation notices: a packet, and what to add to the policy."""

    mutant: Mutant
    what: str
    witness: Flow | None
    suggestion: str

    @property
    def mendable(self) -> bool:
        """Whether a line of the policy would notice it."""
        return not self.suggestion.startswith(NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What became of the mutants that were tried, of all ``total`` ones.

    ``killed`` counts by the check that noticed first; ``unknown`` are mutants of which it is not known whether they
    mean the same, with the reason.
    """

    total: int
    tried: int
    equivalent: int
    killed: Mapping[str, int]
    survivors: tuple[Survivor, ...]
    unknown: tuple[tuple[Mutant, str], ...] = ()
    seconds: float = 0.0

    @property
    def noticed(self) -> int:
        """How many mutants some expectation noticed."""
        return sum(self.killed.values())

    @property
    def score(self) -> float | None:
        """The share of those that mean something else which is noticed, from 0 to 1; None where there are none."""
        count = self.noticed + len(self.survivors)
        return self.noticed / count if count else None


@dataclass(slots=True)
class _Run:
    equivalent: int = 0
    tried: int = 0
    killed: dict[str, int] = field(default_factory=dict)
    survivors: list[tuple[int, Survivor]] = field(default_factory=list)
    unknown: list[tuple[Mutant, str]] = field(default_factory=list)


def score(  # noqa: PLR0913, PLR0917 - the tables, and all that is asked of them
    model: HostModel, families: Sequence[Family], policy: Policy, checks: Sequence[Check], judge: Judge, seconds: float
) -> Score:  # fmt: skip
    """Try the mutants of tables for at most ``seconds``, in an order that makes any beginning of it a fair sample.

    ``judge`` answers a check from tables alone; what fails on the tables as they are can notice nothing.
    """
    every = [mutant for family in families for mutant in mutants(model, family)]
    asked = {check.id: (check, judge(check, model).verdict) for check in checks if not _implied(check, checks)}
    able = [check for check, verdict in asked.values() if verdict not in {Verdict.FAIL, Verdict.ERROR}]
    begun = time.monotonic()
    base = {name: verdict for name, (_, verdict) in asked.items()}
    order = list(range(len(every)))
    random.Random(_SEED).shuffle(order)  # noqa: S311 - a sample, no secret
    run = _Run()
    for number in order:
        if time.monotonic() - begun > seconds:
            break
        run.tried += 1
        _try(run, number, every[number], model, policy, able, base, judge)
    return Score(
        total=len(every), tried=run.tried, equivalent=run.equivalent, killed=dict(sorted(run.killed.items())),
        survivors=tuple(survivor for _, survivor in sorted(run.survivors, key=lambda pair: pair[0])),
        unknown=tuple(run.unknown), seconds=time.monotonic() - begun,
    )  # fmt: skip


def _try(  # noqa: PLR0913, PLR0917 - a mutant, and all that it is measured by
    run: _Run, number: int, mutant: Mutant, model: HostModel, policy: Policy, able: Sequence[Check],
    base: Mapping[str, Verdict], judge: Judge,
) -> None:  # fmt: skip
    tables = mutant.model
    try:
        found = compare(model, tables, mutant.family, most=2)
    except (SpaceTooLarge, Disagreement) as reason:
        run.unknown.append((mutant, str(reason)))
        return
    if found.blind:
        run.unknown.append((mutant, "; ".join(found.blind)))
    elif found.same:
        run.equivalent += 1
    elif (by := _noticed(mutant.family, tables, found, able, base, judge)) is not None:
        run.killed[by] = run.killed.get(by, 0) + 1
    else:
        change = next(iter(found.changes), None)
        run.survivors.append((number, Survivor(
            mutant=mutant, what=_words(change, found), witness=change.witness if change else None,
            suggestion=suggestion(change, found.effects, policy),
        )))  # fmt: skip


def _noticed(  # noqa: PLR0913, PLR0917 - tables, and all that they are measured by
    family: Family, tables: HostModel, found: Comparison, able: Sequence[Check], base: Mapping[str, Verdict],
    judge: Judge,
) -> str | None:  # fmt: skip
    """Return the check that first says something else of a mutant, those that are the likeliest first."""
    mine = [check for check in able if check.family in {None, family}]
    for check in sorted(mine, key=lambda check: (not _likely(check, found), _cost(check))):
        try:
            verdict = judge(check, tables).verdict
        except HostError:
            continue
        if verdict is Verdict.FAIL or (base[check.id] is Verdict.PASS and verdict is not Verdict.PASS):
            return check.id
    return None


def _implied(check: Check, checks: Sequence[Check]) -> bool:
    """Whether a check of one packet says nothing that one over all packets does not say: a claim and a default do."""
    if check.vantage is None or check.kind in {
        Kind.RATE,
        Kind.MEASURE,
        Kind.CONNECTIONS,
        Kind.NEIGHBOUR,
        Kind.DROP_LOG,
    }:
        return False
    same = [c for c in checks if c.vantage is None and c.family is check.family and c.direction == check.direction]
    claimed = any(c.kind is Kind.CLAIM and c.expectation is check.expectation for c in same)
    return any(c.kind in _HOOKS for c in same) and (claimed or check.kind in _HOOKS)


def _cost(check: Check) -> int:
    single = check.vantage is not None and check.kind is not Kind.NEIGHBOUR and check.kind is not Kind.RATE
    return _SINGLE if single else _COST.get(check.kind, _SINGLE)


def _likely(check: Check, found: Comparison) -> bool:
    """Whether a check is about what changed, as far as that is quickly seen."""
    if check.vantage is not None and check.kind not in {Kind.RATE, Kind.NEIGHBOUR}:
        return False
    if not found.changes:
        return check.kind in {Kind.DROP_LOG, Kind.RATE}
    for change in found.changes:
        opened = change.kind is Changed.REACHABLE
        if opened and _HOOKS.get(check.kind) is change.hook:
            return True
        service, flow = check.service, change.witness
        if not opened and check.kind is Kind.CLAIM and service and service.port in {flow.dport, flow.sport}:
            return True
    return False


def _words(change: Change | None, found: Comparison) -> str:
    if change is None:
        return "; ".join(found.effects[:2])
    fate = f"{change.before[0]} before, {change.after[0]} after"
    return f"{change.hook.value} {'/'.join(change.states)}: {_first(change)}: {fate}"


def _first(change: Change) -> str:
    return str(next(iter(change.rooms), "some packets"))
