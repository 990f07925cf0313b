"""New connections as both ends saw them: whether each was let in, and when."""

from __future__ import annotations

from collections.abc import Iterable

from fwproof.measured import Attempt
from fwproof.observation import Observation, PortState


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
