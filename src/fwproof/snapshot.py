"""Snapshot: everything that was read from one host at one moment, as raw text with its hash.

A command that could not be run is kept as a fault, so that "could not look" never becomes "nothing there".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from fwproof.errors import CommandRefused, HostError


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """The output of one command: exit status, both streams, UTC time it ended and seconds it took."""

    name: str
    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    at: str
    seconds: float

    @property
    def sha256(self) -> str:
        """The SHA-256 of the standard output, in hex, as it is stored in the evidence."""
        return hashlib.sha256(self.stdout.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All captures of one host by name (``iptables-save``, ``ip-addr`` …), and the faults of the others."""

    host: str
    captures: Mapping[str, Capture]
    faults: Mapping[str, HostError]

    def text(self, name: str) -> str:
        """Return a command's output; raise the HostError that stood in the way when there is none."""
        if name in self.faults:
            raise self.faults[name]
        if name not in self.captures:
            raise CommandRefused(self.host, f"{name} was not collected")
        return self.captures[name].stdout
