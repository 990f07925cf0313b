"""Judging what a host cannot work without: loopback, replies of its own connections, neighbour discovery."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from fwproof.decision import Decision, Ruling
from fwproof.errors import HostError
from fwproof.facts import Connected, Facts, FlowFacts, NeighbourFacts
from fwproof.farends import one_of
from fwproof.flow import Family, Flow, Hook
from fwproof.flows import loopback, neighbour_packets, reply, request
from fwproof.judging.flow import by_whom, past
from fwproof.observation import Observation, PortState
from fwproof.plan import Check, Kind
from fwproof.policy.model import Service
from fwproof.results import Outcome, Verdict
from fwproof.semantics.conversation import Part, converse

_ANYTHING = Service("tcp", 9999, "any service")


def _first_refused(rulings: dict[str, Ruling]) -> tuple[str, Ruling] | None:
    return next(((what, r) for what, r in rulings.items() if Decision.ACCEPT not in r.may), None)


def _undecided(rulings: dict[str, Ruling]) -> str:
    return ", ".join(what for what, ruling in rulings.items() if not ruling.accepted)


def _proved(rulings: dict[str, Ruling]) -> str:
    return "; ".join(f"{what}: {r.decision.value}" + (f" by {r.by}" if r.by else "") for what, r in rulings.items())


def _outcome(  # noqa: PLR0913 - the parts of an answer
    rulings: dict[str, Ruling], observed: str, cause: str, fix: str, *, seen: bool | None, untold: bool = False
) -> Outcome:
    """Judge: refused by the tables is fail, disagreement is fail, unproved is not a pass.

    ``untold``: it was tried, and the wire did not tell whether it works.
    """
    refused = _first_refused(rulings)
    rule = str(refused[1].by) if refused and refused[1].by else ""
    if refused is not None:
        verdict, reason = (
            Verdict.FAIL,
            f"{refused[0]} is {past(refused[1].decision)}{by_whom(refused[1].by)}",
        )
    elif seen is False:
        verdict, reason, cause = (
            Verdict.FAIL,
            "the tables let it through, but it does not work",
            "model and wire disagree",
        )
    elif _undecided(rulings):
        verdict, reason = Verdict.INCONCLUSIVE, f"the tables do not settle: {_undecided(rulings)}"
    elif untold:
        verdict, reason = Verdict.INCONCLUSIVE, f"the tables let it through, but the wire could not show it: {observed}"
    else:
        verdict = Verdict.PASS
        reason = "let through by the tables" + (
            ", and it works" if seen else "; nothing on the wire was there to try it"
        )
    bad = verdict is Verdict.FAIL
    return Outcome(
        verdict=verdict, reason=reason, proved=_proved(rulings), observed=observed, rule=rule,
        cause=cause if bad else "", fix=fix if bad else "", evidence=tuple(f"{w}: {r.by}" for w, r in rulings.items()),
    )  # fmt: skip


def judge_loopback(check: Check, facts: Facts) -> Outcome:
    """Judge that the host can talk to itself."""
    assert check.family is not None
    model, flow = facts.model(check.host), loopback(_ANYTHING, check.family)
    rulings = {
        "leaving through lo": model.evaluate(flow, Hook.OUTPUT),
        "arriving from lo": model.evaluate(flow, Hook.INPUT),
    }
    seen = facts.exercised.get(check.id)
    if isinstance(seen, HostError):
        raise seen
    connected = seen if isinstance(seen, Connected) else None
    tool = "ip6tables" if check.family is Family.IPV6 else "iptables"
    return _outcome(
        rulings, connected.detail if connected else "no service listens that a connection could be tried to",
        "loopback is cut", f"{tool} -I INPUT -i lo -j ACCEPT; {tool} -I OUTPUT -o lo -j ACCEPT",
        seen=connected.ok if connected else None,
    )  # fmt: skip


def judge_established(check: Check, facts: Facts) -> Outcome:
    """Judge that replies pass both ways: to what the policy lets in, and to what it lets out."""
    assert check.family is not None
    model, rulings = facts.model(check.host), {}
    for direction, flow in _sample_requests(check, facts).items():
        way = "leaving" if direction == "inbound" else "arriving"
        # where the request itself is refused, the answer is judged as one of a connection that stands already
        known = converse(model, flow).reply or Part(flow=reply(flow), ruling=model.evaluate(reply(flow)))
        rulings[f"the reply {way} ({known.flow})"] = known.ruling
    if not rulings:
        name = check.family.display
        reason = f"the policy lets nothing in or out by {name}, so there is no connection whose replies must pass"
        return Outcome(verdict=Verdict.NOT_APPLICABLE, reason=reason)
    asked, answered = _replies_seen(check, facts)
    refused = _first_refused(rulings)
    return _outcome(
        rulings, f"{answered} of {asked} probes that the tables let in were answered" if asked else "none was let in",
        f"replies are dropped by {refused[1].by}" if refused else "",
        "Accept RELATED,ESTABLISHED first, in INPUT and in OUTPUT.", seen=answered > 0 if asked else None,
    )  # fmt: skip


def _sample_requests(check: Check, facts: Facts) -> dict[str, Flow]:
    """Return one request that the policy allows, in each direction."""
    assert check.family is not None
    own = facts.inventory.hosts[check.host].address(check.family)
    assert own is not None
    found: dict[str, Flow] = {}
    for direction, allows in (("inbound", check.policy.inbound), ("outbound", check.policy.outbound)):
        for allow in allows:
            networks = allow.peers.of(check.family)
            if networks and direction not in found:
                peer = one_of(allow.peers, check.family)
                src, dst = (peer, own) if direction == "inbound" else (own, peer)
                found[direction] = request(allow.service, src, dst)
    return found


def _replies_seen(check: Check, facts: Facts) -> tuple[int, int]:
    """Return how many inbound probes of this host and family were let in, and how many of them were answered."""
    seen = [
        known.observation
        for id_, known in facts.flows.items()
        if isinstance(known, FlowFacts) and isinstance(known.observation, Observation)
        and known.observation.probe.receiver == check.host and known.flow.family is check.family
        and known.observation.let_in
    ]  # fmt: skip
    return len(seen), sum(o.state in {PortState.OPEN, PortState.CLOSED} for o in seen)


def judge_neighbour(check: Check, facts: Facts) -> Outcome:
    """Judge that IPv6 neighbour discovery works both ways: without it no IPv6 packet finds the host."""
    own = facts.inventory.hosts[check.host].address(Family.IPV6)
    peer = check.peer or ip_address("fe80::1")
    assert isinstance(own, IPv6Address)
    assert isinstance(peer, IPv6Address)
    model = facts.model(check.host)
    interface = (model.addresses.on_link(peer) if model.addresses else None) or "eth0"
    packets = neighbour_packets(own, peer, interface)
    rulings = {role: model.evaluate(flow, Hook.INPUT if flow.iif else Hook.OUTPUT) for role, flow in packets.items()}
    seen = facts.exercised.get(check.id)
    if isinstance(seen, HostError):
        raise seen
    found = seen if isinstance(seen, NeighbourFacts) else None
    return _outcome(
        rulings, found.detail if found else "no vantage on the host's link could ask",
        "IPv6 is dead: neighbour discovery is dropped",
        "Accept ICMPv6 types 135 and 136 with hop limit 255, in INPUT and OUTPUT.",
        seen=found.answered if found else None, untold=found is not None and found.answered is None,
    )  # fmt: skip


JUDGES = {
    Kind.LOOPBACK: judge_loopback,
    Kind.ESTABLISHED: judge_established,
    Kind.NEIGHBOUR: judge_neighbour,
}
