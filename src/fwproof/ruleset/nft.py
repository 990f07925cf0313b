"""``nft -j list ruleset`` to values, with every object kept (libnftables-json(5)).

This module knows how the list is put together; what rules mean is in :mod:`fwproof.ruleset.nft_tables`. An object
that is not what nft prints is kept as :class:`~fwproof.ruleset.model.Unparsed`, and weakens every answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fwproof.errors import Fault, InputError
from fwproof.ruleset.model import Unparsed

Json = Any
"""A value of JSON, as :func:`json.loads` makes it."""
Key = tuple[str, str]
"""Family and name of a table."""

FAMILIES = frozenset({"ip", "ip6", "inet", "arp", "bridge", "netdev"})
_FLAGS = frozenset({"dormant", "owner", "persist"})
_KINDS = frozenset({"table", "chain", "rule", "set", "map", "element"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NftSet:
    """A set or map: its elements as JSON, each a value or a [key, value] pair. ``grows``: it has rules of its own.

    ``timeout`` is in seconds, None where elements stay for ever.
    """

    name: str
    elements: tuple[Json, ...]
    is_map: bool = False
    grows: bool = False
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NftRule:
    """A rule: its statements as JSON; ``handle`` is the kernel's number of it."""

    statements: tuple[Json, ...]
    handle: int | None = None
    comment: str = ""
    object: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NftChain:
    """A chain with its rules in order. A base chain has a hook, a priority, a kind and a default.

    ``devices`` are those of a netdev chain, None where the list does not say.
    """

    name: str
    rules: tuple[NftRule, ...]
    hook: str = ""
    priority: int = 0
    kind: str = ""
    default: str | None = None
    devices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NftTable:
    """A table: chains and sets by name, and how many of other objects there are, by kind.

    A ``dormant`` table is not asked. ``doubt`` is why it cannot be told whether the table is.
    """

    family: str
    name: str
    dormant: bool = False
    doubt: str = ""
    chains: Mapping[str, NftChain] = field(default_factory=dict)
    sets: Mapping[str, NftSet] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NftDocument:
    """Everything of one list. ``objects`` counts its entries, ``unparsed`` are those that make no sense."""

    tables: Mapping[Key, NftTable]
    objects: int
    notes: int
    unparsed: tuple[Unparsed, ...] = ()
    elements: int = 0

    @property
    def kept(self) -> int:
        """The number of entries that are kept in some form; the same as ``objects`` unless this module errs."""
        inside = sum(
            1 + len(t.chains) + len(t.sets) + sum(t.others.values()) + sum(len(c.rules) for c in t.chains.values())
            for t in self.tables.values()
        )
        return inside + self.notes + self.elements + len(self.unparsed)


_BASE = frozenset({"type", "hook", "prio"})
"""What every base chain has, and no other (libnftables-json(5), CHAIN)."""


class _Odd(ValueError):
    """An object is not what nft prints; the message says why."""


