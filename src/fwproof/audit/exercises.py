"""Exercises: what is provoked on purpose, where a policy says so, and put back afterwards.

Bursts against a rate limit, questions of neighbours, connections over loopback. Each returns facts for judging; a
HostError in place of facts says why it could not be done. Bans and drop logs have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING, TypeVar

from fwproof.audit.counting import moved, read_counters
from fwproof.decision import Decision
from fwproof.errors import HostError, NotGranted
from fwproof.evidence.sockets import parse_sockets
from fwproof.facts import BurstFacts, Connected, NeighbourFacts, Untried
from fwproof.farends import one_of
from fwproof.flow import Address, Family, Flow, Hook
from fwproof.flows import loopback as loop
from fwproof.flows import request
from fwproof.inventory import Access, Inventory
from fwproof.observation import Observation, PortState
from fwproof.plan import Check
from fwproof.planning.limits import burst_size
from fwproof.policy.model import Allow, Peers, Service
from fwproof.semantics.limits import NotSettled
from fwproof.semantics.model import HostModel
from fwproof.semantics.walk import TooLarge

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

_T = TypeVar("_T")
GAP = 0.01
"""Seconds between two packets of a burst: far below any rate that a policy would name."""
_CUT = 0.5
"""Seconds to wait for a connection over loopback that the tables are known to drop; others take microseconds."""


DISCARD = Service("tcp", 9, "tcp/9")
"""RFC 863's port, which nobody serves: what stands for a dropped packet where nothing is sent."""
ANYBODY = {
    family: one_of(Peers("anywhere", (ip_network(everybody),)), family)
    for family, everybody in ((Family.IPV4, "0.0.0.0/0"), (Family.IPV6, "::/0"))
}
"""A source that no expectation names, of documentation's address ranges."""


def ends_of(field: Field, check: Check) -> tuple[str, Address, Address]:
    """Return the vantage's name, its address and the host's; HostError where the inventory has no vantage.

    The vantage must have an agent, and the host as well where its tier provides for one.
    """
    own = own_of(field, check)
    if check.vantage is None or check.peer is None:
        raise NotGranted(check.host, "no vantage of the inventory stands where this has to be tried from",
                         "add a host with `vantage: true` there")  # fmt: skip
    field.agent(check.vantage)
    if watched(field, check.host):
        field.agent(check.host)
    return check.vantage, check.peer, own


def watched(field: Field, host: str) -> bool:
    """Whether a host's tier provides for an agent on it."""
    return field.inventory.hosts[host].access is not Access.READ


def own_of(field: Field, check: Check) -> Address:
    """Return the audited host's address of a check's family."""
    return own_in(field.inventory, check)


def own_in(inventory: Inventory, check: Check) -> Address:
    """Return the audited host's address of a check's family."""
    assert check.family is not None
    own = inventory.hosts[check.host].address(check.family)
    assert own is not None  # no check is planned in a family that the host does not have
    return own


def burst(field: Field, prober: Prober, check: Check, model: HostModel, *, exercise: bool = True) -> BurstFacts:
    """Send a burst of new connections from one source and count how many the host's tables let in."""
    found = replace(foreseen(field.inventory, check, model), watched=watched(field, check.host))
    if check.vantage is None or not exercise:
        return replace(found, untried=Untried.NO_VANTAGE if check.vantage is None else Untried.OFF)
    return _sent(field, prober, check, burst_flow(field.inventory, check), found)


def burst_flow(inventory: Inventory, check: Check) -> Flow:
    """Return the packet that a burst sends."""
    assert isinstance(check.expectation, Allow)
    assert check.family is not None
    assert check.service is not None
    peer = check.peer or one_of(check.expectation.peers, check.family)
    return request(check.service, peer, own_in(inventory, check))


def foreseen(inventory: Inventory, check: Check, model: HostModel) -> BurstFacts:
    """Return what the tables say of a burst before it is sent."""
    assert isinstance(check.expectation, Allow)
    assert check.expectation.rate is not None
    count, flow = burst_size(check.expectation.rate), burst_flow(inventory, check)
    limiters = settled(check, lambda: model.limiters(flow))
    return BurstFacts(
        sent=count, arrived=0, admitted=0, answered=0, first_refused=None,
        predicted=tuple(d is Decision.ACCEPT for d in settled(check, lambda: model.simulate_burst(flow, count, GAP))),
        limiter="; ".join(str(limiter.rule) for limiter in limiters),
    )  # fmt: skip


def counted(expected: BurstFacts, seen: Sequence[Observation]) -> BurstFacts:
    """Return a burst with the numbers of what was seen of its packets."""
    let_in = [o.confirmed or o.state in {PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST} for o in seen]
    met = [o.arrived is not False if not expected.watched else bool(o.arrived) for o in seen]
    refused = (n for n, (there, good) in enumerate(zip(met, let_in, strict=True), 1) if there and not good)
    return replace(
        expected, arrived=sum(met), admitted=sum(map(bool, let_in)), seen=tuple(seen),
        answered=sum(o.state in {PortState.OPEN, PortState.CLOSED} for o in seen), first_refused=next(refused, None),
    )  # fmt: skip


