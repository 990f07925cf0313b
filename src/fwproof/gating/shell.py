"""Reads the shell that scripts of iptables commands are written in, as POSIX has it; nothing is ever run by it.

What a script says by itself is followed: variables, quotes, splitting, loops, conditions, functions, here-documents.
What depends on the machine (files, output of commands, whether a command works), or is not the same in every sh, is a
fault with its line where the script comes to it, so that no command is missed and none is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fwproof.errors import Fault
from fwproof.gating import shell_builtins as builtins
from fwproof.gating.shell_builtins import Leave
from fwproof.gating.shell_expand import Expander
from fwproof.gating.shell_grammar import Grammar
from fwproof.gating.shell_scope import Odd, Scope
from fwproof.gating.shell_sums import PROGRAMS, Unknown
from fwproof.gating.shell_tree import (
    Body,
    Both,
    Case,
    For,
    Function,
    Group,
    Here,
    If,
    Node,
    Not,
    Plain,
    Redirect,
    Unread,
    While,
)
from fwproof.gating.shell_words import Broken
from fwproof.ruleset.words import Word

HARMLESS = frozenset({
    "echo", "printf", "umask", "sleep", "logger", "cat", "cd", "date", "modprobe", "depmod",
})  # fmt: skip
"""What a script may do beside, without a part in the tables."""
_AFTER = HARMLESS | {"true", ":", "false", "exit", "return"}
"""What may stand where a command fails: a gate stops there in any case."""
_SAVES = frozenset({"iptables-save", "ip6tables-save"})
_LOOKS = frozenset({"-C", "--check", "-L", "--list", "-S", "--list-rules"})
_MOST = 20_000
_DEEP = 40


@dataclass(frozen=True, slots=True)
class Simple:
    """One simple command: the line on which it begins, its words, and whether the script goes on where it fails.

    ``calls`` are the lines from which the functions that it stands in were called; ``feed`` is what it reads, with the
    line on which that begins, and ``to`` the file that its output goes to.
    """

    line: int
    words: tuple[Word, ...]
    may_fail: bool = False
    calls: tuple[int, ...] = ()
    feed: tuple[str, int] | None = None
    to: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """What a script runs, what of it cannot be read, and what was taken for granted."""

    commands: tuple[Simple, ...]
    faults: tuple[Fault, ...]
    assumed: tuple[str, ...] = ()


def read_shell(text: str, source: str) -> Script:
    """Return the commands of a script, in the order in which a shell runs them, and every fault with its line."""
    shell = _Shell(source)
    try:
        grammar = Grammar(text.replace("\r\n", "\n"))
        shell.bash = grammar.bash
        shell.whole(grammar.script())
    except Broken as broken:
        shell.fault(broken.line, broken.why)
    except RecursionError:
        shell.fault(0, "its commands stand in one another too deeply to be read")
    return Script(tuple(shell.found), tuple(shell.faults), tuple(shell.scope.assumed))


class _Shell:
    def __init__(self, source: str) -> None:
        self.source, self.bash = source, False
        self.scope = Scope()
        self.expander = Expander(self.scope)
        self.found: list[Simple] = []
        self.faults: dict[Fault, None] = {}
        self._steps = self._loops = self._tested = 0
        self._tolerant = False
        self._do: dict[type, Callable[..., int | None]] = {
            Plain: self._plain, Both: self._both, Not: self._not, If: self._if, For: self._for, While: self._while,
            Case: self._case, Group: lambda node: self._list(node.body), Function: self._function,
            Unread: self._unread,
        }  # fmt: skip

    def fault(self, line: int, why: str) -> None:
        self.faults[Fault(self.source, line, 1 if line else 0, why)] = None

    def whole(self, body: Body) -> None:
        try:
            self._list(body)
        except Leave:
            return

    # ---- commands

    def _list(self, body: Body) -> int | None:
        """Run commands in turn; what cannot be told of one is a fault, and the others are read on."""
        status: int | None = 0
        for node in body:
            try:
                status = self._run(node)
            except Unknown as unknown:
                status, why = None, str(unknown)
                # one variable that is missing says nothing of the next; anything else may have set some
                self.scope.lost = self.scope.lost or "has no value: assign" not in why
                if why:
                    self.fault(unknown.line, why)
            self.scope.status = status
        return status

    def _run(self, node: Node) -> int | None:
        self._steps += 1
        if self._steps > _MOST:
            self.fault(node.line, f"the script is not read on: it has run {_MOST} commands here")
            raise Leave("exit")
        try:
            self.scope.status = self._do[type(node)](node)
        except Unknown as unknown:
            unknown.line = unknown.line or node.line
            raise
        return self.scope.status

    def _unread(self, node: Unread) -> int:
        raise Unknown(node.why)

    def _holds(self, body: Body) -> bool:
        """Return whether a condition holds; raises Unknown where that is not known."""
        before = len(self.faults)
        self._tested += 1
        try:
            status = self._list(body)
        finally:
            self._tested -= 1
        if len(self.faults) > before:
            raise Unknown("")
        if status is None:
            raise Unknown("whether this holds depends on whether a command works: write the commands one by one")
        return not status

    def _both(self, node: Both) -> int | None:
        tolerant = node.operator == "||" and isinstance(node.left, Plain) and self._is(node.right, {"true", ":"})
        self._tested += 1
        self._tolerant, before = tolerant, self._tolerant
        try:
            status = self._run(node.left)
        finally:
            self._tested -= 1
            self._tolerant = before
        if node.operator == "&&":
            return status or self._run(node.right) if not status else status
        if status is None:
            if not self._is(node.right, _AFTER):
                raise Unknown("what runs where a command fails depends on the tables: only `|| true` and what ends the"
                              " script is read")  # fmt: skip
            return 0 if tolerant else None
        return self._run(node.right) if status else status

    def _is(self, node: Node, names: frozenset[str] | set[str], depth: int = 0) -> bool:
        """Whether a command consists of some that have these names, in functions as well."""
        if isinstance(node, Group):
            return all(self._is(each, names, depth) for each in node.body)
        if not isinstance(node, Plain) or len(node.words) < 1 or depth > _DEEP:
            return False
        name = node.words[0].plain
        if name in self.scope.functions:
            return self._is(self.scope.functions[name], names, depth + 1)
        return name in names and not any(each.kind in {"out", "here"} for each in node.redirects)

    def _not(self, node: Not) -> int | None:
        self._tested += 1
        try:
            status = self._run(node.inner)
        finally:
            self._tested -= 1
        return None if status is None else int(not status)

    def _if(self, node: If) -> int | None:
        for test, body in node.branches:
            if self._holds(test):
                return self._list(body)
        return self._list(node.rest)

    def _for(self, node: For) -> int | None:
        if node.words is None and self.scope.parameters is None:
            raise Unknown("the arguments of the script are not known: `set -- WORDS` at its head says what they are")
        words = self.expander.fields(node.words) if node.words is not None else list(self.scope.parameters or ())
        turns = iter(words)

        def more() -> bool:
            word = next(turns, None)
            if word is not None:
                self.scope.assign(node.name, word)
            return word is not None

        return self._loop(more, node.body)

    def _while(self, node: While) -> int | None:
        return self._loop(lambda: self._holds(node.test) != node.until, node.body)

    def _loop(self, more: Callable[[], bool], body: Body) -> int | None:
        self._loops += 1
        status: int | None = 0
        try:
            while True:
                try:
                    if not more():
                        return status
                    status = self._list(body)
                except Leave as way:
                    if way.what not in {"break", "continue"}:
                        raise
                    if way.count > 1:
                        raise Leave(way.what, way.count - 1) from None
                    status = 0
                    if way.what == "break":
                        return status
        finally:
            self._loops -= 1

    def _case(self, node: Case) -> int | None:
        text = self.expander.one(node.word)
        for patterns, body in node.items:
            if any(self.expander.pattern(each).fullmatch(text) for each in patterns):
                return self._list(body)
        return 0

    def _function(self, node: Function) -> int:
        if node.name in builtins.SPECIAL or node.name in builtins.REFUSED or node.name in {"local", "command"}:
            raise Unknown(f"a function of the name {node.name} is not the same in every sh")
        self.scope.functions[node.name] = node.body
        return 0

    # ---- simple commands

    def _plain(self, node: Plain) -> int | None:
        status = self._carried_out(node)
        if status and not self._tested and self.scope.exits:
            raise Leave("exit")
        return status

    def _carried_out(self, node: Plain) -> int | None:
        if node.assigned and node.words:
            raise Unknown("a variable for one command only is not read: assign it on a line of its own")
        for name, word in node.assigned:
            self._assigned(name, lambda word=word: self.expander.one(word))  # type: ignore[misc]
        if not node.words:
            if node.redirects:
                raise Unknown("a redirection without a command is not read")
            return 0
        first = node.words[0].plain
        if first in {"local", "export", "readonly"} and not node.redirects:
            return builtins.declare(self.scope, self.expander, first, node.words[1:])
        try:
            words = self.expander.fields(node.words)
        except Unknown as unknown:
            if first in HARMLESS and not node.redirects and "output of a command" not in str(unknown):
                return 0  # what it prints is all that is not known
            raise
        return self._command(node, words) if words else 0

    def _assigned(self, name: str, value: Callable[[], str]) -> None:
        try:
            self.scope.assign(name, value())
        except Unknown:
            self.scope.variables[name] = Odd("")
            raise

    def _command(self, node: Plain, words: list[str]) -> int | None:
        bare = words[0] == "command" and len(words) > 1 and not words[1].startswith("-")
        words = words[1:] if bare else words
        name, rest = words[0], words[1:]
        if name in self.scope.functions and not bare:
            return self._call(node, name, rest)
        if name in builtins.PLAIN:
            return builtins.PLAIN[name](self.scope, rest)
        if name == "set":
            return builtins.set_(self.scope, rest, bash=self.bash)
        if name in {"break", "continue", "return", "exit"}:
            return builtins.leave(self.scope, name, rest, self._loops)
        if name in builtins.REFUSED or name in {"command", "local", "export", "readonly"}:
            raise Unknown(f"{name!r} is not read: write the commands out one by one")
        return self._external(node, words)

    def _call(self, node: Plain, name: str, words: Sequence[str]) -> int | None:
        scope = self.scope
        if any(each.kind != "quiet" for each in node.redirects):
            raise Unknown("input or output of a function is not read")
        if len(scope.locals) >= _DEEP:
            raise Unknown(f"functions call one another more than {_DEEP} times over")
        body = scope.functions[name]
        single = isinstance(body, Group) and len(body.body) == 1 and isinstance(body.body[0], Plain)
        kept, loops, tolerant = scope.parameters, self._loops, self._tolerant
        scope.parameters, self._loops, self._tolerant = tuple(words), 0, tolerant and single
        scope.locals.append({})
        scope.calls.append(node.line)
        try:
            return self._run(body)
        except Leave as way:
            if way.what != "return":
                raise
            return scope.status
        finally:
            scope.calls.pop()
            scope.restore()
            scope.parameters, self._loops, self._tolerant = kept, loops, tolerant

    def _external(self, node: Plain, words: Sequence[str]) -> int | None:
        name = PurePosixPath(words[0]).name
        feed: tuple[str, int] | None = None
        to = ""
        for each in node.redirects:
            if isinstance(each.target, Here):
                feed = (self.expander.one(each.target.body), each.target.line)
            elif each.kind != "quiet":
                to = self._file(each, name)
        if name in HARMLESS and not to:
            return 0
        if self._tested and name in PROGRAMS and _LOOKS & set(words):
            raise Unknown("whether this holds depends on the tables: write out what is done where it does, or not")
        made = tuple(Word(word) for word in words)
        self.found.append(Simple(node.line, made, self._tolerant, tuple(self.scope.calls), feed, to))
        return 0 if name in HARMLESS else None

    def _file(self, each: Redirect, name: str) -> str:
        """Return the file of the kernel's that output goes to; empty for one that has no part in the tables."""
        assert not isinstance(each.target, Here)
        if each.kind not in {"out", "errors"} or each.target is None:
            raise Unknown("input from elsewhere (<) is not read: give the file that it restores, or write it here")
        if each.kind == "out" and name not in HARMLESS | _SAVES:
            raise Unknown("output to a file (>) is not read: write the commands one by one")
        path = self.expander.one(each.target)
        return path if path.startswith(("/proc/", "/sys/")) else ""
