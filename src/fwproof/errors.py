"""Everything that can go wrong, as one tree.

::

    FwproofError                 any failure that has a message for the user; exit code 3
    ├── InputError               policy, inventory, topology or rule text: all faults of a file at once; 4
    ├── UsageError               a command line that cannot be carried out; 4
    ├── LabError                 the embedded lab could not do what was asked
    └── HostError                could not look at a host; becomes the verdict ``error``, never "not there"; 6
        ├── HostUnreachable      no TCP connection, or none in time
        │   └── JumpLost         a jump host on the way there cannot be used
        ├── HostKeyRefused       unknown or changed host key
        ├── LoginRefused         the host did not accept the key
        ├── CommandRefused       sudo or the shell would not run the command
        │   └── NotThere         looked, and the program or file does not exist on the host
        ├── CommandTimeout       the command did not end in time
        ├── Garbled              the answer is not what the command prints
        ├── AgentRefused         the agent is missing, not the pinned one, or lacks a capability
        ├── Stopped              sending ended: by Ctrl-C, the authorised window, or a lost way to the host
        └── NotGranted           the tier that the host's administrator granted does not provide for it

Exit codes follow pytest's 0 to 5, and 6 when nothing failed but something is undetermined.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with an input file: where it is, and what was expected there.

    ``line`` and ``column`` count from 1; 0 means that the fault is about the file as a whole.
    """

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class FwproofError(Exception):
    """The root of the tree; ``str(error)`` is one clear message for the user."""

    exit_code = 3


class InputError(FwproofError):
    """An input that cannot be used; carries every fault found, in file order."""

    exit_code = 4

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class UsageError(FwproofError):
    """A command line or configuration that cannot be carried out."""

    exit_code = 4


class LabError(FwproofError):
    """The embedded lab could not do what was asked; the message says what to do."""


class HostError(FwproofError):
    """fwproof could not look at a host; ``host`` is its name, ``advice`` what its owner can do."""

    exit_code = 6

    def __init__(self, host: str, message: str, advice: str = "") -> None:
        self.host = host
        self.message = message
        self.advice = advice
        super().__init__(f"{host}: {message}" + (f" ({advice})" if advice else ""))

    def __reduce__(self) -> tuple[type[HostError], tuple[str, str, str]]:
        """Pickle it by what it is made of: it may come from another process."""
        return type(self), (self.host, self.message, self.advice)

    @property
    def cause(self) -> str:
        """What is wrong, in the same words for all that suffer from it: they are one finding."""
        return f"{self.host}: {self.message}"


class HostUnreachable(HostError):
    """No connection to the host's SSH server, or none in time."""


class JumpLost(HostUnreachable):
    """A jump host on the way cannot be used; the message names it, and is the same for all hosts behind it."""

    @property
    def cause(self) -> str:
        """What the jump host lacks."""
        return self.message


class HostKeyRefused(HostError):
    """The host presents a key that is unknown, or not the one that is known."""


class LoginRefused(HostError):
    """The host's SSH server accepted none of the auditor's keys."""


class CommandRefused(HostError):
    """The host would not run a command: not in the sudo allow-list, or not installed."""


class NotThere(CommandRefused):
    """The program or file that was asked for does not exist on the host: looked, and it is not there."""


class CommandTimeout(HostError):
    """A command on the host did not end in the time it was given."""


class Garbled(HostError):
    """The host answered with something that the command never prints."""


class AgentRefused(HostError):
    """The host's agent is missing, is not the pinned file, or may not do what was asked."""


class Stopped(HostError):
    """Nothing more is sent to or from the host: the audit was stopped, its window closed, or the way there is lost."""


class NotGranted(HostError):
    """The host's tier does not provide for it: looked as far as granted, so the verdict is ``inconclusive``."""
