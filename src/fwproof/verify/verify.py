"""Everything that can be said of a stored run, from its own files alone: no host and no network is touched."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fwproof.codec import Misfit
from fwproof.errors import InputError
from fwproof.report.clean import one_line
from fwproof.report.document import read_results
from fwproof.report.manifest import MANIFEST, SUMS
from fwproof.report.sign import SIGNATURE, check
from fwproof.results import Results
from fwproof.verify.chain import previous_of
from fwproof.verify.files import Bundle, Problem
from fwproof.verify.recompute import Recomputed, recompute, reports


@dataclass
class Verified:
    """What was found of one run. ``status``: 0 all is as it was written, 1 it is not, 6 part of it cannot be told."""

    folder: str
    run: str = ""
    files: int = 0
    checks: int = 0
    signature: str = ""
    previous: str = ""
    masked: str = ""
    recomputed: Recomputed = field(default_factory=Recomputed)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.problems:
            return 1
        return 6 if self.recomputed.impossible else 0

    def as_json(self) -> dict[str, Any]:
        """Return what was found, for :func:`json.dumps`."""
        done = self.recomputed
        return {
            "folder": self.folder, "run": self.run, "files": self.files, "checks": self.checks, "status": self.status,
            "signature": self.signature, "previous": self.previous, "masked": self.masked, "notes": self.notes,
            "problems": [{"kind": p.kind, "where": p.where, "message": p.message} for p in self.problems],
            "recomputed": len(done.same), "as_recorded": done.as_recorded, "not_recomputed": done.impossible,
        }  # fmt: skip


def verify(folder: Path, signers: Path | None = None) -> Verified:
    """Verify a run's folder; with ``signers``, the allowed signers' file, an unsigned run is a problem.

    Raises UsageError where the folder is no run, and FwproofError where a signature cannot be checked at all.
    """
    bundle = Bundle.of(folder)
    found = Verified(folder=str(folder), files=len(bundle.sizes), problems=bundle.check())
    _signature(bundle, signers, found)
    try:
        results = read_results(bundle.folder)
    except InputError as error:
        found.problems += [Problem("schema", "results.json", one_line(each.message)) for each in error.faults]
        return found
    found.run, found.checks = results.run.id, len(results.checks)
    found.previous, chained = previous_of(bundle.folder, results.run)
    found.problems += chained
    _content(bundle, results, found)
    return found


def _signature(bundle: Bundle, signers: Path | None, found: Verified) -> None:
    if SIGNATURE not in bundle.sizes:
        found.signature = "not signed"
        if signers is not None:
            found.problems.append(Problem("signature", SIGNATURE, "there is none, and a signature was asked for"))
        return
    try:
        signed = check(bundle.read(SUMS), bundle.folder / SIGNATURE, signers)
    except Misfit as error:
        found.problems.append(Problem("signature", SIGNATURE, str(error)))
        return
    found.signature = signed.words
    if signed.good is False:
        found.problems.append(Problem("signature", SIGNATURE, signed.words))


def _content(bundle: Bundle, results: Results, found: Verified) -> None:
    """Work out the verdicts, and make the reports again."""
    mine = f"fwproof {version('fwproof')}"
    same_tool = results.run.tool == mine
    if not same_tool:
        told = one_line(results.run.tool, 60)
        found.notes.append(f"written by {told}, verified by {mine}: what differs may be the difference between them")
    try:
        if same_tool:
            found.problems += reports(bundle, results)
        masked = bundle.manifest().get("masked")
    except Misfit as error:
        found.problems.append(Problem("unreadable", MANIFEST, str(error)))
        masked = None
    found.recomputed = recompute(bundle, results)
    found.notes += found.recomputed.notes
    if isinstance(masked, dict):
        _masked(masked, found)
    found.problems += found.recomputed.problems
    for id_, why in found.recomputed.impossible.items():
        if not isinstance(masked, dict) and not found.recomputed.unusable:
            found.problems.append(Problem("verdict", one_line(id_), f"cannot be worked out again: {one_line(why)}"))


def _masked(masked: dict[str, Any], found: Verified) -> None:
    """Say of a copy with other addresses what it cannot show: what does not follow may be the masking's doing."""
    done = found.recomputed
    run, sums = one_line(str(masked.get("run")), 80), one_line(str(masked.get("sha256sums")), 64)
    found.masked = f"a copy of {run} with other addresses; SHA-256 of the original's SHA256SUMS: {sums}"
    for each in (problem for problem in done.problems if problem.kind == "verdict"):
        done.impossible.setdefault(each.where or "the run", f"not shown by a masked copy: {each.message}")
    beside = [problem.where for problem in done.problems if problem.kind in {"evidence", "results", "input"}]
    if beside and not done.unusable:
        found.notes.append(f"not the original's, so not compared: {', '.join(beside)}")
    done.problems = [
        p for p in done.problems if p.kind not in {"verdict", "evidence", "results", "input"} or done.unusable
    ]
