"""What the filters of a host's jails do with real lines, as the host's own fail2ban tells it.

The answer of ``hosts/failregex.py``, which runs on the host, and the guess which lines tell of failures: words such as
"failed" or "invalid" beside an address, and no word of success. A guess is called one wherever it is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FAILURE = re.compile(
    r"\b(?:fail(?:ed|ure|s)?|invalid|denied|refused|reject(?:ed)?|unauthori[sz]ed|forbidden|bad|wrong|illegal"
    r"|mismatch|incorrect|not allowed|unknown user|no such user|too many authentication)\b|\" 40[13] ",
    re.IGNORECASE,
)
_SUCCESS = re.compile(
    r"\b(?:accepted|succe(?:ss|eded|ssful|ssfully)|logged in|session opened|login ok|granted|authenticated|welcome)\b"
    r"|\" 20[0-9] ",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w:])")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """A log that a jail is to watch. ``exists`` None: nobody could look. ``age`` of the last entry is in seconds."""

    path: str
    exists: bool | None
    error: str
    size: int
    age: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: the number from 1 of the failregex that takes it, None where none does, and whom it is about."""

    text: str
    regex: int | None
    who: str

    @property
    def failure(self) -> bool:
        """Whether it reads like a failed attempt of an address."""
        return bool(_FAILURE.search(self.text) and not _SUCCESS.search(self.text) and _ADDRESS.search(self.text))

    @property
    def success(self) -> bool:
        """Whether it reads like an attempt that was let in."""
        return bool(_SUCCESS.search(self.text) and not _FAILURE.search(self.text) and _ADDRESS.search(self.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """A line that a filter did not get past in its time, and the failregexes that do not by themselves."""

    text: str
    length: int
    regexes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of a jail's lines. ``error`` is what fail2ban said against the filter, empty where it took it."""

    logs: tuple[LogFile, ...]
    samples: tuple[Line, ...] = ()
    lines: tuple[Line, ...] = ()
    slow: Slow | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """The trials of a host by jail, and the version of fail2ban that did them; ``error`` where there was none."""

    jails: Mapping[str, Trial]
    version: str = ""
    error: str = ""


def parse_trials(text: str) -> Trials | None:
    """Return what the host answered; None for what is no such answer."""
    try:
        found = json.loads(text)
        return Trials(
            jails={str(name): _trial(each) for name, each in found["jails"].items()},
            version=str(found["version"] or ""), error=str(found["error"]),
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _trial(found: Mapping[str, Any]) -> Trial:
    slow = found.get("slow")
    return Trial(
        logs=tuple(map(_log, found["logs"])), samples=tuple(map(_line, found.get("samples", ()))),
        lines=tuple(map(_line, found.get("lines", ()))), error=str(found.get("error", "")),
        slow=None if slow is None else Slow(
            text=str(slow["line"]), length=int(slow["length"]), regexes=tuple(map(int, slow["regexes"])),
        ),
    )  # fmt: skip


def _log(found: Mapping[str, Any]) -> LogFile:
    exists, age = found["exists"], found["age"]
    return LogFile(
        path=str(found["path"]), exists=None if exists is None else bool(exists), error=str(found["error"]),
        size=int(found["size"]), age=None if age is None else float(age),
    )  # fmt: skip


def _line(found: Mapping[str, Any]) -> Line:
    regex = found["regex"]
    return Line(text=str(found["line"]), regex=None if regex is None else int(regex), who=str(found["who"]))
