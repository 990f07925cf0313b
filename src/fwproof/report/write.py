"""The folder of a run: its reports and raw evidence, whole or not there at all.

::

    reports/<run id>/   results.json  results.schema.json  junit.xml  report.html  summary.md
                        findings.csv  allowed.csv, and what else was asked for (:data:`.formats.EXTRAS`)
                        evidence/<host>/<name>.txt  evidence/probes/<name>.pcap  evidence/facts.jsonl  …
                        policy/<file>  manifest.json  SHA256SUMS  SHA256SUMS.sig
    reports/latest      the newest run: a symbolic link, or a copy where the file system has none
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from fwproof.errors import FwproofError, UsageError
from fwproof.redact import cleaned, redacted
from fwproof.report.clean import one_line, safe_name, safe_path
from fwproof.report.document import SCHEMA_FILE, in_words
from fwproof.report.formats import FORMATS, REPORTS
from fwproof.report.manifest import MANIFEST, POLICY, SUMS, digest, manifest, sums
from fwproof.report.markdown import JOB_SUMMARY, SMALLEST, render_markdown
from fwproof.report.sign import SIGNATURE, sign
from fwproof.results import Results
from fwproof.run_record import Artefact, Previous

_EVIDENCE = "evidence"
_LATEST = "latest"
_KINDS = {".pcap": "packets as captured", ".json": "command output as JSON", ".log": "log lines"}


def with_evidence(results: Results, evidence: Mapping[str, bytes]) -> tuple[Results, dict[str, bytes]]:
    """Return the run with its evidence listed, and the evidence by the paths under which it is stored.

    ``evidence`` maps paths inside the run's folder (``evidence/<host>/<name>``) to contents. Parts that came from
    a host may hold anything: each becomes a safe file name under ``evidence/``, in the lists of the checks too.
    Raises UsageError where two pieces of evidence would meet in one file.
    """
    places = {name: safe_path(name, _EVIDENCE) for name in sorted(evidence)}
    stored = {places[name]: evidence[name] for name in places}
    # a file system may take a.txt and A.txt, or a file and a folder of one name, for the same
    if len({place.lower() for place in stored}) < len(places) or any(
        str(parent) in stored for place in stored for parent in PurePosixPath(place).parents
    ):
        raise UsageError("two pieces of evidence have one file name; give each its own name")
    told = {safe_path(artefact.path, _EVIDENCE): artefact.what for artefact in results.run.artefacts}
    artefacts = [
        Artefact(
            path=place,
            sha256=digest(content),
            size=len(content),
            what=told.get(place) or _KINDS.get(PurePosixPath(place).suffix, "command output"),
        )
        for place, content in sorted(stored.items())
    ]
    checks = tuple(
        replace(check, artefacts=[places.get(path, path) for path in check.artefacts]) for check in results.checks
    )
    return replace(results, run=replace(results.run, artefacts=artefacts), checks=checks), stored


def write_run(  # noqa: PLR0913 - inputs and key by name
    results: Results, evidence: Mapping[str, bytes], folder: Path, reports: Mapping[str, str] = REPORTS, *,
    inputs: Mapping[str, bytes] | None = None, key: Path | None = None,
) -> Path:  # fmt: skip
    """Write a run's folder under ``folder`` and point ``latest`` at it; return the run's folder.

    ``reports`` are the formats by file name (:func:`.formats.reports`). ``inputs`` are the policies, waivers and the
    inventory, by the names that the results have for them; ``key`` is what the run is signed with. The files appear all
    at once or not at all; secrets that can be told are in none of them. Raises UsageError when the run was already
    written (evidence is never overwritten), and FwproofError when the disk refuses, or when it could not be signed: it
    is there all the same then.
    """
    target = folder / safe_name(results.run.id)
    aside = folder / f".{target.name[:80]}.{secrets.token_hex(4)}.partial"
    unsigned: FwproofError | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if target.exists() or target.name == _LATEST:
                raise UsageError(f"{one_line(str(target))} is already there; evidence is never overwritten")
            aside.mkdir()
            run = replace(results.run, previous=_previous(folder / _LATEST))
            unsigned = _fill(aside, run_files(replace(results, run=run), evidence, inputs or {}, reports), key)
            aside.rename(target)
            _point_latest(folder, target)
    except OSError as error:
        raise FwproofError(f"cannot write the reports under {one_line(str(folder))}: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if unsigned is not None:
        raise FwproofError(f"the run is in {one_line(str(target))}, but it is not signed: {unsigned}")
    return target


def run_files(
    results: Results, evidence: Mapping[str, bytes], inputs: Mapping[str, bytes],
    reports: Mapping[str, str] = REPORTS, **more: Any
) -> dict[str, bytes]:  # fmt: skip
    """Return all files of a run by path, SHA256SUMS among them; ``more`` are further keys of the manifest."""
    results, stored = with_evidence(in_words(results, redacted), evidence)
    files = {name: cleaned(content) if _is_text(name) else content for name, content in stored.items()}
    files |= {safe_path(name, POLICY): cleaned(content) for name, content in inputs.items()}
    files |= {name: FORMATS[form](results) for name, form in reports.items()}
    files["results.schema.json"] = SCHEMA_FILE.read_bytes()
    files[MANIFEST] = manifest(results, files, **more)
    return {**files, SUMS: sums(files)}


def _is_text(name: str) -> bool:
    return PurePosixPath(name).suffix in {".txt", ".log"}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time add a run: two that name the same one before them would break the chain."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _previous(latest: Path) -> Previous | None:
    """Return the run that was written last, None where there is none."""
    try:
        return Previous(
            run=latest.resolve().name if latest.is_symlink() else _run_in(latest),
            sha256sums=digest((latest / SUMS).read_bytes()),
        )
    except FileNotFoundError:
        return None


def _run_in(folder: Path) -> str:
    """Return the id of a run that was copied, from its manifest."""
    with suppress(ValueError, KeyError, TypeError):
        return safe_name(str(json.loads((folder / MANIFEST).read_bytes())["run"]))
    raise FileNotFoundError


def _fill(folder: Path, files: Mapping[str, bytes], key: Path | None) -> FwproofError | None:
    """Write the files, and a signature where there is a key; return why that could not be made, if so."""
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    if key is None:
        return None
    try:
        (folder / SIGNATURE).write_bytes(sign(files[SUMS], key))
    except FwproofError as error:
        return error
    return None


def _point_latest(folder: Path, target: Path) -> None:
    latest = folder / _LATEST
    link = folder / f".{_LATEST}.{secrets.token_hex(4)}"
    try:
        if latest.is_dir() and not latest.is_symlink():
            if not (latest / SUMS).is_file():
                raise UsageError(
                    f"the run is in {one_line(str(target))}; {one_line(str(latest))} is not a run: move it away"
                )
            shutil.rmtree(latest)
        try:
            link.symlink_to(target.name, target_is_directory=True)
            link.replace(latest)
        except OSError:  # no symbolic links on this file system
            link.unlink(missing_ok=True)
            shutil.copytree(target, latest)
    except OSError as error:
        message = (
            f"the run is in {one_line(str(target))}, but {one_line(str(latest))} cannot be renewed: {error.strerror}"
        )
        raise FwproofError(message) from error


def append_job_summary(results: Results, path: Path) -> bool:
    """Append the Markdown summary to the file of a GitHub step, within what the step has left of its 1 MiB.

    Returns False, and writes nothing, where that is too little. Raises OSError when the file cannot be written.
    """
    taken = path.stat().st_size if path.exists() else 0
    if JOB_SUMMARY - taken < SMALLEST:
        return False
    with path.open("ab") as stream:
        stream.write(render_markdown(results, JOB_SUMMARY - taken).encode("utf-8"))
    return True
