"""The tables of an :class:`~fwproof.ruleset.nft.NftDocument` as a Ruleset of one address family.

Tables of ``inet`` are in both families' rulesets. A chain of devices (all of netdev, and ``ingress`` of inet) sees
packets before every other (ingress) or after (egress), and is read as a chain of those hooks. Tables of ``arp`` and
``bridge`` see frames, not routed packets: they are named in the comments and not asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.ruleset.asks import AnyOf, Conntrack, Interface, Oracle
from fwproof.ruleset.model import Act, Chain, Match, Rule, Ruleset, Table, Target, Unparsed
from fwproof.ruleset.nft import Json, Key, NftChain, NftDocument, NftTable
from fwproof.ruleset.nft_chains import counters_of, lower
from fwproof.ruleset.nft_fields import Scope
from fwproof.ruleset.nft_match import MISREAD, Surroundings
from fwproof.ruleset.nft_meters import stated

HOOKS = frozenset({"prerouting", "input", "forward", "output", "postrouting"})
FIRST, LAST = -(1 << 40), 1 << 40
"""Priorities before and after every other: those of netdev chains among the hooks of routed packets."""
_FRAMES = frozenset({"arp", "bridge"})


def ruleset_of(document: NftDocument, family: Family, source: str, leave: Collection[Key] = ()) -> Ruleset:
    """Return the tables that packets of a family meet, without those of ``leave``."""
    unparsed = list(document.unparsed)
    comments = [comment for table in document.tables.values() if (comment := _unasked(table, family))]
    tables = {}
    for key, table in document.tables.items():
        if key in leave or table.family not in {family.table_family, "inet", "netdev"} or table.dormant:
            continue
        name = f"{table.family} {table.name}"
        if table.doubt and any(chain.hook for chain in table.chains.values()):
            unparsed.append(Unparsed(0, name, f"nft table {name}: {table.doubt}"))
        tables[name], odd = _table(table, family)
        unparsed += odd
    return Ruleset(
        family=family, source=source, tables=tables, unparsed=tuple(unparsed), comments=tuple(comments), backend="nft",
        lines=document.objects, native=True,
    )  # fmt: skip


def _unasked(table: NftTable, family: Family) -> str:
    """Return why packets of a family do not meet a table that one might think they do; empty where they do."""
    rules = sum(len(chain.rules) for chain in table.chains.values())
    place = f"nft table {table.family} {table.name} ({rules} {'rule' if rules == 1 else 'rules'})"
    if table.family in _FRAMES:
        return f"{place} sees frames, not routed packets: it is not asked"
    if table.dormant and table.family in {family.table_family, "inet", "netdev"}:
        return f"{place} is dormant: the kernel does not ask it"
    return ""


def _table(table: NftTable, family: Family) -> tuple[Table, list[Unparsed]]:
    around = Surroundings(Scope(family, table.family), table.sets, *filled_by(table), f"{table.family} {table.name}")
    chains: dict[str, Chain] = {}
    odd: list[Unparsed] = []
    for chain in table.chains.values():
        found = lower(chain, (table.family, table.name), around, table.chains)
        found = _counted(chain, found)
        if _bound(chain, table):
            found[chain.name] = [_on_device(chain, rule) for rule in found[chain.name]]
        chains[chain.name] = _base(chain, found.pop(chain.name), table)
        chains |= {name: Chain(name=name, rules=tuple(rules)) for name, rules in found.items()}
        if chain.hook and not chains[chain.name].hook:
            reason = f"nft chain {table.family} {table.name} {chain.name}: its hook {chain.hook} is not known"
            odd.append(Unparsed(0, chain.name, reason))
    chains |= _offloaded(table, chains.values())
    return Table(name=table.name, chains=chains, family=table.family), odd


def _bound(chain: NftChain, table: NftTable) -> bool:
    """Whether a chain sees what single devices carry: those of netdev, and ``hook ingress`` of inet (nft(8))."""
    return table.family == "netdev" or chain.hook == "ingress"


def _base(chain: NftChain, rules: Iterable[Rule], table: NftTable) -> Chain:
    """Return a chain with its hook; one that is bound to devices passes by default what others bring."""
    places = {"ingress": ("prerouting", FIRST), "egress": ("postrouting", LAST)}
    hook, priority = (chain.hook, chain.priority) if chain.hook in HOOKS else places.get(chain.hook, ("", 0))
    default, kept = chain.default, tuple(rules)
    if _bound(chain, table) and default == "DROP":
        default, kept = "ACCEPT", (*kept, _device_default(chain, table))
    return Chain(name=chain.name, rules=kept, default=default, hook=hook, priority=priority, kind=chain.kind)


def _device_default(chain: NftChain, table: NftTable) -> Rule:
    ref = RuleRef(family=table.family, table=table.name, chain=chain.name, rule=None, text="DROP")
    rule = Rule(ref=ref, matches=(), target=Target(act=Act.DROP, name="drop", text="drop"), line=0)
    return _on_device(chain, rule)


def _on_device(chain: NftChain, rule: Rule) -> Rule:
    field = "iif" if chain.hook == "ingress" else "oif"
    if chain.devices is None:
        test = Oracle("netdev", f"the packet passes the device of netdev chain {chain.name} (not listed)")
        match = Match(module="nft", text="the chain's device", test=test)
    else:
        names = tuple(((Interface(field, name), False),) for name in chain.devices)
        match = Match(module="nft", text=f"device {', '.join(chain.devices)}", test=AnyOf(names, field))
    return replace(rule, matches=(match, *rule.matches))


def _counted(chain: NftChain, found: Mapping[str, list[Rule]]) -> dict[str, list[Rule]]:
    counters = {number: counters_of(rule) for number, rule in enumerate(chain.rules, 1)}
    return {
        name: [replace(rule, counters=counters.get(rule.ref.rule or 0)) for rule in rules]
        for name, rules in found.items()
    }


def filled_by(table: NftTable) -> tuple[frozenset[str], frozenset[str]]:
    """Return the sets and maps whose elements rules of a table add or remove, and those that get rates by that."""
    filled, rated = set(), set()
    for chain in table.chains.values():
        for rule in chain.rules:
            for name, rates in (found for statement in rule.statements for found in _filled(statement)):
                filled.add(name)
                rated |= {name} if rates else set()
    return frozenset(filled), frozenset(rated)


def _filled(statement: Json) -> list[tuple[str, bool]]:
    """Return the sets that a statement fills, each with whether it gives elements more than a counter."""
    found = []
    for kind in ("set", "map"):
        body = statement.get(kind) if isinstance(statement, dict) else None
        if isinstance(body, dict):
            try:
                rates = any(name not in {"counter", "last"} for name, _ in stated(body))
            except MISREAD:
                rates = True
            found += [(str(body[key]).removeprefix("@"), rates) for key in ("set", "map") if key in body]
    return found


def _offloaded(table: NftTable, chains: Iterable[Chain]) -> dict[str, Chain]:
    """Return a chain for what a flowtable carries past every other chain: established, forwarded connections."""
    rule = next((r for c in chains for r in c.rules if r.target.name == "flow" and r.target.act is Act.CHANGE), None)
    if rule is None:
        return {}
    reason = "a flowtable may carry the connection past the rules"
    asked = Match(module="nft", text="the flowtable has it", test=Oracle("flowtable", f"{reason}: {rule.target.text}"))
    state = Conntrack(frozenset({"ESTABLISHED"}), states_negated=False, direction=None, rest="")
    matches = (Match(module="conntrack", text="established", test=state), asked)
    target = Target(act=Act.ELSEWHERE, name="flowtable", text=rule.target.text, reason=reason)
    beginning = Rule(ref=rule.ref, matches=matches, target=target, line=rule.line)
    name = f"flowtable of {table.name}"
    return {name: Chain(name=name, rules=(beginning,), default="ACCEPT", hook="forward", priority=FIRST, kind="filter")}
