"""Words of a script to what a command gets: values, splitting, quotes taken away (XCU 2.5, 2.6).

Values of variables are told by the caller. What one sh makes otherwise than another is Unknown, and so is what
depends on the machine: names of files, the output of commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fwproof.gating.programs import PROGRAMS
from fwproof.gating.shell_sums import Letter, Unknown, pattern, summed, trimmed
from fwproof.gating.shell_tree import Output, Part, Sum, Text, Unread, Value, Word
from fwproof.gating.shell_words import BRACES

MOST = 100_000
"""Letters that one word may have."""
_FINDS = re.compile(r"(?:/usr/bin/)?(?:which|command -v|type -P) ([a-z0-9-]+)(?: 2> ?/dev/null)?")


class Values(Protocol):
    """What a word may ask for."""

    parameters: tuple[str, ...] | None

    def value(self, name: str) -> str | None:
        """Return the value of a variable or parameter, None where it has none; raises Unknown."""

    def need(self, name: str) -> str:
        """Return the value, empty where it is known to have none; raises Unknown."""

    def assign(self, name: str, value: str) -> None:
        """Give a variable a value; raises Unknown."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Letters of a word; ``split`` where blanks in them end it. ``ends``: a word ends here (``$@``)."""

    text: str
    quoted: bool
    split: bool = False
    ends: bool = False


