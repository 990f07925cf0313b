"""Values that a program in Python printed as Python writes them."""

from __future__ import annotations

import ast
import threading

_ALONE = threading.Lock()
"""CPython 3.11 counts how deep the syntax trees of all threads are nested in one place, and fails where they meet
(gh-106905), so one thread at a time has a literal read."""


def literal(text: str) -> object:
    """Return the value of a literal; None where it is none, or nested too deeply."""
    try:
        with _ALONE:
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
