"""What was read of a host, and what not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fwproof.flow import Family
from fwproof.ruleset import ipset, iptables
from fwproof.ruleset.model import Ruleset
from fwproof.semantics import beneath, native
from fwproof.semantics.addresses import Route as Road
from fwproof.semantics.addresses import parse_routes, special_rules

_SAVES = {
    Family.IPV4: ("iptables_save", "iptables_legacy_save"), Family.IPV6: ("ip6tables_save", "ip6tables_legacy_save"),
}  # fmt: skip


def rulesets_of(
    saved: Mapping[str, str | None], nft_json: str | None, ipset_save: str | None, names: Mapping[str, str],
    legacy: beneath.Names,
) -> tuple[dict[Family, tuple[Ruleset, ...]], ipset.IpSets]:  # fmt: skip
    """Return the rulesets of each family, and the IP sets that they ask; ``saved`` are the views of iptables by key.

    ``names`` are the texts' names by key, ``legacy`` the kernel's legacy tables. Raises InputError for JSON that is
    not what nft prints.
    """
    rulesets = {
        family: told_once(tuple(_read(text, family, key, names) for key in keys if (text := saved[key]) is not None))
        for family, keys in _SAVES.items()
    }
    if nft_json is not None:
        rulesets = native.united(nft_json, names.get("nft_json", "nft_json"), rulesets)
    rulesets = {family: beneath.marked(found, legacy.get(family)) for family, found in rulesets.items()}
    if ipset_save is None:
        return rulesets, ipset.IpSets({})
    sets = ipset.parse(ipset_save, names.get("ipset_save", "ipset_save"))
    every = [each for found in rulesets.values() for each in found]
    return {f: tuple(ipset.resolved(r, sets, every) for r in found) for f, found in rulesets.items()}, sets


def _read(text: str, family: Family, key: str, names: Mapping[str, str]) -> Ruleset:
    """Return a view of iptables; what was given as legacy is that, also where a text of it has no heading."""
    found = iptables.parse(text, family, names.get(key, key))
    return replace(found, backend=found.backend or ("legacy" if "legacy" in key else ""))


def special_of(texts: Mapping[Family, str | None], names: Mapping[str, str]) -> frozenset[Family]:
    """Return the families whose routing has rules of its own; raises InputError for what is no list of them."""
    keys = {Family.IPV4: "routing_rules", Family.IPV6: "routing_rules6"}
    return frozenset(
        family
        for family, text in texts.items()
        if text is not None and special_rules(text, names.get(keys[family], keys[family]))
    )


def routes_of(text: str | None, source: str, family: Family) -> tuple[Road, ...]:
    """Return the routes of a family that a text lists; raises InputError naming ``source``."""
    parsed = () if text is None else parse_routes(text, source, family if text and ":" in text else None)
    return tuple(each for each in parsed if Family.of(each.network) is family)


def told_once(views: tuple[Ruleset, ...]) -> tuple[Ruleset, ...]:
    """Return the views of iptables and of its legacy variant; one of them where both show the same tables.

    That is so where iptables is the legacy variant (update-alternatives(1)): the kernel has these tables once.
    """
    if len(views) == 2 and views[0].backend != "nft" and _shown(views[0]) == _shown(views[1]):
        return (replace(views[0], backend="legacy"),)
    return views


def _shown(ruleset: Ruleset) -> object:
    """Return all that a text says but for its counters."""
    tables = {
        name: {c: (chain.default, [rule.ref.text for rule in chain.rules]) for c, chain in table.chains.items()}
        for name, table in ruleset.tables.items()
    }
    return tables, [(each.text, each.reason) for each in ruleset.unparsed]


def unread_of(family: Family, rulesets: tuple[Ruleset, ...], below: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return why it is not all known what decides about the packets of a family; ``below``: beneath its tables."""
    program = "iptables" if family is Family.IPV4 else "ip6tables"
    if not rulesets:
        return (f"the rules of {program} were not read",)
    reasons = [*below, *(reason for each in rulesets if (reason := beneath.missing_beside(each, rulesets)))]
    reasons += [
        f"{ruleset.source}:{unparsed.line}: {unparsed.reason}"
        for ruleset in rulesets
        for unparsed in ruleset.unparsed
        if unparsed.table not in iptables.BUILT_IN or unparsed.table not in ruleset.tables
    ]
    return tuple(reasons)
