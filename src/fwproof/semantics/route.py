"""The base chains that a packet meets, in the kernel's order: hook by hook, by priority in each.

prerouting, the routing decision, then input, or forward and postrouting; output and postrouting for what the
host sends, and all four for what it sends to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fwproof.flow import Family, Flow, Hook
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.model import Chain, Ruleset, Table
from fwproof.semantics.addresses import Addresses
from fwproof.semantics.context import Context, Question
from fwproof.semantics.order import UNORDERED, Chosen
from fwproof.semantics.order import orders as orders_of
from fwproof.semantics.routing import Router
from fwproof.semantics.stages import CONNTRACK, NAT_PRIORITY, PRIORITY, Carry, Exit, Stage, Turn
from fwproof.semantics.tracking import Tracking, seen_by


@dataclass(frozen=True, slots=True)
class Path:
    """One way through the host; ``given`` are the answers that make a packet take it."""

    hooks: tuple[Hook, ...]
    given: tuple[tuple[Question, bool], ...] = ()

    @property
    def forwarded(self) -> bool:
        """Whether the packet is neither from nor for the host."""
        return Hook.FORWARD in self.hooks


INBOUND = (Hook.PREROUTING, Hook.INPUT)
THROUGH = (Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING)
OUTBOUND = (Hook.OUTPUT, Hook.POSTROUTING)
LOOPED = (*OUTBOUND, *INBOUND)

Make = Callable[[Path], Sequence[Stage]]
"""Returns the base chains of a sequence of hooks."""
P = TypeVar("P", bound=Stage | Carry)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the ways on from a routing decision begin in a route: for the host itself, and away from it."""

    here: int
    away: int


def arriving(make: Callable[[Path], Sequence[P]], decide: Callable[[Places], Turn]) -> Sequence[P | Turn | Exit]:
    """Return the route of packets that come in: prerouting, the routing decision, input or forward."""
    first, here, away = (make(Path(hooks)) for hooks in (THROUGH[:1], INBOUND[1:], THROUGH[1:]))
    at = len(first) + 1
    return (*first, decide(Places(at, at + len(here) + 1)), *here, Exit(), *away, Exit())


def leaving(make: Callable[[Path], Sequence[P]], decide: Callable[[Places], Turn]) -> Sequence[P | Turn | Exit]:
    """Return the route of packets that leave the host which sends them: output, routing anew, postrouting."""
    first, away = make(Path(OUTBOUND[:1])), make(Path(OUTBOUND[1:]))
    at = len(first) + 1
    return (*first, decide(Places(at, at)), *away, Exit())


def sending(make: Callable[[Path], Sequence[P]], decide: Callable[[Places], Turn]) -> Sequence[P | Turn | Exit]:
    """Return the route of packets that the host sends: output, routing anew, postrouting, and back in over loopback."""
    whole = make(Path(LOOPED))
    first = [stage for stage in whole if stage.context.hook is Hook.OUTPUT]
    here = [stage for stage in whole if stage.context.hook is not Hook.OUTPUT]
    away = [stage for stage in here if stage.context.hook is Hook.POSTROUTING]
    at = len(first) + 1
    return (*first, decide(Places(at, at + len(here) + 1)), *here, Exit(), *away, Exit())


def carrying(make: Make, family: Family) -> Callable[[Path], Sequence[Stage | Carry]]:
    """Return what makes base chains for later packets of a connection, which conntrack itself translates."""

    def made(path: Path) -> Sequence[Stage | Carry]:
        whole, found = make(path), list[Stage | Carry]()
        for hook in path.hooks:
            mine = [stage for stage in whole if stage.context.hook is hook]
            place = NAT_PRIORITY.get(hook.value, None)
            before = [stage for stage in mine if place is None or stage.priority[0] < place]
            here = [] if place is None else [Carry(Context(hook, "nat", forwarded=path.forwarded), family.table_family)]
            found += [*before, *here, *mine[len(before) :]]
        return found

    return made


def paths(flow: Flow, hook: Hook | None, addresses: Addresses | None) -> tuple[Path, ...]:
    """Return the ways on which a packet may set out; more than one where the host's addresses are not known.

    Where a packet that came in goes is for the routing decision to say, after nat.
    """
    if hook is not None:
        return (Path((hook,)),)
    if addresses is None:
        return _guesses(flow)
    if flow.iif is None and (addresses.is_local(flow.src) or flow.src.is_unspecified):
        return (Path(LOOPED if addresses.is_local(flow.dst) else OUTBOUND),)
    return (Path(THROUGH),)


def _guesses(flow: Flow) -> tuple[Path, ...]:
    if flow.iif is None and flow.oif is not None:
        return (Path(OUTBOUND),)
    if flow.iif is not None or flow.src.is_multicast:
        return (Path(THROUGH),)
    if flow.src.is_loopback:
        return (Path(LOOPED),)
    own_src = Question("own source", "whether the source address is the host's own (not given)")
    return (Path(OUTBOUND, ((own_src, True),)), Path(THROUGH, ((own_src, False),)))


