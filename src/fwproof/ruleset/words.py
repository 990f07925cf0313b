"""Words of a rule line, split and grouped as iptables-restore does it (iptables/xshared.c, add_param_to_argv)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fwproof.ruleset.options import MAYBE

_OPTION = re.compile(r"-[A-Za-z]|--[A-Za-z]")
_WORDS = re.compile(r"[^ \t\r\n\f\v]+")

BASE = {
    "-s": "-s", "--source": "-s", "--src": "-s", "-d": "-d", "--destination": "-d", "--dst": "-d",
    "-p": "-p", "--protocol": "-p", "--proto": "-p", "-i": "-i", "--in-interface": "-i",
    "-o": "-o", "--out-interface": "-o", "-f": "-f", "--fragment": "-f", "-4": "-4", "--ipv4": "-4", "-6": "-6",
    "--ipv6": "-6", "-c": "-c", "--set-counters": "-c",
}  # fmt: skip
"""The options that need no module, each with its short form."""

_BASE_ARITY = {"-f": 0, "-4": 0, "-6": 0, "-c": 2}
_ABBREVIATED = frozenset({"--proto"})
"""What getopt takes for a base option only where no extension has an option of that very name (``-m policy``)."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line; a quoted one is never an option."""

    text: str
    quoted: bool = False

    @property
    def is_option(self) -> bool:
        """Whether the word starts an option, as far as one can tell from its spelling."""
        return not self.quoted and _OPTION.match(self.text) is not None


@dataclass(frozen=True, slots=True)
class Option:
    """An option with its arguments; ``text`` is how it reads, ``negated`` whether ``!`` stands before it."""

    name: str
    arguments: tuple[str, ...]
    negated: bool = False

    @property
    def text(self) -> str:
        """The option as one reads it, without the negation."""
        return " ".join((self.name, *self.arguments))

    @property
    def full(self) -> str:
        """The option as one reads it, with its negation."""
        return f"! {self.text}" if self.negated else self.text


@dataclass(slots=True)
class Instance:
    """One ``-m module`` (or ``-j target``) of a line with the options that belong to it."""

    module: str
    options: list[Option] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The instance as one reads it."""
        return " ".join(
            [f"-m {self.module}", *(f"! {option.text}" if option.negated else option.text for option in self.options)]
        )


def split(line: str) -> tuple[list[Word], bool]:
    """Split a line into words, and say whether every quote was closed.

    Blanks separate, double quotes keep together, a backslash inside them escapes.
    """
    if '"' not in line:
        return [Word(word) for word in _WORDS.findall(line)], True
    words: list[Word] = []
    current: list[str] = []
    quoted = inside = escaped = False
    for letter in line:
        if inside and escaped:
            current.append(letter)
            escaped = False
        elif inside and letter == "\\":
            escaped = True
        elif letter == '"':
            inside = not inside
            quoted = True
        elif not inside and letter in " \t\r\n\f\v":
            if current or quoted:
                words.append(Word("".join(current), quoted))
            current, quoted = [], False
        else:
            current.append(letter)
    if current or quoted:
        words.append(Word("".join(current), quoted))
    return words, not inside


def take(words: Sequence[Word], at: int, arity: int | None) -> tuple[tuple[str, ...], int]:
    """Return the arguments of the option at ``at`` and the index after them.

    ``arity`` is how many words always belong to the option, because a comment may well look like an option; None is
    an option that is not known: it takes what follows up to the next word that looks like one.
    """
    end = at + 1
    if arity is not None and arity >= 0:
        end = min(len(words), end + arity)
        return tuple(word.text for word in words[at + 1 : end]), end
    most = 1 if arity == MAYBE else len(words)
    while most and end < len(words) and not words[end].is_option and (words[end].quoted or words[end].text != "!"):
        end, most = end + 1, most - 1
    return tuple(word.text for word in words[at + 1 : end]), end


def inlined(word: Word) -> tuple[Word, ...]:
    """Divide ``--dport=22`` as getopt_long does; any other word stays one."""
    name, equals, value = word.text.partition("=")
    if equals and word.is_option and name.startswith("--") and not word.quoted:
        return Word(name), Word(value, quoted=True)
    return (word,)


def base_of(name: str, known: bool) -> tuple[str, int] | None:  # noqa: FBT001 - whether an extension has the option
    """Return the short form and the arity of a base option; None where the option is an extension's."""
    if name not in BASE or (known and name in _ABBREVIATED):
        return None
    return BASE[name], _BASE_ARITY.get(BASE[name], 1)
