"""Printing lines that hold text of audited hosts: nothing in them steers a terminal or a log, and long ones hang."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable

import click

from fwproof.report.clean import no_command

_NARROW = 40
"""Columns; where there are fewer, the terminal breaks lines as it likes."""
_HANG = "    "
_COMMANDS = (
    "$ ", "#", "iptables ", "ip6tables ", "nft ", "ufw ", "firewall-cmd ", "ipset ", "pytest ", "fwproof ", "cd ",
    "sudo ",
)  # fmt: skip
"""What a line begins with that is there to be copied."""


def safe(text: str) -> str:
    """Replace control characters: rule comments come from the audited host and must not steer a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def say(lines: Iterable[str], *, whole: bool = False) -> None:
    """Print lines; where people read them, one that is too long goes on below, further in, unless ``whole``."""
    columns = 0 if whole else _columns()
    for line in lines:
        for piece in hung(no_command(safe(line)), columns):
            click.echo(piece)


def hung(line: str, columns: int) -> list[str]:
    """Return a line in pieces of so many columns; in one where it fits, or has a command, which is there to be copied.

    Words are not broken, and nothing is taken away but the blanks at the breaks.
    """
    if columns < _NARROW or len(line) <= columns or "`" in line or line.lstrip().startswith(_COMMANDS):
        return [line]
    inset = line[: len(line) - len(line.lstrip(" "))]
    return textwrap.wrap(line, columns, subsequent_indent=inset + _HANG, break_long_words=False, break_on_hyphens=False)


def _columns() -> int:
    """Return how wide the reader's terminal is, 0 where another program reads."""
    return shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0