def stages(  # noqa: PLR0913 - what base chains depend on
    path: Path, family: Family, rulesets: Sequence[Ruleset], blind: Sequence[str], *, tracking: Tracking,
    chosen: Chosen | None = None,
) -> tuple[Stage, ...]:  # fmt: skip
    """Return the base chains of a path; ``tracking`` says what the kernel does before it looks at them.

    ``chosen`` is one of the orders of chains of equal priority. Without it, chains whose order matters are blind.
    """
    whole: list[Stage] = []
    for at, hook in enumerate(path.hooks):
        again = Hook.OUTPUT in path.hooks[:at] and hook in INBOUND
        found = _at(hook, rulesets, tracking, forwarded=path.forwarded, again=again)
        if chosen is not None:
            whole += found[chosen.get(hook, 0) % len(found)]
        else:
            whole += found[0] if len(found) == 1 else [replace(s, blind=s.blind or UNORDERED) for s in found[0]]
    return tuple(whole) if not blind else (_nothing_known(family, path, blind), *whole)


def count(hook: Hook, rulesets: Sequence[Ruleset], tracking: Tracking) -> int:
    """Return how many orders of the base chains of a hook have to be tried."""
    return len(_at(hook, rulesets, tracking, forwarded=False, again=False))


def _at(
    hook: Hook, rulesets: Sequence[Ruleset], tracking: Tracking, *, forwarded: bool, again: bool
) -> list[tuple[Stage, ...]]:
    """Return the orders of the base chains of a hook."""
    base = [
        seen_by(stage, ruleset, tracking)
        for ruleset in rulesets
        for table in ruleset.tables.values()
        for stage in _of_table(table, ruleset, hook, forwarded=forwarded, again=again)
        if not stage.nat or (tracking.connections and not again)
    ]
    return orders_of(base)


def _of_table(table: Table, ruleset: Ruleset, hook: Hook, *, forwarded: bool, again: bool) -> Iterator[Stage]:
    """Yield the base chains of a table at a hook: iptables' by their name, nft's by what they say."""
    if table.family:
        for chain in table.chains.values():
            if chain.hook == hook.value and chain.priority is not None:
                yield _native(table, chain, hook, forwarded=forwarded, again=again)
        return
    name = hook.value.upper()
    reasons = [u.reason for u in ruleset.unparsed if u.table == table.name]
    chain_ = table.chains.get(name)
    if chain_ is None and reasons and name in BUILT_IN.get(table.name, ()):
        chain_ = Chain(name=name, rules=(), default="ACCEPT")
    if chain_ is None or name not in BUILT_IN.get(table.name, (name,)):
        return
    nat = table.name == "nat"
    priority = NAT_PRIORITY[hook.value] if nat else PRIORITY.get(table.name, 1000)
    context = Context(hook, table.name, forwarded=forwarded, again=again)
    place = (priority, priority if nat else 0)
    yield Stage(context, ruleset.family.table_family, table, chain_, nat, "; ".join(reasons), place)


def _native(table: Table, chain: Chain, hook: Hook, *, forwarded: bool, again: bool) -> Stage:
    """Return a base chain of nft. All nat chains run where nat does, by their own priorities (nf_nat_core.c)."""
    assert chain.priority is not None
    nat = chain.kind == "nat"
    place = (NAT_PRIORITY[hook.value] if nat and hook.value in NAT_PRIORITY else chain.priority, chain.priority)
    begins = not nat and hook in {Hook.PREROUTING, Hook.OUTPUT} and not again
    early = begins and chain.priority < CONNTRACK
    context = Context(hook, table.name, forwarded=forwarded, again=again, early=early)
    blind = ""
    if begins and chain.priority == CONNTRACK:
        blind = f"chain {chain.name} has conntrack's own priority, and no listing shows which of the two comes first"
    return Stage(context, table.family, table, chain, nat, blind, place if nat else (place[0], 0))


def _nothing_known(family: Family, path: Path, blind: Sequence[str]) -> Stage:
    """Return a stage for the very beginning of a path, after which nothing is known."""
    chain = Chain(name="", rules=())
    context = Context(path.hooks[0], "")
    return Stage(context, family.table_family, Table(name="", chains={}), chain, blind="; ".join(blind))


def interfaces(flow: Flow, path: Path, router: Router) -> tuple[str | None, str | None, frozenset[str]]:
    """Return the input and output interface, as far as they follow, and which of the two cannot be loopback."""
    iif, oif, not_loopback = flow.iif, flow.oif, set()
    addresses = router.addresses
    if path.hooks == LOOPED:
        return "lo", "lo", frozenset()
    if addresses is None:
        return iif, oif, frozenset()
    if addresses.is_local(flow.src) and Hook.INPUT in path.hooks and iif is None:
        iif = "lo"  # a packet with an own source address comes from nowhere else (martian source)
    elif iif is None:
        iif = router.out(flow.src)
        not_loopback.add("iif")
    if addresses.is_local(flow.dst) and oif is None:
        oif = "lo"
    elif oif is None:
        oif = router.out(flow.dst)
        not_loopback.add("oif")
    return iif, oif, frozenset(not_loopback)
