"""Simple commands of a script: those of the shell itself, its functions, and those that are run (XCU 2.9.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Protocol

from fwproof.errors import Fault
from fwproof.gating import shell_builtins as builtins
from fwproof.gating.programs import PROGRAMS, SAVERS
from fwproof.gating.shell_builtins import Leave
from fwproof.gating.shell_expand import Expander, inert
from fwproof.gating.shell_read import BLANKS, Input, read
from fwproof.gating.shell_scope import Odd, Scope
from fwproof.gating.shell_sums import Unknown
from fwproof.gating.shell_tree import Group, Here, Node, Pipe, Plain, Redirect
from fwproof.ruleset.words import Word

_SURE = frozenset({"echo", "printf", "umask", "sleep", "date"})
HARMLESS = _SURE | {"logger", "cat", "cd", "modprobe", "depmod"}
"""What a script may do beside, without a part in the tables; whether those work that are not sure, the machine says."""
_SAYS = frozenset({"echo", "printf"})
_SHOWS = frozenset({"cat", "head", "tail", "sort", "uniq", "wc", "nl", "less", "more", "column", "cut", "tr", "logger"})
"""What reads and prints, and ends well."""
_FINDS = frozenset({"grep", "egrep", "fgrep"})
_PIPE = "a pipe (|) is read where it shows what iptables lists, or a text; else write the commands one by one"
_LIST = frozenset({"-L", "--list", "-S", "--list-rules"})
_LISTS = _LIST | {"-nL", "-vnL", "-nvL", "-vL"}
_LOOKS = _LIST | {"-C", "--check"}
_OWN = builtins.SPECIAL | frozenset(builtins.PLAIN) | {"command", "local", "read"}
_STEERS, _STEER = frozenset({"PATH", "IFS"}), ("LD_", "XTABLES_", "IPTABLES_", "IP6TABLES_")
"""Variables that make another command of what is run."""
DEEP = 40
"""How many functions may have called one another."""


@dataclass(frozen=True, slots=True)
class Simple:
    """One simple command: the line on which it begins, and its words.

    ``may_fail`` is whether ``|| true`` stands behind it, ``looked`` whether the script looks at its status, ``muted``
    whether it throws its complaints away and goes on. ``calls`` are the lines from which the functions were called that
    it stands in; ``feed`` is what it reads, with the line on which that begins, and ``to`` the file that its output
    goes to.
    """

    line: int
    words: tuple[Word, ...]
    may_fail: bool = False
    looked: bool = False
    muted: bool = False
    calls: tuple[int, ...] = ()
    feed: tuple[str, int] | None = None
    to: str = ""


class Ended(Protocol):
    """How a command ends: its status, None where that is not known, and then why."""

    @property
    def status(self) -> int | None: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102


Asks = Callable[[Simple], Ended]


class Commands:
    """Carries out simple commands; ``found`` are those that a shell would run.

    ``loops`` and ``tested`` are how many loops and conditions stand around the command, ``looked`` is whether its own
    status is what is looked at, and ``tolerant`` whether it may fail (``|| true``). ``asks`` says how a command that is
    run ends; ``doubt`` is why that was not known of the last, ``failed`` the last that is known to have failed, and
    ``unsure`` whether the last that was run works only if the machine is as it should be.
    """

    def __init__(self, asks: Asks) -> None:
        self.asks = asks
        self.doubt, self.failed = "", ""
        self.exited = 0
        self.looked = False
        self.input: Input | None = None
        self.faults: dict[Fault, None] = {}
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
            self.scope.status, self.exited = status, node.line
            raise Leave("exit")
        return status

    def _carried_out(self, node: Plain) -> int | None:
        if node.assigned and node.words:
            return self._with(node)
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

    def _with(self, node: Plain) -> int | None:
        """Carry out a command that has variables of its own, which the script's others know nothing of."""
        words = self.expander.fields(node.words)
        values = {name: self.expander.one(word) for name, word in node.assigned}
        name = words[0] if words else ""
        if name == "read" and set(values) == {"IFS"}:
            return self._read(node, words[1:], values["IFS"])
        bare = name == "command" and len(words) > 1 and not words[1].startswith("-")
        words = words[1:] if bare else words
        name = words[0] if words else ""
        odd = next((each for each in values if each in _STEERS or each.startswith(_STEER)), "")
        if odd or not name or (name in self.scope.functions and not bare) or name in _OWN or name in builtins.REFUSED:
            which = odd or next(iter(values))
            raise Unknown(f"the variable {which} for one command only is not read: assign it on a line of its own")
        return self._external(node, words)

    def _read(self, node: Plain, words: list[str], parts: str = BLANKS) -> int:
        here = next((each.target for each in node.redirects if isinstance(each.target, Here)), None)
        given = self.input if here is None else Input(self.expander.one(here.body))
        if any(each.kind not in {"quiet", "here"} for each in node.redirects):
            raise Unknown("input from elsewhere (<) is not read: write it here (<<)")
        status, values = read(words, given, parts)
        for name, value in values.items():
            self.scope.assign(name, value)
        return status

    def pipe(self, node: Pipe) -> int | None:
        """Carry out a pipe that only shows something: what lists tables, or prints, to what prints it again."""
        if not all(isinstance(each, Plain) and not each.assigned and each.words for each in node.commands):
            raise Unknown(_PIPE)
        before = dict(self.scope.variables)
        words = [self.expander.fields(each.words) for each in node.commands if isinstance(each, Plain)]
        quiet = all(each.kind == "quiet" for one in node.commands if isinstance(one, Plain) for each in one.redirects)
        first, *others = (PurePosixPath(each[0]).name for each in words)
        lists = first in SAVERS or (first in PROGRAMS and bool(_LISTS & set(words[0])))
        if not (quiet and (lists or first in _SAYS) and set(others) <= _SHOWS | _FINDS and words[0][0] not in
                self.scope.functions and self.scope.variables == before):  # fmt: skip
            raise Unknown(_PIPE)
        if lists:
            shown = tuple(Word(word) for word in words[0])
            self._asked(Simple(node.line, shown, True, calls=tuple(self.scope.calls)), "")
        if (self.bash or others[-1] in _FINDS) and (self.tested or self.scope.exits):
            raise Unknown("how this ends depends on what a command prints: write out what is done then, or not")
        return None if others[-1] in _FINDS else 0

    def _assigned(self, name: str, value: Callable[[], str]) -> None:
        try:
            self.scope.assign(name, value())
        except Unknown:
            self.scope.variables[name] = Odd("")
            raise

    def _command(self, node: Plain, words: list[str]) -> int | None:
        bare = words[0] == "command" and len(words) > 1 and not words[1].startswith("-")
        words = words[1:] if bare else words
        if words[:2] == ["command", "-v"] and len(words) == 3 and words[2] in PROGRAMS:
            words = ["true"]  # its programs are there
        name, rest = words[0], words[1:]
        if name in self.scope.functions and not bare:
            return self._call(node, name, rest)
        if name == "read":
            return self._read(node, rest)
        if name in builtins.PLAIN:
            return builtins.PLAIN[name](self.scope, rest)
        if name == "set":
            return builtins.set_(self.scope, rest, bash=self.bash)
        if name in {"break", "continue", "return", "exit"}:
            self.exited = node.line if name == "exit" else self.exited
            return builtins.leave(self.scope, name, rest, self.loops)
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
        if words[0] in builtins.REFUSED or words[0] in {"command", "local", "export", "readonly"}:
            raise Unknown(f"{words[0]!r} is not read: write the commands out one by one")
        name = PurePosixPath(words[0]).name
        feed: tuple[str, int] | None = None
        to = ""
        for each in node.redirects:
            if isinstance(each.target, Here):
                feed = (self.expander.one(each.target.body), each.target.line)
            elif each.kind != "quiet":
                to = self._file(each, name)
        reads = self.input is not None and feed is None and name in {"cat", "logger"} and not words[1:]
        if reads or (name == "printf" and words[1:2] == ["-v"]):
            raise Unknown(f"what {name} does here is not read: write the commands one by one")
        if name in HARMLESS and not to:
            return self._beside(name, node.line)
        self.unsure = False
        return self._asked(Simple(
            node.line, tuple(Word(word) for word in words), self.tolerant, self.looked, self._muted(node),
            tuple(self.scope.calls), feed, to,
        ), name)  # fmt: skip

    def _asked(self, simple: Simple, name: str) -> int | None:
        """Return the status of a command that is run, None where nobody knows it."""
        self.found.append(simple)
        ended = self.asks(simple)
        if name in HARMLESS:
            return 0
        if ended.status is None:
            self.doubt = ended.why
            looks = name in PROGRAMS and any(word.text in _LOOKS for word in simple.words)
            if (looks or simple.muted) and self.tested and not self.tolerant:
                raise Unknown(self.doubt or "whether this holds depends on the tables: write out what is done where it"
                              " does, or not")  # fmt: skip
        elif ended.status:
            self.failed = f"line {simple.line}: {' '.join(word.text for word in simple.words)}"
        return ended.status

    def _muted(self, node: Plain) -> bool:
        """Whether a command's complaints are thrown away, and the script goes on where it fails."""
        out, errors = "", ""
        for each in node.redirects:
            if each.kind == "quiet":
                to = each.what[2:]
                to = {"&1": out, "&2": errors}.get(to, to)
                out, errors = (out, to) if each.what[0] == "2" else (to, errors)
        return errors == "/dev/null" and (self.tested > 0 or not self.scope.exits)

    def _beside(self, name: str, line: int) -> int | None:
        """Return the status of a command without a part in the tables."""
        self._moved = self._moved or name == "cd"
        self.doubt, self.unsure = "", name not in _SURE
        if self.unsure and (self.scope.exits or self.tested) and not self.tolerant:
            self.scope.assumed[f"{name} works, in line {line}"] = None
        return None if self.unsure else 0

    def _file(self, each: Redirect, name: str) -> str:
        """Return the file of the kernel's that output goes to; empty for one that has no part in the tables."""
        assert not isinstance(each.target, Here)
        if each.kind not in {"out", "errors"} or each.target is None:
            raise Unknown("input from elsewhere (<) is not read: give the file that it restores, or write it here")
        if each.kind == "out" and name not in HARMLESS | SAVERS:
            raise Unknown("output to a file (>) is not read: write the commands one by one")
        path = self.expander.one(each.target)
        if not path.startswith("/"):
            if self._moved:
                raise Unknown(f"which file {path} is depends on the folder (cd): write its whole path")
            return ""
        path = "/" + normpath(path).lstrip("/")  # which lets two slashes at the beginning stand
        return path if path.startswith(("/proc/", "/sys/")) else ""
