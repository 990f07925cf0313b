"""A timetable: probes that are sent at given times from several hosts, for what only time can tell."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fwproof.observation import Probe
from fwproof.probing.channel import Agent
from fwproof.probing.gate import IN_TIME
from fwproof.probing.shot import Shot
from fwproof.probing.volley import TURN, Send, frames_of, reset_half_open, send_frames

_LEAD = 0.05
"""Seconds from when every packet is built to the first that leaves."""
_AROUND = 1.05 + TURN + IN_TIME
_PAUSE = 0.6
"""Seconds until the next salvo that leave time to reset half-open connections."""


@dataclass(frozen=True, slots=True)
class TimedProbes:
    """Probes of one sender, ``gap`` seconds apart, the first of them ``at`` seconds after the start."""

    at: float
    gap: float
    probes: tuple[Probe, ...]


def busiest(salvos: Sequence[TimedProbes]) -> int:
    """Return how many packets have their time within one second, and the time around it that requests take."""
    return together([salvo.at + n * salvo.gap for salvo in salvos for n in range(len(salvo.probes))])


def together(at: Iterable[float]) -> int:
    """Return how many of so many packets, by their times, have to be let through within one second."""
    times = sorted(at)
    most = first = 0
    for last, time_ in enumerate(times):
        while times[first] < time_ - _AROUND:
            first += 1
        most = max(most, last - first + 1)
    return most


class Timetable:
    """Sends what each agent has to send at its times; one start for all of them. Used for one volley."""

    def __init__(self, salvos: Sequence[TimedProbes], pool: ThreadPoolExecutor) -> None:
        self._salvos, self._pool = sorted(salvos, key=lambda salvo: salvo.at), pool
        self._cookie = 0
        self._start = 0.0
        self._frames: dict[str, list[str]] = {}

    def prepare(self, shots: Sequence[Shot], cookie: int) -> Send:
        """Build every packet, which takes longer than a salvo, and set the start."""
        self._cookie = cookie
        self._frames = {shot.probe.ref: frames_of(shot, cookie) for shot in shots}
        self._start = time.monotonic() + _LEAD
        return self._send

    def _send(self, agent: Agent, shots: Sequence[Shot]) -> None:
        mine = {shot.probe.ref: shot for shot in shots}
        gone: list[Shot] = []
        ends = {shot.probe.receiver for shot in shots}
        for at, gap, refs in self._turns(mine):
            due = self._start + at
            if gone and due - time.monotonic() > _PAUSE:
                self._tidy(agent, gone)
                gone = []
            agent.gate.pause(due - time.monotonic(), agent.host, *ends)
            send_frames(agent, [mine[ref] for ref in refs], [self._frames[ref] for ref in refs], gap)
            gone += [mine[ref] for ref in refs]

    def _tidy(self, agent: Agent, gone: Sequence[Shot]) -> None:
        """Reset what stayed half-open so far: a window is long, and backlogs are short."""
        for watcher in {watcher for shot in gone for watcher in (agent, shot.receiver) if watcher}:
            watcher.collect()
        reset_half_open({agent: gone}, self._cookie, self._pool, gone)

    def _turns(self, mine: dict[str, Shot]) -> list[tuple[float, float, list[str]]]:
        """Return an agent's part as requests of at most TURN seconds: when, gap, and which probes."""
        found = []
        for salvo in self._salvos:
            refs = [probe.ref for probe in salvo.probes if probe.ref in mine]
            size = max(1, int(TURN / salvo.gap)) if salvo.gap else len(refs)
            found += [(salvo.at + n * salvo.gap, salvo.gap, refs[n : n + size]) for n in range(0, len(refs), size)]
        return sorted(found, key=lambda turn: turn[0])
