"""Scalars of a YAML file, read as YAML 1.2's core schema reads them (YAML 1.2.2, section 10.3.2).

PyYAML's own resolver is that of YAML 1.1: ``22:22`` becomes 1342, ``on`` True and ``0700`` 448, while editors
and other readers of the same file see something else. Here a plain scalar is null, true, false, a number or
text, and what the two versions of YAML read as different numbers is refused.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST_NUMBER = 24

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff"
    # bidirectional overrides make a reviewer see another text than the one that is read
    "\u202a-\u202e\u2066-\u2069\ufeff]"
)


def read_plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar; raise ValueError, with the message, for an ambiguous one."""
    if text in _WORDS:
        return _WORDS[text]
    if _SPECIAL.fullmatch(text):
        raise ValueError(f"{text} is not a number that can be used here; put it in quotes if it is text")
    if not (_INT.fullmatch(text) or _BASED.fullmatch(text) or _FLOAT.fullmatch(text)):
        return text
    if _LEADING_ZERO.fullmatch(text):
        raise ValueError(f"{shorten(text)} starts with a zero, which YAML tools read differently; leave the zero out")
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"{shorten(text)} is too long for a number; put it in quotes if it is text")
    if _BASED.fullmatch(text):
        return int(text, 0)
    return int(text) if _INT.fullmatch(text) else float(text)


def unprintable(text: str) -> int | None:
    """Return the index of the first character that no file of ours may hold, None when there is none."""
    found = _UNPRINTABLE.search(text)
    return found.start() if found else None


def shorten(text: str, limit: int = 60) -> str:
    """Return the text, cut to ``limit`` characters for a message."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quoted(text: str) -> str:
    """Return a user's word as messages show it: in quotes, control characters escaped, not too long."""
    return repr(shorten(text))


def describe(value: object) -> str:
    """Return what a value is, in the words of messages: ``the number 22``, ``'on'`` or ``a list``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return quoted(value)
    return {type(None): "nothing", dict: "a mapping"}.get(type(value), "a list")
