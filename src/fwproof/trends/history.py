"""Findings over many runs: since when, how long until they were fixed, how old those are that are still open.

A finding is a check (by policy and id) from the first run in which it deviates until the one in which it does not; its
cause is the last one told. Only a check that was looked at and is as expected ends it: one that could not be looked at,
or was not asked, does not. All times are those at which runs began, so ages are as of the last run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from fwproof.results import Verdict
from fwproof.trends.changes import Sort
from fwproof.trends.compare import Answer, sort_of

SCHEMA_ID = "https://fwproof.invalid/schema/index-1"
"""Name of the format; keys may be added within it, and none is removed or changes its meaning."""
_KEPT = 10_000
"""Findings that ended, of which the newest are kept."""
_DEVIATES = {Verdict.FAIL: "open", Verdict.WAIVED: "waived"}
_UNKNOWN = frozenset({Verdict.ERROR, Verdict.INCONCLUSIVE})
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding over time.

    ``state``: ``open``, ``waived``, ``not-known`` or ``not-asked`` (in the last run), ``fixed`` or ``not-applicable``.
    ``days`` is its age at the last run, or how long it took until it was fixed. ``at_least`` where it was there the
    first time that it had an answer, so that it may be older. ``ended`` is empty as long as it stands.
    """

    policy: str
    id: str
    host: str
    severity: str
    cause: str
    state: str
    first_run: str
    first_seen: str
    last_run: str
    last_seen: str
    ended: str
    days: float
    at_least: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRun:
    """One run of the folder. ``report`` is the path of its page, empty without one.

    ``changes`` counts what became of checks since the run before, by the words of run-diff-1, None for the first;
    ``differs`` says for what the two do not quite compare. ``stored`` is how its files stand, in words; ``wrong`` what
    is wrong with them.
    """

    folder: str
    id: str
    started: str
    ended: str
    verdict: Verdict
    counts: dict[str, int]
    deselected: int
    hosts: int
    report: str
    changes: dict[str, int] | None
    differs: list[str]
    stored: str
    wrong: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A folder that is no run which can be read, and why."""

    folder: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """All runs of a folder, oldest first, with their findings.

    ``fixed_days`` is the median time until findings were fixed of which the beginning is known; None without any.
    ``ended_unlisted`` is how many older findings ended besides those listed.
    """

    runs: list[IndexRun]
    unreadable: list[Unreadable]
    standing: list[Finding]
    ended: list[Finding]
    ended_unlisted: int
    fixed_days: float | None

    @property
    def status(self) -> int:
        """The exit status: 0, or 6 where a folder could not be read or is not as it was stored."""
        return 6 if self.unreadable or any(run.wrong for run in self.runs) or not self.runs else 0


@dataclass(slots=True)
class _Standing:
    """A finding that has not ended yet."""

    first: int
    last: int
    asked: int
    host: str
    severity: str
    cause: str
    state: str
    at_least: bool


@dataclass(slots=True)
class History:
    """Takes runs from the oldest to the newest; holds no more than one run's answers and the findings."""

    _times: list[datetime] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _known: set[tuple[str, str]] = field(default_factory=set)
    _standing: dict[tuple[str, str], _Standing] = field(default_factory=dict)
    _ended: deque[Finding] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _ends: int = 0

    def add(self, name: str, began: datetime, checks: Iterable[Answer]) -> dict[str, int] | None:
        """Take the next run; return what became of checks since the one before, by sort, None for the first."""
        self._times.append(began)
        self._names.append(name)
        answers: dict[tuple[str, str], Answer] = {}
        sorts: Counter[Sort] = Counter()
        for check in checks:
            key = check.policy, check.id
            if key not in answers or check.verdict in _DEVIATES:  # of an id that a run has twice, the worse answer
                answers[key] = check
        for key, check in answers.items():
            was = self._answers.get(key)
            sorts[Sort.FIRST_ASKED if was is None else sort_of(was, check)] += 1
            self._take(key, check)
        sorts[Sort.NOT_ASKED] = len(self._answers.keys() - answers.keys())
        first = len(self._times) == 1
        self._answers = answers
        self._known |= {key for key, check in answers.items() if check.verdict not in _UNKNOWN}
        return None if first else {sort.value: sorts[sort] for sort in Sort if sorts[sort]}

    def _take(self, key: tuple[str, str], check: Answer) -> None:
        now, found = len(self._times) - 1, self._standing.get(key)
        if found is not None:
            found.asked = now
        if check.verdict in _DEVIATES:
            if found is None:
                found = self._standing[key] = _Standing(
                    now, now, now, check.host, check.severity, "", "", key not in self._known
                )
            found.last, found.state = now, _DEVIATES[check.verdict]
            found.cause, found.severity = check.cause or check.title, check.severity
        elif found is not None and check.verdict in _UNKNOWN:
            found.state = "not-known"
        elif found is not None:
            del self._standing[key]
            found.state = "fixed" if check.verdict is Verdict.PASS else "not-applicable"
            self._ended.append(self._finding(key, found, now))
            self._ends += 1

    def _finding(self, key: tuple[str, str], found: _Standing, end: int | None) -> Finding:
        until = len(self._times) - 1 if end is None else end
        days = (self._times[until] - self._times[found.first]).total_seconds() / _DAY
        return Finding(
            policy=key[0], id=key[1], host=found.host, severity=found.severity, cause=found.cause,
            state=found.state if end is not None or found.asked == until else "not-asked",
            first_run=self._names[found.first], first_seen=_written(self._times[found.first]),
            last_run=self._names[found.last], last_seen=_written(self._times[found.last]),
            ended="" if end is None else _written(self._times[end]), days=round(days, 3), at_least=found.at_least,
        )  # fmt: skip

    def index(self, runs: list[IndexRun], unreadable: list[Unreadable]) -> Index:
        """Return the index of all that was added."""
        standing = [self._finding(key, found, None) for key, found in self._standing.items()]
        ended = list(self._ended)[::-1]
        took = [each.days for each in ended if each.state == "fixed" and not each.at_least]
        return Index(
            runs=runs, unreadable=unreadable, standing=sorted(standing, key=lambda each: -each.days), ended=ended,
            ended_unlisted=self._ends - len(ended), fixed_days=round(median(took), 3) if took else None,
        )  # fmt: skip


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
