"""The field of an audit whose hosts are the networks of a kernel twin: the same agents and probes, no SSH."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fwproof.audit.field import Field
from fwproof.audit.memory import Memory
from fwproof.errors import CommandTimeout, HostError
from fwproof.gating.stand_ins import stand_ins
from fwproof.hosts import session
from fwproof.hosts.access import Command
from fwproof.hosts.transport import ByteChannel
from fwproof.inventory import Access, Host, Inventory
from fwproof.lab.twin import Twin
from fwproof.policy.model import Policy
from fwproof.probing.local import ProcessChannel
from fwproof.probing.start import start_agent
from fwproof.snapshot import Capture

_PPS = 50_000
"""Packets a second that a host of the twin gets: nobody else uses it."""

_AT_ONCE = 8


def as_twins(inventory: Inventory, host: str, policy: Policy) -> Inventory:
    """Return the inventory as it is in a twin: all may be done on every host, and every zone has a vantage."""

    def made(each: Host) -> Host:
        ssh = replace(each.ssh, user="root")
        return replace(each, access=Access.ROOT, agent=None, ssh=ssh, max_pps=_PPS, drop_log=None)

    every = [*inventory.hosts.values(), *stand_ins(inventory, host, policy)]
    hosts = {each.name: made(each) for each in every if each.addresses}
    return replace(inventory, hosts=hosts, lab=None, auditor=None, authorisation=None)


class TwinTransport:
    """A :class:`~fwproof.hosts.transport.Transport` to one network of a twin."""

    connected = True
    ends = None

    def __init__(self, host: Host, twin: Twin) -> None:
        self.host, self._twin = host, twin

    def run(self, argv: Sequence[str], *, timeout: float = 30.0, stdin: bytes | None = None, name: str = "") -> Capture:
        """Run a command to its end; raises CommandTimeout."""
        words = argv[2:] if tuple(argv[:2]) == ("/usr/bin/sudo", "-n") else argv
        begun = time.monotonic()
        try:
            done = subprocess.run(
                self._twin.argv(self.host.name, words), input=stdin or b"", capture_output=True, timeout=timeout,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CommandTimeout(self.host.name, f"{words[0]} did not end within {timeout:g} s") from None
        return Capture(
            name=name or words[0], argv=tuple(words), status=done.returncode,
            stdout=done.stdout.decode("utf-8", "surrogateescape"),
            stderr=done.stderr.decode("utf-8", "surrogateescape"),
            at=datetime.now(UTC).isoformat(timespec="milliseconds"), seconds=time.monotonic() - begun,
        )  # fmt: skip

    def run_many(self, commands: Sequence[Command], *, timeout: float = 60.0) -> Mapping[str, Capture | HostError]:
        """Run commands in turn."""
        return session.run_many(self, commands, timeout)

    def open_channel(self, argv: Sequence[str]) -> ByteChannel:
        """Start a command and return the stream to it."""
        return ProcessChannel(self.host.name, self._twin.argv(self.host.name, argv))

    def close(self) -> None:
        """Do nothing: the twin ends with whoever made it."""


class TwinField(Field):
    """Agents in the networks of a twin; ``close`` ends them, and the twin is its maker's."""

    def __init__(self, inventory: Inventory, twin: Twin, scratch: Path) -> None:
        super().__init__(inventory)
        self._scratch = scratch
        self._twin = twin

    def enter(self, names: Sequence[str]) -> None:
        """Start an agent on each of the twin's hosts that are named, where it has such."""
        for name in names:
            self.transports[name] = TwinTransport(self.inventory.hosts[name], self._twin)  # type: ignore[assignment]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._start, names))

    def _start(self, name: str) -> None:
        self._keep(self.agents, name, lambda: start_agent(self.transports[name], self.gate))

    @property
    def memory(self) -> Memory:
        """What bursts left behind ends with the twin."""
        return Memory(self._scratch / "bursts.json")
