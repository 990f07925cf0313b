"""Judging claims over the whole packet space: nothing but what is listed, and a service for exactly its peers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from fwproof.decision import RuleRef
from fwproof.facts import Facts
from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, CtState, Family, Hook, Network
from fwproof.flows import icmp_type
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow, Passing, Policy, Service
from fwproof.results import Outcome, Verdict
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Opening, openings, own_of, refusals
from fwproof.semantics.space import Claim, SpaceTooLarge

STATES = (CtState.NEW, CtState.INVALID, CtState.UNTRACKED)
"""What a default is asked about: everything but the packets of connections that were let in."""
ND_IN = (1, 2, 3, 4, 134, 135, 136, 137)
_ND_OUT = (1, 2, 3, 4, 133, 135, 136, 143)
"""ICMPv6 that a host needs (RFC 4890, 4.4): errors, router and neighbour discovery, multicast reports."""
_HOOKS = {
    Kind.INBOUND_DEFAULT: Hook.INPUT,
    Kind.OUTBOUND_DEFAULT: Hook.OUTPUT,
    Kind.FORWARD_DEFAULT: Hook.FORWARD,
}
_BACK = {Hook.INPUT: Hook.OUTPUT, Hook.OUTPUT: Hook.INPUT}
"""Where the answers to the packets of a hook pass."""
_SHOWN = 12


def claim_of(service: Service, family: Family, **peers: object) -> Claim:
    """Return the packets of a service, for peers as ``sources`` or ``destinations``."""
    if service.proto == "icmp":
        proto = ICMP if family is Family.IPV4 else ICMPV6
        return Claim(proto=proto, icmp_types=(icmp_type(service, family),), **peers)  # type: ignore[arg-type]
    assert service.port is not None
    ports = ((service.port, service.port),)
    return Claim(proto=PROTOCOLS[service.proto], ports=ports, **peers)  # type: ignore[arg-type]


def claim_through(passing: Passing, family: Family, own: Sequence[Network], **peers: object) -> Claim:
    """Return the packets of what passes through a host as they come to it, for peers as ``sources``.

    ``own`` are the host's addresses, which they are sent to where it publishes a port.
    """
    to = tuple(own) if passing.published else passing.to.of(family)
    return claim_of(passing.asked, family, destinations=to, **peers)


def own_networks(model: HostModel, family: Family) -> tuple[Network, ...]:
    """Return a host's own addresses as networks."""
    return tuple(ip_network(address) for address in own_of(model, family))


def claims_of(policy: Policy, hook: Hook, family: Family, own: Sequence[Network] = ()) -> list[Claim]:
    """Return everything that the expectations of a policy let through at a hook; ``own`` are the host's addresses."""
    through = [p for p in policy.forward if hook is Hook.FORWARD or (hook is Hook.INPUT and p.published)]
    passing = [claim_through(each, family, own, sources=each.peers.of(family)) for each in through]
    if hook is Hook.FORWARD:
        return passing
    inbound = hook is Hook.INPUT
    side = "sources" if inbound else "destinations"
    allows = policy.inbound if inbound else policy.outbound
    found = [*passing, *(claim_of(allow.service, family, **{side: allow.peers.of(family)}) for allow in allows)]
    if family is Family.IPV6 and any(essential.what == "icmpv6-nd" for essential in policy.essential):
        found.append(Claim(proto=ICMPV6, icmp_types=ND_IN if inbound else _ND_OUT))
    return found


def judge_default(check: Check, facts: Facts) -> Outcome:
    """Judge that nothing passes a hook but what the policy lists, over the whole packet space."""
    assert check.family is not None
    hook, model = _HOOKS[check.kind], facts.model(check.host)
    try:
        claimed = claims_of(check.policy, hook, check.family, own_networks(model, check.family))
        leaks = openings(model, hook, check.family, outside=claimed, states=STATES).openings
    except SpaceTooLarge as limit:
        return too_large(limit)
    if not leaks:
        return Outcome(
            verdict=Verdict.PASS, reason="nothing passes but what the policy lists",
            proved=f"over the whole packet space, {hook.value} accepts nothing that no expectation allows",
        )  # fmt: skip
    certain = [leak for leak in leaks if leak.certainty != "unknown"]
    first = (certain or leaks)[0]
    return Outcome(
        verdict=Verdict.FAIL if certain else Verdict.INCONCLUSIVE,
        reason=f"packets pass that no expectation allows: {first.lines()[0]}{_more(len(_lines(leaks)) - 1)}",
        proved="; ".join(_lines(leaks)[:3]), rule=str(first.by or ""),
        cause=leak_cause(first.by, hook.value), fix=_default_fix(hook, check.family), evidence=_lines(leaks)[:_SHOWN],
        by=_named(certain or leaks), wrong="open",
    )  # fmt: skip


