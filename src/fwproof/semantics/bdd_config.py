"""What is known of packets beside their header, and which rules look at it or change it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from fwproof.flow import CtState
from fwproof.ruleset.asks import AddressType, Conntrack, ConnTuple, EitherPort, Oracle, Rate, Recent, Test, atoms
from fwproof.ruleset.model import STATE, TEMPLATE, ZONE, Act, Rule, Target
from fwproof.semantics.context import LOOKED_AT, Context, asks_conntrack, changes_of
from fwproof.semantics.rewriting import Fields, Written

MARKS = frozenset({"mark", "connmark"})


class Nat(NamedTuple):
    """What nat has made of packets.

    ``moved`` are the fields that it has written, each with its new value or, where that is not known, with a name
    for it. ``settled`` are the sides (src, dst) that it has dealt with, ``translated`` those it has changed;
    ``own``: it has sent the packets to the host itself. ``leaving`` is the interface that their new destination
    leads to, empty where that is the packet's own or not known.
    """

    moved: frozenset[tuple[str, int | str]] = frozenset()
    settled: frozenset[str] = frozenset()
    translated: frozenset[str] = frozenset()
    own: bool = False
    leaving: str = ""

    def value(self, field: str) -> int | str | None:
        """Return the new value of a field, None where it is the packet's own."""
        return dict(self.moved).get(field)


NO_NAT = Nat()


class Config(NamedTuple):
    """What is known of packets beside their header.

    A mark that is not known has a name, so that equal ones are asked about once. ``unknown`` is what targets changed
    and how often; ``rewritten`` are those fields of which one still knows how; ``visits`` counts calls by chain;
    ``notrack``: a rule has kept the packets from conntrack.
    """

    state: CtState = CtState.NEW
    direction: str = "original"
    mark: int | str = 0
    connmark: int | str = 0
    listed: frozenset[tuple[str, str]] = frozenset()
    unknown: frozenset[tuple[str, int]] = frozenset()
    visits: frozenset[tuple[str, int]] = frozenset()
    nat: Nat = NO_NAT
    notrack: bool = False
    rewritten: Fields = frozenset()

    def lost(self, field: str) -> int:
        """Return how often a field was changed, 0 where its value is known."""
        return 0 if any(each.field == field for each in self.rewritten) else dict(self.unknown).get(field, 0)

    def version(self) -> str:
        """Return a name for what has become of the packets, empty where nothing was changed."""
        if not (self.unknown or self.rewritten or self.nat.moved):
            return ""
        done = [*sorted(self.unknown), *sorted(self.rewritten), *sorted(self.nat.moved, key=str)]
        return " ".join(map(str, done))


BASE = Config()
CT, MARK, CONNMARK, LISTED, UNKNOWN, VISITS, NAT = "state", "mark", "connmark", "listed", "unknown", "visits", "nat"
Touches = frozenset[str]
NOTHING: Touches = frozenset()
READABLE: Touches = frozenset({CT, MARK, CONNMARK, VISITS})
"""What rules may look at and still leave packets that they do not take alone, and as they came in."""


def project(config: Config, touches: Touches) -> Config:
    """Forget what a part of the tables neither reads nor writes, so that its sets are made once."""
    if not touches:
        return BASE
    kept = {name: getattr(config, name) for name in touches}
    if CT in touches:
        kept |= {"direction": config.direction, "notrack": config.notrack}
    if UNKNOWN in touches:
        kept["rewritten"] = config.rewritten
    return Config(**kept)


def restore(after: Config, before: Config, touches: Touches) -> Config:
    """Return what is known after a part of the tables, given what was known before it."""
    if not touches:
        return before
    found = {name: getattr(after, name) for name in touches}
    if CT in touches:
        found["notrack"] = after.notrack
    if UNKNOWN in touches:
        found["rewritten"] = after.rewritten
    return before._replace(**found)


def touches_of(rule: Rule, *, visited: bool, changes: frozenset[str], written: Collection[str]) -> Touches:
    """Return what a rule reads or writes beside the header.

    ``changes`` are the fields that some target changes, ``written`` those that nat writes where rules can see it.
    """
    found: set[str] = set()
    for test in (atom for match in rule.matches for atom in atoms(match.test)):
        field = getattr(test, "field", "")
        found |= _read(test, field)
        moving = isinstance(test, Oracle) and test.changeable
        if _lost(test, field, changes) or (moving and changes):
            found.add(UNKNOWN)
        whole = isinstance(test, EitherPort | ConnTuple | Conntrack | AddressType)
        if written and (field in written or whole or moving):
            found.add(NAT)
        if visited and (isinstance(test, Rate) or (isinstance(test, Oracle) and test.each)):
            found.add(VISITS)
    early = {UNKNOWN} if TEMPLATE in changes and rule.target.act is Act.NOTRACK else set()
    return frozenset(found | early | _changed(rule, translating=bool(written)))


