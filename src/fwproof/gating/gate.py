"""The gate: everything that is asked of a candidate before it is deployed, and what it comes to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fwproof.audit.outcomes import outcome_of
from fwproof.errors import Fault, HostError, LabError
from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.frontends.front_end import FrontEnd
from fwproof.gating.candidate import Candidate, named_texts
from fwproof.gating.guard import Found, Guarded, guarded
from fwproof.gating.kernel import Twinned, on_the_wire, placed, twinned
from fwproof.gating.mutation import Score, score
from fwproof.gating.offline import TABLES, Judged, checks_of, facts_of, judged
from fwproof.gating.twin_field import as_twins
from fwproof.gating.ways import ManagementPath
from fwproof.gating.window import opened
from fwproof.inventory import Inventory
from fwproof.judging.waiving import waive
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.policy.waivers import Waiver
from fwproof.results import Outcome, Verdict
from fwproof.semantics.diff import Comparison, compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import SpaceTooLarge
from fwproof.snapshot import Capture, Snapshot

_MOST = 200
"""Changes against what runs that are told in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the gate is to do. ``twin``: a kernel is to be asked as well; ``seconds`` bounds the mutants, 0 for none.

    ``waivers`` are those of the policy: what one covers today is waived here as well.
    """

    policy: Policy
    inventory: Inventory
    host: str
    families: tuple[Family, ...]
    ways: tuple[ManagementPath, ...]
    twin: bool = True
    seconds: float = 20.0
    at_least: float | None = None
    waivers: tuple[Waiver, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """What the gate found. ``trouble`` says why no kernel was asked that should have been, empty where one was.

    ``changes`` is None where nothing is known of what runs, ``mutation`` where no mutant was to be tried. ``missing``
    are families that the policy is about and the candidate has no tables of; ``gaps`` what else was not looked at.
    """

    asked: Asked
    candidate: Candidate
    judged: tuple[Judged, ...]
    guard: Guarded
    windows: tuple[Found, ...]
    changes: tuple[Comparison, ...] | None
    twin: Twinned | None
    trouble: str
    mutation: Score | None
    missing: tuple[Family, ...]
    gaps: tuple[str, ...]
    seconds: float
    snapshot: Snapshot
    front: FrontEnd | None = None

    def spoken(self, text: str) -> str:
        """Return a text in which rules have the names that the front end gives them, if one made the tables."""
        return text if self.front is None else self.front.spoken(text)

    def of(self, *verdicts: Verdict) -> list[Judged]:
        """Return the checks with one of some verdicts, those that were not tested left out."""
        return [each for each in self.judged if each.outcome.verdict in verdicts and not each.untested]

    @property
    def refused(self) -> tuple[Fault, ...]:
        """What the kernel would not take."""
        return self.twin.refused if self.twin else ()

    @property
    def weak(self) -> bool:
        """Whether fewer mutants are noticed than was asked for."""
        share = self.mutation.score if self.mutation else None
        return self.asked.at_least is not None and share is not None and share < self.asked.at_least

    @property
    def failed(self) -> bool:
        """Whether the candidate must not be deployed as it is."""
        otherwise = bool(self.twin and self.twin.otherwise)
        return bool(self.of(Verdict.FAIL) or self.refused or otherwise or self.guard.failed or self.weak)

    @property
    def unclear(self) -> bool:
        """Whether something that was asked could not be told."""
        unread = any(each.blind for each in self.changes or ())
        return bool(
            self.of(Verdict.ERROR, Verdict.INCONCLUSIVE) or self.guard.unclear or self.trouble or self.missing
            or self.gaps or unread
        )  # fmt: skip

    @property
    def status(self) -> int:
        """The exit status: 0 it may go, 1 it must not, 5 nothing was tested, 6 something could not be told."""
        if self.failed:
            return 1
        if self.unclear:
            return 6
        return 0 if self.of(Verdict.PASS, Verdict.WAIVED) else 5


def gate(asked: Asked, candidate: Candidate, progress: Callable[[str], None]) -> Gated:
    """Ask everything; raises what a broken installation raises, and nothing about the candidate."""
    begun = time.monotonic()
    inventory, policy = as_twins(asked.inventory, asked.host, asked.policy), replace(asked.policy, hosts=(asked.host,))
    families = tuple(family for family in asked.families if family in candidate.given)
    checks = checks_of(policy, inventory, asked.host, families)
    missing = _missing(policy, inventory, asked, candidate)
    snapshot = _snapshot(asked.host, candidate)
    progress(f"proving {len(checks)} checks on the tables")
    tables = _fronted(facts_of(inventory, asked.host, candidate.model, snapshot, checks), candidate)
    twin, trouble = _twin(asked, candidate, policy, inventory, checks, progress)
    wire = _fronted(twin.facts, candidate) if twin and twin.facts else None
    here = set(wire.inventory.hosts) if wire else set()
    sent = {c.id: on_the_wire(c) and placed(c, here) for c in checks}
    today = datetime.now(UTC).date()
    found = [
        replace(each, outcome=waive(each.outcome, each.check, asked.waivers, today))
        for each in judged(checks, tables, wire, sent)
    ]
    progress("looking for moments in which nobody gets in")
    guard = guarded(asked.ways, candidate.states, tracked=None if _running(candidate) else True)
    windows, gaps = _windows(candidate, families)
    changes = _changes(candidate, families)
    mutation = _mutation(asked, candidate, policy, inventory, checks, families, progress)
    return Gated(
        asked=asked, candidate=candidate, judged=tuple(found), guard=guard, windows=windows, changes=changes[0],
        twin=twin, trouble=trouble, mutation=mutation, missing=missing,
        gaps=(*gaps, *changes[1], *(twin.gaps if twin else ())), seconds=time.monotonic() - begun, snapshot=snapshot,
        front=tables.front_ends.get(asked.host),
    )  # fmt: skip


def _fronted(facts: Facts, candidate: Candidate) -> Facts:
    """Return facts with the front end that made the tables, if any did."""
    models = ((name, model) for name, model in facts.models.items() if isinstance(model, HostModel))
    fronts = {name: front for name, model in models if (front := candidate.front(model)) is not None}
    return replace(facts, front_ends=fronts)


def _running(candidate: Candidate) -> bool:
    """Whether the first state is what runs now."""
    return candidate.before is not None and len(candidate.states) > 1


def _missing(policy: Policy, inventory: Inventory, asked: Asked, candidate: Candidate) -> tuple[Family, ...]:
    checks = checks_of(policy, inventory, asked.host, asked.families)
    every = {check.family for check in checks if check.kind is not Kind.ABSENT}
    return tuple(family for family in Family if family in every and family not in candidate.given)


def _snapshot(host: str, candidate: Candidate) -> Snapshot:
    """Return the candidate as evidence."""
    texts = dict(named_texts(candidate.texts))
    if candidate.commands:
        texts["commands"] = "".join(f"{command}\n" for command in candidate.commands)
    if candidate.nft:
        texts["nft-script"] = "\n".join(text for _, text in candidate.nft)
    captures = {
        name: Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="", seconds=0.0)
        for name, text in texts.items()
    }
    return Snapshot(host=host, captures=captures, faults={})


def _twin(  # noqa: PLR0913, PLR0917 - what a twin is made of
    asked: Asked, candidate: Candidate, policy: Policy, inventory: Inventory, checks: Sequence[Check],
    progress: Callable[[str], None],
) -> tuple[Twinned | None, str]:  # fmt: skip
    if not asked.twin:
        return None, ""
    try:
        return twinned(candidate, policy, inventory, checks, progress), ""
    except (LabError, HostError) as trouble:
        return None, str(trouble)


def _windows(candidate: Candidate, families: Sequence[Family]) -> tuple[tuple[Found, ...], tuple[str, ...]]:
    found, gaps = list[Found](), list[str]()
    for family in families if len(candidate.states) > 2 else ():
        try:
            window = opened(candidate.states, family)
        except SpaceTooLarge as limit:
            gaps.append(f"{family}: what is open in between: {limit}")
            continue
        found += window.found
        gaps += filter(None, (window.gap,))
    return tuple(found), tuple(gaps)


def _changes(
    candidate: Candidate, families: Sequence[Family]
) -> tuple[tuple[Comparison, ...] | None, tuple[str, ...]]:  # fmt: skip
    if candidate.before is None:
        return None, ()
    found, gaps = list[Comparison](), list[str]()
    for family in families:
        try:
            found.append(compare(candidate.before, candidate.model, family, most=_MOST))
        except SpaceTooLarge as limit:
            gaps.append(f"{family}: what changes: {limit}")
    return tuple(found), tuple(gaps)


def _mutation(  # noqa: PLR0913, PLR0917 - the tables, and all that is asked of them
    asked: Asked, candidate: Candidate, policy: Policy, inventory: Inventory, checks: Sequence[Check],
    families: Sequence[Family], progress: Callable[[str], None],
) -> Score | None:  # fmt: skip
    if not asked.seconds:
        return None
    progress(f"trying slips in the rules, for {asked.seconds:g} s at most")
    nothing = Snapshot(host=asked.host, captures={}, faults={})

    def judge(check: Check, model: HostModel) -> Outcome:
        return outcome_of(check, facts_of(inventory, asked.host, model, nothing, [check]))

    able = [check for check in checks if check.kind in TABLES]
    return score(candidate.model, families, policy, able, judge, asked.seconds)
