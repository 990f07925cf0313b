"""Measured: what a rate limit does, as numbers with intervals; from the wire, or from the tables by simulation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import floor, inf, log10

from fwproof.observation import Observation, PortState

MOST_STANDING = 200
"""The most connections that are kept open to see how many stand."""


class Part(StrEnum):
    """What a policy may want measured of a limit."""

    BURST = "burst"
    """How many new connections it lets in at once."""
    WINDOW = "window"
    """When it lets in again: its window or its rate, and whether refused attempts put that off."""
    ISOLATION = "isolation"
    """Whether each source is counted by itself, and in IPv6 each /64."""
    PACKETS = "packets"
    """Whether it counts new connections only, and lets those pass that stand."""
    FULL = "full"
    """How many ordinary connections stand at once."""
    EVICTION = "eviction"
    """Whether many other sources push a refused one off its list."""


class Manner(StrEnum):
    """How a limit that was used up comes back."""

    WINDOW = "window"
    """All at once, when its window has passed since it was used up."""
    BUCKET = "bucket"
    """One by one, at a steady rate."""
    NONE = "none"
    """There was nothing to come back: no packet was refused."""
    UNSEEN = "unseen"
    """Refused, and not seen to come back while it was measured."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number known to lie above ``low`` and not above ``high``; ``high`` may be infinite."""

    low: float
    high: float

    def overlaps(self, other: Interval, slack: float = 0.0) -> bool:
        """Whether both may be the same number, with ``slack`` for what neither can resolve."""
        return self.low - slack <= other.high and other.low - slack <= self.high

    def may_be(self, value: float, slack: float = 0.0) -> bool:
        """Whether the number may be ``value``, give or take ``slack``."""
        return self.low - slack <= value <= self.high + slack

    @property
    def middle(self) -> float:
        """The middle of the interval; its lower end where it has no upper one."""
        return self.low if self.high == inf else (self.low + self.high) / 2

    def words(self, unit: str) -> str:
        """Return the interval as text: ``60.00 s ± 0.06``, ``over 60 s``."""
        if self.high == inf:
            return f"over {self.low:.4g} {unit}"
        half = (self.high - self.low) / 2
        places = max(0, -floor(log10(half))) if half else 3
        return f"{self.middle:.{places}f} {unit} ± {half:.{places}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Ordinary connections that one source made and kept open: ``stood`` of ``tried``, before one was refused.

    ``again``: after all were closed, another one stood. ``free``: before, one of another source stood.
    """

    tried: int
    stood: int
    again: bool | None = None
    free: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Many sources after one that is refused: whether ``sources`` of them pushed it off the limit's list."""

    sources: int
    evicted: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One new connection: the address it came from, when (s since the epoch), and whether it was let in, if known."""

    source: str
    at: float
    let_in: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one limit; None is what was not measured, and ``gaps`` say why.

    ``burst``: connections let in before the first refusal, of ``sent`` (None: none was refused). ``window`` is in
    seconds, ``rate`` in connections a second. ``apart`` is the longest prefix that the first source shares with one
    that is counted by itself, ``together`` the shortest with one that it shares the limit with: addresses are
    grouped by more than ``apart`` and at most ``together`` bits. ``extends``: refused attempts prolong the refusal.
    ``standing``: a connection that stood before goes on while its source is refused, so that the limit is of new ones.
    """

    sent: int
    burst: int | None
    manner: Manner = Manner.UNSEEN
    window: Interval | None = None
    rate: Interval | None = None
    apart: int | None = None
    together: int | None = None
    extends: bool | None = None
    held: Held | None = None
    standing: bool | None = None
    crowd: Crowd | None = None
    gaps: tuple[str, ...] = ()

    @property
    def shared(self) -> bool | None:
        """Whether all sources that were tried share the limit; None where no other was."""
        if self.apart is not None:
            return False
        return None if self.together is None else True


def attempts_of(seen: Iterable[Observation], host: str) -> tuple[Attempt, ...]:
    """Return what became of each new connection to a host, in order of time."""
    found = (Attempt(str(one.probe.flow.src), when(one, host), let_in(one)) for one in seen)
    return tuple(sorted(found, key=lambda attempt: attempt.at))


def let_in(seen: Observation) -> bool | None:
    """Return whether a packet was let in; None where it was lost, or nobody saw it arrive."""
    if seen.confirmed or seen.state in {PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST}:
        return True
    if seen.arrived is None:
        return False if seen.state is PortState.NO_ANSWER else None
    return False if seen.arrived else None


def when(seen: Observation, host: str) -> float:
    """Return when a packet reached the host, by its clock; where nobody watched there, when it was sent."""
    arrivals = [packet.time for packet in seen.packets if packet.host == host and packet.direction == "in"]
    return (arrivals or [packet.time for packet in seen.packets if packet.direction == "out"] or [0.0])[0]
