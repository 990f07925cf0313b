"""What differs between two runs, as values: the document of ``fwproof diff RUN_A RUN_B``.

A check is the same one where policy and id are; ``before`` and ``after`` are its two answers. What became of it is one
:class:`Sort`, and a sort says whether anything got worse. Whatever cannot be compared is a :class:`Gap`, never silence.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from fwproof.results import Verdict

SCHEMA_ID = "https://fwproof.invalid/schema/run-diff-1"
"""Name of the format; keys may be added within it, and none is removed or changes its meaning."""


class Effect(StrEnum):
    """What a change means for whoever waits for the exit status."""

    WORSE = "worse"
    NOT_KNOWN = "not-known"
    BETTER = "better"
    NONE = "none"


class Sort(StrEnum):
    """What became of a check, the most urgent first."""

    NEW = "new"
    OTHER_CAUSE = "other-cause"
    UNACCEPTED = "no-longer-waived"
    LOST = "no-longer-known"
    STILL_UNKNOWN = "still-not-known"
    FIRST_ASKED = "asked-first"
    ASKED_OTHERWISE = "asked-otherwise"
    NOT_ASKED = "no-longer-asked"
    NOT_APPLICABLE = "no-longer-applies"
    UNCHANGED = "unchanged"
    ACCEPTED = "waived-now"
    FIXED = "fixed"
    SETTLED = "settled"
    STANDS = "stands"

    @property
    def heading(self) -> str:
        """The sort as a heading."""
        return _TITLES[self][0]

    @property
    def meaning(self) -> str:
        """The sort in a sentence."""
        return _TITLES[self][1]


_TITLES = {
    Sort.NEW: ("New", "fails, and did not before"),
    Sort.OTHER_CAUSE: (
        "Fails for another reason",
        "failed before, and now from another cause: one may have been mended, or come on top",
    ),
    Sort.UNACCEPTED: ("No longer waived", "the deviation is still there, and no waiver covers it any more"),
    Sort.LOST: ("No longer known", "was answered before, and now could not be looked at or told"),
    Sort.STILL_UNKNOWN: ("Still not known", "was not answered in either run"),
    Sort.FIRST_ASKED: ("Asked for the first time", "is in the later run alone, so it is no regression"),
    Sort.ASKED_OTHERWISE: ("Asked otherwise", "the policy now expects something else, so the answers do not compare"),
    Sort.NOT_ASKED: ("No longer asked", "is in the earlier run alone"),
    Sort.NOT_APPLICABLE: ("No longer applies", "was answered before, and now does not apply to the host"),
    Sort.UNCHANGED: ("Unchanged", "deviates as before, from the same cause"),
    Sort.ACCEPTED: ("Waived now", "deviates, under a waiver that did not cover it before"),
    Sort.FIXED: ("Fixed", "deviated before, and is now as expected"),
    Sort.SETTLED: ("Settled", "was not known or did not apply before, and is now as expected"),
    Sort.STANDS: ("As before", "as expected, or not applicable, in both runs"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One run's answer to a check, in the words of its results."""

    verdict: Verdict
    cause: str
    reason: str
    expected: str
    rule: str
    fix: str
    waiver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCheck:
    """One check, and what became of it; ``why`` names what may be behind a check that only one run has."""

    id: str
    policy: str
    host: str
    kind: str
    severity: str
    title: str
    sort: Sort
    effect: Effect
    before: Side | None
    after: Side | None
    why: list[str] = field(default_factory=list)

    @property
    def cause(self) -> str:
        """The cause that it is listed under: of what is there now, else of what was."""
        sides = [side for side in (self.after, self.before) if side is not None]
        return next((side.cause for side in sides if side.cause), "") or sides[0].reason or self.title


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Who reaches what otherwise than before: one far end, service and family of a host.

    ``change``: ``opened``, ``closed``, ``not-known`` (any more) or ``told-apart`` (proved and observed changed in
    opposite ways). ``proved`` and ``observed`` are pairs, before and after: ``in``, ``out`` or ``unknown``; what the
    runs said in words is beside them. ``expected`` is the policy's word in the later run.
    """

    check: str
    host: str
    direction: str
    peer: str
    service: str
    family: str
    expected: str
    change: str
    proved: list[str]
    observed: list[str]
    said_before: list[str]
    said_after: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChange:
    """How a table's own text differs: lines with ``-``, ``+`` or ``@@`` before them; ``more`` were left out.

    Counters, handles and comments with the time are not compared.
    """

    file: str
    lines: list[str]
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChange:
    """Packets that the tables decide otherwise: which, and what one of them met before and after, by which rule."""

    kind: str
    family: str
    hook: str
    states: list[str]
    boxes: list[str]
    more_boxes: bool
    before: str
    after: str
    depends_on: list[str]
    witness: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRules:
    """The tables of one host in both runs' evidence. ``same``: same meaning, None where that could not be told.

    ``effects`` are rules that mark, log or translate, in words. ``not_compared`` says of what nothing can be said;
    ``altered`` names evidence that is not what its run stored.
    """

    host: str
    same: bool | None
    texts: list[TextChange]
    changes: list[RuleChange]
    unlisted: int
    effects: list[str]
    not_compared: list[str]
    altered: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverChange:
    """What became of a waiver: ``new``, ``ended``, ``expired``, ``altered`` or ``expiring`` (within 30 days)."""

    id: str
    policy: str
    change: str
    state: str
    expires: str
    days_left: int | None
    owner: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageChange:
    """Rule coverage of one host and family: confirmed and reachable rules before and after, and rules by their text.

    ``lost`` were confirmed before and are there, but are not confirmed now; ``gained`` the other way round.
    """

    host: str
    family: str
    before: list[int]
    after: list[int]
    lost: list[str]
    gained: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something for which the runs do not compare, or not quite: ``about`` is one word, ``said`` a sentence."""

    about: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNamed:
    """One of the two runs, with its counts; ``folder`` is where it was read from, as it was given."""

    id: str
    folder: str
    started: str
    ended: str
    tool: str
    verdict: Verdict
    counts: dict[str, int]
    deselected: int
    hosts: list[str]
    policies: dict[str, str]
    inventory_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDiff:
    """Two runs compared. ``checks`` has all but those that stand; ``sorts`` counts every one."""

    before: RunNamed
    after: RunNamed
    sorts: dict[str, int]
    checks: list[ChangedCheck]
    reachability: list[Crossing]
    rules: list[HostRules]
    waivers: list[WaiverChange]
    coverage: list[CoverageChange]
    not_comparable: list[Gap]

    @property
    def effects(self) -> Counter[Effect]:
        """How many checks changed to which effect."""
        return Counter(check.effect for check in self.checks)

    @property
    def altered(self) -> list[str]:
        """Evidence that is not what its run stored."""
        return [f"{each.host}: {said}" for each in self.rules for said in each.altered]

    @property
    def compared(self) -> int:
        """How many checks both runs have."""
        alone = {Sort.FIRST_ASKED, Sort.NOT_ASKED}
        return sum(number for sort, number in self.sorts.items() if sort not in alone)

    @property
    def status(self) -> int:
        """The exit status: 0 nothing worse, 1 something got worse, 6 it cannot be told."""
        if self.effects[Effect.WORSE]:
            return 1
        return 6 if self.effects[Effect.NOT_KNOWN] or self.altered or not self.compared else 0

    @property
    def headline(self) -> str:
        """The whole comparison in a sentence."""
        worse, unknown = self.effects[Effect.WORSE], self.effects[Effect.NOT_KNOWN]
        fixed = self.sorts.get(Sort.FIXED, 0)
        if not self.compared:
            return "Nothing could be compared: the runs have no check in common"
        mended = f"{fixed:,} {'check was' if fixed == 1 else 'checks were'} fixed"
        if worse:
            got = f"{worse:,} {'check' if worse == 1 else 'checks'} got worse"
            return f"{got}; {mended}" if fixed else got
        if self.status:
            those = "1 check does" if unknown == 1 else f"{unknown:,} checks do"
            said = f"Nothing got worse as far as is known, but {those} not tell"
            if not unknown:
                said = "Nothing got worse, but stored evidence was altered"
            return f"{said}; {mended}" if fixed else said
        return f"Nothing got worse; {mended}" if fixed else "Nothing got worse"
