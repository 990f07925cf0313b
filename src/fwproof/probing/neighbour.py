"""ICMPv6 neighbour discovery on the wire: whether a host answers a neighbour's solicitation (RFC 4861, 7.2)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv6Address

from fwproof.errors import AgentRefused
from fwproof.flow import ICMPV6, Family, Flow
from fwproof.observation import Observation, PortState, Probe
from fwproof.probing.channel import Agent
from fwproof.probing.filing import Caught
from fwproof.probing.frames import solicitation_frame
from fwproof.probing.greeting import Interface
from fwproof.probing.shot import Timing
from fwproof.probing.verdict import Finding, not_sent

_SOLICITATION, _ADVERTISEMENT = 135, 136
_TRIES = 3
"""As the kernel's own resolution does (neigh/default/mcast_solicit)."""
_AGAIN = {PortState.REPLY_LOST, PortState.NEVER_ARRIVED, PortState.NO_ANSWER}
_POLL = 0.02


def solicit(sender: Agent, receiver: Agent | None, target: IPv6Address, timing: Timing) -> Observation:
    """Send a neighbour solicitation and return what became of it; one that was or may be lost is sent again.

    AgentRefused when the target is not on a link of the sender: solicitations do not pass routers.
    """
    for sent in range(1, _TRIES + 1):
        kind = "probes" if sent == 1 else "again"
        seen = replace(_solicit_once(sender, receiver, target, timing, kind), sent=sent)
        if seen.state not in _AGAIN:
            break
    return seen


def _solicit_once(
    sender: Agent, receiver: Agent | None, target: IPv6Address, timing: Timing, kind: str
) -> Observation:  # fmt: skip
    link, source = _link(sender, target)
    flow = Flow(src=source, dst=target, proto=ICMPV6, icmp_type=_SOLICITATION, icmp_code=0, length=72, ttl=255)
    agents = tuple(dict.fromkeys(agent for agent in (sender, receiver) if agent))
    frame = solicitation_frame(source, target, link.mac)
    with ExitStack() as stack:
        heard = {agent: stack.enter_context(agent.listening(target)) for agent in agents}
        answer = sender.call("send", frames=[frame.hex()], gap=0.0, kind=kind)
        with sender.reading("send report"):
            error = int(answer["sent"][0][0])
        end = time.monotonic() + (0.0 if error else timing.window)
        while time.monotonic() < end and not _seen(heard[sender], "in", _ADVERTISEMENT):
            for agent in agents:
                agent.collect(_POLL)
        for agent in agents:  # others may have kept us waiting for our turn
            agent.collect()
    arrived = _seen(heard[receiver], "in", _SOLICITATION) if receiver else None
    emitted = _seen(heard[receiver], "out", _ADVERTISEMENT) if receiver else None
    returned = _seen(heard[sender], "in", _ADVERTISEMENT)
    finding = not_sent(error, Family.IPV6) or _judge(arrived, emitted, returned=returned)
    caught = [c.seen for agent in agents for c in heard[agent]]
    return Observation(
        probe=Probe(ref="neighbour", sender=sender.host, receiver=receiver.host if receiver else "", flow=flow),
        state=finding.state,
        sent=1,
        arrived=arrived,
        confirmed=None,  # neighbour discovery is not tracked by conntrack
        answer=finding.answer,
        note=finding.note,
        packets=tuple(sorted(caught, key=lambda seen: seen.time)),
    )


def _link(sender: Agent, target: IPv6Address) -> tuple[Interface, IPv6Address]:
    route = sender.call("route", dst=str(target))
    with sender.reading("route"):
        elsewhere, index = bool(route["via"] or route["local"]), int(route["index"])
        source = IPv6Address(route["source"]) if route["source"] else None
    if elsewhere:
        raise AgentRefused(sender.host, f"{target} is not on one of its links, so it cannot be asked as a neighbour")
    link = next((each for each in sender.hello().interfaces if each.index == index), None)
    if link is None or not link.mac or source is None:
        raise AgentRefused(sender.host, f"it has no interface with a MAC address and an address towards {target}")
    return link, source


def _seen(heard: Sequence[Caught], direction: str, kind: int) -> bool:
    return any(c.seen.direction == direction and c.packet is not None and c.packet.icmp_type == kind for c in heard)


def _judge(arrived: bool | None, emitted: bool | None, *, returned: bool) -> Finding:  # noqa: FBT001
    advertisement = "ICMPv6 neighbour advertisement"
    if returned:
        return Finding(PortState.OPEN, advertisement)
    if emitted:
        return Finding(PortState.REPLY_LOST, advertisement, "The advertisement left the receiver and was lost.")
    return {
        None: Finding(PortState.NO_ANSWER, None, "Nobody watched the receiver; no advertisement came."),
        False: Finding(PortState.NEVER_ARRIVED, None, "The solicitation did not arrive."),
        True: Finding(PortState.SILENT, None, "The solicitation arrived and no advertisement left the host."),
    }[arrived]
