"""The base chains that a packet meets, in the kernel's order: hook by hook, by priority in each.

prerouting, the routing decision, then input, or forward and postrouting; output and postrouting for what the
host sends, and all four for what it sends to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fwproof.flow import Family, Flow, Hook
from fwproof.ruleset.asks import Conntrack, OneOf
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.model import Act, Chain, Ruleset, Table
from fwproof.semantics.addresses import Addresses, Route, interface_to
from fwproof.semantics.context import Context, Question
from fwproof.semantics.native import NAT_PRIORITY, PRIORITY
from fwproof.semantics.walk import Stage

_NAT_TARGETS = {"DNAT", "REDIRECT", "NETMAP", "SNAT", "MASQUERADE"}


@dataclass(frozen=True, slots=True)
class Path:
    """One way through the host; ``given`` are the answers that make a packet take it.

    ``forwarded`` packets with no hops left are dropped by the routing itself.
    """

    hooks: tuple[Hook, ...]
    given: tuple[tuple[Question, bool], ...] = ()

    @property
    def forwarded(self) -> bool:
        """Whether the packet is neither from nor for the host."""
        return Hook.FORWARD in self.hooks

    def expires(self, flow: Flow) -> bool:
        """Whether the routing drops the flow because it has no hops left."""
        return self.hooks == THROUGH and flow.ttl <= 1

    def until_routed(self, flow: Flow) -> Path:
        """Return the part of the path that a flow really takes."""
        return Path((Hook.PREROUTING,), self.given) if self.expires(flow) else self


INBOUND = (Hook.PREROUTING, Hook.INPUT)
THROUGH = (Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING)
OUTBOUND = (Hook.OUTPUT, Hook.POSTROUTING)


def paths(flow: Flow, hook: Hook | None, addresses: Addresses | None) -> tuple[Path, ...]:
    """Return the ways that a packet may take; more than one where the host's addresses are not known."""
    if hook is not None:
        return (Path((hook,)),)
    if addresses is None:
        return _guesses(flow)
    local = addresses.is_local(flow.dst) or flow.dst.is_multicast or addresses.is_broadcast(flow.dst)
    if flow.iif is None and (addresses.is_local(flow.src) or flow.src.is_unspecified):
        return (Path((*OUTBOUND, *INBOUND) if addresses.is_local(flow.dst) else OUTBOUND),)
    return (Path(INBOUND if local else THROUGH),)


def _guesses(flow: Flow) -> tuple[Path, ...]:
    if flow.iif is None and flow.oif is not None:
        return (Path(OUTBOUND),)
    own_src, own_dst = (Question(f"own {side}", f"whether the {side} address is the host's own (not given)")
                        for side in ("source", "destination"))  # fmt: skip
    arrivals: tuple[Path, ...] = (Path(INBOUND, ((own_dst, True),)), Path(THROUGH, ((own_dst, False),)))
    if flow.dst.is_loopback or flow.dst.is_multicast:
        arrivals = (Path(INBOUND),)
    if flow.iif is not None:
        return arrivals
    if flow.src.is_loopback:
        return (Path((*OUTBOUND, *INBOUND)),)
    sent = (Path(OUTBOUND, ((own_src, True),)),)
    return (*sent, *(Path(path.hooks, ((own_src, False), *path.given)) for path in arrivals))


def stages(
    path: Path, family: Family, rulesets: Sequence[Ruleset], blind: Sequence[str], *, conntrack: bool
) -> tuple[Stage, ...]:
    """Return the base chains of a path; ``conntrack`` says whether any rule makes the kernel track connections.

    At equal priority the kernel runs the chains in an order that no listing shows; here nft comes first.
    """
    found: list[Stage] = []
    for at, hook in enumerate(path.hooks):
        again = Hook.OUTPUT in path.hooks[:at] and hook in INBOUND
        base = []
        for ruleset in rulesets:
            for table in ruleset.tables.values():
                nat = table.name == "nat"
                reasons = [u.reason for u in ruleset.unparsed if u.table == table.name]
                chain = table.chains.get(hook.value.upper())
                if chain is None and reasons and hook.value.upper() in BUILT_IN.get(table.name, ()):
                    chain = Chain(name=hook.value.upper(), rules=(), default="ACCEPT")
                if chain is None or (nat and (again or not conntrack)):
                    continue
                context = Context(hook, table.name, forwarded=path.forwarded, again=again)
                priority = NAT_PRIORITY[hook.value] if nat else PRIORITY.get(table.name, 1000)
                stage = Stage(context, family.table_family, table, chain, nat, "; ".join(reasons))
                base.append((priority, stage))
        found += [stage for _, stage in sorted(base, key=lambda item: item[0])]
    return tuple(found) if not blind else (_nothing_known(family, path, blind), *found)


def _nothing_known(family: Family, path: Path, blind: Sequence[str]) -> Stage:
    """Return a stage for the very beginning of a path, after which nothing is known."""
    chain = Chain(name="", rules=())
    context = Context(path.hooks[0], "")
    return Stage(context, family.table_family, Table(name="", chains={}), chain, blind="; ".join(blind))


def tracks(rulesets: Sequence[Ruleset]) -> bool:
    """Whether some rule makes the kernel track connections; without one the nat table is never looked at."""
    return any(
        rule.target.act in {Act.CONNMARK, Act.NOTRACK}
        or rule.target.name in _NAT_TARGETS | {"CT", "CONNSECMARK", "SYNPROXY"}
        or any(_asks_conntrack(match.test, match.module) for match in rule.matches)
        for ruleset in rulesets
        for rule in ruleset.rules()
    )


def _asks_conntrack(test: object, module: str) -> bool:
    if isinstance(test, OneOf):
        return test.field == "ctstate"
    return isinstance(test, Conntrack) or module in {
        "state", "conntrack", "connmark", "connlimit", "connbytes", "connlabel", "helper", "cluster", "socket",
    }  # fmt: skip


def interfaces(
    flow: Flow, path: Path, addresses: Addresses | None, routes: Mapping[Family, tuple[Route, ...]]
) -> tuple[str | None, str | None, frozenset[str]]:
    """Return the input and output interface, as far as they follow, and which of the two cannot be loopback."""
    iif, oif, not_loopback = flow.iif, flow.oif, set()
    if Hook.OUTPUT in path.hooks and Hook.INPUT in path.hooks:
        return "lo", "lo", frozenset()
    if addresses is None:
        return iif, oif, frozenset()
    known = routes.get(flow.family, ())
    if addresses.is_local(flow.src) and Hook.INPUT in path.hooks and iif is None:
        iif = "lo"  # a packet with an own source address comes from nowhere else (martian source)
    elif iif is None:
        iif = addresses.on_link(flow.src) or interface_to(known, flow.src) or _only(addresses)
        not_loopback.add("iif")
    if addresses.is_local(flow.dst) and oif is None:
        oif = "lo"
    elif oif is None:
        oif = addresses.on_link(flow.dst) or interface_to(known, flow.dst) or _only(addresses)
        not_loopback.add("oif")
    return iif, oif, frozenset(not_loopback)


def _only(addresses: Addresses) -> str | None:
    """Return the only interface besides loopback, None where there are several."""
    others = [name for name in addresses.interfaces if name != "lo"]
    return others[0] if len(others) == 1 else None
