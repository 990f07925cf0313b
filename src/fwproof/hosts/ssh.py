"""One SSH connection per host for the whole run, shared by every thread; commands and streams are its channels."""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from fwproof.errors import CommandTimeout, HostError, HostUnreachable
from fwproof.hosts.access import Command
from fwproof.hosts.refusal import raise_if_refused
from fwproof.hosts.session import run_many
from fwproof.hosts.stream import SshChannel
from fwproof.inventory import Host
from fwproof.snapshot import Capture

if TYPE_CHECKING:
    import paramiko

_AGAIN = 0.05
"""Seconds until a session that was refused is asked for once more."""
_SESSIONS = 6
"""Commands run at once; with an agent and a collection open, below sshd's MaxSessions of 10 (sshd_config(5))."""
_START = 10.0
"""Seconds that the host may take to open a channel and start a command in it."""


class SshTransport:
    """A :class:`~fwproof.hosts.transport.Transport` over SSH.

    It logs in at the first use. A log-in that failed is not tried again: every later use raises the same error
    at once, so that a dead host costs its time limit once. A connection that is lost stays lost.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_SESSIONS)
        self._connection: paramiko.Transport | None = None
        self._failure: HostError | None = None

    def connect(self) -> None:
        """Log in now; raises HostUnreachable, HostKeyRefused or LoginRefused."""
        from fwproof.hosts import login

        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._connection is not None:
                return
            try:
                self._connection = login.log_in(self.host)
            except HostError as error:
                self._failure = error
                raise

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as is known here."""
        connection = self._connection
        return connection is not None and connection.is_active()

    @property
    def ends(self) -> tuple[str, str] | None:
        """The addresses of the connection, ours and the host's; None where it does not stand."""
        sock = self._connection.sock if self._connection is not None else None
        try:
            return (sock.getsockname()[0], sock.getpeername()[0]) if isinstance(sock, socket.socket) else None
        except OSError:
            return None

    def run(self, argv: Sequence[str], *, timeout: float = 30.0, stdin: bytes | None = None, name: str = "") -> Capture:
        """Run a command to its end; see :class:`~fwproof.hosts.transport.Transport`."""
        begun = time.monotonic()
        deadline = begun + timeout
        if not self._slots.acquire(timeout=timeout):
            raise CommandTimeout(self.host.name, f"no free channel for {argv[0]} within {timeout:g} s")
        try:
            channel = self._start(argv, timeout)
            try:
                if stdin is not None:
                    channel.send(stdin)
                channel.end_input()
                while channel.fill(deadline):
                    pass
            finally:
                channel.close()
        finally:
            self._slots.release()
        if channel.status != 0:
            raise_if_refused(self.host.name, argv, channel.stderr)
        return Capture(
            name=name or argv[0].rsplit("/", 1)[-1], argv=tuple(argv), status=channel.status,
            stdout=channel.stdout.decode("utf-8", "surrogateescape"), stderr=channel.stderr,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"), seconds=time.monotonic() - begun,
        )  # fmt: skip

    def run_many(self, commands: Sequence[Command], *, timeout: float = 60.0) -> Mapping[str, Capture | HostError]:
        """Run commands one after the other on one channel; see :class:`~fwproof.hosts.transport.Transport`."""
        return run_many(self, commands, timeout)

    def open_channel(self, argv: Sequence[str]) -> SshChannel:
        """Start a command and return the stream to it; see :class:`~fwproof.hosts.transport.Transport`."""
        return self._start(argv, _START)

    def _start(self, argv: Sequence[str], timeout: float) -> SshChannel:
        import paramiko

        self.connect()
        connection = self._connection
        if connection is None or not connection.is_active():
            raise HostUnreachable(self.host.name, "the connection was lost", "see that the host is up, then run again")
        limit = min(timeout, _START)
        words = shlex.join(["/usr/bin/env", "LC_ALL=C", *argv])
        try:
            channel = _session(connection, limit)
            channel.settimeout(limit)
            # exec_command waits without a limit for the host's answer; closing the channel ends that wait
            alarm = threading.Timer(limit, channel.close)
            alarm.daemon = True
            alarm.start()
            try:
                channel.exec_command(words)
            finally:
                alarm.cancel()
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not connection.is_active():
                raise HostUnreachable(self.host.name, "the connection was lost", "see that the host is up") from error
            raise CommandTimeout(
                self.host.name, f"the host did not start {argv[0]} within {limit:g} s: {error}"
            ) from error
        return SshChannel(self.host.name, channel, argv)

    def close(self) -> None:
        """Close the connection and every stream on it. Safe to call again."""
        from fwproof.hosts import login

        with self._lock:
            self._failure = self._failure or HostUnreachable(self.host.name, "the connection was closed")
            connection, self._connection = self._connection, None
        if connection is not None:
            login.end(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _session(connection: paramiko.Transport, limit: float) -> paramiko.Channel:
    """Open a session; a busy sshd may still count one that has ended (MaxSessions), so a refusal is tried again."""
    import paramiko

    deadline = time.monotonic() + limit
    while True:
        try:
            return connection.open_session(timeout=limit)
        except paramiko.ChannelException:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN)
