"""Reads a folder of runs, one run at a time, with as much of each as the index needs.

Every folder is told of: as a run, or as one that cannot be read. Only ``latest``, which stands for another one, and
what is hidden are passed over. Whole runs are checked by ``fwproof verify``; here it is whether results.json is the one
that SHA256SUMS names, and whether the run before is there as it was.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from fwproof.errors import UsageError
from fwproof.report.clean import one_line
from fwproof.report.view import overall
from fwproof.results import Verdict
from fwproof.trends.history import History, Index, IndexRun, Unreadable

_LATEST, _RESULTS, _SUMS, _SIGNATURE, _PAGE = "latest", "results.json", "SHA256SUMS", "SHA256SUMS.sig", "report.html"
_LARGEST = 512_000_000
"""Bytes of a results.json that are read; 300 hosts take some 40 MB."""
_LARGEST_SUMS = 16_000_000


class _Host(BaseModel):
    name: str


class _Before(BaseModel):
    run: str
    sha256sums: str


class _Run(BaseModel):
    id: str
    started: str
    ended: str
    planned: int
    deselected: int
    tool: str
    hosts: list[_Host]
    policies: dict[str, str]
    inventory_sha256: str
    previous: _Before | None = None


class _Check(BaseModel):
    id: str
    policy: str
    host: str
    severity: str
    title: str
    cause: str
    verdict: Verdict
    expected: str
    service: str | None
    vantage: str | None


class _Head(BaseModel):
    schema_: Literal["https://fwproof.invalid/schema/results-1"] = Field(alias="schema")
    run: _Run
    counts: dict[str, int]


class _Checks(BaseModel):
    checks: list[_Check]


_Model = TypeVar("_Model", bound=BaseModel)


class NoRun(Exception):
    """Why a folder is no run that can be read."""


def read_index(folder: Path) -> Index:
    """Return the index of a folder of runs; raises UsageError where the folder itself cannot be read."""
    try:
        places = sorted(place for place in folder.iterdir() if place.is_dir() or place.is_symlink())
    except OSError as error:
        raise UsageError(f"{one_line(str(folder))} cannot be read: {error.strerror}") from error
    found: list[tuple[datetime, Path, _Head]] = []
    unreadable: list[Unreadable] = []
    for place in places:
        if place.name == _LATEST or place.name.startswith("."):
            continue
        try:
            head = _head(place)
            found.append((moment_of(head.run.started), place, head))
        except NoRun as why:
            unreadable.append(Unreadable(folder=place.name, why=str(why)))
    found.sort(key=lambda each: (each[0], each[1].name))
    history, runs, last = History(), [], None
    for began, place, head in found:
        try:
            runs.append(_added(history, place, began, head, last))
            last = head.run
        except NoRun as why:
            unreadable.append(Unreadable(folder=place.name, why=str(why)))
    return history.index(runs, unreadable)


def content_of(place: Path) -> bytes:
    """Return a run's results.json; raises NoRun."""
    file = place / _RESULTS
    if place.is_symlink():
        raise NoRun("is a symbolic link, which is not followed")
    try:
        if not file.is_file():
            raise NoRun(f"has no {_RESULTS}")
        if file.stat().st_size > _LARGEST:
            raise NoRun(f"{_RESULTS} has more than {_LARGEST:,} bytes")
        return file.read_bytes()
    except OSError as error:
        raise NoRun(f"{_RESULTS} cannot be read: {error.strerror}") from error


def _head(place: Path) -> _Head:
    return parsed(content_of(place), _Head)


def parsed(content: bytes, model: type[_Model]) -> _Model:
    """Return as much of a results.json as a model has; raises NoRun with the first fault."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise NoRun(one_line(f"{_RESULTS}: {where + ': ' if where else ''}{first['msg']}", 300)) from error


def moment_of(text: str) -> datetime:
    """Return when a run began; raises NoRun."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the latter where UTC has no such year
        raise NoRun(one_line(f"{_RESULTS}: run.started is no time: {text}", 200)) from None


def _added(history: History, place: Path, began: datetime, head: _Head, last: _Run | None) -> IndexRun:
    """Read a run's checks and give them to the history."""
    content = content_of(place)
    checks = parsed(content, _Checks).checks
    counts = {verdict.value.replace("-", "_"): 0 for verdict in Verdict}
    for check in checks:
        counts[check.verdict.value.replace("-", "_")] += 1
    counts = {"planned": head.run.planned, "run": len(checks)} | counts
    if counts != head.counts:
        raise NoRun(f"{_RESULTS}: the counts are not those of the checks: the file was changed or cut")
    verdict = overall(check.verdict for check in checks)
    if verdict in {Verdict.PASS, Verdict.WAIVED, Verdict.NOT_APPLICABLE} and head.run.planned > len(checks):
        verdict = Verdict.INCONCLUSIVE
    stored, wrong = _stored(place, head, content)
    found = IndexRun(
        folder=place.name, id=head.run.id, started=began.strftime("%Y-%m-%dT%H:%M:%SZ"), ended=head.run.ended,
        verdict=verdict, counts=counts, deselected=head.run.deselected, hosts=len(head.run.hosts),
        report=_PAGE if (place / _PAGE).is_file() else "", changes=None, differs=_differs(last, head.run),
        stored=stored, wrong=wrong,
    )  # fmt: skip
    return replace(found, changes=history.add(place.name, began, checks))


def _differs(last: _Run | None, run: _Run) -> list[str]:
    if last is None:
        return []
    pairs = (
        ("other policies", last.policies, run.policies),
        ("another inventory", last.inventory_sha256, run.inventory_sha256),
        ("other hosts", {host.name for host in last.hosts}, {host.name for host in run.hosts}),
        ("another version", last.tool, run.tool),
    )  # fmt: skip
    said = [words for words, was, now in pairs if was != now]
    return said + ([f"{run.deselected:,} checks deselected"] if run.deselected else [])


def _stored(place: Path, head: _Head, content: bytes) -> tuple[str, list[str]]:
    """Return how a run's files stand, in words, and what is wrong with them."""
    said, wrong = [], []
    try:
        said.append("as stored" if as_stored(place, content) else f"no {_SUMS}")
    except NoRun as why:
        wrong.append(str(why))
    if (place / _SIGNATURE).is_file():
        said.append("signed")
    if head.run.id != place.name:
        wrong.append(f"is the folder of run {one_line(head.run.id, 80)}")
    if (before := head.run.previous) is not None:
        name = one_line(before.run, 80)
        there = None if "/" in before.run or before.run.startswith(".") else _sums(place.parent / before.run)
        if there is None:
            wrong.append(f"the run before, {name}, is not here")
        elif hashlib.sha256(there).hexdigest() != before.sha256sums:
            wrong.append(f"the run before, {name}, was altered")
        else:
            said.append("chained")
    return ", ".join(said), wrong


def as_stored(place: Path, content: bytes) -> bool:
    """Return whether SHA256SUMS is there to vouch for a results.json; raises NoRun where it has another one."""
    sums = _sums(place)
    if sums is not None and f"{hashlib.sha256(content).hexdigest()}  {_RESULTS}".encode() not in sums.split(b"\n"):
        raise NoRun(f"{_RESULTS} is not the one of {_SUMS}")
    return sums is not None


def _sums(place: Path) -> bytes | None:
    file = place / _SUMS
    try:
        return file.read_bytes() if file.is_file() and file.stat().st_size <= _LARGEST_SUMS else None
    except OSError:
        return None
