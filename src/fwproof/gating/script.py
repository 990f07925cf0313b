"""Scripts of iptables and ip6tables commands: each command as what it does to the tables.

Between any two of them packets come and go, so that every prefix of a script is a state that the host is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import dropwhile
from pathlib import PurePosixPath

from fwproof.errors import Fault, InputError
from fwproof.gating.answers import Answer, Answers
from fwproof.gating.command import COMMIT, Command, Refused, told
from fwproof.gating.programs import EDITORS, RESTORERS, SAVERS
from fwproof.gating.restore import blocks
from fwproof.gating.shell import read_shell
from fwproof.gating.shell_builtins import Leave
from fwproof.gating.shell_commands import Simple
from fwproof.semantics.routing import parse_sysctls

_SAVE = SAVERS | {"ipset-save"}
"""What keeps the tables for the next boot."""
_QUIET_SUDO = {"-n", "--non-interactive", "-E", "--preserve-env"}
"""Options of sudo(8) that change nothing about which command it runs, nor as whom."""


@dataclass(frozen=True, slots=True)
class Script:
    """The commands of a script, the sysctls below net that it sets, by path, and what was taken for granted."""

    commands: tuple[Command, ...]
    sysctls: Mapping[str, str]
    assumed: tuple[str, ...]


def read_script(text: str, source: str) -> tuple[Command, ...]:
    """Return the commands of a script; raises InputError with every line that is not understood."""
    return read_whole(text, source).commands


def read_whole(text: str, source: str, answers: Answers | None = None) -> Script:
    """Return a script with what it does beside; raises InputError with every line that is not understood.

    ``answers`` are the tables before it, and afterwards those after it; without them nobody knows what runs.
    """
    reading = _Reading(source, answers or Answers(None))
    script = read_shell(text, source, reading.asked)
    wrong = [*script.faults, *reading.wrong]
    if not reading.found and not wrong:
        wrong.append(Fault(source, 0, 0, "there is no iptables or ip6tables command in it"))
    if wrong:
        raise InputError(wrong)
    sysctls = reading.sysctls
    assumed = [f"{source}: {each}" for each in script.assumed]
    assumed += [f"{source} sets net/{path} = {value}, from its beginning on" for path, value in sysctls.items()]
    return Script(tuple(reading.found), sysctls, tuple(assumed))


class _Reading:
    """Makes of each command that a shell runs what it does to the tables, and says how it ends."""

    def __init__(self, source: str, answers: Answers) -> None:
        self.source, self._answers = source, answers
        self.found: list[Command] = []
        self.wrong: list[Fault] = []
        self.sysctls: dict[str, str] = {}

    def asked(self, simple: Simple) -> Answer:
        """Return how a command ends; raises Leave where it fails and the script does not expect that."""
        try:
            simple = _by_root(simple)
            if simple.to or PurePosixPath(simple.words[0].text).name == "sysctl":
                self.sysctls |= _sysctls(simple)
                return Answer(None)
            commands = list(_commands(simple, self.source))
        except Refused as refusal:
            self.wrong.append(Fault(self.source, refusal.line or simple.line, 1, str(refusal)))
            return Answer(None)
        if self.wrong or not commands:  # what was not understood may have changed the tables
            self.found += commands
            return Answer(None)
        answer = self._answers.run(commands)
        known, loads = answer.status is not None, commands[0].action == COMMIT
        may_fail = simple.may_fail or (simple.looked and known) or (simple.muted and not loads)
        self.found += [replace(each, may_fail=may_fail, status=answer.status) for each in commands]
        if answer.refusal is not None and ((known and not may_fail) or answer.fatal):
            self.wrong += answer.refusal.faults
            raise Leave("exit")  # what is behind it would be about tables that are not so
        return answer


def _by_root(simple: Simple) -> Simple:
    """Return a command without the ``sudo`` before it; a file that its output goes to is not written by root."""
    words = simple.words
    if words[0].text != "sudo" or simple.to:
        return simple
    rest = tuple(dropwhile(lambda word: word.text in _QUIET_SUDO, words[1:]))
    return replace(simple, words=rest) if rest and not rest[0].is_option else simple


def _sysctls(simple: Simple) -> dict[str, str]:
    """Return what a command sets below /proc/sys/net."""
    words = [PurePosixPath(simple.words[0].text).name, *(word.text for word in simple.words[1:])]
    pairs = words[1:] if simple.to else [word for word in words[1:] if word not in {"-w", "-q", "-e", "-n"}]
    lines = [f"{simple.to}:{' '.join(pairs)}"] if simple.to else pairs
    odd = any(each.startswith("-") if simple.to else "=" not in each for each in pairs)  # every sh has its own echo -n
    if words[0] not in {"echo", "sysctl"} or not pairs or odd:
        raise Refused("what it sets is not read: expected `sysctl -w NAME=VALUE` or `echo VALUE > /proc/sys/…`")
    try:
        return parse_sysctls("\n".join(lines))
    except InputError:
        return {}  # of other parts of the kernel


def _commands(simple: Simple, source: str) -> Iterator[Command]:
    words = simple.words
    program = PurePosixPath(words[0].text).name
    shown = tuple(word.text for word in words[1:])
    if program in _SAVE or (program == "netfilter-persistent" and shown == ("save",)):
        return
    if program in RESTORERS:
        if simple.feed is None:
            raise Refused(f"{program} reads what is not in the script: write it here (<<), or give the file by itself")
        made = Command(
            source=source, line=simple.line, family=RESTORERS[program], table="", action=COMMIT, chain="",
            words=(program, *shown), may_fail=simple.may_fail, calls=simple.calls,
        )  # fmt: skip
        yield from blocks(made, *simple.feed)
        return
    if program not in EDITORS:
        near = "a script that restores, or programs of other tables, is not read: give the file that it restores"
        raise Refused(f"{words[0].text!r}: only iptables and ip6tables commands are read ({near})")
    if simple.feed is not None:
        raise Refused(f"{program} reads no here-document")
    made = Command(
        source=source, line=simple.line, family=EDITORS[program], table="filter", action="", chain="",
        words=(program, *shown), may_fail=simple.may_fail, calls=simple.calls,
    )  # fmt: skip
    yield told(made, words[1:])
