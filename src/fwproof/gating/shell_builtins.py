"""What a shell itself does: ``set``, ``shift``, ``local``, ``[`` and their like (XCU 2.14), where every sh agrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fwproof.gating.shell_expand import Expander
from fwproof.gating.shell_pieces import assignment
from fwproof.gating.shell_scope import Odd, Scope
from fwproof.gating.shell_sums import Unknown, number, tested
from fwproof.gating.shell_tree import Word
from fwproof.gating.shell_words import NAME

REFUSED = frozenset({"eval", "source", ".", "exec", "trap", "alias", "unalias", "wait", "getopts", "times"})
"""What makes other commands of its words, or depends on what is not in the script."""
SPECIAL = frozenset({
    "break", ":", "continue", ".", "eval", "exec", "exit", "export", "readonly", "return", "set", "shift", "times",
    "trap", "unset",
})  # fmt: skip
"""Names that no function may have (XCU 2.14)."""
_SINGLE = {"e": "errexit", "u": "nounset", "x": "xtrace", "v": "verbose"}


class Leave(Exception):
    """The way out of a loop (``break``, ``continue``), a function (``return``) or the script (``exit``)."""

    def __init__(self, what: str, count: int = 1) -> None:
        self.what, self.count = what, count
        super().__init__(what)


def set_(scope: Scope, words: Sequence[str], *, bash: bool) -> int:
    """Do ``set``; raises Unknown for options that change how a script is read."""
    rest = list(words)
    while rest and rest[0][:1] in {"-", "+"} and len(rest[0]) > 1 and rest[0] != "--":
        word = rest.pop(0)
        for letter in word[1:]:
            name = rest.pop(0) if letter == "o" and rest else _SINGLE.get(letter, "")
            if name not in _SINGLE.values() and not (name == "pipefail" and bash):
                raise Unknown(f"set {word}: of the options of a shell, -e, -u, -x and -v are read")
            scope.exits = word[0] == "-" if name == "errexit" else scope.exits
            scope.strict = word[0] == "-" if name == "nounset" else scope.strict
    if rest and rest[0] in {"-", "+"}:
        raise Unknown(f"set {rest[0]} is not the same in every sh: write set -- WORDS")
    if rest:
        scope.parameters = tuple(rest[1:] if rest[0] == "--" else rest)
    return 0


def shift(scope: Scope, words: Sequence[str]) -> int:
    """Do ``shift``."""
    count = number(words[0]) if words else 1
    if scope.parameters is None:
        raise Unknown("the arguments of the script are not known: `set -- WORDS` at its head says what they are")
    if not 0 <= count <= len(scope.parameters):
        raise Unknown(f"shift {count}: there are {len(scope.parameters)} arguments here, and a sh may end")
    scope.parameters = scope.parameters[count:]
    return 0


def unset(scope: Scope, words: Sequence[str]) -> int:
    """Do ``unset``."""
    names, functions = list(words), bool(words) and words[0] == "-f"
    names = names[1:] if names and names[0] in {"-v", "-f"} else names
    for name in names:
        if not NAME.fullmatch(name):
            raise Unknown(f"unset {name}: expected the name of a variable")
        if functions:
            scope.functions.pop(name, None)
        elif any(name in kept or f"!{name}" in kept for kept in scope.locals):
            raise Unknown(f"unset {name} of a local variable is not the same in every sh: write {name}=")
        elif name not in scope.variables and name in scope.functions:
            raise Unknown(f"unset {name} is not the same in every sh: write unset -f {name}")
        else:
            scope.assign(name, None)
    return 0


def declare(scope: Scope, expander: Expander, what: str, words: Sequence[Word]) -> int:
    """Do ``local``, ``export`` or ``readonly``, whose words are assignments or names."""
    if what == "local" and not scope.locals:
        raise Unknown("local outside of a function is not the same in every sh")
    made: list[tuple[str, str | None]] = []
    for word in words:
        pair = assignment(word)
        if pair is None:
            if not NAME.fullmatch(word.plain):
                raise Unknown(f"{what}: expected NAME or NAME=VALUE, without options")
            made.append((word.plain, None))
            continue
        name, value = pair
        text = expander.one(value)
        if value.parts and expander.fields([word]) != [f"{name}={text}"]:
            raise Unknown(f"{what} {name}: the value has blanks, of which some sh make several words: put it in quotes")
        made.append((name, text))
    for name, value_ in made:
        _declared(scope, what, name, value_)
    return 0


def _declared(scope: Scope, what: str, name: str, value: str | None) -> None:
    if what == "local":
        before = name in scope.variables and scope.variables[name] is not None
        scope.keep(name)
        if value is None and before:
            why = f"`local {name}` has no value in one sh, and that of before in another: write `local {name}=`"
            scope.assign(name, Odd(why))
            return
    if value is not None:
        scope.assign(name, value)
    elif what == "local":
        scope.assign(name, None)
    if what == "readonly":
        scope.fixed.add(name)


def leave(scope: Scope, what: str, words: Sequence[str], loops: int) -> int:
    """Do ``break``, ``continue``, ``return`` or ``exit``: raises Leave."""
    if len(words) > 1:
        raise Unknown(f"{what} takes one number")
    count = number(words[0]) if words else None
    if what in {"break", "continue"}:
        if not loops or (count is not None and count < 1):
            raise Unknown(f"{what} outside of a loop, or of no loop, is not the same in every sh")
        raise Leave(what, min(count or 1, loops))
    if what == "return":
        if not scope.locals:
            raise Unknown("return outside of a function is not the same in every sh: write exit")
        if count is not None:
            if not 0 <= count < 256:
                raise Unknown("return takes a number from 0 to 255")
            scope.status = count
    elif count is not None:
        scope.status = count % 256
    raise Leave(what)


def bracket(words: Sequence[str]) -> int:
    """Do ``[``."""
    if words[-1:] != ["]"]:
        raise Unknown("the [ that opens here is never closed: expected ]")
    return int(not tested(words[:-1]))


PLAIN: Mapping[str, Callable[[Scope, Sequence[str]], int]] = {
    "shift": shift, "unset": unset, "true": lambda _, __: 0, ":": lambda _, __: 0, "false": lambda _, __: 1,
    "[": lambda _, words: bracket(words), "test": lambda _, words: int(not tested(words)),
}  # fmt: skip
"""Those that need nothing but the scope and their words."""
