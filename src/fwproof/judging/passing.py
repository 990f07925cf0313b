"""Judging what passes through a host: a service beyond it, or a port that it publishes, for exactly its peers.

Over the whole packet space: what else gets there, what of it is refused, whether answers come back, and where nat sends
it on to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

from fwproof.facts import Facts
from fwproof.flow import Family, Flow, Hook
from fwproof.judging.space import (
    Found,
    claim_of,
    claim_through,
    claimed_outcome,
    others_than_own,
    own_networks,
    own_rules,
    too_large,
)
from fwproof.plan import Check
from fwproof.policy.model import Passing, Peers
from fwproof.results import Outcome
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Opening, openings, refusals
from fwproof.semantics.routing import Router
from fwproof.semantics.space import Claim, SpaceTooLarge


def judge_passing(check: Check, facts: Facts) -> Outcome:
    """Judge that exactly the peers of an expectation get through the host to a service; raises HostError."""
    assert isinstance(check.expectation, Passing)
    assert check.family is not None
    passing, family, model = check.expectation, check.family, facts.model(check.host)
    # what is published is sent to the host itself, and nat turns it: the question of packets that come for the host
    hook = Hook.INPUT if passing.published else Hook.FORWARD
    own = own_networks(model, family)
    same = [p for p in check.policy.forward if str(p.asked) == str(passing.asked)]
    claimed = [claim_through(each, family, own, sources=each.peers.of(family)) for each in same]
    mine = _usual(check, facts, model)
    try:
        passed = openings(model, hook, family, claim=mine).openings
        everybody = replace(
            mine,
            sources=None,
            interfaces=None,
            leaving=None,
            destinations=claim_through(passing, family, own).destinations,
        )
        found = Found(
            own=own_rules(passed), leaks=openings(model, hook, family, claim=everybody, outside=claimed).openings,
            refused=refusals(model, hook, family, replace(mine, opening=True)).openings,
            mute=refusals(model, Hook.FORWARD, family, _answers(passing, family, model), answers=True).openings,
            astray=tuple(_astray(passing, passed)),
        )  # fmt: skip
    except SpaceTooLarge as limit:
        return too_large(limit)
    return claimed_outcome(check, found)


def _usual(check: Check, facts: Facts, model: HostModel) -> Claim:
    """Return the packets as they usually come: from peers that are not the host itself, by the way that leads there."""
    assert isinstance(check.expectation, Passing)
    assert check.family is not None
    passing, family, router = check.expectation, check.family, model.router(check.family)
    first = facts.inventory.hosts[check.host].address(family)
    own = own_networks(model, family) if first is None else tuple(n for n in own_networks(model, family) if first in n)
    claim = claim_through(passing, family, own, sources=others_than_own(passing.peers.of(family), model))
    if passing.published is None:
        claim = replace(claim, destinations=others_than_own(passing.to.of(family), model))
    return replace(
        claim, ordinary=True, interfaces=_links(router, passing.peers, family),
        leaving=None if passing.published else _links(router, passing.to, family),
    )  # fmt: skip


def _links(router: Router, peers: Peers, family: Family) -> tuple[str, ...] | None:
    """Return the interfaces that lead to networks; None where that is not known of all."""
    ways = {router.out(network.network_address) for network in peers.of(family)}
    return tuple(sorted(way for way in ways if way)) if ways and None not in ways else None


def _answers(passing: Passing, family: Family, model: HostModel) -> Claim:
    """Return the answers as the far end sends them."""
    ends = (passing.peers.of(family), passing.to.of(family))
    sources, destinations = (others_than_own(each, model) for each in ends)
    claim = claim_of(passing.service, family, sources=sources, destinations=destinations, ordinary=True).answers()
    router = model.router(family)
    there, here = (_links(router, peers, family) for peers in (passing.to, passing.peers))
    # an answer of a connection whose source was rewritten is sent to the host, and turned back by conntrack
    return replace(claim, interfaces=there, leaving=here)


def _astray(passing: Passing, passed: Iterable[Opening]) -> Iterable[str]:
    """Yield where what is published is sent on to, other than the service that it stands for."""
    if passing.published is None:
        return
    for opening in passed:
        address, _, port = opening.onto.partition(", port ")
        if not address or not _is_of(address, passing):
            where = address or "nobody"
            yield f"{passing.published} is let in by {opening.by}, and sent on to {where}, not to {passing.to.name}"
        elif port and port != str(passing.service.port):
            yield f"{passing.published} is sent on to port {port} of {address}, not to {passing.service}"
        elif not port and passing.published.port != passing.service.port:
            yield f"{passing.published} is sent on to the same port of {address}, not to {passing.service}"


def _is_of(text: str, passing: Passing) -> bool:
    try:
        return ip_address(text) in passing.to
    except ValueError:  # an address that nat picks
        return False


def sent_elsewhere(passing: Passing, after: Flow | None) -> str:
    """Return where the tables send what is published, in words; empty where it is where the policy says."""
    if passing.published is None or after is None or (after.dst in passing.to and after.dport == passing.service.port):
        return ""
    return f"should be sent on to {passing.service} at {passing.to.name}, and is for {_end(after)}"


def turned(expected: Flow | None, seen: Flow | None) -> str:
    """Return how a packet left otherwise than the tables say, in words; empty where it left so, or nobody knows."""
    if expected is None or seen is None or (expected.dst, expected.dport) == (seen.dst, seen.dport):
        return ""
    return f"the tables send it on to {_end(expected)}, and it left to {_end(seen)}"


def _end(flow: Flow) -> str:
    return str(flow.dst) if flow.dport is None else f"{flow.dst} port {flow.dport}"
