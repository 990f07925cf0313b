"""Listening sockets of a host: read before all probes and after them, and probed where the tables let somebody in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from fwproof.audit.probes import Models, send_wave
from fwproof.audit.waves import Asked
from fwproof.errors import HostError
from fwproof.evidence.sockets import Socket, Sockets, parse_sockets
from fwproof.facts import FlowFacts, SocketFacts
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.hosts.collect import recapture
from fwproof.observation import Observation, Probe
from fwproof.plan import Check
from fwproof.policy.model import Service
from fwproof.probing.channel import Agent
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Snapshot

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

MOST = 64
"""Sockets of one host and family that are probed; the others are compared with the rules alone."""
_OWNERS, _PLAIN = "socket-owners", "sockets"


def sockets_of(snapshot: Snapshot | HostError) -> tuple[Sockets, str]:
    """Return a host's sockets, and why their owners are not known; raises HostError where nothing was listed."""
    if isinstance(snapshot, HostError):
        raise snapshot
    fault = snapshot.faults.get(_OWNERS)
    if fault is None and _OWNERS in snapshot.captures:
        return parse_sockets(snapshot.text(_OWNERS)), ""
    return parse_sockets(snapshot.text(_PLAIN)), fault.message if fault else "an older snapshot"


def ask_sockets(field: Field, check: Check, model: HostModel, flows: Iterable[FlowFacts | HostError]) -> list[Asked]:
    """Return a probe for each socket that a vantage may reach and that no probe of ``flows`` has met yet."""
    assert check.family is not None
    own = field.inventory.hosts[check.host].address(check.family)
    assert own is not None
    sockets, _ = sockets_of(field.snapshots[check.host])
    met = [known.observation.probe.flow for known in flows
           if isinstance(known, FlowFacts) and isinstance(known.observation, Observation)]  # fmt: skip
    found: list[Asked] = []
    for one in sockets.of(check.family):
        if not one.local and one.address in {None, own} and not any(map(one.takes, met)) and len(found) < MOST:
            found += _probe(field, check, model, one)
    return found


def _probe(field: Field, check: Check, model: HostModel, one: Socket) -> list[Asked]:
    """Return the probe from the first vantage that the tables let in to a socket, whatever a rate says; or none."""
    assert check.family is not None
    host = field.inventory.hosts[check.host]
    own = host.address(check.family)
    assert own is not None
    for vantage in field.inventory.vantages:
        address = vantage.address(check.family)
        if vantage.name == check.host or address is None or not isinstance(field.agents.get(vantage.name), Agent):
            continue
        flow = request(Service(one.proto, one.port, one.service), address, own)
        talk = converse(model, flow)
        if talk.request.ruling.accepted:
            probe = Probe(ref=f"{check.id} {one.service}", sender=vantage.name, receiver=check.host, flow=flow)
            reply = talk.reply.ruling if talk.reply else None
            return [Asked(check=check, probe=probe, ruling=talk.request.ruling, reply=reply)]
    return []


def look_again(  # noqa: PLR0913, PLR0917 - what is sent, how, and to whom
    field: Field, prober: Prober, asked: dict[str, list[Asked]], checks: Collection[Check],
    hopeless: Callable[[str, Family], bool], models: Models,
) -> dict[str, SocketFacts | HostError]:  # fmt: skip
    """Send the probes, list the sockets once more, and return what is known, by check id."""
    wave = [one for each in asked.values() for one in each]
    known = send_wave(field, prober, wave, hopeless, models) if wave else {}
    again: dict[str, Snapshot | HostError] = {}
    found: dict[str, SocketFacts | HostError] = {}
    for check in checks:
        if check.host not in again:
            again[check.host] = _once_more(field, check.host)
        try:
            before, gap = sockets_of(field.snapshots[check.host])
            after, _ = sockets_of(again[check.host])
        except HostError as error:
            found[check.id] = error
            continue
        probed = tuple(known[one.probe.ref] for one in asked.get(check.id, ()))
        found[check.id] = SocketFacts(before=before, after=after, probed=probed, gap=gap)
    return found


def _once_more(field: Field, host: str) -> Snapshot | HostError:
    try:
        return recapture(field.transports[host], (_PLAIN, _OWNERS))
    except HostError as error:
        return error
