"""Snapshots in a folder, and a transport that answers from one: an audit of a host that is not reachable.

A host's folder holds ``snapshot.json`` and one ``NAME.txt`` for each capture's standard output, byte for byte.
``snapshot.json`` has the host's name, the captures without their output but with its SHA-256, and the faults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fwproof import errors
from fwproof.errors import CommandRefused, Fault, HostError, InputError
from fwproof.hosts.access import Command
from fwproof.hosts.transport import ByteChannel
from fwproof.inventory import Host
from fwproof.snapshot import Capture, Snapshot

SCHEMA = "fwproof-snapshot-1"
_INDEX = "snapshot.json"
_FAULTS = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, HostError)
}  # fmt: skip
_SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def save(snapshot: Snapshot, folder: Path) -> None:
    """Write a snapshot into ``folder``, which is made if need be; files of the same names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    captures = []
    for name, capture in sorted(snapshot.captures.items()):
        (folder / _file_name(name)).write_bytes(capture.stdout.encode("utf-8", "surrogateescape"))
        captures.append({
            "name": name, "argv": list(capture.argv), "status": capture.status, "stderr": capture.stderr,
            "at": capture.at, "seconds": round(capture.seconds, 4), "sha256": capture.sha256,
        })  # fmt: skip
    faults = {
        name: {"kind": type(fault).__name__, "message": fault.message, "advice": fault.advice}
        for name, fault in sorted(snapshot.faults.items())
    }
    index = {"schema": SCHEMA, "host": snapshot.host, "captures": captures, "faults": faults}
    (folder / _INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="ascii")


def load(folder: Path) -> Snapshot:
    """Read a snapshot that :func:`save` wrote; InputError when a file is missing, unreadable or was changed."""
    path = folder / _INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}; expected a folder that fwproof collect wrote") from error
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"is no JSON: {error}") from error
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        raise _wrong(path, f"is no snapshot: expected the schema {SCHEMA!r}")
    try:
        captures = [_capture(folder, entry) for entry in index["captures"]]
        return Snapshot(
            host=str(index["host"]),
            captures={capture.name: capture for capture in captures},
            faults={str(name): _fault(str(index["host"]), entry) for name, entry in index["faults"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _wrong(path, f"an entry is not as fwproof collect writes it: {error!r}") from error


def _capture(folder: Path, entry: Mapping[str, Any]) -> Capture:
    path = folder / _file_name(entry["name"])
    try:
        stdout = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error
    capture = Capture(
        name=entry["name"], argv=tuple(map(str, entry["argv"])), status=int(entry["status"]), stdout=stdout,
        stderr=str(entry["stderr"]), at=str(entry["at"]), seconds=float(entry["seconds"]),
    )  # fmt: skip
    if capture.sha256 != entry["sha256"]:
        raise _wrong(path, f"was changed: its SHA-256 is {capture.sha256}, the index says {entry['sha256']}")
    return capture


def _fault(host: str, entry: Mapping[str, Any]) -> HostError:
    return _FAULTS.get(str(entry["kind"]), HostError)(host, str(entry["message"]), str(entry["advice"]))


def _file_name(name: str) -> str:
    if not name or name.startswith(".") or not set(name) <= _SAFE:
        raise ValueError(f"{name!r} is no capture name")
    return f"{name}.txt"


def _wrong(path: Path, message: str) -> InputError:
    return InputError([Fault(str(path), 0, 0, message)])


class ReplayTransport:
    """A :class:`~fwproof.hosts.transport.Transport` that answers what a snapshot holds, and nothing else."""

    def __init__(self, host: Host, snapshot: Snapshot) -> None:
        self.host = host
        self._snapshot = snapshot
        self._by_argv = {capture.argv: capture for capture in snapshot.captures.values()}

    def run(self, argv: Sequence[str], *, timeout: float = 30.0, stdin: bytes | None = None, name: str = "") -> Capture:
        """Return the capture of exactly these words; CommandRefused when the snapshot has none."""
        del timeout, stdin, name
        if tuple(argv) not in self._by_argv:
            raise CommandRefused(self.host.name, f"the snapshot does not hold: {' '.join(argv)[:200]}")
        return self._by_argv[tuple(argv)]

    def run_many(self, commands: Sequence[Command], *, timeout: float = 60.0) -> Mapping[str, Capture | HostError]:
        """Return the captures of these names, or the faults that stood in the way when they were taken."""
        del timeout
        return {command.name: self._answer(command.name) for command in commands}

    def _answer(self, name: str) -> Capture | HostError:
        if name in self._snapshot.captures:
            return self._snapshot.captures[name]
        missing = CommandRefused(self.host.name, f"{name} was not collected")
        return self._snapshot.faults.get(name, missing)

    def open_channel(self, argv: Sequence[str]) -> ByteChannel:
        """Refuse: a folder runs nothing."""
        raise CommandRefused(self.host.name, f"a stored snapshot cannot run {argv[0]}", "audit the live host instead")

    def close(self) -> None:
        """Do nothing: there is no connection."""
