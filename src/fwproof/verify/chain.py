"""The chain of runs: each names the one written before it, with the hash of its SHA256SUMS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from fwproof.errors import InputError, UsageError
from fwproof.report.clean import one_line
from fwproof.report.document import read_results
from fwproof.report.manifest import SUMS, digest
from fwproof.run_record import Run
from fwproof.verify.files import Problem


def previous_of(folder: Path, run: Run) -> tuple[str, list[Problem]]:
    """Return in words which run came before one, and what is wrong with it where it lies beside."""
    if run.previous is None:
        return "the first run of its folder", []
    beside = folder.parent / run.previous.run
    name = one_line(run.previous.run, 80)
    if "/" in run.previous.run or not (beside / SUMS).is_file():
        return f"after {name}, which is not here", []
    if digest((beside / SUMS).read_bytes()) != run.previous.sha256sums:
        return f"after {name}", [
            Problem("chain", name, "is not the run that was written before this one: it was altered")
        ]
    return f"after {name}, which is as it was", []


def chain(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Return the runs in a folder of reports from the first to the last, and what is wrong with their chain.

    A run that was removed, altered or put between others is found by the runs after it. Of the last one nothing but a
    note of its hash elsewhere tells; UsageError where the folder has no run.
    """
    problems: list[Problem] = []
    runs = dict(_runs(folder, problems))
    if not runs and not problems:
        raise UsageError(f"{one_line(str(folder))} has no runs")
    named = Counter(run.previous.run for run in runs.values() if run.previous)
    problems += [problem for name in runs for problem in _linked(folder, runs, name)]
    problems += [
        Problem("chain", one_line(each, 80), f"{count} runs name it as the one before")
        for each, count in named.items()
        if count > 1
    ]
    firsts = sorted(name for name, run in runs.items() if run.previous is None)
    problems += [
        Problem("chain", one_line(name), "names no run before it, and is not the first") for name in firsts[1:]
    ]
    order = sorted(runs, key=lambda name: (runs[name].started, name))
    return [folder / name for name in order], problems


def _linked(folder: Path, runs: Mapping[str, Run], name: str) -> Iterator[Problem]:
    """Yield what is wrong with a run's own id, and with the run that it names as the one before."""
    run, before = runs[name], runs[name].previous
    if run.id != name:
        yield Problem("chain", one_line(name), f"is the folder of run {one_line(run.id, 80)}")
    if before is None:
        return
    if before.run not in runs:
        yield Problem("chain", one_line(before.run, 80), f"was removed: {one_line(name)} was written after it")
        return
    if digest((folder / before.run / SUMS).read_bytes()) != before.sha256sums:
        yield Problem("chain", one_line(before.run, 80), f"was altered after {one_line(name)} was written")
    if runs[before.run].started > run.started:
        yield Problem("chain", one_line(name), f"began before {one_line(before.run, 80)}, which it names as earlier")


def _runs(folder: Path, problems: list[Problem]) -> Iterator[tuple[str, Run]]:
    try:
        places = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{one_line(str(folder))} cannot be read: {error.strerror}") from error
    for place in places:
        if place.is_symlink() or place.name == "latest" or not (place / SUMS).is_file():
            continue
        try:
            yield place.name, read_results(place).run
        except InputError as error:
            problems.append(Problem("chain", one_line(place.name), one_line(str(error))))
