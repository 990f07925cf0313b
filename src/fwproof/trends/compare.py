"""What became of every check from one run to another, and for what the two runs do not compare."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from fwproof.report.view import SEVERITIES, outcome
from fwproof.results import CheckResult, Results, Verdict
from fwproof.run_record import WaiverRecord
from fwproof.trends.changes import (
    ChangedCheck,
    CoverageChange,
    Effect,
    Gap,
    HostRules,
    RunDiff,
    RunNamed,
    Side,
    Sort,
    WaiverChange,
)
from fwproof.trends.crossings import crossings

_PLACE = re.compile(r"(?<= rule )\d+(?=: )")
EXPIRING = 30
"""Days before its last one within which a waiver is told of."""
_UNKNOWN = frozenset({Verdict.ERROR, Verdict.INCONCLUSIVE})
_DEVIATES = frozenset({Verdict.FAIL, Verdict.WAIVED})
_OPEN = _UNKNOWN | {Verdict.FAIL}
_EFFECTS = {
    Sort.NEW: Effect.WORSE, Sort.UNACCEPTED: Effect.WORSE, Sort.OTHER_CAUSE: Effect.NOT_KNOWN,
    Sort.LOST: Effect.NOT_KNOWN, Sort.STILL_UNKNOWN: Effect.NOT_KNOWN, Sort.FIXED: Effect.BETTER,
    Sort.SETTLED: Effect.BETTER,
}  # fmt: skip
_BY_CHOICE = "the policy changed", "the inventory changed", "the waivers changed"
"""Reasons for which a check is gone that somebody chose and that leave nothing untold."""
Key = tuple[str, str, int]


def compare_runs(before: Results, after: Results, *, places: tuple[str, str] = ("", ""),
                 rules: Iterable[HostRules] = ()) -> RunDiff:  # fmt: skip
    """Return how two runs differ; ``places`` say where they were read from, ``rules`` is what their tables do."""
    old, new = _keyed(before.checks), _keyed(after.checks)
    every = [_changed(old.get(key), new.get(key), before, after) for key in {**new, **old}]
    every.sort(key=_urgency)
    listed = [check for check in every if check.sort is not Sort.STANDS]
    sorts = Counter(check.sort for check in every)
    both = [(old[key], new[key]) for key in new if key in old]
    return RunDiff(
        before=_named(before, places[0]), after=_named(after, places[1]),
        sorts={sort.value: sorts[sort] for sort in Sort}, checks=listed, reachability=crossings(both),
        rules=list(rules), waivers=list(_waivers(before.run.waivers, after.run.waivers)),
        coverage=list(_coverage(both)), not_comparable=list(_gaps(before, after)),
    )  # fmt: skip


def _keyed(checks: Iterable[CheckResult]) -> dict[Key, CheckResult]:
    """Return checks by policy and id; one that a run has twice keeps both, by their order."""
    seen: Counter[tuple[str, str]] = Counter()
    found: dict[Key, CheckResult] = {}
    for check in checks:
        name = check.policy, check.id
        found[*name, seen[name]] = check
        seen[name] += 1
    return found


def _urgency(check: ChangedCheck) -> tuple[int, int]:
    severity = SEVERITIES.index(check.severity) if check.severity in SEVERITIES else len(SEVERITIES)
    return list(Sort).index(check.sort), severity


def _changed(old: CheckResult | None, new: CheckResult | None, before: Results, after: Results) -> ChangedCheck:
    check = new or old
    assert check is not None
    why: list[str] = []
    if old is None or new is None:
        sort = Sort.FIRST_ASKED if old is None else Sort.NOT_ASKED
        why = _reasons(check, *((after, before) if old is None else (before, after)))
    else:
        sort = sort_of(old, new)
    return ChangedCheck(
        id=check.id, policy=check.policy, host=check.host, kind=check.kind, severity=check.severity,
        title=check.title, sort=sort, effect=_effect(sort, new, why), before=_side(old), after=_side(new), why=why,
    )  # fmt: skip


def _side(check: CheckResult | None) -> Side | None:
    if check is None:
        return None
    return Side(verdict=check.verdict, cause=check.cause, reason=check.reason, expected=check.expected,
                rule=check.rule, fix=check.fix, waiver=check.waiver)  # fmt: skip


class Answer(Protocol):
    """What is needed of a check to follow it over runs; :class:`CheckResult` is one."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def policy(self) -> str: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def severity(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def cause(self) -> str: ...  # noqa: D102
    @property
    def verdict(self) -> Verdict: ...  # noqa: D102
    @property
    def expected(self) -> str: ...  # noqa: D102
    @property
    def service(self) -> str | None: ...  # noqa: D102
    @property
    def vantage(self) -> str | None: ...  # noqa: D102


