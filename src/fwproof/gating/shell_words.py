"""Letters of a script to words: quotes, ``$`` and what it may stand before, here-documents (XCU 2.2, 2.6, 2.7)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fwproof.gating.shell_tree import Here, Output, Part, Sum, Text, Unread, Value, Word

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_SHORT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_OPERATOR = re.compile(r":?[-=+?]|%%?|##?")
_ENDS = " \t\n;&|<>()"
_DEEP = 40
"""How deeply values, and commands, may stand in one another."""
BRACES = re.compile(r"\{[^{}]*(?:,|\.\.)[^{}]*\}")
"""What one sh takes as it stands, and another writes out."""


class Broken(Exception):
    """The text is no script: the line, and what is wrong there."""

    def __init__(self, line: int, why: str) -> None:
        self.line, self.why = line, why
        super().__init__(why)


class Letters:
    """A place in a text, and the words that begin there."""

    def __init__(self, text: str, line: int = 1, depth: int = 0) -> None:
        self.text, self.at, self.line, self.depth = text, 0, line, depth
        self.pending: list[Here] = []

    def peek(self, length: int = 1) -> str:
        """Return the next letters; a line that is continued goes on behind its end."""
        while self.text.startswith("\\\n", self.at):
            self.at, self.line = self.at + 2, self.line + 1
        return self.text[self.at : self.at + length]

    def take(self, length: int = 1) -> str:
        """Return the next letters and pass over them."""
        taken = self.text[self.at : self.at + length]
        self.at, self.line = self.at + length, self.line + taken.count("\n")
        return taken

    def blanks(self) -> None:
        """Pass over blanks and a comment."""
        while self.peek() and self.peek() in " \t":
            self.take()
        if self.peek() == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end  # no line is continued in a comment

    def newline(self) -> None:
        """Pass over a line's end, and read the here-documents that begin behind it."""
        self.take()
        pending, self.pending = self.pending, []
        for here in pending:
            self._here(here)

    def _here(self, here: Here) -> None:
        here.line, lines = self.line, list[str]()
        while True:
            if self.at >= len(self.text):
                raise Broken(here.line, f"the here-document never ends: expected a line {here.delimiter}")
            end = self.text.find("\n", self.at)
            line = self.take((len(self.text) if end < 0 else end + 1) - self.at)
            line = line.lstrip("\t") if here.tabs else line
            if line.removesuffix("\n") == here.delimiter:
                break
            if line.endswith("\\\n") and not here.quoted:
                raise Broken(self.line - 1, "a continued line in a here-document is not read: write it as one line")
            lines.append(line)
        text = "".join(lines)
        inner = Letters(text, here.line, self.depth + 1)
        parts = (Text(text, quoted=True),) if here.quoted else tuple(inner.quoted(""))
        here.body = Word(parts, here.line)

    # ---- words

    def word(self) -> Word | None:
        """Return the word that begins here, None where an operator or the end does."""
        line, parts = self.line, list(self._loose(_ENDS))
        return Word(_joined(parts), line) if parts else None

    def _loose(self, ends: str) -> Iterator[Part]:
        """Yield what stands outside of double quotes, up to one of some letters."""
        while (letter := self.peek()) and letter not in ends:
            if letter == "'":
                yield Text(self._single(), quoted=True)
            elif letter == '"':
                line = self.line
                self.take()
                yield Text("", quoted=True)
                yield from self.quoted('"')
                if self.peek() != '"':
                    raise Broken(line, "the quote that opens here is never closed")
                self.take()
            elif letter == "\\":
                self.take()
                yield Text(self.take(), quoted=True)
            elif letter in "$`":
                yield self._dollar(quoted=False)
            else:
                yield Text(self.take())

    def _single(self) -> str:
        line = self.line
        self.take()
        end = self.text.find("'", self.at)
        if end < 0:
            raise Broken(line, "the quote that opens here is never closed")
        text = self.take(end - self.at)
        self.take()
        return text

    def quoted(self, ends: str) -> Iterator[Part]:
        """Yield what stands in double quotes or in a here-document, up to one of some letters."""
        special = '$`\\"' if ends == '"' else "$`\\"
        while (letter := self.peek()) and letter not in ends:
            if letter in "$`":
                yield self._dollar(quoted=True)
                continue
            if ends == "}" and letter in "'\"\\":
                raise Broken(self.line, "a quote in a value that is quoted itself is not read: use a variable for it")
            if letter == "\\" and self.text[self.at + 1 : self.at + 2] in set(special):
                self.take()
            yield Text(self.take(), quoted=True)

    # ---- what a dollar begins

    def _dollar(self, *, quoted: bool) -> Part:
        line = self.line
        if self.depth > _DEEP:
            raise Broken(line, "values stand in one another too deeply to be read")
        if self.take() == "`":
            return Output(self._backquoted(line), quoted)
        if self.text.startswith("((", self.at):
            return self._sum(line, quoted=quoted)
        if self.text.startswith("(", self.at):
            return Output(self._printed(line), quoted)
        if self.text.startswith("{", self.at):
            return self._braced(line, quoted=quoted)
        return self._short(line, quoted=quoted)

    def _backquoted(self, line: int) -> str:
        end = self.text.find("`", self.at)
        if end < 0:
            raise Broken(line, "the quote ` that opens here is never closed")
        return self.take(end + 1 - self.at)[:-1].strip()

    def _printed(self, line: int) -> str:
        text = self._inside(line).strip()
        if re.search(r"<<|\bcase\b|#", text):  # where a parenthesis may close nothing
            raise Broken(line, "the output of such a command ($(…)) is not read: write out what it prints")
        return text

    def _short(self, line: int, *, quoted: bool) -> Part:
        name = _SHORT.match(self.text, self.at)
        if name is not None:
            self.at = name.end()
            return Value(name[0], quoted=quoted)
        if self.text.startswith(("'", '"'), self.at) and not quoted:
            return Unread(line, "$ before a quote is not the same in every sh: use quotes alone")
        if self.text.startswith("\\\n", self.at):
            raise Broken(line, "a line that is continued behind $ is not read")
        return Text("$", quoted=True)

    def _braced(self, line: int, *, quoted: bool) -> Part:
        self.take()
        length = self.text.startswith("#", self.at) and not self.text.startswith("#}", self.at)
        self.at += length
        name = _PARAMETER.match(self.text, self.at)
        if name is None:
            raise Broken(line, "expected the name of a variable after ${")
        self.at = name.end()
        operator = None if length else _OPERATOR.match(self.text, self.at)
        self.at = operator.end() if operator else self.at
        begun = self.line
        self.depth += 1
        # a pattern has its own quotes, whatever stands around it
        strict = quoted and operator is not None and operator[0][0] not in "%#"
        parts = list(self.quoted("}") if strict else self._loose("}")) if operator else []
        self.depth -= 1
        if self.peek() != "}":
            return self._odd(line)
        self.take()
        word = Word(_joined(parts), begun) if operator else None
        return Value(name[0], "length" if length else operator[0] if operator else "", word, quoted)

    def _odd(self, line: int) -> Part:
        end = self.text.find("}", self.at)
        if end < 0:
            raise Broken(line, "the ${ that opens here is never closed")
        self.take(end + 1 - self.at)
        return Unread(line, "of ${…} only the forms of POSIX are read (${NAME}, ${NAME:-WORD}, ${NAME%PATTERN} …)")

    def _sum(self, line: int, *, quoted: bool) -> Part:
        text = self._inside(line)
        if not (text.startswith("(") and text.endswith(")")) or set(text) & set("'\"`\\"):
            return Unread(line, "the sum $((…)) is not read: expected numbers and variables")
        inner = Letters(text[1:-1], line, self.depth + 1)
        return Sum(Word(_joined(list(inner.quoted(""))), line), quoted)

    def _inside(self, line: int) -> str:
        """Return what stands between the parenthesis here and the one that closes it."""
        begun, depth, mark = self.at, 0, ""
        while self.at < len(self.text):
            letter = self.take()
            if mark:
                mark = "" if letter == mark else mark
                self.at += letter == "\\" and mark == '"'
            elif letter == "\\":
                self.take()
            elif letter in "'\"":
                mark = letter
            elif letter in "()":
                depth += 1 if letter == "(" else -1
                if not depth:
                    return self.text[begun + 1 : self.at - 1]
        raise Broken(line, "the parenthesis that opens here is never closed")


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Return parts with neighbours of one kind as one."""
    made: list[Part] = []
    for part in parts:
        last = made[-1] if made else None
        if isinstance(part, Text) and isinstance(last, Text) and part.quoted == last.quoted:
            made[-1] = Text(last.text + part.text, part.quoted)
        else:
            made.append(part)
    return tuple(made)
