"""The states between loading one file and the next, and between the tables of one: iptables-restore commits each alone.

``nft -f`` is one transaction (nft(8)), so that a file of it is one step; several files are several.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from fwproof.flow import Family
from fwproof.gating.states import Load, State, plain
from fwproof.gating.tables import text_of
from fwproof.ruleset.model import Ruleset
from fwproof.semantics.model import HostModel

_KEYS = {"iptables_save": Family.IPV4, "ip6tables_save": Family.IPV6}
_MARK = re.compile(r"\*(\S+)|(COMMIT)\s*$")
_FLUSH = re.compile(r"^\s*flush\s+ruleset\b", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """States, what of the tables that run stays as it is (texts as for a model), and that in words."""

    states: tuple[State, ...]
    under: Mapping[str, str] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


def restored(
    running: HostModel, model: HostModel, texts: Mapping[str, str], sources: Mapping[str, str]
) -> Loaded:  # fmt: skip
    """Return the states of a host while iptables-restore loads files over the tables that run."""
    rulesets = {family: running.rulesets.get(family, ()) for family in Family}
    states, under, words = [State(0, None, running)], dict[str, str](), list[str]()
    for key, family in _KEYS.items():
        own = next((each for each in model.rulesets.get(family, ()) if plain(each)), None)
        if key not in texts or own is None:
            continue
        name = sources.get(key, key)
        before = next((each for each in rulesets[family] if plain(each)), None)
        others = tuple(each for each in model.rulesets[family] if not plain(each))
        tables = dict(before.tables) if before else {}
        stays = {name: table for name, table in tables.items() if name not in own.tables}
        for load in _loads(texts[key], name, family):
            table = load.text.rpartition(" ")[2]
            if table in own.tables:
                tables[table] = own.tables[table]
                rulesets[family] = (replace(own, tables=dict(tables)), *others)
                states.append(State(len(states), load, replace(model, rulesets=dict(rulesets))))
        if before is not None and any(_says(Ruleset(family=family, source="", tables=stays))):
            under[key] = text_of(replace(before, tables=stays))
            words.append(f"{family} {', '.join(stays)}: runs now, and {PurePath(name).name} has no such table, so that"
                         " iptables-restore leaves it as it is; it is not there after the next boot")  # fmt: skip
    if len(states) == 1:
        states.append(State(1, None, model))
    return Loaded(states=tuple(states), under=under, assumed=tuple(words))


def _says(ruleset: Ruleset) -> Iterator[bool]:
    """Yield for each chain of a ruleset whether it does anything."""
    for table in ruleset.tables.values():
        for chain in table.chains.values():
            yield bool(chain.rules) or chain.default == "DROP"


def _loads(text: str, source: str, family: Family) -> Iterator[Load]:
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        found = _MARK.match(line)
        if found is not None and found[1]:
            table = found[1]
        elif found is not None and table:
            yield Load(source, number, f"COMMIT of table {table}", family)


def flushes(scripts: Sequence[tuple[str, str]]) -> bool:
    """Whether the first of some scripts for ``nft -f`` takes away what runs."""
    return _FLUSH.search(scripts[0][1]) is not None


def beneath(running: HostModel, nft_json: str | None) -> dict[str, str]:
    """Return texts that load the tables that run, with what nft lists of them; tables of iptables are its own.

    Empty where some of them cannot be had: nft does not print the matches of iptables in a form that it reads.
    """
    sets = [(family, each) for family, found in running.rulesets.items() for each in found]
    if any(each.backend == "legacy" for _, each in sets) or (nft_json is None and any(each.native for _, each in sets)):
        return {}
    keys = {family: key for key, family in _KEYS.items()}
    found = {keys[family]: text_of(each) for family, each in sets if plain(each)}
    own = {("ip" if family is Family.IPV4 else "ip6", name) for family, each in sets if plain(each)
           for name in each.tables}  # fmt: skip
    items = [item for item in json.loads(nft_json or "{}").get("nftables", ()) if not _belongs(item, own)]
    if any("metainfo" not in item for item in items):
        found["nft_json"] = json.dumps({"nftables": items})
    return {key: text for key, text in found.items() if text.strip()}


def _belongs(item: Mapping[str, Any], tables: Collection[tuple[str, str]]) -> bool:
    """Whether an item of what nft lists is one of some tables, by family and name."""
    (kind, of), *_ = item.items()
    return kind != "metainfo" and (of.get("family"), of.get("name" if kind == "table" else "table")) in tables


def in_turn(
    running: HostModel | None,
    scripts: Sequence[tuple[str, str]],
    models: Sequence[HostModel],
    under: Mapping[str, str] | None = None,
) -> Loaded:
    """Return the states of a host on which ``nft -f`` loads ``scripts``, of which ``models`` are what each leaves.

    ``under`` are the tables that were there before the first, empty where that was nothing.
    """
    steps = [State(number, Load(name, 0, "nft -f"), model)
             for number, ((name, _), model) in enumerate(zip(scripts, models, strict=True), 1)]  # fmt: skip
    words: tuple[str, ...] = ()
    if not flushes(scripts):
        onto = "onto what runs" if under else "on empty tables"
        words = (f"{scripts[0][0]} is loaded {onto}, as it has no `flush ruleset`",)
    start = running
    if start is None and len(steps) > 1:
        start = replace(models[0], rulesets=HostModel.build(iptables_save="", ip6tables_save="").rulesets)
    if start is None:
        return Loaded(states=(State(0, None, models[-1]),), under=under or {}, assumed=words)
    return Loaded(states=(State(0, None, start), *steps), under=under or {}, assumed=words)
