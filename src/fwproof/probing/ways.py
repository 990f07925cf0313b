"""Ways: what the packets between two hosts say of one another, whichever probe they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fwproof.errors import HostError
from fwproof.flow import Family
from fwproof.observation import Observation, PortState
from fwproof.probing.case import Way, way_of
from fwproof.probing.shot import Shot


class Ways:
    """What a run has learnt of its ways; ``reached`` are those on which anything arrived."""

    def __init__(self) -> None:
        self.reached: set[Way] = set()
        self._untracked: set[tuple[str, Family, int]] = set()

    def learn(self, shots: Sequence[Shot]) -> None:
        """Remember which ways are open, and where conntrack is silent about what was let in."""
        for shot in shots:
            ends, probe, receiver = shot.ends(), shot.probe, shot.receiver
            if shot.fault:
                continue
            family = shot.flow.family
            if ends.passage.came if ends.passage else ends.arrival:
                self.reached.add(way_of(probe))
            if receiver is None:
                continue
            served = ends.returned or ends.emitted
            if served and served.quoted is None and "RST" not in served.flags and not shot.confirmed_at(receiver):
                self._untracked.add((probe.receiver, family, shot.flow.proto))
        for shot in shots:
            shot.confirmed = self._confirmed(shot)

    def _confirmed(self, shot: Shot) -> bool | None:
        receiver = shot.receiver
        if receiver is None or receiver is shot.sender:  # on loopback the entry is made before the input path
            return None
        if shot.confirmed_at(receiver):
            return True
        family = shot.flow.family
        silent = (shot.probe.receiver, family, shot.flow.proto) in self._untracked or not receiver.tracks(family)
        return None if silent or shot.ends().arrival is None else False

    def controlled(
        self, seen: Observation, told: Mapping[Way, Observation], unasked: Mapping[Way, HostError]
    ) -> Observation | HostError:
        """Return a probe that never arrived with what others of its way say: ``told`` by hosts on it, or ``unasked``.

        ``unasked`` are the ways whose control packets could not be sent, each with the reason.
        """
        way = way_of(seen.probe)
        said = told.get(way)
        if way in self.reached:
            return replace(seen, note=f"{seen.note} Another packet from the same vantage did arrive.")
        if way in unasked:
            return unasked[way]
        note = "Nothing from this vantage arrives there: not this probe, nor control packets (ICMP, UDP/33434, TCP/80)."
        if said is not None:
            note = f"{note} Of another probe, {said.note}"
        return replace(seen, state=PortState.UNREACHABLE, note=note)
