"""Misspelt names: the known one that is likely to be meant. Nothing heavy is imported here, since the lab needs it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from fwproof.policy.scalars import quoted


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a misspelt one likely means, or the only one that begins so or has it as a part."""
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    begun = [name for name in lowered if len(word) > 1 and name.startswith(word.lower())]
    begun = begun or [name for name in lowered if word.lower() in name.split("-")]
    return lowered[near[0]] if near else lowered[begun[0]] if len(begun) == 1 else None


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known word, else nothing."""
    near = nearest(word, known)
    return f"; did you mean {quoted(near)}?" if near else ""


def suggest_path(path: Path) -> str:
    """Return ``; did you mean 'x'?`` for the nearest name in the folder of a path that is not there, else nothing."""
    try:
        near = nearest(path.stem, [each.stem for each in path.parent.iterdir() if each.suffix == path.suffix])
    except OSError:
        return ""
    return f"; did you mean {quoted(near + path.suffix)}?" if near else ""
