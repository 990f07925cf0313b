"""What a shell works out: ``$((…))``, ``[ … ]`` and patterns (XCU 2.6.4, 2.13; test(1)), where every sh agrees."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from fwproof.gating.programs import PROGRAMS

_TOKEN = re.compile(r"\s*(?:([0-9]+)|([A-Za-z_][A-Za-z0-9_]*)|(<=|>=|==|!=|[-+*/%()<>]))")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)")
_WIDEST = 2**63
_LONG, _STARS = 2_000, 3
"""What a value and a pattern may have, so that trying it at every place ends."""
_BINARY: tuple[Mapping[str, Callable[[int, int], int]], ...] = (
    {"==": operator.eq, "!=": operator.ne},
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge},
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
     "%": lambda a, b: abs(a) % abs(b) * (-1 if a < 0 else 1)},
)  # fmt: skip
_NUMBERS: Mapping[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq, "-ne": operator.ne, "-lt": operator.lt, "-le": operator.le, "-gt": operator.gt,
    "-ge": operator.ge,
}  # fmt: skip
_FILES = frozenset({f"-{letter}" for letter in "bcdefghLprSstuwx"})


class Unknown(Exception):
    """What cannot be told from the script alone; the text says why, and what to do, empty where that was told."""

    line = 0
    """Where, as far as it is known yet."""


def number(text: str) -> int:
    """Return a number as every sh reads it; raises Unknown."""
    if not _DECIMAL.fullmatch(text) or abs(int(text[:20])) >= _WIDEST:
        raise Unknown(f"{text!r} is no plain decimal number")
    return int(text)


class _Sum:
    def __init__(self, text: str, value: Callable[[str], str]) -> None:
        self.parts: list[str] = []
        self.value, at, text = value, 0, text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise Unknown(f"the sum {text[:60]!r} is not read: expected numbers, variables and + - * / % ( )")
            self.parts.append(found[0].strip())
            at = found.end()

    def whole(self) -> int:
        found = self.level(0)
        if self.parts:
            raise Unknown(f"the sum is not read from {self.parts[0]!r} on")
        return found

    def level(self, depth: int) -> int:
        if depth == len(_BINARY):
            return self.one()
        left = self.level(depth + 1)
        while self.parts and self.parts[0] in _BINARY[depth]:
            sign = self.parts.pop(0)
            right = self.level(depth + 1)
            if sign in "/%" and not right:
                raise Unknown("the sum divides by zero")
            left = int(_BINARY[depth][sign](left, right))
            if abs(left) >= _WIDEST:
                raise Unknown("the sum is too large")
        return left

    def one(self) -> int:
        part = self.parts.pop(0) if self.parts else ""
        if part in {"-", "+"} and self.parts and self.parts[0] not in {"-", "+"}:
            return -self.one() if part == "-" else self.one()
        if part == "(":
            found = self.level(0)
            if not self.parts or self.parts.pop(0) != ")":
                raise Unknown("a parenthesis of the sum is not closed")
            return found
        if part[:1].isdigit():
            return number(part)
        if not part or not (part[0].isalpha() or part[0] == "_"):
            raise Unknown("the sum is not read: a number is missing")
        return number(self.value(part) or "0")


def summed(text: str, value: Callable[[str], str]) -> str:
    """Return what ``$((text))`` is; ``value`` gives that of a variable. Raises Unknown."""
    if text.count("(") > 40:
        raise Unknown("the sum is too deep")
    return str(_Sum(text, value).whole())


def tested(words: Sequence[str]) -> bool:
    """Return what ``[ words ]`` says, by the number of its words as POSIX has it; raises Unknown."""
    if len(words) < 2:
        return bool(words and words[0])
    if len(words) == 3 and _is_binary(words[1]):
        return _compared(*words)
    if words[0] == "!" and len(words) <= 4:
        return not tested(words[1:])
    if len(words) == 2:
        return _unary(*words)
    raise Unknown("the condition is not read: write [ … ] && [ … ] for what has several parts")


def _is_binary(word: str) -> bool:
    return word in _NUMBERS or word in {"=", "!=", "==", "-a", "-o", "<", ">", "-nt", "-ot", "-ef"}


def _compared(left: str, sign: str, right: str) -> bool:
    if sign in _NUMBERS:
        return _NUMBERS[sign](number(left), number(right))
    if sign in {"=", "!="}:
        return (left == right) == (sign == "=")
    raise Unknown(f"{sign} in a condition is not the same in every sh: write =, or [ … ] && [ … ]")


def _unary(sign: str, word: str) -> bool:
    if sign in {"-n", "-z"}:
        return bool(word) == (sign == "-n")
    if sign in {"-e", "-f", "-x"} and PurePosixPath(word).name in PROGRAMS:
        return True  # without the program no command of the script works
    what = "the machine's files" if sign in _FILES else "what is not known here"
    raise Unknown(f"the condition {sign} depends on {what}: write out what holds on the host")


# ---- patterns

Letter = tuple[str, bool]
"""A letter of a pattern, and whether it is quoted."""


def pattern(letters: Sequence[Letter]) -> re.Pattern[str]:
    """Return a pattern of ``case`` or ``${NAME%…}``; raises Unknown for sets that depend on the locale."""
    made, at = "", 0
    while at < len(letters):
        letter, quoted = letters[at]
        at += 1
        if quoted or letter not in "*?[":
            made += re.escape(letter)
        elif letter == "[":
            end = next((n for n in range(at + 1, len(letters)) if letters[n] == ("]", False)), None)
            inside = "".join(one for one, _ in letters[at:end]) if end is not None else ""
            found = re.fullmatch(r"(!?)((?:0-9|[A-Za-z0-9.:/_,])+)", inside)
            if found is None or end is None:
                raise Unknown("such a set of letters in a pattern is not read: expected [0-9] or single letters")
            made += f"[{'^' if found[1] else ''}{found[2]}]"
            at = end + 1
        else:
            made += ".*" if letter == "*" else "."
    return re.compile(made, re.DOTALL)


def trimmed(text: str, sign: str, wanted: re.Pattern[str]) -> str:
    """Return a text without the beginning (``#``) or end (``%``) that is like a pattern, the longest if doubled.

    Raises Unknown.
    """
    if len(text) > _LONG or wanted.pattern.count(".*") > _STARS:
        raise Unknown("a value that is trimmed by a pattern is too long, or the pattern has too many *")
    ends = range(len(text) + 1)
    cuts = ends if sign in {"#", "%%"} else reversed(ends)
    for cut in cuts:
        if wanted.fullmatch(text[:cut] if sign[0] == "#" else text[cut:]):
            return text[cut:] if sign[0] == "#" else text[:cut]
    return text
