"""What a sweep saw and what follows from it, port by port. Pure: no I/O, no clock.

The table is that of :mod:`fwproof.probing.verdict`, over sets of ports: arrival and conntrack's event at the target,
the answer as it left there, the answer as it came back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Family, Flow
from fwproof.observation import PortState, Seen
from fwproof.probing import portset
from fwproof.probing.packets import Packet

TRANSIENT = frozenset({errno.EAGAIN, errno.ENOBUFS})
"""Errors of sending that say that the sender's queue was full."""
_NOWHERE = {ICMP: {(3, 0), (3, 1), (3, 6), (3, 7)}, ICMPV6: {(1, 0), (1, 3)}}
_OWN_REFUSAL = {ICMP: "3.3", ICMPV6: "1.4"}
"""Port unreachable, which the kernel itself says of a UDP port that nobody has (RFC 792, RFC 4443)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """What was seen of all packets of a sweep so far, as sets of ports by kind (:class:`fwproof.probing.agent.Watch`).

    ``far`` is None where nobody watched the target. ``tracking``: conntrack is at work there. ``marked``: the TOS of
    the probes had arrived as it was sent. ``lossy`` names hosts that could not hand over every packet.
    """

    asked: int
    errors: Mapping[int, int] = field(default_factory=dict)
    near: Mapping[str, int] = field(default_factory=dict)
    far: Mapping[str, int] | None = None
    tracking: bool = False
    marked: bool = True
    lossy: tuple[str, ...] = ()

    @property
    def arrived(self) -> int:
        """The ports whose probe was seen coming in at the target."""
        return (self.far or {}).get("iA", 0)

    @property
    def emitted(self) -> int:
        """The ports for which an answer left the target."""
        return _union(self.far or {}, "o", but="oA")

    @property
    def returned(self) -> int:
        """The ports for which an answer came back."""
        return _union(self.near, "i", but="iA")

    @property
    def tracked(self) -> bool:
        """Whether a missing conntrack event means something: what was served must have had one."""
        far = self.far or {}
        return self.tracking and not (far.get("oS", 0) | far.get("oU", 0)) & ~far.get("C", 0)

    @property
    def refused(self) -> int:
        """The ports to which the sender's kernel would not send."""
        return portset.of_ports(port for port, error in self.errors.items() if error not in TRANSIENT)

    @property
    def missing(self) -> int:
        """The ports worth another packet because none arrived, or none came back where nobody watched the target."""
        seen = self.returned | self.refused
        return self.asked & ~(seen | self.arrived)

    @property
    def unreturned(self) -> int:
        """The ports whose answer left the target and did not come back."""
        return self.asked & self.emitted & ~self.returned

    @property
    def half_open(self) -> int:
        """The ports at which a SYN may have left a half-open connection that nobody has reset."""
        far = self.far or {}
        refused = _union(far, "oR") | _union(far, "oJ") | _union(far, "oI") | far.get("iX", 0)
        return (far.get("oS", 0) | far.get("C", 0) | self.near.get("iS", 0)) & ~refused

    def joined(self, other: Sightings) -> Sightings:
        """Return what was seen by this and another pass over some of the ports."""
        both = [{kind: a.get(kind, 0) | b.get(kind, 0) for kind in a.keys() | b.keys()}
                for a, b in ((self.near, other.near), (self.far or {}, other.far or {}))]  # fmt: skip
        errors = {port: error for port, error in self.errors.items() if not other.asked >> port & 1}
        return Sightings(
            asked=self.asked | other.asked, errors={**errors, **other.errors}, near=both[0],
            far=None if self.far is None else both[1], tracking=self.tracking or other.tracking,
            marked=self.marked and other.marked, lossy=tuple(dict.fromkeys((*self.lossy, *other.lossy))),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Ports of one outcome: ``answer`` is what answered, ``note`` the reason for a silence, ``ports`` a port set."""

    state: PortState
    ports: int
    answer: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A finished sweep.

    ``flow`` is the probe without its ports. ``passes`` has the packets of each pass, ``sent`` all of them with the
    ``resets`` that took SYNs back. ``retried`` counts the packets beyond the first for each port. ``used`` holds the
    processor seconds and the memory in KiB of each host's agent. ``arrivals`` are the ports of each pass whose packet
    came to the target.
    """

    sender: str
    receiver: str
    flow: Flow
    asked: int
    groups: tuple[Group, ...]
    sightings: Sightings
    passes: tuple[int, ...]
    resets: int
    seconds: float
    pps: int
    samples: tuple[Seen, ...] = ()
    used: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    arrivals: tuple[int, ...] = ()

    @property
    def sent(self) -> int:
        """All packets that were sent."""
        return sum(self.passes) + self.resets

    @property
    def retried(self) -> int:
        """The packets that were sent again."""
        return sum(self.passes[1:])

    def ports(self, *states: PortState) -> int:
        """Return the ports of some states."""
        found = 0
        for group in self.groups:
            found |= group.ports if group.state in states else 0
        return found


def _union(kinds: Mapping[str, int], start: str, but: str = "") -> int:
    found = 0
    for kind, ports in kinds.items():
        if kind.startswith(start) and kind != but:
            found |= ports
    return found


def judge(flow: Flow, seen: Sightings) -> tuple[Group, ...]:
    """Return what became of every port that was asked, in groups of one outcome each."""
    return _Judge(flow, seen).groups()


class _Judge:
    """Deals the ports out, the surest signs first."""

    def __init__(self, flow: Flow, seen: Sightings) -> None:
        self.flow, self.seen, self.left = flow, seen, seen.asked
        self.icmp = ICMP if flow.family is Family.IPV4 else ICMPV6
        self.far: Mapping[str, int] = seen.far or {}
        self.confirmed = self.far.get("C", 0) if seen.tracked else 0
        self.found: dict[tuple[PortState, str | None, str], int] = {}

    def groups(self) -> tuple[Group, ...]:
        """Return all groups, the largest last."""
        self.not_sent()
        if self.seen.far is not None:
            self.answered_for()
        self.served("S", "SYN/ACK") if self.flow.proto == TCP else self.served("U", "UDP")
        self.reset()
        self.errors()
        self.silent()
        found = [Group(state=s, ports=p, answer=a, note=n) for (s, a, n), p in self.found.items()]
        return tuple(sorted(found, key=lambda group: (group.ports.bit_count(), group.ports)))

    def put(self, ports: int, state: PortState, answer: str | None = None, note: str = "") -> None:
        """Give ports that nothing was said of yet an outcome."""
        ports &= self.left
        if ports:
            key = (state, answer, note)
            self.found[key] = self.found.get(key, 0) | ports
            self.left &= ~ports

    def both(self, kind: str) -> int:
        """Return the ports for which a kind of answer was seen at either end."""
        return self.far.get("o" + kind, 0) | self.near(kind)

    def near(self, kind: str) -> int:
        return self.seen.near.get("i" + kind, 0)

    def not_sent(self) -> None:
        by_error: dict[int, int] = {}
        for port, error in self.seen.errors.items():
            by_error[error] = by_error.get(error, 0) | 1 << port
        for error, ports in by_error.items():
            if error == errno.EPERM:
                self.put(ports, PortState.REFUSED_LOCALLY, None, "The sender's own output rules refused it (EPERM).")
            elif error in TRANSIENT:
                self.put(ports, PortState.NO_ANSWER, None, "The sender's queue was full each time: it was not sent.")
            else:
                said = f"The sender's kernel says: {os.strerror(error)}."
                self.put(ports, PortState.UNREACHABLE, None, said)

    def answered_for(self) -> None:
        """Deal out what somebody else answered: it never came to the target."""
        away = self.seen.returned & ~self.seen.arrived & ~self.seen.emitted
        for kind in self.kinds("N"):
            code = _code(kind)
            state = PortState.UNREACHABLE if code in _NOWHERE[self.icmp] else PortState.NEVER_ARRIVED
            name = self.name(kind)
            self.put(away & self.near(kind), state, name, f"Somebody on the way says: {name}.")
        if not self.seen.lossy:
            self.put(
                away, PortState.NEVER_ARRIVED, "an answer",
                "It was answered, but not seen at the receiver: something answers for it.",
            )  # fmt: skip

    def served(self, kind: str, answer: str) -> None:
        self.put(self.near(kind), PortState.OPEN, answer)
        self.put(self.both(kind), PortState.REPLY_LOST, answer, _WAY_BACK)

    def refusal(self, ports: int, answer: str, own: int, rule: int) -> None:
        """Deal out refusals: ``own`` are the kernel's, ``rule`` those of a rule, the others could be either."""
        back = self.seen.returned
        self.put(ports & own & back, PortState.CLOSED, answer)
        self.put(ports & own, PortState.REPLY_LOST, answer, _WAY_BACK)
        self.put(ports & rule & back, PortState.REJECTED, answer)
        self.put(ports & rule, PortState.REJECTED, answer, _WAY_BACK)
        self.put(ports, PortState.NO_ANSWER, answer, _EITHER)

    def reset(self) -> None:
        ports, everything = self.both("R") | self.both("J"), portset.ALL
        if self.seen.tracked:
            self.refusal(ports, "RST", self.confirmed, everything)
        elif self.seen.marked:
            self.refusal(ports, "RST", self.both("R"), everything)
        else:
            self.refusal(ports, "RST", 0, 0)

    def errors(self) -> None:
        for kind in (*self.kinds("I"), *self.kinds("N")):
            ports, own = self.both(kind), 0
            rule = portset.ALL
            if self.flow.proto == UDP and kind[1:] == _OWN_REFUSAL[self.icmp]:
                own = self.confirmed
                rule = portset.ALL if self.seen.tracked else 0
            self.refusal(ports, self.name(kind), own, rule)

    def silent(self) -> None:
        arrived = self.seen.arrived
        if self.seen.far is None:
            self.put(self.left, PortState.NO_ANSWER, None, "Nobody watched the receiver; no answer came.")
            return
        self.put(self.confirmed, PortState.ACCEPTED_SILENT, None, _MUTE[self.flow.proto])
        if self.seen.lossy:
            who = " and ".join(self.seen.lossy)
            note = f"{who} could not capture every packet in time, so silence proves nothing."
            self.put(self.left, PortState.NO_ANSWER, None, note)
        if not self.seen.tracked:
            note = "It arrived and nothing left the host; without connection tracking there, the wire cannot tell why."
            self.put(arrived, PortState.NO_ANSWER, None, note)
        note = "It arrived, connection tracking never confirmed it, and nothing left the host."
        self.put(arrived, PortState.SILENT, None, note)
        self.put(self.left, PortState.NEVER_ARRIVED, None, "It did not arrive.")

    def kinds(self, start: str) -> list[str]:
        every = {kind[1:] for kinds in (self.seen.near, self.far) for kind in kinds}
        return sorted(kind for kind in every if kind.startswith(start))

    def name(self, kind: str) -> str:
        kind_, code = _code(kind)
        return Packet(src=self.flow.dst, dst=self.flow.src, proto=self.icmp, icmp_type=kind_, icmp_code=code).kind


def _code(kind: str) -> tuple[int, int]:
    number, _, code = kind[1:].partition(".")
    return int(number), int(code)


_WAY_BACK = "The answer left the target and did not come back to the sender."
_EITHER = "Without connection tracking at the target, a closed port and a reject rule look alike."
_MUTE = {
    TCP: "Connection tracking confirmed it; no reply left the host: its output rules may drop it.",
    UDP: "Connection tracking confirmed it; no answer.",
}
