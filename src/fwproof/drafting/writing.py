"""Draft files as text: values through PyYAML's emitter, comments made of one safe line each.

What a host printed may hold anything. As a value it is quoted by the emitter and read back as the same text; in a
comment it can neither end the line nor act on a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

_WIDTH = 400
_LONGEST = 190
"""Characters of a title, which may have 200 (:data:`fwproof.policy.fields.Title`)."""
_COMMENT = 400


def plain(text: str, longest: int = _LONGEST) -> str:
    """Return text of a host as one line that shows every character and is not too long; never empty."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text).strip()
    return (shown if len(shown) <= longest else f"{shown[: longest - 1]}…") or "?"


def comments(lines: Iterable[str], indent: int = 0) -> Iterator[str]:
    """Yield comment lines; an empty one is a bare mark."""
    for line in lines:
        yield f"{' ' * indent}# {plain(line, _COMMENT)}" if line.strip() else f"{' ' * indent}#"


def block(value: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """Yield a mapping as lines of YAML; its inner lists and mappings stand in brackets."""
    for key, inner in value.items():
        yield from _shifted(_dumped({key: inner}, flow=None if isinstance(inner, dict | list) else False), indent)


def item(value: Mapping[str, Any], indent: int) -> Iterator[str]:
    """Yield one item of a list."""
    yield from _shifted(_dumped([value]), indent)


def listing(key: str, items: Sequence[tuple[Sequence[str], Mapping[str, Any]]], indent: int = 0) -> Iterator[str]:
    """Yield a key with a list whose items have comments above them; nothing for no items."""
    if items:
        yield f"{' ' * indent}{key}:"
    for notes, value in items:
        yield from comments(notes, indent + 2)
        yield from item(value, indent + 2)


def dumped(value: Mapping[str, Any]) -> str:
    """Return a mapping as YAML on one line."""
    return " ".join(_dumped(value, flow=True))


def _dumped(value: Any, *, flow: bool | None = None) -> list[str]:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=flow)
    return text.splitlines()


def _shifted(lines: Iterable[str], indent: int) -> Iterator[str]:
    yield from (f"{' ' * indent}{line}" for line in lines)
