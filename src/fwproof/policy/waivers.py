"""Waivers: deviations that somebody with a name has agreed to, for a reason and until a day.

A waiver never hides anything: the check runs, its finding is shown, and only its verdict becomes ``waived``. Dates are
UTC and the last day counts. :mod:`fwproof.policy.waiver_file` reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from fwproof.policy.expectation import Expectation

FILE = "waivers.yaml"
"""The file beside the policies whose deviations it waives."""
LONGEST = 180
"""Days that a waiver may last where its file does not say otherwise: PCI DSS 1.2.7 has rules reviewed half-yearly."""


class State(StrEnum):
    """Where a waiver stands on a day."""

    IN_FORCE = "in force"
    EXPIRED = "expired"
    TOO_LONG = "too long"
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class Selector:
    """A pattern of checks as it was written, and its place in the file; ``*`` stands for any text."""

    text: str
    line: int
    column: int

    def meets(self, *names: str) -> bool:
        """Whether one of the names is meant."""
        pattern = ".*".join(map(re.escape, self.text.split("*")))
        return any(re.fullmatch(pattern, name, re.DOTALL) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver(Expectation):
    """A deviation that is accepted: of the checks of ``policy`` that ``checks`` select, on ``hosts`` (empty: all).

    ``cause``, where it is not empty, is a pattern of the finding's cause: another finding of the same check is not
    waived. ``longest`` are the days that it may last.
    """

    policy: str
    checks: tuple[Selector, ...]
    hosts: tuple[str, ...] = ()
    cause: str = ""
    owner: str
    approver: str
    ticket: str = ""
    reason: str
    compensating: str = ""
    created: date
    expires: date
    longest: int = LONGEST

    def covers(self, policy: str, host: str, *names: str) -> bool:
        """Whether a check is meant that has these ``names``: its own id, and its expectation's."""
        if policy != self.policy or (self.hosts and host not in self.hosts):
            return False
        return any(selector.meets(*names) for selector in self.checks)

    def accepts(self, cause: str) -> bool:
        """Whether a finding with this cause is the one that was agreed to."""
        return not self.cause or Selector(self.cause, 0, 0).meets(cause)

    def state(self, today: date) -> State:
        """Return where the waiver stands."""
        if (self.expires - self.created).days > self.longest:
            return State.TOO_LONG
        if self.created > today:
            return State.NOT_YET
        return State.EXPIRED if self.expires < today else State.IN_FORCE

    def days_left(self, today: date) -> int:
        """Return the days after ``today`` on which it is still in force; negative once it has expired."""
        return (self.expires - today).days


@dataclass(frozen=True, slots=True, kw_only=True)
class Waivers:
    """The waivers of one file; ``sha256`` is the hash of its bytes in hex."""

    path: Path
    sha256: str
    waivers: tuple[Waiver, ...] = ()