def _more(number: int) -> str:
    return f"; and {number} more kind{'s' if number > 1 else ''} of packets" if number else ""


def leak_cause(by: RuleRef | None, what: str) -> str:
    """Return the root cause of packets that pass and should not: a policy that accepts, or one rule."""
    if by is None:
        return f"{what} has no rules at all"
    if by.rule is None:
        return f"{by.family} {by.chain} has no default deny: its policy is {by.text}"
    return f"too much passes {by}"


def refusal_cause(by: RuleRef | None) -> str:
    """Return the root cause of packets that should pass and are refused."""
    if by is None:
        return "refused, and no rule says why"
    if by.table == "routing":
        return f"the host's own routing refuses what the policy allows: {by.text}"
    if by.rule is None:
        return f"{by.family} {by.chain} refuses what the policy allows: no rule accepts it, and its policy is {by.text}"
    return f"{by.family} {by.chain} refuses what the policy allows, by {by}"


def _default_fix(hook: Hook, family: Family) -> str:
    tool, chain = "ip6tables" if family is Family.IPV6 else "iptables", hook.value.upper()
    return f"Accept what is meant to pass, then: {tool} -P {chain} DROP (all at once, with {tool}-restore)."


def judge_claim(check: Check, facts: Facts) -> Outcome:
    """Judge that a service is open to exactly the peers that its expectation names, over the whole space."""
    assert isinstance(check.expectation, Allow)
    assert check.family is not None
    inbound, model, family = check.direction == "inbound", facts.model(check.host), check.family
    hook, side = (Hook.INPUT, "sources") if inbound else (Hook.OUTPUT, "destinations")
    service = check.expectation.service
    same = [a for a in (check.policy.inbound if inbound else check.policy.outbound) if str(a.service) == str(service)]
    claimed = [claim_of(service, family, **{side: allow.peers.of(family)}) for allow in same]
    peers = check.expectation.peers.of(family)
    mine = _usual(check, facts, model, claim_of(service, family, **{side: peers}))
    try:
        found = Found(
            own=own_rules(openings(model, hook, family, claim=mine).openings),
            leaks=openings(model, hook, family, claim=claim_of(service, family), outside=claimed).openings,
            refused=_refused(model, hook, family, mine, {side: others_than_own(peers, model)}),
            mute=refusals(model, _BACK[hook], family, mine.answers(), answers=True).openings,
        )
    except SpaceTooLarge as limit:
        return too_large(limit)
    return claimed_outcome(check, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a claim: the rules that let its packets pass, and everything that speaks against it.

    ``mute`` are answers that are refused, ``astray`` says where else packets are sent than to where they should.
    """

    own: tuple[RuleRef, ...]
    leaks: Sequence[Opening]
    refused: Sequence[Opening]
    mute: Sequence[Opening]
    astray: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Opening, ...]:
        """Everything that speaks against the claim."""
        return (*self.leaks, *self.refused, *self.mute)


def _usual(check: Check, facts: Facts, model: HostModel, claim: Claim) -> Claim:
    """Restrict a claim to the host's own address, and to the interfaces by which the way to the peers leads."""
    assert isinstance(check.expectation, Allow)
    assert check.family is not None
    own, router = facts.inventory.hosts[check.host].address(check.family), model.router(check.family)
    ends: dict[str, Any] = {}
    if own is not None:
        ends["destinations" if check.direction == "inbound" else "sources"] = (ip_network(own),)
    ways = {router.out(network.network_address) for network in check.expectation.peers.of(check.family)}
    known = () if model.addresses is None else model.addresses.interfaces
    names = tuple(sorted(way for way in ways if way)) if ways and None not in ways else known
    ends["ordinary"] = True  # hosts drop deprecated routing headers (RFC 5095), and no connection has them
    return replace(claim, **ends, interfaces=tuple(name for name in names if name != "lo") or None)


def _refused(
    model: HostModel, hook: Hook, family: Family, mine: Claim, others: dict[str, tuple[Network, ...]]
) -> list[Opening]:
    """Return what is refused of a claim, without rules that refuse only what claims to come from the host itself."""
    found = refusals(model, hook, family, replace(mine, opening=True)).openings
    real = refusals(model, hook, family, replace(mine, opening=True, **others)).openings if found else ()  # type: ignore[arg-type]
    return [each for each in found if each.by in {one.by for one in real}]


def others_than_own(peers: Sequence[Network], model: HostModel) -> tuple[Network, ...]:
    """Return networks without the host's own addresses, and those that no host has: nobody else comes from there.

    What says that it does is dropped by any look at the way back (RFC 3704), rightly; so is a subnet's first address,
    which is every router's in IPv6 and nobody's in IPv4 (RFC 4291, 2.6.1; RFC 1812, 4.2.2.11), and in IPv4 the last
    one, which is the subnet's broadcast.
    """
    if model.addresses is None:
        return tuple(peers)
    mine = [each.prefix for each in model.addresses.own]
    gone = [ip_network(each.ip) for each in mine]
    gone += [
        ip_network(each.network.network_address) for each in mine if each.network.prefixlen < each.max_prefixlen - 1
    ]
    gone += [
        ip_network(each.network.broadcast_address) for each in mine if each.version == 4 and each.network.prefixlen < 31
    ]
    found = list(peers)
    for one in gone:
        found = [
            part
            for network in found
            for part in (
                network.address_exclude(one)  # type: ignore[arg-type]
                if network.version == one.version and one.subnet_of(network)  # type: ignore[arg-type]
                else (network,)
            )
        ]
    return tuple(found)


def own_rules(passing: Iterable[Opening]) -> tuple[RuleRef, ...]:
    """Return the rules, not policies, that accept the service for the peers that may use it."""
    rules = (each.by for each in passing if each.certainty != "unknown" and each.by is not None)
    return tuple(dict.fromkeys(by for by in rules if by.rule is not None))


def claimed_outcome(check: Check, found: Found) -> Outcome:
    """Return the outcome of a claim from what speaks against it."""
    assert isinstance(check.expectation, Allow | Passing)
    peers, service = check.expectation.peers.name, check.service or check.expectation.service
    problems = [f"others than {peers} pass: {line}" for line in _lines(found.leaks)]
    problems += [f"refused, though the policy lets it pass: {line}" for line in _lines(found.refused)]
    problems += [f"let in, but its answers are refused: {line}" for line in _lines(found.mute)]
    problems += found.astray
    unclear = found.all and not found.astray and all(each.certainty == "unknown" for each in found.all)
    nobody = check.family is not None and not check.expectation.peers.of(check.family)
    if not problems and not found.own and not nobody:
        problems.append(f"{service} passes only because the chain's policy accepts: no rule of its own accepts it")
    proved = f"over the whole packet space, {service} passes for these peers and for nobody else, and is answered"
    good = f"{service} is open to exactly {peers}"
    if nobody:
        proved = f"over the whole packet space, {service} passes for nobody"
        good = f"{service} is open to nobody here: {peers} has no address of {check.family}"
    return Outcome(
        verdict=(Verdict.INCONCLUSIVE if unclear else Verdict.FAIL) if problems else Verdict.PASS,
        reason="; ".join(problems[:3]) or good,
        proved=_against(found) if found.all else proved, cause=_claim_cause(check, found) if problems else "",
        rule=", ".join(map(str, found.own)) or str((found.all[0].by if found.all else None) or ""),
        fix=_claim_fix(check, found) if problems else "",
        evidence=tuple(line for each in (found.leaks, found.refused, found.mute) for line in _lines(each)[:_SHOWN]),
        by=_named(found.leaks or found.all) or found.own, wrong=("open" if found.leaks else "shut") if problems else "",
    )  # fmt: skip


def _against(found: Found) -> str:
    parts = (("passes for others", found.leaks), ("refused", found.refused), ("not answered", found.mute))
    return "; ".join(f"{words}: {line}" for words, some in parts for line in _lines(some)[:2])


def _claim_cause(check: Check, found: Found) -> str:
    by, own = found.leaks[0].by if found.leaks else None, found.own
    if by is not None and by.rule is None and own:
        return f"the rule for {check.service} restricts nobody: the policy of {by.chain} accepts everybody else"
    if by is not None and by.rule is not None:
        return f"{check.service} is let through for too many by {by}"
    if found.astray:
        return f"{check.service} is sent on to another place than the policy names"
    if not own and not found.refused:
        return f"{check.service} has no ACCEPT of its own: only the chain's policy lets it pass"
    return refusal_cause(found.refused[0].by) if found.refused else f"replies are dropped by {found.mute[0].by}"


def _claim_fix(check: Check, found: Found) -> str:
    assert isinstance(check.expectation, Allow | Passing)
    peers = check.expectation.peers.name
    if found.leaks:
        return f"Accept {check.service} for {peers} by a rule of its own, and drop everything else by default."
    if found.astray:
        return f"Correct the rule of nat that sends {check.service} on."
    if found.refused or not found.own:
        return f"Accept {check.service} for all of {peers}."
    where = "in FORWARD" if check.direction == "forward" else "in INPUT and in OUTPUT"
    return f"Accept RELATED,ESTABLISHED first, {where}."


def too_large(limit: SpaceTooLarge) -> Outcome:
    """Return the outcome of a proof that the tables are too entangled for."""
    return Outcome(verdict=Verdict.INCONCLUSIVE, reason=str(limit), cause="the tables are too large for this proof")


def _named(found: Iterable[Opening]) -> tuple[RuleRef, ...]:
    return tuple(dict.fromkeys(each.by for each in found if each.by is not None))


def _lines(found: Iterable[Opening]) -> tuple[str, ...]:
    return tuple(line for each in found for line in each.lines())
