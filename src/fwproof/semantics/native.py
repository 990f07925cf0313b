"""Which tables of ``nft -j list ruleset`` iptables-save does not show (libnftables-json(5)).

iptables-nft keeps its rules in nft tables of fixed names, with base chains of fixed names and priorities.
Everything else in the list is native nftables: it decides packets as well, and cannot be seen through
iptables. Reading it is a later stage; until then its presence makes every answer unknown.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fwproof.errors import Fault, InputError
from fwproof.flow import Family
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.model import Ruleset

PRIORITY = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
"""Priorities of the tables (netfilter_ipv4.h); nat differs by hook."""
NAT_PRIORITY = {"prerouting": -100, "output": -100, "input": 100, "postrouting": 100}


def blind_spots(text: str, source: str, rulesets: Iterable[Ruleset]) -> dict[Family, tuple[str, ...]]:
    """Return for each family why its iptables view is not the whole story; raises InputError on bad JSON.

    ``rulesets`` are the iptables views that are known; the number of rules in each chain has to agree.
    """
    objects = _objects(text, source)
    views = {ruleset.family.table_family: ruleset for ruleset in rulesets if ruleset.backend != "legacy"}
    found: dict[Family, list[str]] = {family: [] for family in Family}
    for table in (o["table"] for o in objects if "table" in o):
        family, name = str(table.get("family")), str(table.get("name"))
        chains = [o["chain"] for o in objects if "chain" in o and _of(o["chain"], family, name)]
        rules = Counter(o["rule"].get("chain") for o in objects if "rule" in o and _of(o["rule"], family, name))
        reason = _why(family, name, chains, rules, views.get(family))
        if reason is None or family in {"arp", "bridge"}:
            continue  # ARP and bridged frames are not routed packets
        for each in Family:
            if family in {"inet", "netdev", each.table_family}:
                found[each].append(f"nft table {family} {name} {reason}")
    return {family: tuple(reasons) for family, reasons in found.items()}


def _why(
    family: str, name: str, chains: Sequence[Mapping[str, Any]], rules: Mapping[Any, int], view: Ruleset | None
) -> str | None:
    """Return why a table is not one that iptables-nft made and shows, None where it is."""
    if not chains:
        return None  # an empty table decides nothing
    if family not in {"ip", "ip6"} or name not in BUILT_IN:
        return "is native nftables, which iptables-save does not show"
    if any(not _standard(chain, name) for chain in chains):
        return "has base chains that iptables does not make"
    shown = None if view is None else view.tables.get(name)
    if shown is None:
        return "is not in the iptables view"
    counts = {chain.name: len(chain.rules) for chain in shown.chains.values()}
    if any(counts.get(str(chain.get("name"))) != rules.get(chain.get("name"), 0) for chain in chains):
        return "has other rules than the iptables view"
    return None


def _standard(chain: Mapping[str, Any], table: str) -> bool:
    hook = chain.get("hook")
    if hook is None:
        return True
    priority = NAT_PRIORITY.get(str(hook)) if table == "nat" else PRIORITY[table]
    kind = {"nat": {"nat"}, "mangle": {"filter", "route"}}.get(table, {"filter"})
    return (
        chain.get("name") == str(hook).upper() and chain.get("prio") == priority and chain.get("type") in kind
        and chain["name"] in BUILT_IN[table]
    )  # fmt: skip


def _of(item: Mapping[str, Any], family: str, table: str) -> bool:
    return item.get("family") == family and item.get("table") == table


def _objects(text: str, source: str) -> list[dict[str, dict[str, Any]]]:
    try:
        objects = json.loads(text)["nftables"]
        if all(isinstance(o, dict) and all(isinstance(v, dict) for v in o.values()) for o in objects):
            return list(objects)
        message = "an entry of the list is not an object"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{type(error).__name__}: {error}"
    raise InputError([Fault(source, 0, 0, f"expected the JSON of `nft -j list ruleset` ({message})")])