def sort_of(old: Answer, new: Answer) -> Sort:
    """Return what became of a check that both runs have."""
    was, now = old.verdict, new.verdict
    if (old.expected, old.service, old.vantage) != (new.expected, new.service, new.vantage):
        return Sort.ASKED_OTHERWISE
    if was is now and now in _DEVIATES:
        otherwise = Sort.OTHER_CAUSE if now is Verdict.FAIL else Sort.ACCEPTED
        return Sort.UNCHANGED if same_cause(old, new) else otherwise
    if now in _UNKNOWN:
        return Sort.STILL_UNKNOWN if was in _UNKNOWN else Sort.LOST
    if now is Verdict.PASS:
        return Sort.FIXED if was in _DEVIATES else Sort.STANDS if was is now else Sort.SETTLED
    if now is Verdict.NOT_APPLICABLE:
        return Sort.STANDS if was is now else Sort.NOT_APPLICABLE
    return Sort.ACCEPTED if now is Verdict.WAIVED else Sort.UNACCEPTED if was is Verdict.WAIVED else Sort.NEW


def same_cause(old: Answer, new: Answer) -> bool:
    """Whether two answers name one cause; a rule that another one before it pushed down is still the same rule."""
    return _PLACE.sub("", old.cause) == _PLACE.sub("", new.cause)


def _effect(sort: Sort, new: CheckResult | None, why: list[str]) -> Effect:
    if sort is Sort.NOT_ASKED:
        return Effect.NONE if why and set(why) <= set(_BY_CHOICE) else Effect.NOT_KNOWN
    if sort in {Sort.FIRST_ASKED, Sort.ASKED_OTHERWISE} and new is not None and new.verdict in _OPEN:
        return Effect.NOT_KNOWN
    return _EFFECTS.get(sort, Effect.NONE)


def _reasons(check: CheckResult, has: Results, lacks: Results) -> list[str]:
    """Return why a check may be in one run alone: for certain where its host or policy is, else all that may be."""
    if check.host not in {host.name for host in lacks.run.hosts}:
        return ["the host was not looked at"]
    here, there = _files(has), _files(lacks)
    waived = check.file in has.run.waiver_files
    if check.file not in there and not waived:
        return ["the policy was not run"]
    found = []
    if here.get(check.file) != there.get(check.file):
        found.append("the waivers changed" if waived else "the policy changed")
    if has.run.inventory_sha256 != lacks.run.inventory_sha256:
        found.append("the inventory changed")
    if has.run.tool != lacks.run.tool:
        found.append("another version of fwproof plans other checks")
    if lacks.run.deselected:
        found.append("checks were deselected")
    if lacks.run.planned - lacks.run.deselected > len(lacks.checks):
        found.append("not all that was planned was run")
    return found or ["the run does not say"]


def _files(results: Results) -> dict[str, str]:
    """Return the files that say what is asked, with their hashes."""
    return {**results.run.policies, **results.run.waiver_files}


def _named(results: Results, place: str) -> RunNamed:
    run = results.run
    return RunNamed(
        id=run.id, folder=place, started=run.started, ended=run.ended, tool=run.tool, verdict=outcome(results),
        counts=results.counts(), deselected=run.deselected, hosts=[host.name for host in run.hosts],
        policies=run.policies, inventory_sha256=run.inventory_sha256,
    )  # fmt: skip


