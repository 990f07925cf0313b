"""A strict reader of the little shell that scripts of iptables commands are written in; nothing is ever run by it.

Read are simple commands one after the other (newline, ``;``, ``&&``), quotes, comments, continued lines, plain
assignments and their ``$NAME``; output thrown away, and ``|| true``. Whatever else a shell would do is a fault with its
line, so that no command is missed and none is made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from fwproof.errors import Fault
from fwproof.ruleset.words import Word

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_QUIET = re.compile(r"(?:[12]?>>? */dev/null|2>&1|&> */dev/null)(?=[ \t;&|\n]|$)")
_TRUE = re.compile(r"\|\|[ \t]*(?:true|:)(?=[ \t;&|#\n]|$)")
_BLANK = " \t"
_REFUSED = {
    "|": "a pipe", "&": "a command in the background", "<": "input from elsewhere", ">": "output to a file",
    "(": "a subshell or function", ")": "a subshell or function", "`": "the output of a command",
    "*": "a pattern of file names", "?": "a pattern of file names", "[": "a pattern of file names",
}  # fmt: skip
_KEYWORDS = frozenset({
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "function", "{", "}",
    "[[", "eval", "source", ".", "exec", "trap", "shift", "return", "alias",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Simple:
    """One simple command: the line on which it begins, its words, and whether the script goes on where it fails."""

    line: int
    words: tuple[Word, ...]
    may_fail: bool = False


@dataclass(slots=True)
class _Reader:
    source: str
    text: str
    at: int = 0
    line: int = 1
    variables: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, message: str, line: int = 0) -> None:
        self.faults.append(Fault(self.source, line or self.line, 1, message))

    def peek(self, length: int = 1) -> str:
        return self.text[self.at : self.at + length]

    def take(self) -> str:
        letter = self.text[self.at]
        self.at += 1
        self.line += letter == "\n"
        return letter

    def skip_line(self) -> None:
        """Pass over what is left of a line that cannot be read, continued ones included."""
        while self.at < len(self.text) and self.peek() != "\n":
            self.at += 1
            if self.text[self.at - 1] == "\\" and self.at < len(self.text):
                self.take()


def simple_commands(text: str, source: str) -> tuple[tuple[Simple, ...], tuple[Fault, ...]]:
    """Return the commands of a script, in order, and what of it cannot be read, each with its line.

    Assignments are carried out, and are none of the commands.
    """
    reader = _Reader(source, text.replace("\r\n", "\n"))
    found = [command for command in _commands(reader) if command.words]
    return tuple(found), tuple(reader.faults)


def _commands(reader: _Reader) -> Iterator[Simple]:
    while reader.at < len(reader.text):
        begun = len(reader.faults)
        command = _command(reader)
        if len(reader.faults) > begun:
            reader.skip_line()
            continue
        words = list(command.words)
        while words and not words[0].quoted and (assigned := _ASSIGNED.fullmatch(words[0].text)):
            reader.variables[assigned[1]] = assigned[2]
            words = words[1:]
            if words and not _ASSIGNED.fullmatch(words[0].text):
                reader.fault(
                    "a variable for one command only is not read: assign it on a line of its own", command.line
                )
                words = []
        if words and words[0].text in {"export", "readonly"} and all(_ASSIGNED.fullmatch(w.text) for w in words[1:]):
            reader.variables |= {m[1]: m[2] for w in words[1:] if (m := _ASSIGNED.fullmatch(w.text))}
            words = []
        if words and words[0].text in _KEYWORDS:
            reader.fault(f"{words[0].text!r} is not read: write the commands out one by one", command.line)
            words = []
        yield Simple(command.line, tuple(words), command.may_fail)


def _command(reader: _Reader) -> Simple:
    """Read up to the end of one command; a fault ends it where it is found."""
    words: list[Word] = []
    line, may_fail = 0, False
    while reader.at < len(reader.text):
        letter = reader.peek()
        if _between(reader):
            continue
        if letter in "\n;" or reader.peek(2) == "&&":
            reader.at += 2 if letter == "&" else 0
            if letter != "&":
                reader.take()
            break
        if quiet := _QUIET.match(reader.text, reader.at):
            reader.at = quiet.end()
        elif true := _TRUE.match(reader.text, reader.at):
            reader.at, may_fail = true.end(), True
        else:
            line = line or reader.line
            begun = len(reader.faults)
            words += _word(reader)
            if len(reader.faults) > begun:
                break
    return Simple(line or reader.line, tuple(words), may_fail)


def _between(reader: _Reader) -> bool:
    """Pass over blanks, a line's end that is continued, or a comment; return whether there was any."""
    if reader.peek() in _BLANK:
        reader.take()
    elif reader.peek(2) == "\\\n":
        reader.take()
        reader.take()
    elif reader.peek() == "#":
        while reader.at < len(reader.text) and reader.peek() != "\n":
            reader.take()
    else:
        return False
    return True


def _word(reader: _Reader) -> list[Word]:
    """Read one word; one whose variable has blanks in it and no quotes around becomes several, as in a shell."""
    text, quoted, loose = "", False, True
    while reader.at < len(reader.text):
        letter = reader.peek()
        if letter in _BLANK or letter in "\n;" or reader.peek(2) in {"&&", "\\\n"}:
            break
        if letter in _REFUSED:
            reader.fault(f"{_REFUSED[letter]} ({letter}) is not read: write the commands out one by one")
            break
        if letter in "'\"":
            quoted, loose = quoted or not text, False
            text += _quoted(reader)
        elif letter == "$":
            text += _value(reader)
        elif letter == "\\":
            reader.take()
            text += reader.take() if reader.at < len(reader.text) else ""
        else:
            text += reader.take()
    return [Word(part) for part in text.split()] if loose else [Word(text, quoted=quoted)]


def _quoted(reader: _Reader) -> str:
    mark, begun, text = reader.take(), reader.line, ""
    while reader.at < len(reader.text) and reader.peek() != mark:
        letter = reader.peek()
        if mark == '"' and letter == "`":
            reader.fault("the output of a command (`) is not read")
            return ""
        if mark == '"' and letter == "$":
            text += _value(reader)
        elif mark == '"' and letter == "\\" and reader.peek(2)[1:] in {'"', "\\", "$", "`", "\n"}:
            reader.take()
            text += reader.take().replace("\n", "")
        else:
            text += reader.take()
    if reader.at >= len(reader.text):
        reader.fault("the quote that opens here is never closed", begun)
        return text
    reader.take()
    return text


def _value(reader: _Reader) -> str:
    """Return what a variable stands for, with the reader behind it."""
    reader.take()
    braced = reader.peek() == "{"
    reader.at += braced
    name = _NAME.match(reader.text, reader.at)
    if name is None or (braced and reader.text[name.end() : name.end() + 1] != "}"):
        reader.fault("of $ only the plain value of a variable is read, $NAME or ${NAME}")
        return ""
    reader.at = name.end() + braced
    if name[0] not in reader.variables:
        reader.fault(f"the variable {name[0]} has no value: assign it above, NAME=value")
        return ""
    return reader.variables[name[0]]
