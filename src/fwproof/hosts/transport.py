"""The seam between fwproof and a host: run a command, or open a byte stream to one.

:class:`~fwproof.hosts.ssh.SshTransport` does it over SSH, :class:`~fwproof.hosts.replay.ReplayTransport` from a
stored folder. Callers know only this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from fwproof.errors import HostError
from fwproof.hosts.access import Command
from fwproof.inventory import Host
from fwproof.snapshot import Capture

OUTPUT_LIMIT = 64 * 1024 * 1024
"""Bytes of output that one command may print before it is called garbled: a rule table has a few MB at most."""


class ByteChannel(Protocol):
    """A byte stream to a running command of the host: its standard input and output.

    One thread may send while another reads; two readers are not allowed.
    """

    def send(self, data: bytes) -> None:
        """Write all of ``data`` to the command's standard input; HostUnreachable when it is gone."""

    def readline(self, timeout: float) -> bytes:
        r"""Return the next line with its ``\n``, or ``b""`` once the command has ended.

        What came after the last line end is returned as it is. Raises CommandTimeout when no whole line came in
        ``timeout`` seconds (what came so far is kept for the next call), CommandRefused when the command ended
        because sudo or the shell would not run it, Garbled when a line exceeds OUTPUT_LIMIT.
        """

    @property
    def stderr(self) -> str:
        """What the command wrote to its standard error so far, the newest MiB of it."""

    def close(self) -> None:
        """End the stream; the command reads end of input. Safe to call again."""


class Transport(Protocol):
    """The way to one host. Safe to use from several threads at once."""

    @property
    def host(self) -> Host:
        """The host that this is the way to."""

    def run(self, argv: Sequence[str], *, timeout: float = 30.0, stdin: bytes | None = None, name: str = "") -> Capture:
        """Run a command to its end and return what it printed, whatever its exit status.

        ``timeout`` is in seconds and bounds the whole run; ``name`` labels the capture (default: the program).
        Bytes that are no UTF-8 are kept with ``surrogateescape``. Raises HostUnreachable, HostKeyRefused,
        LoginRefused, CommandRefused (sudo would not), CommandTimeout, Garbled.
        """

    def run_many(self, commands: Sequence[Command], *, timeout: float = 60.0) -> Mapping[str, Capture | HostError]:
        """Run commands one after the other and return by name what each printed, or why it could not be run.

        All in one round trip, within ``timeout`` seconds together; one that hangs does not take the others with
        it. A program that is not installed is NotThere. Raises only what concerns the host as a whole:
        HostUnreachable, HostKeyRefused, LoginRefused.
        """

    def open_channel(self, argv: Sequence[str]) -> ByteChannel:
        """Start a command and return the stream to it; raises as :meth:`run`, save that it waits for nothing."""

    def close(self) -> None:
        """Close the connection and every stream on it. Safe to call again."""