@dataclass(slots=True)
class _OpenTable:
    dormant: bool
    doubt: str
    chains: dict[str, Json] = field(default_factory=dict)
    rules: dict[str, list[NftRule]] = field(default_factory=dict)
    sets: dict[str, tuple[dict[str, Json], bool]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def parse(text: str, source: str = "nft") -> NftDocument:
    """Return the objects of a list; raises InputError naming ``source`` where the text is no such list."""
    entries = _entries(text, source)
    tables: dict[Key, _OpenTable] = {}
    unparsed: list[Unparsed] = []
    notes = elements = 0
    for number, entry in enumerate(entries, 1):
        try:
            kind, body = _entry(entry)
            if kind == "metainfo":
                notes += 1
            elif _add(tables, kind, body, number):
                elements += 1
        except (_Odd, TypeError, KeyError, AttributeError, OverflowError, ValueError) as wrong:
            reason = str(wrong) if isinstance(wrong, _Odd) else f"{type(wrong).__name__}: {wrong}"
            unparsed.append(Unparsed(number, _short(entry), f"object {number} is not what nft prints: {reason}"))
    built = {key: _built(key, table) for key, table in tables.items()}
    return NftDocument(tables=built, objects=len(entries), notes=notes, unparsed=tuple(unparsed), elements=elements)


def _entries(text: str, source: str) -> list[Json]:
    line = column = 0
    try:
        entries = json.loads(text, object_pairs_hook=_unique)["nftables"]
        if isinstance(entries, list):
            return entries
        message = "nftables is no list"
    except json.JSONDecodeError as error:
        line, column, message = error.lineno, error.colno, error.msg
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{type(error).__name__}: {error}"
    raise InputError([Fault(source, line, column, f"expected the JSON of `nft -j list ruleset` ({message})")])


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Return an object; one with a key twice is nothing that nft prints, and either half would be a guess."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _entry(entry: Json) -> tuple[str, dict[str, Json]]:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise _Odd("expected an object with one key")
    ((kind, body),) = entry.items()
    if not isinstance(body, dict):
        raise _Odd(f"{kind}: expected an object")
    return kind, body


def _add(tables: dict[Key, _OpenTable], kind: str, body: dict[str, Json], number: int) -> bool:
    """Put an object where it belongs; return whether it became elements of a set."""
    family = _word(body, "family")
    if family not in FAMILIES:
        raise _Odd(f"{family} is no family")
    name = _word(body, "name") if kind != "rule" else ""
    if kind == "table":
        if (family, name) in tables:
            raise _Odd(f"table {family} {name} is there twice")
        tables[family, name] = _OpenTable(*_dormant(body))
        return False
    table = tables.get((family, _word(body, "table")))
    if table is None:
        raise _Odd(f"table {family} {body['table']} is not listed before it")
    if kind == "chain":
        _once(table.chains, name, kind)
        table.chains[name] = _chain(name, body)
    elif kind == "rule":
        chain = _word(body, "chain")
        if chain not in table.chains:
            raise _Odd(f"chain {chain} is not listed before it")
        table.rules.setdefault(chain, []).append(_rule(body, number))
    elif kind in {"set", "map"}:
        _once(table.sets, name, "set")
        _set(name, body, is_map=kind == "map")  # raises where it is none
        table.sets[name] = {**body, "elem": [*_list(body.get("elem", []))]}, kind == "map"
    elif kind == "element":
        table.sets[name][0]["elem"] += _list(body["elem"])
        return True
    else:
        table.others[kind] += 1
    return False


def _once(known: Mapping[str, Json], name: str, kind: str) -> None:
    if name in known:
        raise _Odd(f"{kind} {name} is there twice")


def _word(body: Mapping[str, Json], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise _Odd(f"{key}: expected a name")
    return value


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _dormant(body: Mapping[str, Json]) -> tuple[bool, str]:
    """Return whether a table is dormant, and why that is in doubt; nft 1.0.6 prints another word for the flag."""
    flags = {str(flag) for flag in _list(body.get("flags", []))}
    odd = sorted(flags - _FLAGS)
    return "dormant" in flags, f"its flags ({', '.join(odd)}) do not say whether it is dormant" if odd else ""


def _chain(name: str, body: Mapping[str, Json]) -> NftChain:
    if not _BASE & set(body):
        return NftChain(name=name, rules=())
    if not set(body) >= _BASE:
        raise _Odd(f"a base chain has {', '.join(sorted(_BASE))}")
    default, priority = body.get("policy", "accept"), body["prio"]
    if default not in {"accept", "drop"} or not isinstance(priority, int):
        raise _Odd(f"policy {default!r}, priority {priority!r}")
    devices = body.get("dev", body.get("devs"))
    return NftChain(
        name=name, rules=(), hook=_word(body, "hook"), priority=priority, kind=_word(body, "type"),
        default=default.upper(), devices=None if devices is None else tuple(map(str, _list(devices))),
    )  # fmt: skip


def _rule(body: Mapping[str, Json], number: int) -> NftRule:
    statements, handle, comment = body.get("expr"), body.get("handle"), body.get("comment", "")
    if not isinstance(statements, list):
        raise _Odd("expr: expected a list of statements")
    return NftRule(
        statements=tuple(statements), handle=handle if isinstance(handle, int) else None, comment=str(comment),
        object=number,
    )  # fmt: skip


def _set(name: str, body: Mapping[str, Json], *, is_map: bool) -> NftSet:
    timeout = body.get("timeout")
    elements = tuple(_list(body.get("elem", [])))
    own = any(set(_properties(element)) - {"val", "timeout", "expires", "comment", "counter"} for element in elements)
    stated = any(not isinstance(s, dict) or set(s) != {"counter"} for s in _list(body.get("stmt", [])))
    return NftSet(
        name=name, elements=elements, is_map=is_map, grows=own or stated,
        timeout=float(timeout) if isinstance(timeout, int | float) else None,
    )  # fmt: skip


def _properties(element: Json) -> Mapping[str, Json]:
    key = element[0] if isinstance(element, list) and element else element
    inner = key.get("elem") if isinstance(key, dict) else None
    return inner if isinstance(inner, dict) else {}


def _built(key: Key, table: _OpenTable) -> NftTable:
    chains = {}
    for name, chain in table.chains.items():
        chains[name] = NftChain(
            name=name, rules=tuple(table.rules.get(name, ())), hook=chain.hook, priority=chain.priority,
            kind=chain.kind, default=chain.default, devices=chain.devices,
        )  # fmt: skip
    sets = {name: _set(name, body, is_map=is_map) for name, (body, is_map) in table.sets.items()}
    return NftTable(
        family=key[0], name=key[1], dormant=table.dormant, doubt=table.doubt, chains=chains, sets=sets,
        others=table.others,
    )  # fmt: skip


def _short(entry: Json) -> str:
    try:
        return json.dumps(entry)[:300]
    except (RecursionError, ValueError):
        return "an object that is nested too deeply"
