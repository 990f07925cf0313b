"""Statements that write into packets: ``ip dscp set``, ``meta mark set``, ``ct zone set`` (nft_payload.c, nft_ct.c)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fwproof.flow import TCP
from fwproof.ruleset.asks import Literal, Within
from fwproof.ruleset.model import TEMPLATE, ZONE, Act, Target
from fwproof.ruleset.nft import Json
from fwproof.ruleset.nft_fields import key_of
from fwproof.ruleset.nft_hidden import TRACKED
from fwproof.ruleset.nft_items import Do, Item, choice, needed
from fwproof.ruleset.nft_keys import Masked, Number, bits_of
from fwproof.ruleset.nft_marks import loads_connection, mark_deeds
from fwproof.ruleset.nft_match import Surroundings

TCP_ONLY: Literal = (Within("proto", ((TCP, TCP),)), False)
"""What looks at TCP options: without a TCP header the rule breaks off (nft_exthdr.c)."""
_UNSEEN = {"priority", "nftrace", "cgroup", "secmark", "label", "event", "helper"}
"""Keys of ``meta`` and ``ct`` that no exact test looks at."""
_REWRITTEN = {
    ("ip", "ttl"): ("ttl",), ("ip6", "hoplimit"): ("ttl",), ("ip", "dscp"): ("tos",), ("ip6", "dscp"): ("tos",),
    ("ip", "ecn"): ("tos",), ("ip6", "ecn"): ("tos",), ("tcp", "flags"): ("flags",),
    ("tcp", "sport"): ("sport",), ("tcp", "dport"): ("dport",), ("udp", "sport"): ("sport",),
    ("udp", "dport"): ("dport",), ("th", "sport"): ("sport", "icmp", "spi"), ("th", "dport"): ("dport", "spi"),
}  # fmt: skip
"""Header fields that can be written, and what of a packet they are.

nft 1.0.6 lists ``icmp type set`` as ``th sport set``.
"""
_DULL = {("ip", "id"), ("ip", "checksum"), ("tcp", "window"), ("tcp", "checksum"), ("tcp", "urgptr"),
         ("udp", "checksum")}  # fmt: skip
"""Header fields that only oracles look at."""


def mangled(body: Mapping[str, Json], around: Surroundings, text: str) -> list[Item]:
    """Return what a statement that writes does; ValueError where it is not understood."""
    ((kind, what),) = body["key"].items()
    value = body["value"]
    if kind in {"meta", "ct"} and what["key"] == "mark":
        return _marked(kind, value, around, text)
    if kind == "payload" and "protocol" in what:
        return _written(body["key"], what, value, around, text)
    if kind == "tcp option":
        return [*needed([TCP_ONLY], text, ""), Do(changing(text, "options"))]
    if kind == "ct" and what["key"] == "zone":
        return [Do(changing(text, TEMPLATE, ZONE))]
    if kind in {"meta", "ct"} and what["key"] in _UNSEEN:
        return []
    raise ValueError(text)


def _marked(kind: str, value: Json, around: Surroundings, text: str) -> list[Item]:
    if isinstance(value, dict) and set(value) == {"map"}:
        return choice(value["map"], around, text, lambda each: _one(mark_deeds(kind, each, text)))
    if kind == "meta" and isinstance(value, dict) and set(value) <= {"numgen", "symhash", "jhash"}:
        needs: Sequence[Literal] = ()
        if "jhash" in value:
            key = key_of(value["jhash"]["expr"], around.scope)
            needs = (*key.needs, *key.lacking)
        return [*needed(needs, text, ""), Do(changing(text, "mark"))]
    found = mark_deeds(kind, value, text)
    head = needed([TRACKED], text, {"ct": {}}) if loads_connection(value) else []
    return [*head, *(Do(target) for target in found)]


def _written(left: Json, what: Any, value: Json, around: Surroundings, text: str) -> list[Item]:
    place = (what["protocol"], what["field"])
    if what["protocol"] in {"ether", "vlan"}:
        return []
    if place in _DULL:
        fields: tuple[str, ...] = (" ".join(place),)
    else:
        fields = _REWRITTEN[place]
    key = key_of(left, around.scope)
    try:
        rewrites = _rewrite(key, value)
    except (ValueError, KeyError, TypeError, AttributeError):
        rewrites = ()
    target = Target(act=Act.CHANGE, name="nft", text=text, changes=fields, rewrites=rewrites)
    return [*needed(key.needs, text, left), Do(target)]


def _rewrite(key: Any, value: Json) -> tuple[tuple[str, int, int], ...]:
    """Return how a field of at most eight bits is written with a constant."""
    if isinstance(key, Masked):
        number, mask = key.number, key.mask
    else:
        number, mask = key, (1 << key.size) - 1
    if not isinstance(number, Number) or number.field not in {"tos", "ttl", "flags"}:
        raise ValueError(value)
    bits = bits_of(number, value)
    shift = 2 if number.size == 6 else 0  # DSCP are the upper six bits of eight
    return ((number.field, mask << shift, (bits & mask) << shift),)


def changing(text: str, *fields: str) -> Target:
    """Return a target after which fields are not known any more."""
    return Target(act=Act.CHANGE, name="nft", text=text, changes=fields)


def _one(targets: Sequence[Target]) -> Target:
    (target,) = targets
    return target
