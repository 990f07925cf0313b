"""What became of one probe, from what both ends saw of it. Pure: no I/O, no clock.

===========  =========  ======================  ==========  ======================================
arrived      confirmed  answer left the target  came back   state
===========  =========  ======================  ==========  ======================================
yes          any        SYN/ACK, UDP, echo      yes         open
yes          yes        RST, port unreachable   yes         closed: the kernel's own answer
yes          no         RST, any unreachable    any         rejected: a rule's answer
yes          yes        none                    no          accepted-silent
yes          no         none                    no          silent: dropped at the target
yes          unknown    none                    no          no-answer: drop and lost reply look alike
yes          yes        any                     no          reply-lost
no           -          -                       -           never-arrived, unreachable, refused-locally
not watched  unknown    unknown                 yes/no      open, closed, rejected or no-answer
===========  =========  ======================  ==========  ======================================

``confirmed`` is a conntrack NEW event at the target: the entry is made when the packet has passed the whole
input path (nf_conntrack_confirm is the last function of LOCAL_IN). A TCP reset carries no sender of its own:
where conntrack does not say whose it is, the echoed TOS does (the kernel's own RST has the probe's TOS, the
reset of a REJECT rule has none; net/ipv4/tcp_ipv4.c, netfilter/nf_reject_ipv4.c).
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Family, Flow
from fwproof.observation import Passage, PortState
from fwproof.probing.packets import Packet

NO_ROOM = {Family.IPV4: errno.ENOBUFS, Family.IPV6: errno.EINVAL}
"""What sending fails with where no entry for the next hop can be made, as the kernel's table of neighbours is full.

Seen on Linux 6.18; net/ipv4/ip_output.c, ip_finish_output2(), and net/ipv6/ip6_output.c, ip6_finish_output2().
"""
_NO_SUCH_PROTOCOL, _PARAMETER_PROBLEM = (ICMP, 3, 2), (ICMPV6, 4)
"""What the kernel answers to a protocol or header that it has nothing for (RFC 792, RFC 4443).

It says so of what the input path has let in, and no rule can give the ICMPv6 answer.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What both ends saw of one probe packet.

    ``error`` is the errno of the send call, 0 when it was sent; ``left`` whether it was seen leaving the sender.
    ``arrival`` is the packet as it came in, ``watched`` whether anyone could have seen it. ``confirmed`` is None
    where conntrack says nothing. ``emitted`` left the target, ``returned`` reached the sender; ``neighbour`` is
    the state of the sender's neighbour entry for the next hop, asked only when the packet did not leave.
    ``target`` holds the receiver's addresses, to tell its answers from a router's. ``passage`` is what a watched host
    on the way did with it, ``sent_on`` the packet as the receiver passed it on to another.
    """

    flow: Flow
    error: int = 0
    left: bool = False
    watched: bool = True
    arrival: Packet | None = None
    confirmed: bool | None = None
    emitted: Packet | None = None
    returned: Packet | None = None
    neighbour: str = ""
    next_hop: str = ""
    target: frozenset[IPv4Address | IPv6Address] = frozenset()
    passage: Passage | None = None
    sent_on: Packet | None = None

    @property
    def arrived(self) -> bool | None:
        """Whether the packet came to the target; None when nobody looked."""
        return self.arrival is not None if self.watched else None

    @property
    def stuck(self) -> bool:
        """Whether the sender's kernel found nobody on the link to hand the packet to."""
        return not self.left and self.neighbour in {"incomplete", "failed"}

    @property
    def from_target(self) -> bool:
        """Whether what came back came from the target itself."""
        return self.returned is not None and (self.returned.quoted is None or self.returned.src in self.target)


@dataclass(frozen=True, slots=True)
class Finding:
    """A port state, what answered in words, and the reason for a silence."""

    state: PortState
    answer: str | None = None
    note: str = ""


def judge(ends: Ends) -> Finding:
    """Return what became of the probe."""
    early = not_sent(ends.error, ends.flow.family)
    if early is not None:
        return early
    if ends.passage is not None and ends.arrival is None and ends.passage.came:
        return _passed(ends, ends.passage)
    if not ends.watched:
        return _one_ended(ends)
    if ends.arrival is None:
        return _not_arrived(ends)
    onward = "" if ends.sent_on is None else f"The host sent it on (NAT): {ends.sent_on}."
    return _with_note(_with_note(_arrived(ends), _rewritten(ends)), onward)


def not_sent(error: int, family: Family) -> Finding | None:
    """Return what the errno of a send call means, None for 0: the packet was sent."""
    if error == errno.EPERM:
        return Finding(PortState.REFUSED_LOCALLY, None, "The sender's own output rules refused it (EPERM).")
    if not error:
        return None
    note = f"The sender's kernel says: {os.strerror(error)}."
    if error == NO_ROOM[family]:
        what = "Its table" if family is Family.IPV6 else "Its queue or its table"
        most = f"net.{family.value}.neigh.default.gc_thresh3"
        note += f" {what} of neighbours may be full, which holds {most} of all network namespaces together."
    return Finding(PortState.UNREACHABLE, None, note)