def settled(check: Check, ask: Callable[[], _T]) -> _T:
    """Return what the model says; where it cannot tell, that is an error of the check and not "there is none"."""
    try:
        return ask()
    except (NotSettled, TooLarge) as reason:
        raise HostError(check.host, f"what the tables do with these packets cannot be told: {reason}",
                        "see `fwproof explain` for the rules that are not understood") from reason  # fmt: skip


def _sent(field: Field, prober: Prober, check: Check, flow: Flow, expected: BurstFacts) -> BurstFacts:
    assert isinstance(check.expectation, Allow)
    assert check.expectation.rate is not None
    assert check.family is not None
    vantage, peer, own = ends_of(field, check)
    note = forget(field, check, flow)
    field.memory.note(own, peer, check.expectation.rate.per)
    before = read_counters(field, check.host, (check.family,))
    seen = prober.burst(vantage, check.host, flow, expected.sent, gap=GAP)
    after = read_counters(field, check.host, (check.family,))
    forget(field, check, flow, sent=True)
    rules = [rule for rule in before if (moved(before, after, rule) or 0) >= 1 and _about(rule.text, check)]
    return replace(
        counted(expected, seen),
        note=note or next((o.note for o in seen if not o.arrived), ""),
        counters=tuple(f"{rule} counted {moved(before, after, rule)}" for rule in rules),
    )  # fmt: skip


def _about(text: str, check: Check) -> bool:
    """Whether a rule names the service's port or keeps the list that limits it."""
    port = check.service.port if check.service else None
    return f"port {port} " in f"{text} " or "-m recent" in text or "limit" in text


def forget(field: Field, check: Check, flow: Flow, *, sent: bool = False) -> str:
    """Take the source off the host's xt_recent lists, so that what was sent before does not count; a note if not.

    The agent does so only for a source whose probes it saw; the first burst of a vantage may be that.
    """
    if not watched(field, check.host):
        return "earlier connections could not be forgotten: the host's access is read"
    agent = field.agent(check.host)
    try:
        agent.call("forget", address=str(flow.src))
    except HostError as error:
        if not sent and "no probe of this run has arrived" in str(error):
            return ""
        return f"earlier connections could not be forgotten: {error.message}"
    return ""


def neighbour(field: Field, prober: Prober, check: Check) -> NeighbourFacts:
    """Ask from a vantage on the host's own link who has the host's address."""
    vantage, _, own = ends_of(field, check)
    assert isinstance(own, IPv6Address)
    seen = prober.neighbour(vantage, check.host, own)
    words = {PortState.OPEN: "was answered", PortState.SILENT: "arrived, and no advertisement left the host"}
    detail = f"a solicitation from {vantage} for {own} {words.get(seen.state, 'was not answered')}"
    detail += f", after {seen.sent} packets" if seen.sent > 1 else ""
    detail += f". {seen.note}" if seen.note and seen.state not in words else ""
    return NeighbourFacts(answered={PortState.OPEN: True, PortState.SILENT: False}.get(seen.state), detail=detail)


def loopback(field: Field, prober: Prober, check: Check, model: HostModel) -> Connected | None:
    """Connect from the host to one of its own services over loopback; None where that cannot be tried.

    That is so where nothing listens, and where the host's tier has no agent to connect from.
    """
    assert check.family is not None
    if not watched(field, check.host):
        return None
    field.agent(check.host)
    snapshot = field.snapshots[check.host]
    if isinstance(snapshot, HostError):
        raise snapshot
    port = _listening(snapshot.text("sockets"), check.family)
    if port is None:
        return None
    address = ip_network("127.0.0.0/8").network_address + 1 if check.family is Family.IPV4 else IPv6Address("::1")
    own = model.decide(loop(Service("tcp", port, f"tcp/{port}"), check.family), Hook.OUTPUT)
    made = prober.connect(check.host, address, port, timeout=_CUT if own.refused else 2.0)
    return Connected(ok=made.ok, detail=f"a connection from the host itself to {address}, tcp/{port}: {made.result}")


def _listening(sockets: str, family: Family) -> int | None:
    """Return the lowest TCP port that ``ss -Hltun`` shows listening on loopback or on every address."""
    local = ip_network("127.0.0.1" if family is Family.IPV4 else "::1").network_address
    ports = [
        one.port for one in parse_sockets(sockets).of(family)
        if one.proto == "tcp" and one.address in {None, local} and one.interface in {"", "lo"}
    ]  # fmt: skip
    return min(ports, default=None)
