"""One volley: probes sent at once from all senders, watched at both ends until each has settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

from fwproof.errors import HostError, Stopped
from fwproof.probing.channel import Agent
from fwproof.probing.frames import probe_frames, reset_frame
from fwproof.probing.shot import Shot, Timing

_POLL = 0.02
TURN = 0.4
"""Seconds that one request to send may take, so that whoever stops an audit, or loses it, stops sending within that."""


Send = Callable[[Agent, Sequence[Shot]], None]
"""Sends the shots of one agent, and notes for each when it left and the errno."""
Prepare = Callable[[Sequence[Shot], int], Send]
"""Makes ready to send all shots of a volley with a cookie; called once, before the first is sent."""


def fire(
    shots: Sequence[Shot], cookie: int, timing: Timing, pool: ThreadPoolExecutor, prepare: Prepare | None = None
) -> None:
    """Send all shots, watch until each has settled, look for missing neighbours, reset what stayed half-open.

    What ``prepare`` returns sends in its own time; without it, shots leave one after another.
    """
    before = {agent: (agent.lost, agent.untold) for shot in shots for agent in shot.watchers}
    groups: dict[Agent, list[Shot]] = {}
    for shot in shots:
        groups.setdefault(shot.sender, []).append(shot)
    send = prepare(shots, cookie) if prepare else partial(_send, cookie=cookie, gap=timing.gap)
    _each(pool, groups, lambda agent: send(agent, groups[agent]), shots)
    agents = {agent for shot in shots for agent in shot.watchers}
    while agents and not any(agent.gate.closed for agent in agents):
        looked = time.monotonic()
        _each(pool, agents, lambda agent: agent.collect(_POLL), shots)
        waiting = [shot for shot in shots if not shot.settled(looked, timing)]
        agents = {agent for shot in waiting for agent in shot.watchers}
    # an answer may be here before what was told of its question
    _each(pool, [agent for agent in before if agent.tracing], lambda agent: agent.collect(), shots)
    _each(pool, groups, lambda agent: _ask_neighbours(groups[agent]), shots)
    reset_half_open(groups, cookie, pool, shots)
    for shot in shots:
        _spoil(shot, timing)
    lossy = {agent for agent, (lost, _) in before.items() if agent.lost > lost}
    untold = {agent for agent, (_, lost) in before.items() if agent.untold > lost}
    for shot in shots:
        shot.lossy, shot.untold = (
            tuple(agent.host for agent in shot.watchers if agent in some) for some in (lossy, untold)
        )


def _each(
    pool: ThreadPoolExecutor, agents: Iterable[Agent], act: Callable[[Agent], None], shots: Sequence[Shot]
) -> None:
    """Let every agent do something at the same time; an agent's failure is the fault of its own shots only."""
    jobs = {agent: pool.submit(act, agent) for agent in agents}
    for agent, job in jobs.items():
        try:
            job.result()
        except HostError as error:
            for shot in shots:
                if agent in shot.watchers and shot.fault is None:
                    shot.fault = error


def _send(agent: Agent, shots: Sequence[Shot], cookie: int, gap: float) -> None:
    built = []
    for shot in shots:
        agent.gate.check(agent.host)  # building takes longer than sending
        built.append(frames_of(shot, cookie))
    send_frames(agent, shots, built, gap)


def frames_of(shot: Shot, cookie: int) -> list[str]:
    """Return the packets that make up a probe, in hexadecimal: one, or its fragments."""
    return [frame.hex() for frame in probe_frames(shot.flow, cookie, shot.probe.form, shot.ident)]


def _spoil(shot: Shot, timing: Timing) -> None:
    """Let a shot that was still waited for when the audit was stopped say nothing: it may have been answered later."""
    why = shot.sender.gate.closed
    if why and not shot.settled(time.monotonic(), timing):
        shot.fault = Stopped(shot.sender.host, f"it was not waited for what comes of a packet: {why}")


def send_frames(agent: Agent, shots: Sequence[Shot], each: Sequence[Sequence[str]], gap: float) -> None:
    """Send the frames of shots, which are built already, in requests of at most TURN seconds; raises HostError."""
    begun = time.monotonic()
    for first, last in _turns(agent, shots, each, gap):
        if first:  # each request keeps the pace, and so do they together
            agent.gate.pause(begun + gap * sum(map(len, each[:first])) - time.monotonic(), agent.host)
        _send_turn(agent, shots[first:last], each[first:last], gap)


def _turns(
    agent: Agent, shots: Sequence[Shot], each: Sequence[Sequence[str]], gap: float
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Yield which shots go together: as many as take no longer than TURN, nor a quarter of what a host may get."""
    most = int(TURN / gap) if gap else len(shots)
    limits = [limit for host in {shot.probe.receiver for shot in shots} if (limit := agent.gate.limit(host))]
    most = max(1, min([most, *(limit // 8 for limit in limits)]))
    first = size = 0
    for at, frames in enumerate(each):
        if at > first and (size + len(frames) > most or shots[at].again != shots[first].again):
            yield first, at
            first, size = at, 0
        size += len(frames)
    yield first, len(each)


def _send_turn(agent: Agent, shots: Sequence[Shot], each: Sequence[Sequence[str]], gap: float) -> None:
    frames = [frame for frames_ in each for frame in frames_]
    kind, share = "again" if shots[0].again else "probes", shots[0].share
    answer = agent.call("send", frames=frames, gap=gap, timeout=15.0 + len(frames) * gap, share=share, kind=kind)
    now = time.monotonic()
    with agent.reading("send report"):
        errors = iter([int(error) for error, _ in answer["sent"]])
        for shot, frames_ in zip(shots, each, strict=True):
            shot.frames, shot.sent_at = len(frames_), now
            shot.error = max([next(errors) for _ in frames_])


def _ask_neighbours(shots: Sequence[Shot]) -> None:
    known: dict[tuple[object, object], tuple[str, str]] = {}
    for shot in shots:
        ends = shot.ends()
        if shot.fault or shot.error or ends.left or ends.arrival:
            continue
        key = (shot.flow.dst, shot.flow.src)
        if key not in known:
            src = None if shot.probe.form.spoofed else str(shot.flow.src)
            route = shot.sender.call("route", dst=str(shot.flow.dst), src=src)
            with shot.sender.reading("route"):
                known[key] = (str(route["neighbour"]), str(ip_address(route["via"] or str(shot.flow.dst))))
        state, shot.next_hop = known[key]
        shot.neighbour = shot.neighbour or state


def reset_half_open(
    groups: Mapping[Agent, Sequence[Shot]], cookie: int, pool: ThreadPoolExecutor, shots: Sequence[Shot]
) -> None:
    """Reset what no kernel has reset by itself: a second look first, since a needless RST may be logged."""
    suspects = [shot for shot in shots if shot.half_open()]
    agents = {agent for shot in suspects for agent in shot.watchers}
    _each(pool, agents, lambda agent: agent.collect(_POLL), suspects)

    def take_back(agent: Agent) -> None:
        frames = [
            reset_frame(shot.flow, cookie, shot.probe.form, shot.ident).hex()
            for shot in groups[agent]
            if shot in suspects and shot.half_open()
        ]
        if frames:
            agent.call("send", frames=frames, gap=0.0, kind="undo")

    _each(pool, {shot.sender for shot in suspects}, take_back, suspects)
