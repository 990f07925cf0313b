"""What a script is made of, as the grammar of POSIX has it (XCU 2.10); values only."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Text:
    """Letters as they stand; those that are quoted are neither split nor a pattern."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """``$NAME`` or ``${NAME op word}``; ``op`` is empty, ``#`` before the name, or what stands behind it."""

    name: str
    op: str = ""
    word: Word | None = None
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Sum:
    """``$((…))``."""

    word: Word
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Unread:
    """What cannot be read, as a part of a word or in place of a command; a fault only where it is come to."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Output:
    """``$(…)``, with the text inside."""

    text: str
    quoted: bool = False


Part = Text | Value | Sum | Output | Unread


@dataclass(frozen=True, slots=True)
class Word:
    """One word with the line on which it begins."""

    parts: tuple[Part, ...]
    line: int

    @property
    def plain(self) -> str:
        """The word where nothing in it is quoted or expanded, else nothing: only such a one is a reserved word."""
        first = self.parts[0] if len(self.parts) == 1 else None
        return first.text if isinstance(first, Text) and not first.quoted else ""


@dataclass(slots=True)
class Here:
    """A here-document; its body comes after the line that names it."""

    delimiter: str
    quoted: bool
    tabs: bool
    line: int = 0
    body: Word = field(default_factory=lambda: Word((), 0))


@dataclass(frozen=True, slots=True)
class Redirect:
    """``kind`` is ``quiet`` (thrown away, or joined), ``here``, ``out``, ``errors``, or another operator.

    Of what is quiet, ``what`` is ``2>/dev/null`` or its like, as letters.
    """

    kind: str
    target: Word | Here | None = None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Plain:
    """A simple command: assignments, words, redirections."""

    line: int
    assigned: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True, slots=True)
class Both:
    """``left && right`` or ``left || right``."""

    line: int
    left: Node
    operator: str
    right: Node


@dataclass(frozen=True, slots=True)
class Not:
    """``! command``."""

    line: int
    inner: Node


@dataclass(frozen=True, slots=True)
class If:
    """Conditions with what they guard, and the rest."""

    line: int
    branches: tuple[tuple[Body, Body], ...]
    rest: Body


@dataclass(frozen=True, slots=True)
class For:
    """``words`` is None for ``"$@"``."""

    line: int
    name: str
    words: tuple[Word, ...] | None
    body: Body


@dataclass(frozen=True, slots=True)
class While:
    """``until`` is whether it goes on as long as the condition fails."""

    line: int
    test: Body
    body: Body
    until: bool


@dataclass(frozen=True, slots=True)
class Case:
    """A word, and what is done for the first pattern that it is like."""

    line: int
    word: Word
    items: tuple[tuple[tuple[Word, ...], Body], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """``{ … }``."""

    line: int
    body: Body


@dataclass(frozen=True, slots=True)
class Fed:
    """A compound command that reads a here-document."""

    line: int
    inner: Node
    here: Here


@dataclass(frozen=True, slots=True)
class Pipe:
    """``command | command``."""

    line: int
    commands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """``name() body``."""

    line: int
    name: str
    body: Node


Node = Plain | Both | Not | If | For | While | Case | Group | Fed | Pipe | Function | Unread
Body = tuple[Node, ...]
