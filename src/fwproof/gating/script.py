"""Scripts of iptables and ip6tables commands: each command as what it does to the tables, and the states between them.

The commands are those of iptables(8). Between any two of them packets come and go, so that every prefix of a script is
a state that the host is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fwproof.errors import Fault, InputError
from fwproof.flow import Family
from fwproof.gating.shell import Simple, simple_commands
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.words import Word

_PROGRAMS = {
    "iptables": Family.IPV4, "iptables-nft": Family.IPV4, "ip6tables": Family.IPV6, "ip6tables-nft": Family.IPV6,
}  # fmt: skip
_HARMLESS = frozenset({"set", "echo", "printf", "true", ":", "exit", "umask", "sleep", "logger"})
"""What a script may do beside, without a part in the tables; ``exit`` ends it."""
_ACTIONS = {
    "--append": "-A", "--insert": "-I", "--delete": "-D", "--replace": "-R", "--flush": "-F", "--new-chain": "-N",
    "--new": "-N", "--delete-chain": "-X", "--policy": "-P", "--zero": "-Z", "--list": "-L", "--list-rules": "-S",
}  # fmt: skip
_KNOWN = frozenset(_ACTIONS.values())
_LOOKS = frozenset({"-L", "-S", "-Z"})
"""What changes no rule: it lists, or sets counters to zero."""
_ADDRESSES = {"-s": "-s", "--source": "-s", "--src": "-s", "-d": "-d", "--destination": "-d", "--dst": "-d"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: what it does (``-A``, ``-I``, ``-D``, ``-R``, ``-F``, ``-N``, ``-X``, ``-P``), and to what.

    ``position`` counts from 1, None where none was given. ``rules`` are rules as iptables-save writes them, without
    ``-A CHAIN``: one for each pair of the addresses that are listed with commas. ``words`` are those of the command,
    the program's name first; ``text`` is how they read.
    """

    source: str
    line: int
    family: Family
    table: str
    action: str
    chain: str
    words: tuple[str, ...]
    position: int | None = None
    rules: tuple[str, ...] = ()
    default: str = ""
    may_fail: bool = False

    @property
    def text(self) -> str:
        """The command as one reads it."""
        return written(map(Word, self.words))

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.text}"


def written(words: Iterator[Word] | Sequence[Word]) -> str:
    """Return words as iptables-save writes them, with quotes where they need some."""
    return " ".join(
        '"{}"'.format(w.text.replace("\\", "\\\\").replace('"', '\\"'))
        if w.quoted or not w.text or set(w.text) & set(" \t\"'\\") else w.text
        for w in words
    )  # fmt: skip


def read_script(text: str, source: str) -> tuple[Command, ...]:
    """Return the commands of a script; raises InputError with every line that is not understood."""
    found: list[Command] = []
    simple, faults = simple_commands(text, source)
    wrong = list(faults)
    for each in simple:
        if each.words[0].text == "exit":
            break
        try:
            found += [command for command in (_command(each, source),) if command is not None]
        except _Refused as refusal:
            wrong.append(Fault(source, each.line, 1, str(refusal)))
    if not found and not wrong:
        wrong.append(Fault(source, 0, 0, "there is no iptables or ip6tables command in it"))
    if wrong:
        raise InputError(wrong)
    return tuple(found)


class _Refused(Exception):
    """Why a command cannot be read."""


def _command(simple: Simple, source: str) -> Command | None:
    words = list(simple.words)
    if words[0].text == "sudo" and len(words) > 1 and not words[1].is_option:
        words = words[1:]
    program = PurePosixPath(words[0].text).name
    if program in _HARMLESS:
        return None
    if program not in _PROGRAMS:
        near = "a script that restores, or programs of other tables, is not read: give the file that it restores"
        raise _Refused(f"{words[0].text!r}: only iptables and ip6tables commands are read ({near})")
    table, rest = _table(words[1:])
    if not rest:
        raise _Refused("the command says nothing to do")
    action = _ACTIONS.get(rest[0].text, rest[0].text)
    if action not in _KNOWN:
        known = ", ".join(sorted(_KNOWN))
        raise _Refused(f"expected one of {known} first (with -t TABLE before it), found {rest[0].text!r}")
    if action in _LOOKS:
        return None
    made = Command(
        source=source, line=simple.line, family=_PROGRAMS[program], table=table, action=action,
        chain=rest[1].text if len(rest) > 1 else "", may_fail=simple.may_fail,
        words=(program, *(word.text for word in words[1:])),
    )  # fmt: skip
    return _filled(made, rest[2:])


def _table(words: list[Word]) -> tuple[str, list[Word]]:
    """Return the table, and the words without those about it and about waiting for the lock."""
    table, rest = "filter", list[Word]()
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if not word.quoted and word.text in {"-t", "--table"} and pending:
            table = pending.pop(0).text
        elif not word.quoted and word.text in {"-w", "--wait", "-W", "--wait-interval"}:
            if pending and pending[0].text.isdigit():
                pending.pop(0)
        elif not (word.text in {"-v", "--verbose", "-n", "--numeric"} and not word.quoted):
            rest.append(word)
    if table not in BUILT_IN:
        raise _Refused(f"{table!r} is not a table of iptables: expected one of {', '.join(BUILT_IN)}")
    return table, rest


def _filled(made: Command, rest: list[Word]) -> Command:
    action = made.action
    if action not in {"-F", "-X"} and (not made.chain or made.chain.startswith("-")):
        raise _Refused(f"{action} needs the name of a chain after it")
    if action == "-P":
        if len(rest) != 1 or rest[0].text not in {"ACCEPT", "DROP"}:
            raise _Refused("-P CHAIN is followed by ACCEPT or DROP")
        return replace(made, default=rest[0].text)
    if action in {"-F", "-X", "-N"}:
        if rest:
            raise _Refused(f"{action} takes one chain, found {written(rest)!r} after it")
        return made
    position: int | None = None
    if action in {"-I", "-D", "-R"} and rest and not rest[0].quoted and rest[0].text.isdigit():
        position, rest = int(rest[0].text[:9]), rest[1:]
    if action == "-R" and position is None:
        raise _Refused("-R CHAIN is followed by the number of a rule")
    if position == 0:
        raise _Refused("rules are counted from 1")
    if action == "-D" and position is not None:
        return replace(made, position=position)
    rules = tuple(written(words) for words in _spread(rest))
    return replace(made, position=position, rules=rules)


def _spread(words: list[Word]) -> Iterator[list[Word]]:
    """Yield a rule for each of the addresses that are listed with commas, the last list running fastest."""
    for at, word in enumerate(words[:-1]):
        if not word.quoted and word.text in _ADDRESSES and "," in words[at + 1].text:
            if at and words[at - 1].text == "!":
                raise _Refused(f"{word.text} with ! takes one address")  # as iptables itself says
            for one in words[at + 1].text.split(","):
                yield from _spread([*words[: at + 1], Word(one), *words[at + 2 :]])
            return
    yield words
