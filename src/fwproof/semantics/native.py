"""nftables' own view of a host beside that of iptables (libnftables-json(5)).

iptables-nft keeps its rules in nft tables of fixed names, with base chains of fixed names and priorities. Those are in
both views, and are read once: through iptables where it shows all of them, because nft does not print what iptables'
own matches say; else through nft. Everything else in nft's list is read through nft.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fwproof.flow import Family
from fwproof.ruleset import nft, nft_tables
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.model import Ruleset
from fwproof.semantics.stages import NAT_PRIORITY, PRIORITY

Rulesets = Mapping[Family, tuple[Ruleset, ...]]


def united(text: str, source: str, views: Rulesets) -> dict[Family, tuple[Ruleset, ...]]:
    """Return the views of iptables with that of nft, each table in one of them; raises InputError on bad JSON."""
    document = nft.parse(text, source)
    return {family: _united(document, family, source, views.get(family, ())) for family in Family}


def _united(document: nft.NftDocument, family: Family, source: str, views: Sequence[Ruleset]) -> tuple[Ruleset, ...]:
    at = next((i for i, view in enumerate(views) if view.backend != "legacy"), None)
    tables = {key: table for key, table in document.tables.items() if key[0] == family.table_family}
    shown = {key for key, table in tables.items() if at is not None and _shows(views[at], table)}
    others = {name for (_, name), table in tables.items() if (_, name) not in shown and table.chains}
    found = nft_tables.ruleset_of(document, family, source, shown)
    kept = [_without(view, others) if i == at else view for i, view in enumerate(views)]
    return (*kept, found)


def _without(view: Ruleset, names: set[str]) -> Ruleset:
    """Return a view of iptables without the tables that are read through nft."""
    if not names:
        return view
    return replace(
        view, tables={name: table for name, table in view.tables.items() if name not in names},
        unparsed=tuple(each for each in view.unparsed if each.table not in names),
    )  # fmt: skip


def _shows(view: Ruleset, table: nft.NftTable) -> bool:
    """Whether a view of iptables shows the whole of a table: all of its chains, defaults and numbers of rules."""
    shown = view.tables.get(table.name)
    if table.name not in BUILT_IN or shown is None or table.dormant or table.doubt:
        return False
    if any(unparsed.table == table.name for unparsed in view.unparsed):
        return False
    return all(
        _standard(chain, table.name) and chain.name in shown.chains
        and len(shown.chains[chain.name].rules) == len(chain.rules)
        and (shown.chains[chain.name].default or None) == chain.default
        for chain in table.chains.values()
    )  # fmt: skip


def _standard(chain: nft.NftChain, table: str) -> bool:
    if not chain.hook:
        return chain.name not in BUILT_IN[table]
    priority = NAT_PRIORITY.get(chain.hook) if table == "nat" else PRIORITY[table]
    kind = {"nat": {"nat"}, "mangle": {"filter", "route"}}.get(table, {"filter"})
    return (
        chain.name == chain.hook.upper() and chain.priority == priority and chain.kind in kind
        and chain.name in BUILT_IN[table]
    )  # fmt: skip
