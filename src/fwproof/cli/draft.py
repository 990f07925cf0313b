"""Drafts of accepted changes: what ``fwproof diff`` found, as entries of an ``accepted.yaml`` to be filled in.

Owner and reason are left empty, which the file's reader refuses: a draft accepts nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date

from fwproof.flow import ICMP, ICMPV6, PROTOCOLS
from fwproof.policy.accepted import EFFECT
from fwproof.semantics.diff import Change, Comparison, Kind
from fwproof.semantics.reach_text import Room, networks

_NAMES = {PROTOCOLS[name]: name for name in ("tcp", "udp", "sctp")} | {ICMP: "icmp", ICMPV6: "icmp"}
_EFFECT = re.compile(r"only (?:before|after): .*?: (?P<rule>-A .*|.*)")


def draft(found: Iterable[Comparison], today: date) -> Iterator[str]:
    """Yield the lines of a draft; a change that no entry can select is a comment that says so."""
    yield "# yaml-language-server: $schema=accepted.schema.json"
    yield "# A draft: give each change an owner and a reason, narrow it where it says too much, or take it out."
    yield "accepted:"
    for each in found:
        for change in each.changes:
            yield from _entry(change, today)
        for effect in each.effects:
            text = _EFFECT.fullmatch(effect)
            yield f"  # {effect}"
            if text is not None:
                yield f"  - change: {EFFECT}"
                yield from (f"    {line}" for line in (f"family: {each.family}", f"rule: {_quoted(text['rule'])}"))
                yield from _signed(today)
        if each.unlisted:
            yield f"  # {each.unlisted} more changes in {each.family}: --most lists more"


def _entry(change: Change, today: date) -> Iterator[str]:
    ref = change.after[1] if change.kind is Kind.REACHABLE else change.before[1]
    rooms = "; ".join(map(str, change.rooms)) + (" and more" if change.more else "")
    yield f"  # {rooms}"
    if change.kind is Kind.UNKNOWN:
        yield "  # is not known, and what is not known cannot be accepted"
        return
    by_rule = ref is not None and ref.rule is not None and change.kind is not Kind.ANSWER
    for room in (None,) if by_rule else change.rooms:
        yield f"  - change: {change.kind.value}"
        yield f"    family: {change.family.value}"
        yield f"    hook: {change.hook.value}"
        if room is None:
            assert ref is not None
            yield f"    rule: {_quoted(ref.text)}"
        else:
            yield from _space(change, room)
        yield from _signed(today)


def _space(change: Change, room: Room) -> Iterator[str]:
    """Yield a room as networks and services; what cannot be written as such is left wider, and said."""
    for key, values in (("from", room.sources), ("to", room.destinations)):
        if not values[1]:
            yield f"    {key}: [{', '.join(map(_quoted, networks(values, change.family)))}]"
    services = [
        f"{_NAMES[number]}{'' if detail is None or key == 'icmp' else f'/{low}-{high}'}"
        for protos, detail in room.services
        for first, last in protos for number in range(first, last + 1) if number in _NAMES
        for key in (_NAMES[number],) for low, high in (detail or ((0, 0),))
    ]  # fmt: skip
    whole = {number for protos, _ in room.services for low, high in protos for number in range(low, high + 1)}
    if whole <= set(_NAMES):
        yield f"    service: [{', '.join(dict.fromkeys(services))}]"


def _signed(today: date) -> Iterator[str]:
    yield from ('    owner: ""', '    reason: ""', f"    date: {today}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
