"""Reading one SSH channel: both streams drained together, so that neither can fill up and stop the command."""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from fwproof.errors import CommandTimeout, Garbled
from fwproof.hosts.carried import lost
from fwproof.hosts.refusal import raise_if_refused
from fwproof.hosts.transport import OUTPUT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import paramiko

_PIECE = 256 * 1024
_STDERR_KEPT = 1024 * 1024


class SshChannel:
    """A :class:`~fwproof.hosts.transport.ByteChannel` over one channel of an SSH connection."""

    def __init__(self, host: str, channel: paramiko.Channel, argv: Sequence[str]) -> None:
        self._host, self._channel, self._argv = host, channel, tuple(argv)
        self.stdout, self._stderr = bytearray(), bytearray()
        self._searched = 0
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    @property
    def stderr(self) -> str:
        """What the command wrote to its standard error so far, the newest MiB of it."""
        return self._stderr.decode("utf-8", "surrogateescape")

    @property
    def status(self) -> int:
        """The exit status, -1 when a signal ended the command; only once :meth:`fill` returned False."""
        return self._channel.exit_status

    def send(self, data: bytes) -> None:
        """Write to the command's standard input, without waiting for more than it takes to hand it over."""
        try:
            self._channel.sendall(data)
        except (OSError, EOFError) as error:
            raise_if_refused(self._host, self._argv, self.stderr)
            said = "the command ended before it had read its input"
            raise lost(self._host, self._channel.get_transport(), said, "") from error

    def end_input(self) -> None:
        """Tell the command that nothing more will be sent."""
        self._channel.shutdown_write()

    def readline(self, timeout: float) -> bytes:
        """Return the next line; see :class:`~fwproof.hosts.transport.ByteChannel`."""
        deadline = time.monotonic() + timeout
        while (end := self.stdout.find(b"\n", self._searched)) < 0:
            self._searched = len(self.stdout)
            if not self.fill(deadline):
                end = len(self.stdout) - 1
                break
        line = bytes(self.stdout[: end + 1])
        del self.stdout[: end + 1]
        self._searched = 0
        if not line and self.status != 0:
            raise_if_refused(self._host, self._argv, self.stderr)
        return line

    def fill(self, deadline: float) -> bool:
        """Wait for output of either stream and take it in; False once both have ended.

        Raises CommandTimeout after ``deadline`` (of the monotonic clock), Garbled when there is too much output,
        HostUnreachable when the connection was lost.
        """
        while True:
            # looked at before the buffers: what arrives in between is then seen by the next round, not lost
            ended = self._channel.exit_status_ready() and (self._channel.eof_received or self._channel.closed)
            took = self._take()
            if len(self.stdout) > OUTPUT_LIMIT:
                self.close()
                raise Garbled(self._host, f"{self._words} printed more than {OUTPUT_LIMIT >> 20} MiB")
            if took:
                return True
            if ended:
                self._must_be_alive()
                return False
            self._must_be_alive()
            left = deadline - time.monotonic()
            if left <= 0:
                raise CommandTimeout(self._host, f"{self._words} did not answer in time")
            if self._channel.eof_received:
                time.sleep(0.01)  # the poll stays awake after the end of output, and the exit status is still to come
            else:
                # at most a second at a time: the end of a connection does not always wake the poll
                self._poll.poll(min(left, 1.0) * 1000)

    def _take(self) -> bool:
        took = False
        if self._channel.recv_stderr_ready():
            self._stderr += self._channel.recv_stderr(_PIECE)
            del self._stderr[:-_STDERR_KEPT]
            took = True
        if self._channel.recv_ready():
            self.stdout += self._channel.recv(_PIECE)
            took = True
        return took

    def _must_be_alive(self) -> None:
        connection = self._channel.get_transport()
        if self._channel.exit_status == -1 and not connection.is_active():
            raise lost(self._host, connection, "the connection was lost while a command ran", "see that the host is up")

    @property
    def _words(self) -> str:
        return " ".join(self._argv)[:200]

    def close(self) -> None:
        """End the stream; the command reads end of input."""
        with suppress(EOFError, OSError):  # where the connection is lost, there is nobody to tell
            self._channel.close()
