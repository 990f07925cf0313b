"""``meta mark set`` and ``ct mark set``: the value as bits of a mark, in the terms of MARK and CONNMARK."""

from __future__ import annotations

from fwproof.ruleset.model import Act, Target
from fwproof.ruleset.nft import Json

_FULL = 0xFFFFFFFF


def mark_deeds(kind: str, value: Json, text: str) -> list[Target]:
    """Return the targets that write a mark; ``kind`` is ``meta`` or ``ct``. ValueError where it is not understood.

    Every value that nft can compute of one mark is ``mark & keep ^ flip`` (nft_bitwise.c).
    """
    source, keep, flip = _linear(value)
    own = Act.MARK if kind == "meta" else Act.CONNMARK
    if source == "":
        return [_target(own, text, "set", _FULL, flip, 0)]
    if source == kind:
        return [_target(own, text, "set", _FULL & ~keep, flip, 0)]
    copied = ("restore", _FULL, 0, keep) if kind == "meta" else ("save", keep, 0, _FULL)
    found = [_target(Act.CONNMARK, text, *copied)]
    return [*found, _target(own, text, "set", 0, flip, 0)] if flip else found


def loads_connection(value: Json) -> bool:
    """Whether a value is computed of the connection's mark, without which the rule breaks off (nft_ct_get_eval)."""
    return _linear(value)[0] == "ct"


def _target(act: Act, text: str, operation: str, mask: int, value: int, other: int) -> Target:  # noqa: PLR0913, PLR0917
    return Target(act=act, name="nft", text=text, mark=(operation, mask, value, other))


def _linear(value: Json) -> tuple[str, int, int]:
    """Return where a value comes from (``meta``, ``ct`` or, empty, nowhere), and what is kept and flipped of it."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _FULL:
        return "", 0, value
    ((operator, body),) = value.items()
    if operator in {"meta", "ct"}:
        if body["key"] != "mark" or "dir" in body:
            raise ValueError(value)
        return operator, _FULL, 0
    first, *others = body
    source, keep, flip = _linear(first)
    for other in others:
        where, _, bits = _linear(other)
        if where:
            raise ValueError(value)
        if operator == "&":
            keep, flip = keep & bits, flip & bits
        elif operator == "|":
            keep, flip = keep & ~bits, (flip & ~bits) | bits
        elif operator == "^":
            flip ^= bits
        else:
            raise ValueError(value)
    return source, keep, flip
