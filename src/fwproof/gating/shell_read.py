"""``read``: lines of a here-document to variables (read in POSIX, XCU 4), where every sh agrees."""

from __future__ import annotations

from collections.abc import Sequence

from fwproof.gating.shell_sums import Unknown
from fwproof.gating.shell_words import NAME

BLANKS = " \t\n"
"""What parts fields where nobody says otherwise."""


class Input:
    """What a command reads: the lines of a here-document that are left."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")[:-1]

    def line(self) -> str | None:
        """Return the next line without its end, None where there is none."""
        return self._lines.pop(0) if self._lines else None


def read(words: Sequence[str], given: Input | None, parts: str) -> tuple[int, dict[str, str]]:
    """Return the status of ``read`` and what it gives to variables; ``parts`` is IFS. Raises Unknown."""
    names = list(words)
    raw = names[:1] == ["-r"]
    names = names[1:] if raw else names
    if given is None:
        raise Unknown("what it reads is not in the script: `while read -r NAME; do …; done <<EOF` gives it lines")
    if not names or not all(NAME.fullmatch(name) for name in names) or len(set(names)) < len(names):
        raise Unknown("expected read -r NAME…, with no other option")
    line = given.line()
    if line is None:
        return 1, dict.fromkeys(names, "")
    if "\\" in line and not raw:
        raise Unknown("read takes backslashes away: write read -r")
    found = _fields(line, len(names), parts)
    return 0, dict(zip(names, [*found, *[""] * (len(names) - len(found))], strict=True))


def _fields(line: str, most: int, parts: str) -> list[str]:
    if parts == BLANKS:
        rest, found = line.strip(" \t"), list[str]()
        while rest and len(found) < most - 1:
            found.append(rest.replace("\t", " ").split(" ", 1)[0])
            rest = rest[len(found[-1]) :].lstrip(" \t")
        return [*found, rest]
    if not parts:
        return [line]
    found = line.split(parts)
    if len(parts) > 1 or parts in BLANKS + "\\" or len(found) > most:
        why = "is not the same in every sh: name as many variables as it has fields"
        raise Unknown(f"what IFS={parts!r} makes of {line[:60]!r} {why}")
    return found
