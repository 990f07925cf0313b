"""The pieces that commands of a script consist of: reserved words, redirections, assignments (XCU 2.4, 2.7)."""

from __future__ import annotations

import re

from fwproof.gating.shell_tree import Here, Redirect, Text, Word
from fwproof.gating.shell_words import NAME, Broken, Letters

RESERVED = frozenset({
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "{", "}", "!", "in",
})  # fmt: skip
_RESERVED_HERE = re.compile(r"(?:[a-z]+|[{}!])(?=[ \t\n;&|<>()]|\\\n|$)")
_REDIRECT = re.compile(r"([0-9]?)(<<-|<<<|<<|<&|<>|<|>>|>&|>\||>)")


class Pieces:
    """A place in a script; ``bash`` is whether its first line asks for that shell."""

    def __init__(self, text: str) -> None:
        self.letters = Letters(text)
        self.bash = re.match(r"#![^\n]*\bbash\b", text) is not None

    def redirect(self) -> Redirect | None:
        """Return the redirection that stands here, None where none does."""
        letters = self.letters
        if letters.peek(2) == "&>":
            if not self.bash:
                raise Broken(letters.line, "&> is not the same in every sh: write >/dev/null 2>&1")
            letters.take()
        letters.peek()
        found = _REDIRECT.match(letters.text, letters.at)
        if found is None:
            return None
        letters.at = found.end()
        letters.blanks()
        line, word = letters.line, letters.word()
        if word is None:
            raise self.unexpected()
        kind = found[2]
        if kind in {"<<", "<<-"}:
            delimiter = "".join(part.text for part in word.parts if isinstance(part, Text))
            here = Here(delimiter, any(part.quoted for part in word.parts if isinstance(part, Text)), kind == "<<-")
            if any(not isinstance(part, Text) for part in word.parts) or found[1] not in {"", "0"}:
                raise Broken(line, "such a here-document is not read: expected << WORD")
            letters.pending.append(here)
            return Redirect("here", here)
        joined = kind == ">&" and word.plain in {"1", "2"}
        if joined or (kind in {">", ">>"} and word.plain == "/dev/null"):
            return Redirect("quiet", what=f"{found[1] or '1'}>{'&' if joined else ''}{word.plain}")
        if kind in {">", ">>", ">|"} and found[1] in {"", "1", "2"}:
            return Redirect("errors" if found[1] == "2" else "out", word)
        return Redirect(kind, word)

    def reserved(self) -> str:
        """Return the reserved word that stands here, if any; it is not passed over."""
        self.letters.blanks()
        self.letters.peek()
        found = _RESERVED_HERE.match(self.letters.text, self.letters.at)
        return found[0] if found and found[0] in RESERVED else ""

    def expect(self, word: str) -> None:
        """Pass over a word that has to be here; raises Broken."""
        self.lines() if word != ")" else self.letters.blanks()
        if self.letters.peek(len(word)) != word:
            raise Broken(self.letters.line, f"expected {word}, found {self.shown()}")
        self.letters.take(len(word))

    def lines(self) -> None:
        """Pass over blanks, comments and line ends."""
        self.letters.blanks()
        while self.letters.peek() == "\n":
            self.letters.newline()
            self.letters.blanks()

    def shown(self) -> str:
        """Return what stands here instead, for a message."""
        rest = self.letters.text[self.letters.at :].split("\n", 1)[0][:30]
        return repr(rest) if rest else "the end of the line"

    def unexpected(self) -> Broken:
        """Return what to raise where no command stands."""
        return Broken(self.letters.line, f"expected a command, found {self.shown()}")


def assignment(word: Word) -> tuple[str, Word] | None:
    """Return name and value where a word is an assignment."""
    first = word.parts[0]
    if not isinstance(first, Text) or first.quoted:
        return None
    name, equals, rest = first.text.partition("=")
    if not equals or not NAME.fullmatch(name):
        return None
    return name, Word((Text(rest), *word.parts[1:]) if rest else word.parts[1:], word.line)
