"""Judging claims over the whole packet space: nothing but what is listed, and a service for exactly its peers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fwproof.decision import Decision, RuleRef
from fwproof.facts import Facts
from fwproof.farends import one_of
from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, CtState, Family, Hook
from fwproof.flows import icmp_type, request
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow, Policy, Service
from fwproof.results import Outcome, Verdict
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Opening, openings, refusals
from fwproof.semantics.space import Claim, SpaceTooLarge

STATES = (CtState.NEW, CtState.INVALID, CtState.UNTRACKED)
"""What a default is asked about: everything but the packets of connections that were let in."""
_ND_IN = (1, 2, 3, 4, 134, 135, 136, 137)
_ND_OUT = (1, 2, 3, 4, 133, 135, 136, 143)
"""ICMPv6 that a host needs (RFC 4890, 4.4): errors, router and neighbour discovery, multicast reports."""
_HOOKS = {
    Kind.INBOUND_DEFAULT: Hook.INPUT,
    Kind.OUTBOUND_DEFAULT: Hook.OUTPUT,
    Kind.FORWARD_DEFAULT: Hook.FORWARD,
}
_SHOWN = 12


def claim_of(service: Service, family: Family, **peers: object) -> Claim:
    """Return the packets of a service, for peers as ``sources`` or ``destinations``."""
    if service.proto == "icmp":
        proto = ICMP if family is Family.IPV4 else ICMPV6
        return Claim(proto=proto, icmp_types=(icmp_type(service, family),), **peers)  # type: ignore[arg-type]
    assert service.port is not None
    ports = ((service.port, service.port),)
    return Claim(proto=PROTOCOLS[service.proto], ports=ports, **peers)  # type: ignore[arg-type]


def claims_of(policy: Policy, hook: Hook, family: Family) -> list[Claim]:
    """Return everything that the expectations of a policy let through at a hook."""
    if hook is Hook.FORWARD:
        return []
    inbound = hook is Hook.INPUT
    side = "sources" if inbound else "destinations"
    allows = policy.inbound if inbound else policy.outbound
    found = [claim_of(allow.service, family, **{side: allow.peers.of(family)}) for allow in allows]
    if family is Family.IPV6 and any(essential.what == "icmpv6-nd" for essential in policy.essential):
        found.append(Claim(proto=ICMPV6, icmp_types=_ND_IN if inbound else _ND_OUT))
    return found


def judge_default(check: Check, facts: Facts) -> Outcome:
    """Judge that nothing passes a hook but what the policy lists, over the whole packet space."""
    assert check.family is not None
    hook, model = _HOOKS[check.kind], facts.model(check.host)
    try:
        claimed = claims_of(check.policy, hook, check.family)
        leaks = openings(model, hook, check.family, outside=claimed, states=STATES).openings
    except SpaceTooLarge as limit:
        return _too_large(limit)
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
    mine = claim_of(service, family, **{side: check.expectation.peers.of(family)})
    try:
        leaks = openings(model, hook, family, claim=claim_of(service, family), outside=claimed).openings
        refused = refusals(model, hook, family, replace(mine, opening=True)).openings
    except SpaceTooLarge as limit:
        return _too_large(limit)
    problems = [f"others than {check.expectation.peers.name} pass: {line}" for line in _lines(leaks)]
    problems += [f"refused, though the policy lets it pass: {line}" for line in _lines(refused)]
    own = _own_rules(check, facts, model, hook)
    unclear = problems and all(each.certainty == "unknown" for each in (*leaks, *refused))
    verdict = Verdict.INCONCLUSIVE if unclear else Verdict.FAIL
    if not problems and not own:
        problems.append(f"{service} passes only because the chain's policy accepts: no rule of its own accepts it")
    return Outcome(
        verdict=verdict if problems else Verdict.PASS,
        reason="; ".join(problems[:3]) or f"{service} is open to exactly {check.expectation.peers.name}",
        proved=_proved(check, leaks, refused), cause=_claim_cause(check, leaks, refused, own) if problems else "",
        rule=", ".join(str(rule) for rule in own) or str((leaks or refused)[0].by if leaks or refused else ""),
        fix=_claim_fix(check, leaks) if problems else "", evidence=(*_lines(leaks)[:_SHOWN], *_lines(refused)[:_SHOWN]),
    )  # fmt: skip


def _own_rules(check: Check, facts: Facts, model: HostModel, hook: Hook) -> tuple[RuleRef, ...]:
    """Return the rules, not policies, that accept the service for a peer that may use it."""
    assert isinstance(check.expectation, Allow)
    assert check.family is not None
    own = facts.inventory.hosts[check.host].address(check.family)
    if own is None:
        return ()
    peer = one_of(check.expectation.peers, check.family)
    ends = (peer, own) if check.direction == "inbound" else (own, peer)
    flow = request(check.expectation.service, *ends)
    leaves = [*model.leaves(flow, hook), *model.leaves(flow)]  # nat may lead it past the hook
    found = dict.fromkeys(leaf.by for leaf in leaves if leaf.decision is Decision.ACCEPT)
    return tuple(by for by in found if by is not None and by.rule is not None)


def _proved(check: Check, leaks: Sequence[Opening], refused: Sequence[Opening]) -> str:
    if not leaks and not refused:
        return f"over the whole packet space, {check.service} passes for these peers and for nobody else"
    parts = [f"passes for others: {line}" for line in _lines(leaks)[:2]]
    return "; ".join([*parts, *(f"refused: {line}" for line in _lines(refused)[:2])])


def _claim_cause(check: Check, leaks: Sequence[Opening], refused: Sequence[Opening], own: Sequence[RuleRef]) -> str:
    by = leaks[0].by if leaks else None
    if by is not None and by.rule is None and own:
        return f"the rule for {check.service} restricts nobody: the policy of {by.chain} accepts everybody else"
    if by is not None and by.rule is not None:
        return f"{check.service} is let through for too many by {by}"
    if not own and not refused:
        return f"{check.service} has no ACCEPT of its own: only the chain's policy lets it pass"
    return refusal_cause(refused[0].by)


def _claim_fix(check: Check, leaks: Sequence[Opening]) -> str:
    assert isinstance(check.expectation, Allow)
    peers = check.expectation.peers.name
    if leaks:
        return f"Accept {check.service} for {peers} by a rule of its own, and drop everything else by default."
    return f"Accept {check.service} for all of {peers}."


def _too_large(limit: SpaceTooLarge) -> Outcome:
    return Outcome(verdict=Verdict.INCONCLUSIVE, reason=str(limit), cause="the tables are too large for this proof")


def _lines(found: Iterable[Opening]) -> tuple[str, ...]:
    return tuple(line for each in found for line in each.lines())
