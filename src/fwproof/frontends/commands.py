"""Commands as text that a reader may paste into a shell: quoted where need be, and not shown where that is not safe."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

LONGEST = 400


def command(words: Iterable[object]) -> str:
    """Return the words as one line for a POSIX shell; empty where no line can be trusted.

    What comes from a host may hold anything. Quoting makes a shell take it for one word; what a terminal would act on
    (control characters, text that runs from right to left) is not shown at all.
    """
    texts = [str(word) for word in words]
    if not all(text.isprintable() and text.isascii() for text in texts):
        return ""
    line = shlex.join(texts)
    return line if len(line) <= LONGEST else ""


def deletion(tool: str, text: str) -> str:
    """Return the command that deletes a rule, from its line as iptables-save printed it; empty where that is not sure.

    iptables-save escapes quotes and backslashes in a way of its own (xtables_save_string, libxtables/xtables.c), which
    a shell does not undo alike: rules with a backslash are left to their position.
    """
    if not text.startswith("-A ") or "\\" in text:
        return ""
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    return command([tool, "-D", *words[1:]])


def listed(commands: Iterable[str]) -> str:
    """Return commands as one line of text, each between backquotes, without repetition and without empty ones."""
    return ", then ".join(f"`{each}`" for each in dict.fromkeys(commands) if each)
