"""One volley: probes sent at once from all senders, watched at both ends until each has settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address

from fwproof.errors import HostError, Stopped
from fwproof.flow import TCP, UDP, Flow
from fwproof.observation import Passage, Probe, RuleEvent, Seen
from fwproof.probing.channel import Agent, Caught, File
from fwproof.probing.frames import probe_frames, reset_frame
from fwproof.probing.gate import Share
from fwproof.probing.packets import Packet
from fwproof.probing.verdict import Ends

_POLL = 0.02
_KEPT = 16
TURN = 0.4
"""Seconds that one request to send may take, so that whoever stops an audit, or loses it, stops sending within that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long to wait, in seconds.

    ``gap`` lies between two packets of a sender; ``window`` is for a packet to arrive or an answer to come back,
    ``settle`` for the target's kernel to answer once the packet is there (it takes less than 2 ms).
    """

    gap: float = 0.002
    window: float = 1.0
    settle: float = 0.25


@dataclass(slots=True, kw_only=True, eq=False)
class Shot:
    """One packet of a probe under way.

    ``receiver`` is None where the far end has no agent; ``lossy`` names the hosts that could not hand over every
    packet meanwhile. ``again``: it is not the first packet of its probe. ``share`` has its permits. ``through``
    watches on the way. ``files`` hold what each of them told, once :meth:`open_files` was called.
    """

    probe: Probe
    flow: Flow
    ident: int
    sender: Agent
    receiver: Agent | None
    fault: HostError | None = None
    error: int = 0
    neighbour: str = ""
    next_hop: str = ""
    confirmed: bool | None = None
    sent_at: float = 0.0
    lossy: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    frames: int = 1
    again: bool = False
    share: Share | None = None
    through: Agent | None = None
    noticed: dict[str, float] = field(default_factory=dict)
    files: dict[Agent, File] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The number of the probes' block that this packet is known by."""
        return self.ident

    @property
    def watchers(self) -> tuple[Agent, ...]:
        """The agents that see something of it, each once."""
        return tuple(dict.fromkeys(filter(None, (self.sender, self.through, self.receiver))))

    def open_files(self) -> None:
        """Begin to keep what is seen of this packet; to be called before it is sent."""
        self.files = {agent: agent.open(self.port) for agent in self.watchers}

    def events(self) -> tuple[RuleEvent, ...]:
        """Return what traced ends told of the rules that it met."""
        return tuple(event for file in self.files.values() for event in file.events)

    def confirmed_at(self, agent: Agent) -> bool:
        """Whether conntrack reported a new connection there."""
        return self.files[agent].confirmed

    def passage(self) -> Passage | None:
        """Return what the host on the way did with it so far."""
        on_the_way = self.through
        if on_the_way is None:
            return None
        came = self._first(on_the_way, "in", "probe") is not None
        left = self._first(on_the_way, "out", "probe")
        went = left is not None or self.confirmed_at(on_the_way)
        said = self._first(on_the_way, "out", "answer", "error")
        own = said is not None and self._first(on_the_way, "in", "answer", "error") is None
        return Passage(
            host=on_the_way.host, came=came, went=went,
            after=None if left is None else Flow(
                src=left.src, dst=left.dst, proto=self.flow.proto, sport=left.sport, dport=left.dport,
                flags=left.flags, icmp_type=left.icmp_type,
            ),
            refusal=said.kind if said is not None and own and not went else "",
        )  # fmt: skip

    def _first(self, agent: Agent | None, direction: str, *roles: str) -> Packet | None:
        if agent is None:
            return None
        found = (c.packet for c in self.files[agent].caught if c.seen.direction == direction and c.role in roles)
        return next((packet for packet in found if packet is not None), None)

    def _arrival(self) -> Packet | None:
        """Return the probe as it came in; one that was cut up is there when all of it is, or when it came whole."""
        first = self._first(self.receiver, "in", "probe")
        if first is None or first.fragment is None or self.receiver is None:
            return first
        seen = self.files[self.receiver].caught
        pieces = [c for c in seen if c.seen.direction == "in" and c.role in {"probe", "piece"}]
        return first if len(pieces) >= self.frames else None

    def _returned(self) -> Packet | None:
        answer = self._first(self.sender, "in", "answer") or self._first(self.sender, "in", "error")
        here = self.sender.hello().addresses
        if answer and answer.quoted and answer.src in here and self.receiver is not self.sender:
            self.neighbour = "failed"  # the sender's kernel tells itself that it could not resolve the next hop
            return None
        return answer

    def ends(self) -> Ends:
        """Return what both ends have seen so far."""
        receiver = self.receiver
        return Ends(
            flow=self.flow,
            error=self.error,
            left=self._first(self.sender, "out", "probe", "piece") is not None,
            watched=receiver is not None,
            arrival=self._arrival(),
            confirmed=self.confirmed,
            emitted=self._first(receiver, "out", "answer") or self._first(receiver, "out", "error"),
            returned=self._returned(),
            neighbour=self.neighbour,
            next_hop=self.next_hop,
            passage=self.passage(),
            sent_on=self._first(receiver, "out", "probe") if self.sender is not receiver and not self.through else None,
            target=(receiver.hello().addresses if receiver else frozenset()) | {self.flow.dst},
        )

    def settled(self, looked: float, timing: Timing) -> bool:
        """Whether nothing more is to be expected.

        ``looked`` is when the last look at the captures began, by the auditor's monotonic clock: on a busy machine one
        look may take longer than all the time that is to be waited for, and what came meanwhile is in the next.
        """
        ends = self.ends()
        if self.fault or self.error or ends.returned or ends.stuck:
            return True
        if ends.emitted:
            return looked - self._since("emitted") > timing.window
        if ends.arrival:
            confirmed = self.receiver is not None and self.confirmed_at(self.receiver)
            # a service may take its time, where nothing says that the packet was not let in
            doubtful = (
                self.through is not None and self.receiver is not None and not self.receiver.tracks(self.flow.family)
            )
            slow = self.flow.proto == UDP and (confirmed or doubtful)
            patience = timing.window if slow else timing.settle
            return looked - self._since("arrived") > patience
        if ends.passage is not None and ends.passage.came and not ends.passage.went:
            # without conntrack, a packet that waits for its next neighbour looks like one that was dropped
            tracked = self.through is not None and self.through.tracks(self.flow.family)
            return looked - self._since("came") > (timing.settle if tracked else timing.window)
        return looked - self.sent_at > timing.window

    def _since(self, what: str) -> float:
        """Return when something was noticed first."""
        return self.noticed.setdefault(what, time.monotonic())

    def packets(self) -> tuple[Seen, ...]:
        """Return the captures of both ends, in order of time."""
        files = {agent.host: file for agent, file in self.files.items()}
        caught: list[Caught] = [c for file in files.values() for c in file.caught]
        return tuple(sorted((c.seen for c in caught), key=lambda seen: seen.time)[:_KEPT])

    def half_open(self) -> bool:
        """Whether a SYN may have left a half-open connection that nobody has reset yet."""
        if self.fault or self.error or self.flow.proto != TCP or self.flow.flags not in (set(), {"SYN"}):
            return False
        ends = self.ends()
        answers = [packet for packet in (ends.emitted, ends.returned) if packet]
        if any("RST" in packet.flags or packet.quoted for packet in answers):
            return False
        if not answers and not (self.receiver and self.confirmed_at(self.receiver)):
            return False
        watcher, direction = (self.receiver, "in") if self.receiver else (self.sender, "out")
        probes = (c for c in self.files[watcher].caught if c.role == "probe" and c.seen.direction == direction)
        return not any(c.packet and "RST" in c.packet.flags for c in probes)


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
