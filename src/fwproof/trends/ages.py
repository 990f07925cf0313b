"""Since when what deviates now has deviated: told at the end of a run, from the runs that its folder already has.

Runs are read from the newest back, no further than needed: an earlier run's own ages stand for all before it, so that
mostly one is read, and findings keep their age when old runs are removed. What :mod:`.history` says of all runs at once
is said here of one check: a finding goes on while nobody could look, and ends where the check was as expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from fwproof.ages import Age, Earlier
from fwproof.report.clean import one_line
from fwproof.results import Results, Verdict
from fwproof.trends.runs import NoRun, as_stored, content_of, moment_of, parsed

_NAME = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]+")
"""What an audit calls a run's folder; what people have renamed (a sample, a baseline) is no run before this one."""
MOST = 100
"""Runs that are read at most."""
MOST_BYTES = 256_000_000
_DEVIATES = frozenset({Verdict.FAIL, Verdict.WAIVED})
_UNKNOWN = frozenset({Verdict.ERROR, Verdict.INCONCLUSIVE})


class _Row(BaseModel):
    id: str
    policy: str
    verdict: Verdict


class _Run(BaseModel):
    id: str
    started: str
    earlier: Earlier | None = None


class _Told(BaseModel):
    schema_: Literal["https://fwproof.invalid/schema/results-1"] = Field(alias="schema")
    run: _Run
    checks: list[_Row]


def earlier_of(results: Results, folder: Path) -> Earlier | None:
    """Return since when each check deviates that does, by the runs in ``folder``; None where it has none before it.

    Never raises for what lies in the folder: what cannot be read, is altered or is no run is told in ``unread``.
    """
    try:
        places = list(_before(results.run.started, folder))
    except OSError as error:
        return Earlier(runs=0, unread=[f"the folder cannot be read: {error.strerror}"])
    if not places:
        return None
    run = results.run
    looking = {
        (check.policy, check.id): Age(since=run.started, run=run.id, runs=1, at_least=True)
        for check in results.checks if check.verdict in _DEVIATES
    }  # fmt: skip
    search = _Search(looking, dict(looking))
    search.through(places)
    return Earlier(runs=search.read, unread=search.unread, ages={id_: age for (_, id_), age in search.ages.items()})


def _before(started: str, folder: Path) -> Iterator[Path]:
    """Yield the folders of earlier runs, newest first; the name says when a run began."""
    now = re.sub(r"[-:]", "", started)
    named = ((match[1], place) for place in folder.glob("[0-9]*") if (match := _NAME.fullmatch(place.name)))
    yield from (place for began, place in sorted(named, reverse=True) if began < now)


@dataclass(slots=True)
class _Search:
    """Ages by policy and check: those that older runs may still add to (``looking``), and all, as far as known."""

    looking: dict[tuple[str, str], Age]
    ages: dict[tuple[str, str], Age]
    unread: list[str] = field(default_factory=list)
    read: int = 0

    def through(self, places: list[Path]) -> None:
        """Read runs, newest first, until every age is known."""
        size = 0
        for number, place in enumerate(places):
            if not self.looking:
                return
            if number >= MOST or size >= MOST_BYTES:
                self.unread.append(f"{len(places) - number:,} older ones: {number:,} runs are as many as are looked at")
                return
            try:
                content = content_of(place)
                size += len(content)
                self._take(_told(place, content))
                self.read += 1
            except NoRun as why:
                self.unread.append(one_line(f"{place.name}: {why}", 300))

    def _take(self, told: _Told) -> None:
        answers: dict[tuple[str, str], Verdict] = {}
        for row in told.checks:
            key = row.policy, row.id
            if key in self.looking and (key not in answers or row.verdict in _DEVIATES):
                answers[key] = row.verdict  # of an id that a run has twice, the worse answer
        known = told.run.earlier.ages if told.run.earlier else {}
        for key, verdict in answers.items():
            age = self.looking[key]
            if verdict in _DEVIATES:
                here = known.get(key[1]) or Age(since=told.run.started, run=told.run.id, runs=1, at_least=True)
                self.looking[key] = self.ages[key] = replace(here, runs=here.runs + age.runs)
                if key[1] in known:
                    del self.looking[key]
            elif verdict not in _UNKNOWN:
                self.ages[key] = replace(age, at_least=False)
                del self.looking[key]


def _told(place: Path, content: bytes) -> _Told:
    """Return what a run says; raises NoRun also where nothing shows that it still is as it was stored."""
    if not as_stored(place, content):
        raise NoRun("has no SHA256SUMS")
    told = parsed(content, _Told)
    if told.run.id != place.name:
        raise NoRun(f"is the folder of run {one_line(told.run.id, 80)}")
    ages = told.run.earlier.ages.values() if told.run.earlier else ()
    for moment in (told.run.started, *(age.since for age in ages)):
        moment_of(moment)
    return told