def _passed(ends: Ends, passage: Passage) -> Finding:
    """Return what became of a probe that came to the host on the way, and was not seen at its receiver."""
    if not passage.went:
        if passage.refusal:
            return Finding(PortState.REJECTED, passage.refusal, f"{passage.host} did not pass it on, and said so.")
        return Finding(PortState.SILENT, None, f"It came to {passage.host}, and did not leave it.")
    if ends.returned is not None or not ends.watched:
        return _one_ended(ends)
    return Finding(PortState.NEVER_ARRIVED, None, f"{passage.host} passed it on, and it did not arrive.")


def _answers(packet: Packet) -> bool:
    """Tell a service's answer from a refusal."""
    if packet.proto == TCP:
        return "RST" not in packet.flags
    return packet.proto == UDP or packet.quoted is None


def _arrived(ends: Ends) -> Finding:
    answer = ends.returned if ends.from_target else None
    seen = answer or ends.emitted
    if seen is None:
        return _silent(ends)
    way_back = "" if answer else "The answer left the target and did not come back to the sender."
    if _answers(seen):
        return Finding(PortState.OPEN if answer else PortState.REPLY_LOST, seen.kind, way_back)
    state, note = _refusal(ends, seen)
    if state is PortState.CLOSED and not answer:
        state = PortState.REPLY_LOST
    return Finding(state, seen.kind, " ".join(filter(None, (note, way_back))))


def _refusal(ends: Ends, seen: Packet) -> tuple[PortState, str]:  # noqa: PLR0911 - one return for each reading
    """Tell the kernel's own refusal of a closed port from that of a rule."""
    if ends.confirmed or (seen.proto, seen.icmp_type) == _PARAMETER_PROBLEM:
        return PortState.CLOSED, ""
    if (seen.proto, seen.icmp_type, seen.icmp_code) == _NO_SUCH_PROTOCOL:
        return PortState.NO_ANSWER, "The host knows no such protocol, or a reject rule says so."
    if seen.proto == TCP and ends.flow.tos:
        if seen.tos == ends.flow.tos:
            return PortState.CLOSED, "The reset echoes the probe's TOS, as the kernel's own does."
        return PortState.REJECTED, "The reset does not echo the probe's TOS: a rule sent it."
    if ends.confirmed is False:
        return PortState.REJECTED, ""
    own = seen.icmp_code == (3 if seen.proto == ICMP else 4)  # port unreachable: RFC 792, RFC 4443
    if seen.proto == TCP or (own and ends.flow.proto == UDP):
        return PortState.NO_ANSWER, (
            f"{seen.kind} came back; without connection tracking at the target, a closed port and a reject rule "
            "look alike."
        )
    return PortState.REJECTED, ""


def _silent(ends: Ends) -> Finding:
    if ends.confirmed:
        what = "no reply left the host: its output rules may drop it" if ends.flow.proto != UDP else "no answer"
        return Finding(PortState.ACCEPTED_SILENT, None, f"Connection tracking confirmed it; {what}.")
    if ends.confirmed is None:
        note = "It arrived and nothing left the host; without connection tracking there, the wire cannot tell why."
        return Finding(PortState.NO_ANSWER, None, note)
    note = "It arrived, connection tracking never confirmed it, and nothing left the host."
    return Finding(PortState.SILENT, None, note)


def _not_arrived(ends: Ends) -> Finding:
    if ends.stuck:
        note = f"Nobody on the sender's link answers for {ends.next_hop} (neighbour {ends.neighbour})."
        return Finding(PortState.UNREACHABLE, None, note)
    returned = ends.returned
    if returned is None:
        where = "" if ends.left else " and was not seen leaving the sender"
        return Finding(PortState.NEVER_ARRIVED, None, f"It did not arrive{where}.")
    if returned.quoted is None:
        note = f"{returned.src} answered, but the packet was not seen at the receiver: something answers for it."
        return Finding(PortState.NEVER_ARRIVED, returned.kind, note)
    return _router_said(returned)


def _router_said(returned: Packet) -> Finding:
    note = f"{returned.src} on the way says: {returned.kind}."
    code = (returned.icmp_type, returned.icmp_code)
    nowhere = {(3, 0), (3, 1), (3, 6), (3, 7)} if returned.proto == ICMP else {(1, 0), (1, 3)}
    state = PortState.UNREACHABLE if code in nowhere else PortState.NEVER_ARRIVED
    return Finding(state, returned.kind, note)


def _one_ended(ends: Ends) -> Finding:
    if ends.stuck:
        return _not_arrived(ends)
    seen = ends.returned
    if seen is None:
        return Finding(PortState.NO_ANSWER, None, "Nobody watched the receiver; no answer came.")
    if _answers(seen):
        return Finding(PortState.OPEN, seen.kind, "Seen from the sender only.")
    if seen.quoted is not None and seen.src != ends.flow.dst:
        return _router_said(seen)
    state, note = _refusal(ends, seen)
    return Finding(state, seen.kind, " ".join(filter(None, (note, "Seen from the sender only."))))


def _rewritten(ends: Ends) -> str:
    seen, flow = ends.arrival, ends.flow
    here = seen and (seen.src, seen.dst, flow.dport if seen.dport is None else seen.dport)
    if seen is None or ends.passage is not None or here == (flow.src, flow.dst, flow.dport):
        return ""
    return f"It arrived rewritten (NAT): {seen}."


def _with_note(finding: Finding, more: str) -> Finding:
    return Finding(finding.state, finding.answer, " ".join(filter(None, (finding.note, more))))
