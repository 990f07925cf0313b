"""manifest.json: every file of a run with its size, hash, kind, and what it is evidence of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from fwproof.redact import marks
from fwproof.results import Results

MANIFEST, SUMS, SCHEMA = "manifest.json", "SHA256SUMS", "fwproof-manifest-1"
POLICY = "policy"
"""The folder of what a run was given: its policies and inventory, by the names that the results have for them."""
_TYPES = {
    ".json": "application/json", ".jsonl": "application/jsonl", ".xml": "application/xml", ".html": "text/html",
    ".md": "text/markdown", ".csv": "text/csv", ".pcap": "application/vnd.tcpdump.pcap", ".txt": "text/plain",
    ".yaml": "application/yaml", ".yml": "application/yaml", ".sarif": "application/sarif+json",
}  # fmt: skip
_WORDS = {
    "results.json": "what was checked and found, from which every report is made",
    "results.schema.json": "the JSON Schema of results.json",
    "evidence/facts.jsonl": "all that was observed and measured, from which every verdict is worked out",
    "evidence/snapshots.json": "which command printed what, when, and with which status",
    "evidence/probes/exercises.jsonl": "what became of each probe of bans, measurements, drop logs and neighbours",
}


def digest(content: bytes) -> str:
    """Return the SHA-256 of a content, in hex."""
    return hashlib.sha256(content).hexdigest()


def manifest(results: Results, files: Mapping[str, bytes], **more: Any) -> bytes:
    """Return manifest.json for the files of a run by path; ``more`` are further keys of it."""
    artefacts = {each.path: each.what for each in results.run.artefacts}
    checks: dict[str, list[str]] = {}
    for check in results.checks:
        for path in check.artefacts:
            checks.setdefault(path, []).append(check.id)
    entries = [
        {
            "path": path, "bytes": len(content), "sha256": digest(content), "media_type": _type(path),
            "what": _WORDS.get(path) or artefacts.get(path) or _what(path), "checks": checks.get(path, []),
            "redacted": marks(content),
        }
        for path, content in sorted(files.items())
    ]  # fmt: skip
    document = {"schema": SCHEMA, "run": results.run.id, "files": entries, **more}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("ascii")


def sums(files: Mapping[str, bytes]) -> bytes:
    """Return SHA256SUMS in the form that ``sha256sum -c`` reads; safe names need no escaping there."""
    return "".join(f"{digest(files[name])}  {name}\n" for name in sorted(files)).encode("ascii")


def _type(path: str) -> str:
    return _TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")


def _what(path: str) -> str:
    return "an input of the run, as it was read" if path.startswith(f"{POLICY}/") else "a report"
