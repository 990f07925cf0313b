"""Numbers in texts that others wrote."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"[0-9]{1,9}")


def digits(text: str) -> int | None:
    """Return the number that one to nine of 0 to 9 are, None for all else.

    ``str.isdigit`` also holds for letters such as ² that are no number for ``int``, which refuses very long ones too.
    """
    return int(text) if _DIGITS.fullmatch(text) else None
