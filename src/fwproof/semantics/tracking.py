"""What the kernel does with packets before the rules because of the rules: conntrack, and putting fragments together.

Both are off until a rule anywhere needs them (nf_ct_netns_get(), nf_defrag_ipv4_enable()).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fwproof.flow import Family, Hook
from fwproof.ruleset.asks import Conntrack, OneOf, Sort, Test, atoms, sort_of
from fwproof.ruleset.model import TEMPLATE, Act, Rule, Ruleset
from fwproof.semantics.context import Context
from fwproof.semantics.stages import DEFRAG, Stage

_TARGETS = frozenset({
    "DNAT", "REDIRECT", "NETMAP", "SNAT", "MASQUERADE", "CT", "CONNSECMARK", "SYNPROXY", "flow",
})  # fmt: skip
_MATCHES = frozenset({"state", "conntrack", "connmark", "connlimit", "connbytes", "connlabel", "helper", "cluster"})
_WITHOUT = frozenset({
    "ah", "addrtype", "bpf", "cgroup", "comment", "cpu", "dccp", "devgroup", "dscp", "dst", "ecn", "esp", "eui64",
    "frag", "hashlimit", "hbh", "hl", "icmp", "icmp6", "ipcomp", "iprange", "ipv6header", "ipvs", "length", "limit",
    "mac", "mark", "mh", "multiport", "nfacct", "osf", "owner", "physdev", "pkttype", "policy", "quota", "rateest",
    "realm", "recent", "rpfilter", "rt", "sctp", "set", "socket", "srh", "statistic", "string", "tcp", "tcpmss",
    "time", "tos", "ttl", "u32", "udp", "udplite",
})  # fmt: skip
"""Matches of iptables that need no conntrack, whatever they ask (iptables-extensions(8))."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """``connections``: conntrack may be in use; without it no nat chain is looked at.

    ``fragments``: they are put together before the rules, which conntrack needs, and the socket match and TPROXY too.
    """

    connections: bool
    fragments: bool


def tracking_of(rulesets: Sequence[Ruleset]) -> Tracking:
    """Return what the rules of one address family make the kernel do."""
    rules = [rule for ruleset in rulesets for rule in ruleset.rules()]
    connections = any(_tracks(rule) for rule in rules)
    # what is not understood may need conntrack: better a nat chain that is asked for nothing than one that is not
    doubt = any(ruleset.unparsed for ruleset in rulesets) or any(_strange(rule) for rule in rules)
    return Tracking(connections or doubt, connections or any(_defragments(rule) for rule in rules))


def _tracks(rule: Rule) -> bool:
    # NOTRACK alone takes no part in it (xt_ct_tg_check(), nft_notrack_ops)
    named = rule.target.name in _TARGETS and rule.target.act is not Act.NOTRACK
    return (
        named
        or TEMPLATE in rule.target.changes
        or rule.target.act is Act.CONNMARK
        or any(_asks(test, module) for module, test in _tests(rule))
    )


def _strange(rule: Rule) -> bool:
    opaque = [match.module for match in rule.matches if sort_of(match.test) is Sort.OPAQUE]
    return rule.target.act is Act.UNKNOWN or not set(opaque) <= _WITHOUT


def _tests(rule: Rule) -> Iterator[tuple[str, Test]]:
    for match in rule.matches:
        for test in atoms(match.test):
            yield match.module, test


def _asks(test: Test, module: str) -> bool:
    if isinstance(test, OneOf):
        return test.field == "ctstate"
    return isinstance(test, Conntrack) or module in _MATCHES


def _defragments(rule: Rule) -> bool:
    return rule.target.name == "TPROXY" or any(match.module == "socket" for match in rule.matches)


def seen_by(stage: Stage, ruleset: Ruleset, tracking: Tracking) -> Stage:
    """Return a base chain with what its rules see of fragments.

    What is for the host itself is put together before INPUT in any case (ip_local_deliver()); a netdev chain sees
    what is on the wire.
    """
    hook = stage.context.hook
    begins = hook in {Hook.PREROUTING, Hook.OUTPUT} and not stage.context.again
    together = tracking.fragments and stage.table.family != "netdev" and not (begins and stage.priority[0] < DEFRAG)
    delivered = hook is Hook.INPUT and ruleset.family is Family.IPV4
    context: Context = replace(stage.context, whole=together or delivered, loads=ruleset.backend != "legacy")
    return replace(stage, context=context)
