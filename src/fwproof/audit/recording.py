"""What became of every probe of a run, kept for its evidence: also of those that are only counted by who sent them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from threading import Lock

from fwproof.errors import HostError
from fwproof.flow import Flow
from fwproof.observation import Observation, Probe
from fwproof.probing.channel import Agent
from fwproof.probing.observe import Prober
from fwproof.probing.timetable import TimedProbes

MOST = 50_000
"""Observations that are kept of one run: some 100 MB at the very most. Of the others only the number is known."""


@dataclass
class Record:
    """Observations in the order in which they were concluded; ``cut`` counts those that were not kept."""

    seen: list[Observation] = field(default_factory=list)
    cut: int = 0
    _lock: Lock = field(default_factory=Lock)

    def keep(self, found: Iterable[Observation | HostError]) -> None:
        """Keep observations, as long as there are not too many; threads may share a record."""
        with self._lock:
            for each in found:
                if isinstance(each, HostError):
                    continue
                if len(self.seen) < MOST:
                    self.seen.append(each)
                else:
                    self.cut += 1


class RecordingProber(Prober):
    """A prober that keeps what became of all that it sent, but for control packets, which nobody asked about."""

    def __init__(self, record: Record, agents: Mapping[str, Agent]) -> None:
        super().__init__(agents)
        self.record = record

    def observe(
        self, probes: Iterable[Probe], *, retries: int = 2, window: float | None = None, gap: float | None = None,
        extra: bool = False,
    ) -> dict[str, Observation | HostError]:  # fmt: skip
        """Do as any prober, and keep what is returned."""
        found = super().observe(probes, retries=retries, window=window, gap=gap, extra=extra)
        self.record.keep(found.values())
        return found

    def burst(
        self, sender: str, receiver: str, flow: Flow, count: int, *, gap: float = 0.02
    ) -> tuple[Observation, ...]:  # fmt: skip
        """Do as any prober, and keep what is returned."""
        found = super().burst(sender, receiver, flow, count, gap=gap)
        self.record.keep(found)
        return found

    def timed(self, salvos: Sequence[TimedProbes]) -> tuple[Observation, ...]:
        """Do as any prober, and keep what is returned."""
        found = super().timed(salvos)
        self.record.keep(found)
        return found

    def neighbour(self, sender: str, receiver: str, target: IPv6Address) -> Observation:
        """Do as any prober, and keep what is returned."""
        found = super().neighbour(sender, receiver, target)
        self.record.keep([found])
        return found
