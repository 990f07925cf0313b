"""Telling "the host would not run it" from "it ran and failed", by what sudo and the shell print.

Messages are sudo's own (sudo 1.9, ``plugins/sudoers``), in English because every command runs with LC_ALL=C.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fwproof.errors import CommandRefused, NotThere

_PASSWORD = re.compile(r"^sudo: (?:a password is required|a terminal is required|no tty present)", re.MULTILINE)
_NOT_ALLOWED = re.compile(
    r"^Sorry, user .* (?:is not allowed to execute|may not run sudo)|is not in the sudoers file"
    r"|^sudo: (?:sorry, you (?:are not allowed|must have a tty)|you do not have permission)",
    re.MULTILINE,
)
_BROKEN = re.compile(
    r"^sudo: (?:/etc/sudoers|no valid sudoers|error initializing|The \"no new privileges\")", re.MULTILINE
)
_ADVICE = "install the lines that `fwproof agent sudoers` prints as /etc/sudoers.d/fwproof"


def raise_if_refused(host: str, argv: Sequence[str], stderr: str) -> None:
    """Raise CommandRefused when ``stderr`` says that sudo would not run ``argv``, NotThere when it does not exist.

    To be called for a command that ended with a status other than 0.
    """
    words = " ".join(argv)[:200]
    if _says_missing(argv[0], "env", "No such file or directory", stderr):
        raise NotThere(host, f"{argv[0]}: not installed")
    if not argv[0].endswith("/sudo"):
        return
    for word in argv[1:]:
        if word.startswith("/") and _says_missing(word, "sudo", "command not found", stderr):
            raise NotThere(host, f"{word}: not installed")
    if _PASSWORD.search(stderr):
        raise CommandRefused(host, f"sudo asks for a password for: {words}", _ADVICE)
    if _NOT_ALLOWED.search(stderr):
        raise CommandRefused(host, f"sudo does not allow: {words}", _ADVICE)
    if broken := _BROKEN.search(stderr):
        line = stderr[broken.start() :].splitlines()[0]
        raise CommandRefused(host, f"sudo does not work: {line}", "check the host's sudoers with visudo -c")


def _says_missing(program: str, speaker: str, complaint: str, stderr: str) -> bool:
    return (
        re.search(rf"^(?:/usr/bin/)?{speaker}: .?{re.escape(program)}.?: {complaint}$", stderr, re.MULTILINE)
        is not None
    )


def says_no_file(path: str, stderr: str) -> bool:
    """Whether cat(1) or tail(1) says that the file it was to read does not exist."""
    return any(path in line and line.endswith(": No such file or directory") for line in stderr.splitlines())