def _lost(test: Test, field: str, changes: frozenset[str]) -> bool:
    """Whether a test looks at something that targets change."""
    if isinstance(test, EitherPort):
        return bool(changes & {"sport", "dport"})
    return field in changes or (asks_conntrack(test) and bool(changes & {TEMPLATE, ZONE, *LOOKED_AT}))


def _read(test: Test, field: str) -> set[str]:
    found = {CT} if isinstance(test, Conntrack | ConnTuple) or field == "ctstate" else set()
    if field in MARKS:
        found |= {field, CT} if field == CONNMARK else {field}
    return found | ({LISTED} if isinstance(test, Recent) else set())


def _changed(rule: Rule, *, translating: bool) -> set[str]:
    target = rule.target
    act = target.act
    if act in {Act.MARK, Act.CONNMARK}:
        operation = target.mark[0] if target.mark else ""
        both = {MARK, CONNMARK} if operation in {"save", "restore"} else set()
        return {CT, MARK if act is Act.MARK else CONNMARK, *both}
    if act is Act.CHANGE and target.changes:
        return {UNKNOWN, *({MARK} & set(target.changes)), *({CT} if TEMPLATE in target.changes else ())}
    if act in {Act.DESTINATION_NAT, Act.SOURCE_NAT} and translating:
        return {NAT}
    return {CT} if act is Act.NOTRACK else set()


def changed(config: Config, target: Target, context: Context) -> Config:
    """Return what is known after a target such as MARK (xt_mark.c, xt_connmark.c)."""
    if target.act is Act.NOTRACK:
        kept = not context.untracked_yet or TEMPLATE in dict(config.unknown)
        return config if kept else config._replace(state=CtState.UNTRACKED, notrack=True)
    if target.act is Act.CHANGE:
        return _rewritten(config, target, context)
    tracked = not context.untracked_yet and config.state not in {CtState.INVALID, CtState.UNTRACKED}
    if target.act is Act.CONNMARK and not tracked:
        return config
    assert target.mark is not None
    operation, mask, value, other = target.mark
    if operation == "save":
        return config._replace(connmark=_mixed(config.connmark, other, config.mark, mask))
    if operation == "restore":
        return config._replace(mark=_mixed(config.mark, mask, config.connmark, other))
    field = MARK if target.act is Act.MARK else CONNMARK
    mixed = _mixed(config.mark if field == MARK else config.connmark, mask, value, 0xFFFFFFFF)
    return config._replace(mark=mixed) if field == MARK else config._replace(connmark=mixed)


def _rewritten(config: Config, target: Target, context: Context) -> Config:
    """Return what is known after a target that changes fields."""
    times, fields = dict(config.unknown), {each.field: each for each in config.rewritten}
    known = {field: (mask, value) for field, mask, value in target.rewrites}
    for field in changes_of(target, context, notrack=config.notrack):
        if field in known and (known[field][0] == 0xFF or not config.lost(field)):
            mask, value = known[field]
            # the variables are the packet as it came in, with the hops that it had then
            value += context.hops_lost if field == "ttl" else 0
            fields[field] = fields.get(field, Written(field, 0, 0)).then(mask, value)
        elif field != MARK:
            fields.pop(field, None)
            times[field] = 1 if field in {STATE, TEMPLATE, ZONE} else times.get(field, 0) + 1
    mark = f"{target.text} of {config.mark}" if MARK in target.changes else config.mark
    return config._replace(unknown=frozenset(times.items()), rewritten=frozenset(fields.values()), mark=mark)


def _mixed(old: int | str, mask: int, new: int | str, keep: int) -> int | str:
    """Return ``old & ~mask ^ new & keep``, as a name where the value is not known."""
    if mask == 0xFFFFFFFF:
        old = 0
    if isinstance(old, int) and isinstance(new, int):
        return (old & ~mask) ^ (new & keep)
    return f"({old} without {mask:#x}, {new} within {keep:#x})"
