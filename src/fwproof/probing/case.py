"""A probe with all the packets it took, and what the probes of one way say about each other."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeGuard

from fwproof.errors import HostError
from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Family, Flow
from fwproof.observation import Observation, PortState, Probe
from fwproof.probing.shot import Shot
from fwproof.probing.verdict import NO_ROOM

_TRANSIENT = {errno.EAGAIN, errno.ENOBUFS, *NO_ROOM.values()}  # the sender had no room just then
_CONTROLS = ((ICMP, None), (UDP, 33434), (TCP, 80))


Way = tuple[str, str, Family]


@dataclass(slots=True)
class Case:
    """A probe with all its shots so far; ``extra`` where nobody asked about it, but it helps to understand others."""

    probe: Probe
    shots: list[Shot] = field(default_factory=list)
    fault: HostError | None = None
    extra: bool = False

    def unsent(self) -> HostError | None:
        """Return why it was not sent or not watched, None where it was."""
        return self.fault or next((shot.fault for shot in self.shots if shot.fault), None)

    def best(self) -> Shot:
        """Return the shot that says most: answered, else emitted, else arrived, else the last."""

        def rank(indexed: tuple[int, Shot]) -> tuple[bool, bool, bool, int]:
            ends = indexed[1].ends()
            return (ends.returned is not None, ends.emitted is not None, bool(ends.arrival), indexed[0])

        return max(enumerate(self.shots), key=rank)[1]

    def again(self) -> bool:
        """Whether another packet may tell more. What arrived and was dropped is proven: it is not sent again."""
        if self.fault or self.shots[-1].fault:
            return False
        shot = self.shots[-1]
        ends = shot.ends()
        if ends.error:
            return ends.error in _TRANSIENT
        if ends.returned or ends.stuck:
            return False
        if ends.passage is not None and ends.passage.came and (not ends.passage.went or not ends.watched):
            return False
        if ends.arrival is None:
            return True
        return ends.emitted is not None and len(self.shots) < 2


def way_of(probe: Probe) -> Way:
    """Return what probes share that take the same way: sender, family, and the host that is to be reached."""
    return (probe.sender, probe.through or probe.receiver, probe.flow.family)


def is_missing(seen: Observation | HostError) -> TypeGuard[Observation]:
    """Tell whether a probe never arrived, and nobody on the way said why."""
    return isinstance(seen, Observation) and seen.state is PortState.NEVER_ARRIVED and seen.answer is None


def refused_on_the_way(seen: Observation | HostError) -> TypeGuard[Observation]:
    """Tell whether somebody on the way said that there is no way."""
    return isinstance(seen, Observation) and seen.state is PortState.UNREACHABLE and seen.answer is not None


def controls_for(flow: Flow) -> Iterable[Flow]:
    """Return flows between the same ends that may arrive where this one did not."""
    for proto, port in _CONTROLS:
        number = ICMPV6 if proto == ICMP and flow.family is Family.IPV6 else proto
        yield Flow(src=flow.src, dst=flow.dst, proto=number, dport=port, ttl=flow.ttl)
