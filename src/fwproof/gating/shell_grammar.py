"""Words of a script to commands: lists, loops, conditions, functions, redirections (XCU 2.9, 2.10)."""

from __future__ import annotations

from collections.abc import Callable

from fwproof.gating.shell_pieces import RESERVED, Pieces, assignment
from fwproof.gating.shell_tree import (
    Body,
    Both,
    Case,
    Fed,
    For,
    Function,
    Group,
    Here,
    If,
    Node,
    Not,
    Pipe,
    Plain,
    Redirect,
    Unread,
    While,
    Word,
)
from fwproof.gating.shell_words import NAME, Broken

_OTHERS = frozenset({"select", "[[", "time", "coproc"})
"""Reserved in some sh, and no part of POSIX."""
_AND_OR = ("&&", "||")
_DEEP = 60


class Grammar(Pieces):
    """Reads commands; raises Broken at the first place that is no script."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._deep = 0

    def script(self) -> Body:
        """Return the whole script."""
        body = self._list(())
        if self.letters.at < len(self.letters.text):
            raise self.unexpected()
        if self.letters.pending:
            raise Broken(self.letters.line, f"the here-document {self.letters.pending[0].delimiter} never begins")
        return body

    # ---- lists

    def _list(self, stops: tuple[str, ...]) -> Body:
        self._deep += 1
        if self._deep > _DEEP:
            raise Broken(self.letters.line, "commands stand in one another too deeply to be read")
        found: list[Node] = []
        while True:
            self.lines()
            here = self.reserved()
            if here in stops or self.letters.peek() in {"", ")"} or self.letters.peek(2) == ";;":
                break
            node = self._and_or()
            self.letters.blanks()
            if self.letters.peek() == "&" and self.letters.peek(2) != "&&":
                self.letters.take()
                node = Unread(node.line, "a command in the background (&) is not read: write the commands one by one")
            elif self.letters.peek() == ";" and self.letters.peek(2) != ";;":
                self.letters.take()
            elif self.letters.peek() not in {"", "\n", ")"} and self.letters.peek(2) != ";;":
                raise self.unexpected()
            found.append(node)
        self._deep -= 1
        return tuple(found)

    def _some(self, stops: tuple[str, ...]) -> Body:
        found = self._list(stops)
        if not found:
            raise self.unexpected()
        return found

    def _and_or(self) -> Node:
        left = self._pipeline()
        while True:
            self.letters.blanks()
            operator = self.letters.peek(2)
            if operator not in _AND_OR:
                return left
            self.letters.take(2)
            self.lines()
            left = Both(left.line, left, operator, self._pipeline())

    def _pipeline(self) -> Node:
        self.letters.blanks()
        if self.reserved() == "!":
            line = self.letters.line
            self.letters.take()
            return Not(line, self._pipeline())
        line, nodes = self.letters.line, [self._command()]
        self.letters.blanks()
        while self.letters.peek() == "|" and self.letters.peek(2) != "||":
            self.letters.take()
            self.lines()
            nodes.append(self._command())
            self.letters.blanks()
        return Pipe(line, tuple(nodes)) if len(nodes) > 1 else nodes[0]

    # ---- commands

    def _command(self) -> Node:
        self.letters.blanks()
        line, word = self.letters.line, self.reserved()
        make: dict[str, Callable[[int], Node]] = {
            "if": self._if, "for": self._for, "while": self._while, "until": self._until, "case": self._case,
            "{": self._group,
        }  # fmt: skip
        if word in make:
            self.letters.take(len(word))
            return self._directed(make[word](line))
        if self.letters.peek() == "(":
            self.letters.take()
            self._list(())
            self.expect(")")
            return self._directed(Unread(line, "a subshell (() is not read: write the commands one by one"))
        if word:
            raise self.unexpected()
        return self._plain(line)

    def _if(self, line: int) -> Node:
        branches = []
        while True:
            test = self._some(("then",))
            self.expect("then")
            branches.append((test, self._some(("elif", "else", "fi"))))
            word = self.reserved()
            self.letters.take(len(word))
            if word != "elif":
                break
        rest: Body = ()
        if word == "else":
            rest = self._some(("fi",))
            self.expect("fi")
        elif word != "fi":
            raise Broken(line, "the if that begins here is never closed: expected fi")
        return If(line, tuple(branches), rest)

    def _for(self, line: int) -> Node:
        self.letters.blanks()
        word = self.letters.word()
        name = word.plain if word else ""
        if not NAME.fullmatch(name):
            raise Broken(line, "expected `for NAME in WORDS; do … done`")
        self.lines()
        words: tuple[Word, ...] | None = None
        if self.reserved() == "in":
            self.letters.take(2)
            words = self._words()
        self.letters.blanks()
        if self.letters.peek() == ";":
            self.letters.take()
        return For(line, name, words, self._done(line))

    def _words(self) -> tuple[Word, ...]:
        found: list[Word] = []
        while True:
            self.letters.blanks()
            word = self.letters.word()
            if word is None:
                return tuple(found)
            found.append(word)

    def _done(self, line: int) -> Body:
        self.lines()
        self.expect("do")
        body = self._some(("done",))
        if self.reserved() != "done":
            raise Broken(line, "the loop that begins here is never closed: expected done")
        self.letters.take(4)
        return body

    def _while(self, line: int, *, until: bool = False) -> Node:
        test = self._some(("do",))
        return While(line, test, self._done(line), until)

    def _until(self, line: int) -> Node:
        return self._while(line, until=True)

    def _case(self, line: int) -> Node:
        self.letters.blanks()
        word = self.letters.word()
        self.lines()
        self.expect("in")
        items = []
        while True:
            self.lines()
            if self.reserved() == "esac":
                self.letters.take(4)
                break
            if self.letters.peek() == "":
                raise Broken(line, "the case that begins here is never closed: expected esac")
            items.append((self._patterns(), self._list(("esac",))))
            if self.letters.peek(2) == ";;":
                self.letters.take(2)
        if word is None:
            raise Broken(line, "expected `case WORD in PATTERN) … ;; esac`")
        return Case(line, word, tuple(items))

    def _patterns(self) -> tuple[Word, ...]:
        if self.letters.peek() == "(":
            self.letters.take()
        found = []
        while True:
            self.letters.blanks()
            word = self.letters.word()
            if word is None:
                raise self.unexpected()
            found.append(word)
            self.letters.blanks()
            if self.letters.peek() != "|":
                break
            self.letters.take()
        self.expect(")")
        return tuple(found)

    def _group(self, line: int) -> Node:
        body = self._some(("}",))
        if self.reserved() != "}":
            raise Broken(line, "the { that opens here is never closed")
        self.letters.take()
        return Group(line, body)

    def _directed(self, node: Node) -> Node:
        """Return a compound command, which cannot be read where it takes input of a file, or gives output to one."""
        while True:
            self.letters.blanks()
            redirect = self.redirect()
            if redirect is None:
                return node
            if isinstance(redirect.target, Here) and not isinstance(node, Fed):
                node = Fed(node.line, node, redirect.target)
            elif redirect.kind != "quiet":
                what = "output to a file (>)" if redirect.kind == "out" else "input from elsewhere (<)"
                node = Unread(node.line, f"{what} for several commands is not read: write the commands one by one")

    def _plain(self, line: int) -> Node:
        words: list[Word] = []
        assigned: list[tuple[str, Word]] = []
        redirects: list[Redirect] = []
        while True:
            self.letters.blanks()
            redirect = self.redirect()
            if redirect is not None:
                redirects.append(redirect)
                continue
            word = self.letters.word()
            if word is None:
                break
            named = assignment(word) if not words else None
            if named is not None:
                assigned.append(named)
                continue
            words.append(word)
            if words[0].plain == "function":
                raise Broken(line, "'function' is not read: write NAME() { … }")
            self.letters.blanks()
            if self.letters.peek() == "(":
                return self._function(line, words, lonely=not (assigned or redirects))
        if not (words or assigned or redirects):
            raise self.unexpected()
        name = words[0].plain if words else ""
        if name in _OTHERS or name in RESERVED:
            return Unread(line, f"{name!r} is not read: write the commands out one by one")
        return Plain(line, tuple(assigned), tuple(words), tuple(redirects))

    def _function(self, line: int, words: list[Word], *, lonely: bool) -> Node:
        name = words[0].plain
        self.letters.take()
        self.letters.blanks()
        if len(words) > 1 or not lonely or not NAME.fullmatch(name) or self.letters.peek() != ")":
            raise Broken(line, "a subshell or function (() is not read here: expected NAME() { … }")
        self.letters.take()
        self.lines()
        return Function(line, name, self._command())
