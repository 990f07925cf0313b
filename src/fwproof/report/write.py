"""The folder of a run: its reports and raw evidence, whole or not there at all.

::

    reports/<run id>/   results.json  results.schema.json  junit.xml  report.html  summary.md  SHA256SUMS
                        findings.csv  allowed.csv, and what else was asked for (:data:`.formats.EXTRAS`)
                        evidence/<host>/<name>.txt  evidence/probes/<name>.pcap
    reports/latest      the newest run: a symbolic link, or a copy where the file system has none
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fwproof.errors import FwproofError, UsageError
from fwproof.report.clean import one_line, safe_name, safe_path
from fwproof.report.document import SCHEMA_FILE
from fwproof.report.formats import FORMATS, REPORTS
from fwproof.report.markdown import JOB_SUMMARY, SMALLEST, render_markdown
from fwproof.results import Artefact, Results

_EVIDENCE = "evidence"
_LATEST = "latest"
_SUMS = "SHA256SUMS"
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
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            what=told.get(place) or _KINDS.get(PurePosixPath(place).suffix, "command output"),
        )
        for place, content in sorted(stored.items())
    ]
    checks = tuple(
        replace(check, artefacts=[places.get(path, path) for path in check.artefacts]) for check in results.checks
    )
    return replace(results, run=replace(results.run, artefacts=artefacts), checks=checks), stored


def write_run(
    results: Results, evidence: Mapping[str, bytes], folder: Path, reports: Mapping[str, str] = REPORTS
) -> Path:
    """Write a run's folder under ``folder`` and point ``latest`` at it; return the run's folder.

    ``reports`` are the formats by file name (:func:`.formats.reports`). The files appear all at once or not at all.
    Raises UsageError when the run was already written (evidence is never overwritten), and FwproofError when the disk
    refuses.
    """
    results, stored = with_evidence(results, evidence)
    target = folder / safe_name(results.run.id)
    aside = folder / f".{target.name[:80]}.{secrets.token_hex(4)}.partial"
    try:
        if target.exists() or target.name == _LATEST:
            raise UsageError(f"{one_line(str(target))} is already there; evidence is never overwritten")
        aside.mkdir(parents=True)
        _fill(aside, results, stored, reports)
        aside.rename(target)
    except OSError as error:
        raise FwproofError(f"cannot write the reports under {one_line(str(folder))}: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _point_latest(folder, target)
    return target


def _fill(folder: Path, results: Results, stored: Mapping[str, bytes], reports: Mapping[str, str]) -> None:
    files = dict(stored)
    files |= {name: FORMATS[form](results) for name, form in reports.items()}
    files["results.schema.json"] = SCHEMA_FILE.read_bytes()
    # the form that `sha256sum -c` reads (coreutils); safe names need no escaping there
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    files[_SUMS] = sums.encode()
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _point_latest(folder: Path, target: Path) -> None:
    latest = folder / _LATEST
    link = folder / f".{_LATEST}.{secrets.token_hex(4)}"
    try:
        if latest.is_dir() and not latest.is_symlink():
            if not (latest / _SUMS).is_file():
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
