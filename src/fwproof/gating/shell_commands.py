"""Simple commands of a script: those of the shell itself, its functions, and those that are run (XCU 2.9.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import normpath

from fwproof.gating import shell_builtins as builtins
from fwproof.gating.shell_builtins import Leave
from fwproof.gating.shell_expand import Expander, inert
from fwproof.gating.shell_scope import Odd, Scope
from fwproof.gating.shell_sums import PROGRAMS, Unknown
from fwproof.gating.shell_tree import Group, Here, Node, Plain, Redirect
from fwproof.ruleset.words import Word

_SURE = frozenset({"echo", "printf", "umask", "sleep", "date"})
HARMLESS = _SURE | {"logger", "cat", "cd", "modprobe", "depmod"}
"""What a script may do beside, without a part in the tables; whether those work that are not sure, the machine says."""
_SAVES = frozenset({"iptables-save", "ip6tables-save"})
_LOOKS = frozenset({"-C", "--check", "-L", "--list", "-S", "--list-rules"})
DEEP = 40
"""How many functions may have called one another."""


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


class Commands:
    """Carries out simple commands; ``found`` are those that a shell would run.

    ``loops`` and ``tested`` are how many loops and conditions stand around the command, ``tolerant`` is whether it may
    fail (``|| true``), ``unsure`` whether the last that was run works only if the machine is as it should be.
    """

    def __init__(self) -> None:
        self.scope = Scope()
        self.expander = Expander(self.scope)
        self.found: list[Simple] = []
        self.bash = self.tolerant = self.unsure = self._moved = False
        self.loops = self.tested = 0

    def run(self, node: Node) -> int | None:
        """Run a command of any kind; return its status, None where that is not known."""
        raise NotImplementedError

    def plain(self, node: Plain) -> int | None:
        """Carry out a simple command; raises Unknown, and Leave where it ends a loop, a function or the script."""
        status = self._carried_out(node)
        if status and not self.tested and self.scope.exits:
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
        except Unknown:
            if first in HARMLESS and not node.redirects and inert(node.words, strict=self.scope.strict):
                return self._beside(first, node.line)  # what it prints is all that is not known
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
            return builtins.leave(self.scope, name, rest, self.loops)
        if name in builtins.REFUSED or name in {"command", "local", "export", "readonly"}:
            raise Unknown(f"{name!r} is not read: write the commands out one by one")
        return self._external(node, words)

    def _call(self, node: Plain, name: str, words: Sequence[str]) -> int | None:
        scope = self.scope
        if any(each.kind != "quiet" for each in node.redirects):
            raise Unknown("input or output of a function is not read")
        if len(scope.locals) >= DEEP:
            raise Unknown(f"functions call one another more than {DEEP} times over")
        body = scope.functions[name]
        single = isinstance(body, Group) and len(body.body) == 1 and isinstance(body.body[0], Plain)
        kept, loops, tolerant = scope.parameters, self.loops, self.tolerant
        scope.parameters, self.loops, self.tolerant = tuple(words), 0, tolerant and single
        scope.locals.append({})
        scope.calls.append(node.line)
        try:
            return self.run(body)
        except Leave as way:
            if way.what != "return":
                raise
            return scope.status
        finally:
            scope.calls.pop()
            scope.restore()
            scope.parameters, self.loops, self.tolerant = kept, loops, tolerant

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
            return self._beside(name, node.line)
        if self.tested and name in PROGRAMS and _LOOKS & set(words):
            raise Unknown("whether this holds depends on the tables: write out what is done where it does, or not")
        made, self.unsure = tuple(Word(word) for word in words), False
        self.found.append(Simple(node.line, made, self.tolerant, tuple(self.scope.calls), feed, to))
        return 0 if name in HARMLESS else None

    def _beside(self, name: str, line: int) -> int | None:
        """Return the status of a command without a part in the tables."""
        self._moved = self._moved or name == "cd"
        self.unsure = name not in _SURE
        if self.unsure and (self.scope.exits or self.tested) and not self.tolerant:
            self.scope.assumed[f"{name} works, in line {line}"] = None
        return None if self.unsure else 0

    def _file(self, each: Redirect, name: str) -> str:
        """Return the file of the kernel's that output goes to; empty for one that has no part in the tables."""
        assert not isinstance(each.target, Here)
        if each.kind not in {"out", "errors"} or each.target is None:
            raise Unknown("input from elsewhere (<) is not read: give the file that it restores, or write it here")
        if each.kind == "out" and name not in HARMLESS | _SAVES:
            raise Unknown("output to a file (>) is not read: write the commands one by one")
        path = self.expander.one(each.target)
        if not path.startswith("/"):
            if self._moved:
                raise Unknown(f"which file {path} is depends on the folder (cd): write its whole path")
            return ""
        path = "/" + normpath(path).lstrip("/")  # which lets two slashes at the beginning stand
        return path if path.startswith(("/proc/", "/sys/")) else ""