def _gaps(before: Results, after: Results) -> Iterable[Gap]:
    old, new = before.run, after.run
    if old.id == new.id:
        yield Gap(about="run", said="both are the same run")
    elif old.started > new.started:
        yield Gap(about="order", said=f"the first run began at {old.started}, after the second at {new.started}")
    was, now = _files(before), _files(after)
    for file in sorted({*was, *now}):
        about = "waivers" if file in {*old.waiver_files, *new.waiver_files} else "policy"
        if file not in now or file not in was:
            yield Gap(about=about, said=f"{file} was used in the {_which(earlier=file in was)} run alone")
        elif was[file] != now[file]:
            yield Gap(about=about, said=f"{file} changed: SHA-256 {was[file][:12]}… became {now[file][:12]}…")
    if old.inventory_sha256 != new.inventory_sha256:
        yield Gap(about="inventory", said=f"the inventory changed: SHA-256 {old.inventory_sha256[:12]}… became "
                                          f"{new.inventory_sha256[:12]}…")  # fmt: skip
    if old.tool != new.tool:
        yield Gap(about="tool", said=f"{old.tool} and {new.tool} may plan and judge otherwise")
    for word, results in (("earlier", before), ("later", after)):
        yield from _short(word, results)
    yield from _hosts(before, after)


def _which(*, earlier: bool) -> str:
    return "earlier" if earlier else "later"


def _short(word: str, results: Results) -> Iterable[Gap]:
    run = results.run
    missing = max(run.planned - run.deselected - len(results.checks), 0)
    if run.deselected:
        yield Gap(about="deselected", said=f"{run.deselected:,} checks were deselected in the {word} run")
    if missing:
        yield Gap(about="not run", said=f"{missing:,} planned checks were not run in the {word} run")
    yield from (Gap(about="stopped", said=f"the {word} run was stopped: {why}") for why in run.stopped)


def _hosts(before: Results, after: Results) -> Iterable[Gap]:
    old, new = ({host.name: host for host in each.run.hosts} for each in (before, after))
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            yield Gap(about="host", said=f"{name} was looked at in the {_which(earlier=name in old)} run alone")
            continue
        for word, host in (("earlier", old[name]), ("later", new[name])):
            if host.error:
                yield Gap(about="host", said=f"{name} could not be read in the {word} run: {host.error}")
        for what in ("access", "addresses"):
            was, now = getattr(old[name], what), getattr(new[name], what)
            if was != now:
                yield Gap(about="host", said=f"{name}: {what} {_words(was)} became {_words(now)}")


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _waivers(old: Iterable[WaiverRecord], new: Iterable[WaiverRecord]) -> Iterable[WaiverChange]:
    was, now = ({(one.policy, one.id): one for one in each} for each in (old, new))
    for key, one in {**now, **was}.items():
        before, after = was.get(key), now.get(key)
        for change, said in _fates(before, after):
            last = after or one
            yield WaiverChange(
                id=last.id, policy=last.policy, change=change, state=last.state if after else "gone",
                expires=last.expires, days_left=after.days_left if after else None, owner=last.owner, said=said,
            )  # fmt: skip


def _fates(old: WaiverRecord | None, new: WaiverRecord | None) -> Iterable[tuple[str, str]]:
    if new is None:
        yield "ended", "it was taken out"
        return
    if old is None:
        yield "new", f"agreed on {new.created}: {new.reason}"
    elif old.state == "in force" != new.state:
        yield "expired", f"it was in force, and is {new.state}"
    elif terms := [f"{name.replace('_', ' ')} {_words(getattr(old, name))} became {_words(getattr(new, name))}"
                   for name in _TERMS if getattr(old, name) != getattr(new, name)]:  # fmt: skip
        yield "altered", "; ".join(terms)
    if new.state == "in force" and new.days_left <= EXPIRING:
        yield "expiring", f"{new.days_left} days are left"


_TERMS = ("checks", "hosts", "cause", "owner", "approver", "ticket", "reason", "compensating_control", "created",
          "expires")  # fmt: skip


def _coverage(both: Iterable[tuple[CheckResult, CheckResult]]) -> Iterable[CoverageChange]:
    for was, now in both:
        old, new = was.coverage, now.coverage
        if old is None or new is None:
            continue
        status: list[Mapping[str, str]] = [{rule.text: rule.status for rule in side.rules} for side in (old, new)]
        lost, gained = (
            [text for text, state in here.items() if state == "confirmed" != there.get(text, "confirmed")]
            for here, there in (status, status[::-1])
        )
        numbers = [old.confirmed, old.reachable], [new.confirmed, new.reachable]
        if numbers[0] != numbers[1] or lost or gained:
            yield CoverageChange(host=now.host, family=now.family or "", before=numbers[0], after=numbers[1],
                                 lost=lost, gained=gained)  # fmt: skip
