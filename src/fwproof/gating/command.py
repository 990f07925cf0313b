"""A command of iptables as what it does to the tables (iptables(8))."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fwproof.digits import digits
from fwproof.flow import Family
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.words import Word

COMMIT = "COMMIT"
"""What iptables-restore does: a table as a whole, at once."""
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
    """One command: what it does (``-A``, ``-I``, ``-D``, ``-R``, ``-F``, ``-N``, ``-X``, ``-P``, ``:``), and to what.

    ``position`` counts from 1, None where none was given. ``rules`` are rules as iptables-save writes them, without
    ``-A CHAIN``: one for each pair of the addresses that are listed with commas. ``words`` are those of the command,
    the program's name first; ``text`` is how they read. ``calls`` are the lines from which the functions were called in
    which it stands. A ``COMMIT`` is of the commands in ``block``, with the table emptied first unless ``keeps``;
    ``feed`` is what iptables-restore reads for it.
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
    calls: tuple[int, ...] = ()
    block: tuple[Command, ...] = ()
    feed: str = ""
    keeps: bool = False

    @property
    def text(self) -> str:
        """The command as one reads it."""
        at = f" (COMMIT of table {self.table})" if self.action == COMMIT else ""
        return written(map(Word, self.words)) + at

    def __str__(self) -> str:
        called = f" (called from line {', '.join(map(str, self.calls))})" if self.calls else ""
        return f"{self.source}:{self.line}{called}: {self.text}"


def written(words: Iterator[Word] | Sequence[Word]) -> str:
    """Return words as iptables-save writes them, with quotes where they need some."""
    return " ".join(
        '"{}"'.format(w.text.replace("\\", "\\\\").replace('"', '\\"'))
        if w.quoted or not w.text or set(w.text) & set(" \t\"'\\") else w.text
        for w in words
    )  # fmt: skip


class Refused(Exception):
    """Why a command cannot be read; ``line`` is where, 0 for the command's own."""

    def __init__(self, why: str, line: int = 0) -> None:
        self.line = line
        super().__init__(why)


def told(made: Command, words: Sequence[Word]) -> Command | None:
    """Return a command with what its words say, None where it changes nothing; raises Refused."""
    table, rest = _table(list(words), made.table)
    if not rest:
        raise Refused("the command says nothing to do")
    action = _ACTIONS.get(rest[0].text, rest[0].text)
    if action not in _KNOWN:
        known = ", ".join(sorted(_KNOWN))
        raise Refused(f"expected one of {known} first (with -t TABLE before it), found {rest[0].text!r}")
    if action in _LOOKS:
        return None
    chain = rest[1].text if len(rest) > 1 else ""
    return _filled(replace(made, table=table, action=action, chain=chain), rest[2:])


def _table(words: list[Word], table: str) -> tuple[str, list[Word]]:
    """Return the table, and the words without those about it and about waiting for the lock."""
    rest, pending = list[Word](), list(words)
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
        raise Refused(f"{table!r} is not a table of iptables: expected one of {', '.join(BUILT_IN)}")
    return table, rest


def _filled(made: Command, rest: list[Word]) -> Command:
    action = made.action
    if action not in {"-F", "-X"} and (not made.chain or made.chain.startswith("-")):
        raise Refused(f"{action} needs the name of a chain after it")
    if action == "-P":
        if len(rest) != 1 or rest[0].text not in {"ACCEPT", "DROP"}:
            raise Refused("-P CHAIN is followed by ACCEPT or DROP")
        return replace(made, default=rest[0].text)
    if action in {"-F", "-X", "-N"}:
        if rest:
            raise Refused(f"{action} takes one chain, found {written(rest)!r} after it")
        return made
    position: int | None = None
    if action in {"-I", "-D", "-R"} and rest and not rest[0].quoted:
        position = digits(rest[0].text)
        rest = rest if position is None else rest[1:]
    if action == "-R" and position is None:
        raise Refused("-R CHAIN is followed by the number of a rule")
    if position == 0:
        raise Refused("rules are counted from 1")
    if action == "-D" and position is not None:
        return replace(made, position=position)
    rules = tuple(written(words) for words in _spread(rest))
    return replace(made, position=position, rules=rules)


def _spread(words: list[Word]) -> Iterator[list[Word]]:
    """Yield a rule for each of the addresses that are listed with commas, the last list running fastest."""
    for at, word in enumerate(words[:-1]):
        if not word.quoted and word.text in _ADDRESSES and "," in words[at + 1].text:
            if at and words[at - 1].text == "!":
                raise Refused(f"{word.text} with ! takes one address")  # as iptables itself says
            for one in words[at + 1].text.split(","):
                yield from _spread([*words[: at + 1], Word(one), *words[at + 2 :]])
            return
    yield words
