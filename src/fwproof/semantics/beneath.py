"""What decides about packets beneath the tables or beside those that were read: XDP, traffic control, legacy tables."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fwproof.errors import Fault, InputError
from fwproof.flow import Family
from fwproof.ruleset.model import Ruleset
from fwproof.semantics.addresses import Addresses

Names = Mapping[Family, str | None]
"""What the kernel lists as its legacy tables, a name a line; None where that was not read."""

_WHEN = {"ingress": "before any table", "egress": "after every table", "queue": "after every table"}
_SORTING = frozenset({"basic", "bpf", "cgroup", "flow", "flower", "fw", "matchall", "route", "rsvp", "tcindex", "u32"})
"""Classifiers that only say which class of a queue a packet is of, as long as they have no action (tc(8))."""
_GOING_ON = frozenset({"pass", "pipe", "continue", "reclassify"})
"""Where an action leaves the packet on its way (tc-actions(8))."""


def programs(addresses: Addresses | None) -> tuple[str, ...]:
    """Return what a host's XDP programs mean for its answers."""
    return tuple(
        f"an XDP program on {name} decides about packets before any table, and what it does is not read"
        for name in (() if addresses is None else addresses.programs)
    )


def filters(text: str | None, source: str) -> tuple[str, ...]:
    """Return why filters of traffic control leave it open what becomes of packets, once for each device and way.

    ``text`` has a line ``DEVICE WAY FILTERS`` for each, the last as ``tc -j filter show`` prints them. Filters that
    only sort packets into classes, let them pass or copy them decide nothing. Raises InputError naming ``source``.
    """
    found: dict[str, None] = {}
    for number, line in enumerate((text or "").splitlines(), 1):
        parts = line.split(" ", 2)
        if len(parts) < 3 or parts[1] not in _WHEN:
            fault = "expected a device, `ingress`, `egress` or `queue`, and what `tc -j filter show` prints"
            raise InputError([Fault(source, number, 1, fault)])
        device, way, listed = parts
        if does := _deciding(listed):
            found[f"a filter of traffic control on {device} ({way}: {does}) decides about packets {_WHEN[way]}, "
                  "and what it does is not followed"] = None  # fmt: skip
    return tuple(found)


def _deciding(listed: str) -> str:
    """Return the first thing by which filters decide; empty where none of them does, or there is none."""
    if not listed.strip():
        return ""
    try:
        entries = json.loads(listed)
        return next((why for entry in entries for why in _decides(entry)), "")
    except (ValueError, TypeError, AttributeError, RecursionError):
        return "not understood"


def _decides(entry: Mapping[str, Any]) -> Iterator[str]:
    kind, options = str(entry.get("kind")), entry.get("options", {})
    if kind not in _SORTING:
        yield kind
    elif options.get("direct-action"):
        yield "a BPF program"
    elif "police" in options:
        yield f"{kind}, police"
    for action in options.get("actions", ()):
        if not _goes_on(action):
            word = action.get("mirred_action") or action.get("control_action", {}).get("type") or ""
            yield " ".join([f"{kind}, {action.get('kind')}", *([str(word)] if word else [])])


def _goes_on(action: Mapping[str, Any]) -> bool:
    """Whether an action leaves a packet as it is and where it is; copies that it makes are others' to judge."""
    if action.get("control_action", {}).get("type") not in _GOING_ON:
        return False
    if action.get("kind") == "mirred":
        return (action.get("mirred_action"), action.get("direction")) == ("mirror", "egress")
    drawn = action.get("prob", {}).get("random_type", "none") != "none"
    return action.get("kind") in {"gact", "sample"} and not drawn


def marked(rulesets: Sequence[Ruleset], names: str | None) -> tuple[Ruleset, ...]:
    """Return the rulesets of a family; the first says which of the kernel's legacy tables are in none of them."""
    missing = _unread(rulesets, (names or "").split())
    if not missing or not rulesets:
        return tuple(rulesets)
    are = "a legacy table that was" if len(missing) == 1 else "legacy tables that were"
    unread = f"the kernel has {are} not read: {', '.join(missing)}"
    return (replace(rulesets[0], beside=unread), *rulesets[1:])


def _unread(rulesets: Sequence[Ruleset], names: Collection[str]) -> list[str]:
    read = {name for each in rulesets if not each.native and each.backend != "nft" for name in each.tables}
    return sorted(set(names) - read)


def missing_beside(ruleset: Ruleset, rulesets: Sequence[Ruleset]) -> str:
    """Return what there is beside a text and was not read, by the text or the kernel; empty where all of it was."""
    if ruleset.beside:
        return ruleset.beside
    if not ruleset.mentions_legacy or any(each.backend == "legacy" for each in rulesets):
        return ""
    program = "iptables" if ruleset.family is Family.IPV4 else "ip6tables"
    return f"{program}-save says that there are legacy tables as well, and they were not read"