class Expander:
    """Makes words of a script those that its commands get."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def fields(self, words: Sequence[Word]) -> list[str]:
        """Return the words of a command; raises Unknown."""
        return [text for word in words for text in self._split(word)]

    def one(self, word: Word) -> str:
        """Return a word where it is not split: a value that is assigned, a here-document; raises Unknown."""
        made = "".join(piece.text for piece in self._pieces(word, whole=True))
        first = word.parts[0] if word.parts else None
        if isinstance(first, Text) and not first.quoted and re.match(r"~|.*[:=]~", first.text):
            raise Unknown("~ is not read: write the folder out")
        return _short(made)

    def pattern(self, word: Word) -> re.Pattern[str]:
        """Return a word as a pattern; raises Unknown."""
        letters: list[Letter] = []
        for piece in self._pieces(word, whole=True):
            if "\\" in piece.text and not piece.quoted:
                raise Unknown("a backslash in a pattern is not read")
            letters += [(letter, piece.quoted) for letter in piece.text]
        return pattern(letters)

    # ---- one word

    def _split(self, word: Word) -> Iterator[str]:
        if isinstance(word.parts[0], Text) and not word.parts[0].quoted and word.parts[0].text.startswith("~"):
            raise Unknown("~ is not read: write the folder out")
        loose = "".join(p.text if isinstance(p, Text) and not p.quoted else "x" for p in word.parts)
        if BRACES.search(loose):
            raise Unknown("braces with a comma are not the same in every sh: quote them, or write the words out")
        text, there, open_ = "", False, ""
        for piece in self._pieces(word, whole=False):
            if piece.ends:
                yield from _field(text, there=there, open_=open_)
                text, there, open_ = "", False, ""
                continue
            there = there or piece.quoted
            for letter in piece.text:
                if piece.split and letter in " \t\n":
                    yield from _field(text, there=there, open_=open_)
                    text, there, open_ = "", False, ""
                else:
                    text += letter
                    open_ += letter if not piece.quoted and letter in "*?[\\" else ""
        yield from _field(text, there=there, open_=open_)

    def _pieces(self, word: Word, *, whole: bool) -> Iterator[_Piece]:
        """Yield what a word is made of; ``whole`` where it stays one word."""
        for part in word.parts:
            yield from self._of_part(part, word, whole=whole)

    def _of_part(self, part: Part, word: Word, *, whole: bool) -> Iterator[_Piece]:
        if isinstance(part, Unread):
            raise Unknown(part.why)
        if isinstance(part, Text):
            alone = len(word.parts) == 2 and word.parts[1] == Value("@", quoted=True)
            if part.text or not alone:  # the quotes around "$@" make no word of their own
                yield _Piece(part.text, part.quoted)
        elif isinstance(part, Output):
            yield _Piece(_printed(part.text), part.quoted, split=not part.quoted)
        elif isinstance(part, Sum):
            text = summed(self.one(part.word), self._values.need)
            yield _Piece(text, part.quoted, split=not part.quoted)
        elif part.name in {"@", "*"}:
            yield from self._every(part, word, whole=whole)
        else:
            yield from self._value(part, whole=whole)

    def _every(self, part: Value, word: Word, *, whole: bool) -> Iterator[_Piece]:
        given = self._values.parameters
        if given is None:
            raise Unknown("the arguments of the script are not known: `set -- WORDS` at its head says what they are")
        if part.op:
            raise Unknown(f"${{{part.name}…}} is not the same in every sh")
        if part.name == "*" and part.quoted:
            yield _Piece(" ".join(given), quoted=True)
            return
        if whole:
            raise Unknown(f'${part.name} in one word is not the same in every sh: write the quotes and the star, "$*"')
        if not given and part.quoted and any(p != part and p != Text("", quoted=True) for p in word.parts):
            raise Unknown("$@ without arguments, beside something else, is not the same in every sh")
        for at, text in enumerate(given):
            if at:
                yield _Piece("", quoted=False, ends=True)
            yield _Piece(text, part.quoted, split=not part.quoted)

    def _value(self, part: Value, *, whole: bool) -> Iterator[_Piece]:
        sign, word = part.op, part.word
        if word is None:
            text = self._values.need(part.name)
            yield _Piece(str(len(text)) if sign == "length" else text, part.quoted, split=not part.quoted)
            return
        if sign[0] in "%#":
            text = trimmed(self._values.need(part.name), sign, self.pattern(word))
            yield _Piece(text, part.quoted, split=not part.quoted)
            return
        value = self._values.value(part.name)
        has = bool(value) if sign[0] == ":" else value is not None
        if sign[-1] == "+":
            if has:
                yield from self._other(part, word, whole=whole)
        elif has:
            yield _Piece(value or "", part.quoted, split=not part.quoted)
        elif sign[-1] == "?":
            raise Unknown(f"the variable {part.name} has no value, and the script ends here")
        elif sign[-1] == "-":
            yield from self._other(part, word, whole=whole)
        else:
            if not part.name[0].isalpha() and part.name[0] != "_":
                raise Unknown(f"{part.name} cannot be assigned to")
            text = self.one(word)
            self._values.assign(part.name, text)
            yield _Piece(text, part.quoted, split=not part.quoted)

    def _other(self, part: Value, word: Word, *, whole: bool) -> Iterator[_Piece]:
        """Yield the word that stands in for a value; what of it is not quoted is split as a value is."""
        if part.quoted:
            yield _Piece(self.one(word), quoted=True)
            return
        if word.plain.startswith("~"):
            raise Unknown("~ is not read: write the folder out")
        for piece in self._pieces(word, whole=whole):
            yield _Piece(piece.text, piece.quoted, split=not piece.quoted, ends=piece.ends)


def inert(words: Sequence[Word], *, strict: bool) -> bool:
    """Whether words, whatever they become, set no variable, run nothing and do not end the script.

    ``strict`` is ``set -u``, with which a variable without a value ends it.
    """
    return all(_inert(part, strict=strict) for word in words for part in word.parts)


def _inert(part: Part, *, strict: bool) -> bool:
    if not isinstance(part, Value):
        return isinstance(part, Text)
    there = part.name in {*"0@*#?$-"} or part.op in {"-", ":-", "+", ":+"}
    inside = part.word is None or inert([part.word], strict=strict)
    return inside and part.op[-1:] not in {"=", "?"} and (there or not strict)


def _field(text: str, *, there: bool, open_: str) -> Iterator[str]:
    if not text and not there:
        return
    if open_ and text != "[":
        raise Unknown(f"a pattern of file names ({open_[0]}) is not read: quote it, or write the commands one by one")
    yield _short(text)


def _short(text: str) -> str:
    if len(text) > MOST:
        raise Unknown(f"a word of more than {MOST} letters is not read")
    return text


def _printed(text: str) -> str:
    """Return the output of the few commands whose answer is known: root runs the script, and its programs are there."""
    if text == "id -u":
        return "0"
    found = _FINDS.fullmatch(text)
    if found and found[1] in PROGRAMS:
        return f"/usr/sbin/{found[1]}"
    shown = " ".join(text.split())[:60]
    raise Unknown(f"the output of a command ($({shown})) is not read: assign what it prints on the host")
