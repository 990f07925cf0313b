"""Reads the shell that scripts of iptables commands are written in, as POSIX has it; nothing is ever run by it.

What a script says by itself is followed: variables, quotes, splitting, loops, conditions, functions, here-documents.
What depends on the machine (files, output of commands, whether a command works), or is not the same in every sh, is a
fault with its line where the script comes to it, so that no command is missed and none is made up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fwproof.errors import Fault
from fwproof.gating import shell_builtins as builtins
from fwproof.gating.shell_builtins import Leave
from fwproof.gating.shell_commands import DEEP, HARMLESS, Commands, Simple
from fwproof.gating.shell_grammar import Grammar
from fwproof.gating.shell_sums import Unknown
from fwproof.gating.shell_tree import (
    Body,
    Both,
    Case,
    For,
    Function,
    Group,
    If,
    Node,
    Not,
    Plain,
    Unread,
    While,
)
from fwproof.gating.shell_words import Broken

_AFTER = HARMLESS | {"true", ":", "false", "exit", "return"}
"""What may stand where a command fails: a gate stops there in any case."""
_MOST = 20_000


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


class _Shell(Commands):
    """Follows lists, loops and conditions."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.faults: dict[Fault, None] = {}
        self._steps = 0
        self._do: dict[type, Callable[..., int | None]] = {
            Plain: self.plain, Both: self._both, Not: self._not, If: self._if, For: self._for, While: self._while,
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
                status = self.run(node)
            except Unknown as unknown:
                status, why = None, str(unknown)
                # one variable that is missing says nothing of the next; anything else may have set some
                self.scope.lost = self.scope.lost or "has no value: assign" not in why
                if why:
                    self.fault(unknown.line, why)
            self.scope.status = status
        return status

    def run(self, node: Node) -> int | None:
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
        self.tested += 1
        try:
            status = self._list(body)
        finally:
            self.tested -= 1
        if len(self.faults) > before:
            raise Unknown("")
        if status is None:
            raise Unknown("whether this holds depends on whether a command works: write the commands one by one")
        return not status

    def _both(self, node: Both) -> int | None:
        tolerant = node.operator == "||" and isinstance(node.left, Plain) and self._is(node.right, {"true", ":"})
        self.tested += 1
        self.tolerant, before = tolerant, self.tolerant
        try:
            status = self.run(node.left)
        finally:
            self.tested -= 1
            self.tolerant = before
        if node.operator == "&&":
            if status is None and self.unsure:
                raise Unknown("whether the command before && works depends on the machine: write what follows alone")
            return status or self.run(node.right)
        if status is None:
            if not self._is(node.right, _AFTER):
                raise Unknown("what runs where a command fails depends on the tables: only `|| true` and what ends the"
                              " script is read")  # fmt: skip
            return 0 if tolerant else None
        return self.run(node.right) if status else status

    def _is(self, node: Node, names: frozenset[str] | set[str], depth: int = 0) -> bool:
        """Whether a command consists of some that have these names, in functions as well."""
        if isinstance(node, Group):
            return all(self._is(each, names, depth) for each in node.body)
        if not isinstance(node, Plain) or len(node.words) < 1 or depth > DEEP:
            return False
        name = node.words[0].plain
        if name in self.scope.functions:
            return self._is(self.scope.functions[name], names, depth + 1)
        return name in names and not any(each.kind in {"out", "here"} for each in node.redirects)

    def _not(self, node: Not) -> int | None:
        self.tested += 1
        try:
            status = self.run(node.inner)
        finally:
            self.tested -= 1
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
        self.loops += 1
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
            self.loops -= 1

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
