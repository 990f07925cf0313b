"""Which expectation would have noticed a change of rule tables, as the line to add to the policy."""

from __future__ import annotations

from collections.abc import Sequence

from fwproof.flow import ICMPV6, TCP, UDP, Flow, Hook
from fwproof.policy.model import Policy
from fwproof.semantics.diff import Change, Kind

_NEIGHBOURS = range(133, 138)
NOTHING = "no expectation of a policy asks this"
_FRESH = frozenset({"NEW", "INVALID", "UNTRACKED"})


def suggestion(  # noqa: PLR0911 - one answer for each kind of change
    change: Change | None, effects: Sequence[str], policy: Policy
) -> str:
    """Return what to add to a policy so that it notices a change, or that nothing can be added."""
    if change is None:
        return _of_effects(effects, policy)
    if change.kind is Kind.ANSWER:
        return f"{NOTHING}: with what a refused packet is answered"
    if change.kind is Kind.UNKNOWN:
        return "make the rule one that can be understood, so that anything can be said of it"
    flow = change.witness
    if change.hook is Hook.FORWARD:
        return _forward(change, policy)
    if "lo" in {flow.iif, flow.oif}:
        return _essential(policy, "loopback", "what passes over loopback", change)
    if not _FRESH & set(change.states):
        return _essential(policy, "established", "later packets of connections that the policy does not name", change)
    return _opened(change, policy) if change.kind is Kind.REACHABLE else _closed(change, policy)


def _essential(policy: Policy, what: str, else_: str, change: Change) -> str:
    """Return the essential that a policy lacks, or that it has it and asks no more."""
    if change.kind is Kind.UNREACHABLE and all(each.what != what for each in policy.essential):
        return f"essential: [{what}]"
    return f"{NOTHING}: {else_}"


def _of_effects(effects: Sequence[str], policy: Policy) -> str:
    text = " ".join(effects)
    if "LOG" in text:
        if policy.drop_log is None:
            return "drop_log: {inbound: true, outbound: true}"
        return f"{NOTHING}: how much a rule logs of what is dropped, and of what is passed on for others"
    if "-m recent" in text or "limit" in text:
        return _rate(policy)
    return f"{NOTHING}: rules that mark, count or list"


def _rate(policy: Policy, flow: Flow | None = None) -> str:
    """Return that a rate has to be asked for, unless every allow that a packet may belong to has one."""
    allows = [allow for allow in policy.inbound if flow is None or allow.service.port == flow.dport]
    limited = [allow for allow in allows if allow.rate or allow.standing]
    if limited and (flow is None or limited == allows):
        return f"{NOTHING}: what a limit counts beside the connections that it is for"
    return "rate: {limit: N, per: SECONDS} at the allow that the rule is for"


def _forward(change: Change, policy: Policy) -> str:
    if change.kind is Kind.REACHABLE and policy.forward_default is None:
        return "forward: {default: deny}"
    return f"{NOTHING}: what is passed on for others"


def _opened(change: Change, policy: Policy) -> str:
    inbound = change.hook is Hook.INPUT
    if (policy.inbound_default if inbound else policy.outbound_default) is None:
        return f"{'inbound' if inbound else 'outbound'}: {{default: deny}}"
    if change.depends_on:
        return _rate(policy, change.witness)
    return f"{NOTHING}: what more passes is between ends, and of a service, that the policy itself lets pass"


def _closed(change: Change, policy: Policy) -> str:
    flow = change.witness
    if flow.proto == ICMPV6 and flow.icmp_type in _NEIGHBOURS:
        return _essential(policy, "icmpv6-nd", "neighbour discovery beyond what one host needs of another", change)
    service = _service(flow)
    if not service:
        return f"{NOTHING}: protocol {flow.proto}"
    if change.hook is Hook.INPUT:
        return (
            f"inbound: allow: - {{id: NAME, service: {service}, from: {flow.src}}}, if it is to pass; else take it out"
        )
    return f"outbound: allow: - {{id: NAME, service: {service}, to: {flow.dst}}}, if it is to pass; else take it out"


def _service(flow: Flow) -> str:
    if flow.proto in {TCP, UDP} and flow.dport is not None:
        return f"{'tcp' if flow.proto == TCP else 'udp'}/{flow.dport}"
    return f"icmp/{flow.icmp_type}" if flow.icmp_type is not None else ""
