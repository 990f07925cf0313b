"""One SSH connection per host for the whole run, shared by every thread; commands and streams are its channels."""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Self

from fwproof.errors import CommandTimeout, HostError, HostUnreachable, JumpLost
from fwproof.hosts.access import Command
from fwproof.hosts.carried import Carried, lost
from fwproof.hosts.refusal import raise_if_refused
from fwproof.hosts.session import run_many
from fwproof.hosts.stream import SshChannel
from fwproof.inventory import Host, SshAddress
from fwproof.snapshot import Capture

if TYPE_CHECKING:
    import paramiko

_AGAIN = 0.05
"""Seconds until a session that was refused is asked for once more."""
_SESSIONS = 6
"""Commands run at once; with an agent and a collection open, below sshd's MaxSessions of 10 (sshd_config(5))."""
_PROHIBITED = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, RFC 4254, 5.1
_START = 10.0
"""Seconds that the host may take to open a channel and start a command in it."""


class SshTransport:
    """A :class:`~fwproof.hosts.transport.Transport` over SSH.

    It logs in at the first use. A log-in that failed is not tried again: every later use raises the same error
    at once, so that a dead host costs its time limit once. A connection that is lost stays lost.
    """

    def __init__(self, host: Host, ways: Ways | None = None) -> None:
        self.host = host
        self._own = Ways() if ways is None and host.ssh.jumps else None
        self._ways = ways or self._own
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
                self._connection = login.log_in(self.host, way=partial(self._way, self.host))
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
        if isinstance(sock, Carried):
            return sock.ends if self.connected else None
        try:
            return (sock.getsockname()[0], sock.getpeername()[0]) if isinstance(sock, socket.socket) else None
        except OSError:
            return None

    def _way(self, host: Host) -> paramiko.Channel | Carried | None:
        """Return a stream to the host, as ``host`` describes it; None where it is connected to from here."""
        return self._ways.through(host) if self._ways is not None else None

    def visit(self, timeout: float, patience: float) -> None:
        """Log in once more, by the same way, and out again; raises as :meth:`connect`.

        Connecting may take ``timeout`` seconds, the handshake and each key ``patience`` seconds.
        """
        from fwproof.hosts import login

        host = replace(self.host, ssh=replace(self.host.ssh, timeout=timeout))
        login.end(login.log_in(host, patience, way=partial(self._way, host)))

    def forward(self, address: str, port: int, timeout: float) -> paramiko.Channel:
        """Return a stream from this host to a TCP port that it can reach (RFC 4254, 7.2); raises HostError.

        The address, or the name, is as this host knows it. It is no session: sshd's MaxSessions does not count it.
        """
        import paramiko

        self.connect()
        connection = self._connection
        if connection is None:
            raise HostUnreachable(self.host.name, "the connection was closed")
        place = f"{address} port {port}"
        try:
            return connection.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout)
        except paramiko.ChannelException as error:
            if error.code == _PROHIBITED:
                advice = "allow it in its sshd_config: AllowTcpForwarding local, PermitOpen"
                raise HostUnreachable(self.host.name, f"it does not forward to {place}", advice) from error
            raise HostUnreachable(self.host.name, f"it has no connection to {place}: {error.text}") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            why = f"within {timeout:g} s" if connection.is_active() else "any more: it was lost itself"
            raise HostUnreachable(self.host.name, f"it gave no connection to {place} {why}") from error

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
            raise lost(self.host.name, connection)
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
                raise lost(self.host.name, connection) from error
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
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


Dial = Callable[[Host], Carried]
"""Opens a stream to a host's SSH server; raises HostUnreachable."""


class Ways:
    """The ways to all hosts of a run: one connection each, jump hosts' included, whoever asks for it.

    ``hosts`` are those of the inventory: one that is a jump host as well has one connection for both. ``dial`` opens
    the streams to hosts that have no jump host before them, where somebody else than this process does that.
    """

    def __init__(self, hosts: Mapping[str, Host] | None = None, dial: Dial | None = None) -> None:
        self._hosts, self._dial = hosts or {}, dial
        self._lock = threading.Lock()
        self._open: dict[tuple[str, SshAddress], SshTransport] = {}
        self._closed = False

    def to(self, host: Host) -> SshTransport:
        """Return the transport of a host; it is not connected until it is used."""
        with self._lock:
            if self._closed:
                raise HostUnreachable(host.name, "the connections were closed")
            key = (host.name, host.ssh)
            if key not in self._open:
                self._open[key] = SshTransport(host, self)
            return self._open[key]

    def through(self, host: Host) -> paramiko.Channel | Carried | None:
        """Return a stream to a host's SSH server through its jump hosts, each logged in to with its key checked.

        None where there is no jump host, and nobody else who connects. Raises HostUnreachable, which names the jump
        host that stands in the way.
        """
        if not host.ssh.jumps:
            return self._dial(host) if self._dial is not None else None
        *before, last = host.ssh.jumps
        ssh = replace(last.ssh, jumps=tuple(before))
        known = self._hosts.get(last.name)
        jump = known if known is not None and known.ssh == ssh else Host(name=last.name, addresses=(), ssh=ssh)
        try:
            return self.to(jump).forward(host.ssh.address, host.ssh.port, host.ssh.timeout)
        except JumpLost as lost:
            raise JumpLost(host.name, lost.message, lost.advice) from lost
        except HostError as error:
            message = f"no way there through the jump host {jump.name}: {error.message}"
            raise JumpLost(host.name, message, error.advice) from error

    def forget(self, names: Collection[str]) -> None:
        """Close the connections to hosts, and those that go through them: whoever asks for them again gets new ones."""
        with self._lock:
            gone = [key for key, each in self._open.items() if goes_by(each.host, names)]
            transports = [self._open.pop(key) for key in gone]
        for transport in transports:
            with suppress(HostError, OSError, EOFError):  # one that broke is closed as well
                transport.close()

    def close(self) -> None:
        """Close every connection, those that go through others first; safe to call again."""
        with self._lock:
            self._closed = True
            open_ = sorted(self._open.values(), key=lambda each: len(each.host.ssh.jumps), reverse=True)
            self._open.clear()
        for transport in open_:
            with suppress(HostError, OSError, EOFError):  # one that broke is closed as well
                transport.close()


def goes_by(host: Host, names: Collection[str]) -> bool:
    """Whether a host is one of those named, or is reached through one of them."""
    return host.name in names or any(jump.name in names for jump in host.ssh.jumps)


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
