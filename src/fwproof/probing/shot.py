"""Shot: one packet of a probe under way, and what its ends have seen of it so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from fwproof.errors import HostError
from fwproof.flow import TCP, UDP, Flow
from fwproof.observation import Passage, Probe, RuleEvent, Seen
from fwproof.probing.channel import Agent
from fwproof.probing.filing import Caught, File
from fwproof.probing.gate import Share
from fwproof.probing.packets import Packet
from fwproof.probing.verdict import Ends

_KEPT = 16


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
