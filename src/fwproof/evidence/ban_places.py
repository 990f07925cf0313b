"""Whom the kernel bans: the addresses in the chains and sets of fail2ban's actions, and whether a rule asks for them.

Read from the same texts that the model is built from. iptables-save(8), libnftables-json(5), ipset(8).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from fwproof.evidence.ban_action import Kind, Place
from fwproof.snapshot import Snapshot

TABLES = (
    "iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft", "ipset-save",
)  # fmt: skip
"""The captures in which bans may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Who is in a place. ``there``: the place is; ``asked``: some rule of the kernel leads to it."""

    there: bool
    asked: bool
    addresses: frozenset[str]


def members(place: Place, snapshot: Snapshot) -> Members | None:
    """Return who is in a place of the kernel; None where others may be in it as well. Raises HostError."""
    if not place.own:
        return None
    if place.kind is Kind.CHAIN:
        return _of_chain(place, snapshot)
    if place.kind is Kind.NFT_SET:
        return _of_nft(place, snapshot.text("nft"))
    if place.kind is Kind.IPSET:
        return _of_ipset(place, snapshot)
    return None


def names(address: str, snapshot: Snapshot) -> bool:
    """Whether any table, set or route of the kernel names an address."""
    pattern = re.compile(rf"(?<![\w.:]){re.escape(address)}(?![\w.:])")
    texts = (snapshot.captures[name].stdout for name in (*TABLES, "ip-route", "ip6-route") if name in snapshot.captures)
    return any(pattern.search(text) for text in texts)


def plain(address: str) -> str:
    """Return an address or network as both sides are compared: without the prefix of a single address."""
    try:
        network = ip_network(address, strict=False)
    except ValueError:
        return address
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _saves(place: Place, snapshot: Snapshot) -> Iterator[str]:
    yield snapshot.text(f"{place.table}-save")
    legacy = f"{place.table}-legacy-save"
    if legacy in snapshot.captures and legacy not in snapshot.faults:
        yield snapshot.captures[legacy].stdout


def _of_chain(place: Place, snapshot: Snapshot) -> Members:
    there, asked, found = False, False, set[str]()
    for text in _saves(place, snapshot):
        for line in text.splitlines():
            words = line.removeprefix(line.partition("] ")[0] + "] ").split() if line.startswith("[") else line.split()
            if words[:1] == [f":{place.name}"]:
                there = True
            elif words[:1] == ["-A"] and len(words) > 2:
                asked |= place.name in words[2:] and words[1] != place.name
                if words[1] == place.name and "-s" in words and "RETURN" not in words:
                    found.add(plain(words[words.index("-s") + 1]))
    return Members(there=there, asked=asked, addresses=frozenset(found))


def _of_ipset(place: Place, snapshot: Snapshot) -> Members:
    there, found = False, set[str]()
    for line in snapshot.text("ipset-save").splitlines():
        words = line.split()
        if words[:2] == ["create", place.name]:
            there = True
        elif words[:2] == ["add", place.name] and len(words) > 2:
            found.add(plain(words[2].split(",")[0]))
    pattern = re.compile(rf"--match-set {re.escape(place.name)} ")
    texts = [snapshot.captures[name].stdout for name in TABLES if name in snapshot.captures]
    return Members(there=there, asked=any(pattern.search(text) for text in texts), addresses=frozenset(found))


def _of_nft(place: Place, text: str) -> Members:
    there, asked, found = False, False, set[str]()
    for item in _items(text):
        named = item.get("set", {})
        if isinstance(named, dict) and (named.get("name"), _table(named)) == (place.name, place.table):
            there, found = True, found | set(_elements(named.get("elem", [])))
        rule = item.get("rule", {})
        if isinstance(rule, dict) and _table(rule) == place.table:
            asked |= f'"@{place.name}"' in json.dumps(rule.get("expr", []))
    return Members(there=there, asked=asked, addresses=frozenset(found))


@lru_cache(maxsize=8)
def _items(text: str) -> tuple[dict[str, Any], ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ()  # collecting has called this garbled, so that nobody comes here with it
    listed = found.get("nftables", []) if isinstance(found, dict) else []
    return tuple(item for item in listed if isinstance(item, dict)) if isinstance(listed, list) else ()


def _table(item: dict[str, Any]) -> str:
    return f"{item.get('family')} {item.get('table')}"


def _elements(elements: object) -> Iterable[str]:
    for each in elements if isinstance(elements, list) else [elements]:
        value = each.get("elem", each) if isinstance(each, dict) else each
        value = value.get("val", value) if isinstance(value, dict) else value
        prefix = value.get("prefix") if isinstance(value, dict) else None
        if isinstance(prefix, dict):
            yield plain(f"{prefix.get('addr')}/{prefix.get('len')}")
        elif isinstance(value, str):
            yield plain(value)
