"""Many commands in one round trip: a shell on the host runs them in turn and says where each output begins and ends.

The boundary is a random token that only the shell and the auditor know, so nothing that a command prints can
pass for the output of another.
"""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fwproof.digits import digits
from fwproof.errors import CommandRefused, CommandTimeout, Garbled, HostError, HostUnreachable, NotThere
from fwproof.hosts.access import SUDO, Command
from fwproof.hosts.transport import OUTPUT_LIMIT, ByteChannel, Transport
from fwproof.snapshot import Capture

_EACH = 20.0
"""Seconds that one command may take: reading 100 000 rules takes two."""

_PROLOGUE = """\
fw_run() {
  n=$1 p=$2; shift 2
  printf '%s begin %s\\n' "$t" "$n"; printf '%s begin %s\\n' "$t" "$n" >&2
  if [ ! -e "$p" ]; then s=absent; elif [ ! -e "$1" ]; then s=nosudo; else "$@" </dev/null; s=$?; fi
  printf '\\n%s end %s %s\\n' "$t" "$n" "$s"; printf '\\n%s end %s\\n' "$t" "$n" >&2
}
"""


@dataclass(slots=True)
class _Reader:
    """Reads the outputs of one shell, in order."""

    host: str
    user: str
    token: bytes
    channel: ByteChannel

    def script(self, commands: Sequence[Command]) -> bytes:
        """Return what the shell is to do; every word is quoted."""
        lines = [f"t={self.token.decode()}", _PROLOGUE]
        for n, command in enumerate(commands):
            lines.append(f"fw_run {n} {shlex.join((command.program, *command.argv(self.user)))}")
        return "\n".join([*lines, "exit 0\n"]).encode("utf-8", "surrogateescape")

    def read(self, n: int, command: Command, deadline: float) -> Capture:
        """Return the n-th command's output; raises CommandTimeout, Garbled, NotThere or CommandRefused."""
        self._skip_to(b"begin %d" % n, deadline, command)
        begun = time.monotonic()
        output = bytearray()
        end = self.token + b" end %d " % n
        while not (line := self._line(min(deadline, begun + _EACH), command)).startswith(end):
            output += line
            if len(output) > OUTPUT_LIMIT:
                raise Garbled(self.host, f"{command.name} printed more than {OUTPUT_LIMIT >> 20} MiB")
        status = line[len(end) :].strip().decode("ascii", "replace")
        if status == "absent":
            raise NotThere(self.host, f"{command.program}: not installed")
        if status == "nosudo":
            raise CommandRefused(self.host, f"{SUDO[0]} is not installed, and {command.name} needs it")
        number = digits(status)
        if number is None:
            raise Garbled(self.host, f"the shell says {status[:40]!r} in place of the exit status of {command.name}")
        return Capture(
            name=command.name, argv=command.argv(self.user), status=number,
            stdout=bytes(output).removesuffix(b"\n").decode("utf-8", "surrogateescape"), stderr="",
            at=datetime.now(UTC).isoformat(timespec="milliseconds"), seconds=time.monotonic() - begun,
        )  # fmt: skip

    def _skip_to(self, mark: bytes, deadline: float, command: Command) -> None:
        """Pass over what a login shell prints before the first command."""
        wanted = self.token + b" " + mark + b"\n"
        noise = 0
        while not (line := self._line(deadline, command)).endswith(wanted):
            noise += len(line)
            if noise > 1 << 20:
                raise Garbled(self.host, "the login shell prints without end", "see what its start-up files do")

    def _line(self, deadline: float, command: Command) -> bytes:
        line = self.channel.readline(max(0.0, deadline - time.monotonic()))
        if not line:
            said = self.channel.stderr.strip().splitlines()
            why = f": {said[-1][:200]}" if said else ""
            raise Garbled(
                self.host, f"the shell ended before {command.name} was read{why}",
                "see that the auditor's login shell is a POSIX shell and that no forced command replaces it",
            )  # fmt: skip
        return line

    def complaints(self) -> dict[int, str]:
        """Return what each command wrote to its standard error."""
        found: dict[int, str] = {}
        token = self.token.decode()
        for piece in self.channel.stderr.split(f"{token} begin ")[1:]:
            head, _, rest = piece.partition("\n")
            body, mark, _ = rest.partition(f"\n{token} end {head}\n")
            number = digits(head)
            if number is not None:
                found[number] = body if mark else rest
        return found


def run_many(transport: Transport, commands: Sequence[Command], timeout: float) -> dict[str, Capture | HostError]:
    """Run ``commands`` in turn; see :meth:`fwproof.hosts.transport.Transport.run_many`.

    A command that hangs or garbles the stream loses its shell; the rest goes to a new one while time lasts.
    """
    deadline = time.monotonic() + timeout
    answers: dict[str, Capture | HostError] = {}
    rest = list(commands)
    while rest:
        if time.monotonic() >= deadline:
            late = CommandTimeout(transport.host.name, f"no time left after {timeout:g} s")
            return answers | {command.name: late for command in rest}
        rest = rest[_one_shell(transport, rest, deadline, answers) :]
    return answers


def _one_shell(
    transport: Transport, commands: Sequence[Command], deadline: float, answers: dict[str, Capture | HostError]
) -> int:
    """Run as many commands as one shell answers for, at least one; return how many that are."""
    channel = transport.open_channel(("/bin/sh", "-s"))
    reader = _Reader(transport.host.name, transport.host.ssh.user, secrets.token_hex(16).encode(), channel)
    mine: dict[int, Capture] = {}
    lost = 0
    try:
        with suppress(HostUnreachable):  # a shell that has ended already is told by what is read of it
            channel.send(reader.script(commands))
        for n, command in enumerate(commands):
            try:
                mine[n] = reader.read(n, command, deadline)
            except (NotThere, CommandRefused) as error:
                answers[command.name] = error
            except (CommandTimeout, Garbled) as error:
                answers[command.name] = error
                lost = n + 1
                break
        else:
            with suppress(HostError):
                channel.readline(1.0)  # the end of the shell: its last words on standard error are in by then
    finally:
        channel.close()
    said = reader.complaints()
    for n, capture in mine.items():
        answers[capture.name] = replace(capture, stderr=said.get(n, ""))
    return lost or len(commands)
