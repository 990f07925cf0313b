"""Observation: what became of a probe on the wire, as seen at both ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fwproof.flow import Flow
from fwproof.forms import PLAIN, Form


class PortState(StrEnum):
    """What the two ends saw; the first three are nmap's words, the others tell silences apart."""

    OPEN = "open"
    """Arrived and answered by a service (SYN/ACK, a UDP answer, an echo reply)."""
    CLOSED = "closed"
    """Arrived, let in (the kernel's own RST or port-unreachable answers), nobody listens."""
    REJECTED = "rejected"
    """Arrived and refused with an answer that a rule gives."""
    ACCEPTED_SILENT = "accepted-silent"
    """Arrived and confirmed by conntrack, but no answer left the host (UDP service, or a reply that was dropped)."""
    SILENT = "silent"
    """Arrived at the target, not let in, and not answered: dropped there."""
    REPLY_LOST = "reply-lost"
    """Arrived and answered by the target, but the answer did not come back to the vantage."""
    NEVER_ARRIVED = "never-arrived"
    """Sent, but not seen at the target, while a control packet from the same vantage was."""
    REFUSED_LOCALLY = "refused-locally"
    """The sender's own output rules stopped it: the send call failed with EPERM."""
    UNREACHABLE = "unreachable"
    """No neighbour or no route on the way: there is nobody to hand the packet to."""
    NO_ANSWER = "no-answer"
    """The wire does not say: one end only was watched, or what was seen has no single reading (see the note)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One packet as captured: at which host, in which direction (``in``, ``out``), when (s since the epoch)."""

    host: str
    direction: str
    time: float
    summary: str
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One packet to send: ``sender`` and ``receiver`` are inventory names, ``flow`` has its source port.

    ``form`` is how it is dressed. ``through`` names a host on the way that is watched as well, None for none.
    """

    ref: str
    sender: str
    receiver: str
    flow: Flow
    form: Form = PLAIN
    through: str | None = None


Handles = Mapping[tuple[str, str, str], tuple[int, ...]]
"""The handles of a chain's rules in their order, by family, table and chain of nf_tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEvent:
    """What a traced host's kernel told of one rule that a probe met.

    ``kind`` is ``rule``, ``return``, ``policy`` (the chain's end) or ``begin`` (rules are traced from here on).
    ``number`` is a rule's handle, or where ``legacy`` its number in the chain, from 1. ``verdict`` is nft's word, empty
    where legacy, which does not tell it; ``packet``
    is what the kernel knows the packet by.
    """

    host: str
    family: str
    table: str
    chain: str
    kind: str
    number: int
    verdict: str = ""
    legacy: bool = False
    packet: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What a host on the way did with a probe, as seen there.

    ``came``: the probe was seen coming in. ``went``: it was seen leaving, or conntrack confirmed its connection, which
    it does last. ``after`` is the packet as it left, None where it was not seen so,
    ``refusal`` the answer that the host gave itself instead, in words.
    """

    host: str
    came: bool
    went: bool
    after: Flow | None = None
    refusal: str = ""


_UNSEEN = frozenset({PortState.NEVER_ARRIVED, PortState.UNREACHABLE, PortState.NO_ANSWER})
"""States in which the receiver did not see the packet, or nobody could look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What became of one probe.

    ``arrived`` and ``confirmed`` (conntrack NEW at the target: the input path let it in) are None where that
    end was not watched. ``sent`` counts the packets it took. ``note`` is the reason for a silence, in words.
    ``events`` are what traced hosts told of it; those in ``untold`` lost some.
    ``passage`` is what became of it at the host that it goes through, None where nobody watched that.
    """

    probe: Probe
    state: PortState
    sent: int
    arrived: bool | None
    confirmed: bool | None
    answer: str | None = None
    note: str = ""
    packets: tuple[Seen, ...] = ()
    events: tuple[RuleEvent, ...] = ()
    untold: tuple[str, ...] = ()
    passage: Passage | None = None

    def met_at(self, host: str) -> bool | None:
        """Whether the probe came in at one of the hosts that it was sent to or through; None where nobody looked."""
        if host == self.probe.through:
            return None if self.passage is None else self.passage.came
        return self.arrived

    @property
    def answered_for(self) -> bool:
        """Whether a service answered a packet that its receiver never saw: something else answers in its place."""
        if self.state not in _UNSEEN or self.answer in {None, "RST"}:
            return False
        return not str(self.answer).startswith("ICMP") or str(self.answer).endswith("echo reply")

    @property
    def let_in(self) -> bool | None:
        """Whether the target's firewall let the packet in; None when the wire cannot tell."""
        if self.state in {PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST, PortState.ACCEPTED_SILENT}:
            return True
        if self.state in {PortState.SILENT, PortState.REJECTED}:
            return False
        return None
