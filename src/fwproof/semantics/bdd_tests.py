"""What each test of a rule says of a set of packets, in a given state of what no header shows.

The single-packet meaning is :mod:`fwproof.semantics.packet`; this is the same over all packets at once. What a
target has changed, what a list holds and what conntrack knows is not in the diagrams: a walk is made for each
:class:`Config`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from fwproof.decision import RuleRef
from fwproof.flow import ICMP, ICMPV6, TCP, CtState, Family
from fwproof.ruleset.asks import (
    AddressType,
    AnyOf,
    Bits,
    Conntrack,
    ConnTuple,
    Constant,
    EitherPort,
    Fragment,
    Interface,
    OneOf,
    Opaque,
    Oracle,
    Ranges,
    Rate,
    Recent,
    Test,
    Within,
    atoms,
)  # fmt: skip
from fwproof.ruleset.model import Act, Match, Rule, Target
from fwproof.ruleset.numbers import bits
from fwproof.semantics.addresses import Addresses
from fwproof.semantics.bdd import Field, Set, Sets, fields_of
from fwproof.semantics.boxes import space_of
from fwproof.semantics.context import Context, settle
from fwproof.semantics.packet import PORTED

PKTTYPES = ("host", "broadcast", "multicast")
MARKS = frozenset({"mark", "connmark"})


class Config(NamedTuple):
    """What is known of packets beside their header.

    A mark that is not known has a name, so that equal ones are asked about once. ``unknown`` are the fields that
    targets changed and how often; ``visits`` counts calls by chain.
    """

    state: CtState = CtState.NEW
    direction: str = "original"
    mark: int | str = 0
    connmark: int | str = 0
    listed: frozenset[tuple[str, str]] = frozenset()
    unknown: frozenset[tuple[str, int]] = frozenset()
    visits: frozenset[tuple[str, int]] = frozenset()


BASE = Config()
CT, MARK, CONNMARK, LISTED, UNKNOWN, VISITS = "state", "mark", "connmark", "listed", "unknown", "visits"
Touches = frozenset[str]
NOTHING: Touches = frozenset()


def project(config: Config, touches: Touches) -> Config:
    """Forget what a part of the tables neither reads nor writes, so that its sets are made once."""
    if not touches:
        return BASE
    kept = {name: getattr(config, name) for name in touches}
    if CT in touches:
        kept["direction"] = config.direction
    return Config(**kept)


def restore(after: Config, before: Config, touches: Touches) -> Config:
    """Return what is known after a part of the tables, given what was known before it."""
    if not touches:
        return before
    changed = {name: getattr(after, name) for name in touches}
    return before._replace(**changed)


def fields_for(
    family: Family,
    rules: Sequence[Rule],
    extra: Iterable[tuple[str, Ranges]],
    interfaces: Iterable[str],
    local: Iterable[Addresses],
) -> dict[str, Field]:
    """Return the fields that the rules, the question and the host's addresses cut."""
    tests = [atom for rule in rules for match in rule.matches for atom in atoms(match.test)]
    kinds = any(isinstance(test, AddressType) for test in tests)
    cuts = [cut for each in local for cut in special(each, family)] if kinds else []
    known = [(field, ((cut, cut),)) for field in ("src", "dst") for cut in cuts]
    space = space_of(family, rules, [*extra, *known, ("ttl", ((2, 255),))], interfaces)
    numbers: dict[str, tuple[Sequence[int], int]] = {f: (cut, space.largest(f)) for f, cut in space.cuts.items()}
    masked = {test.field for test in tests if isinstance(test, Bits)}
    for field in masked & {"src", "dst"}:
        numbers[field] = ((), (1 << bits(family)) - 1)
    wide = any(isinstance(test, Bits) and test.field == "flags" and test.mask > 63 for test in tests)
    exact = any(isinstance(test, Within) and test.field == "flags" for test in tests)
    numbers["flags"] = ((), 255 if wide or exact else 63)
    if "tos" in masked:
        numbers["tos"] = ((), 255)
    words: dict[str, Sequence[str]] = {name: space.names[name] for name in ("iif", "oif")}
    if any(isinstance(test, OneOf) and test.field == "pkttype" for test in tests):
        words["pkttype"] = PKTTYPES
    macs = [w for test in tests if isinstance(test, OneOf) and test.field == "mac_src" for w in sorted(test.words)]
    if macs:
        words["mac"] = (*dict.fromkeys(macs), "")
    if any(isinstance(test, Fragment) for test in tests):
        words["fragment"] = ("no", "yes")
    return fields_of(numbers, words)


def special(addresses: Addresses, family: Family) -> list[int]:
    """Return the first values of the runs of addresses that are alike to addrtype."""
    if family is Family.IPV4:
        ends = {0, 127 << 24, 128 << 24, 0xE0000000, 0xF0000000, 0xFFFFFFFF}
        ends |= {int(own.broadcast) + at for own in addresses.own if own.broadcast is not None for at in (0, 1)}
    else:
        ends = {0, 1, 2, 0xFF << 120}
    ends |= {int(address) + at for address in addresses.of(family) for at in (0, 1)}
    return sorted(end for end in ends if end < 1 << bits(family))


def touches_of(rule: Rule, *, visited: bool, changed: frozenset[str]) -> Touches:
    """Return what a rule reads or writes beside the header; ``changed`` are the fields that some target changes."""
    found: set[str] = set()
    for test in (atom for match in rule.matches for atom in atoms(match.test)):
        field = getattr(test, "field", "")
        if isinstance(test, Conntrack | ConnTuple) or field == "ctstate":
            found.add(CT)
        if field in MARKS:
            found |= {field, CT} if field == CONNMARK else {field}
        if field in changed:
            found.add(UNKNOWN)
        if isinstance(test, Recent):
            found.add(LISTED)
        if visited and (isinstance(test, Rate) or (isinstance(test, Oracle) and test.each)):
            found.add(VISITS)
    act = rule.target.act
    if act in {Act.MARK, Act.CONNMARK}:
        operation = rule.target.mark[0] if rule.target.mark else ""
        both = {MARK, CONNMARK} if operation in {"save", "restore"} else set()
        found |= {CT, MARK if act is Act.MARK else CONNMARK, *both}
    if act is Act.NOTRACK:
        found.add(CT)
    if act is Act.CHANGE and rule.target.changes:
        found |= {UNKNOWN, MARK} if MARK in rule.target.changes else {UNKNOWN}
    return frozenset(found)


class Asker:
    """Turns tests into sets, for the rules of one host."""

    def __init__(self, sets: Sets, family: Family, addresses: Addresses | None) -> None:
        self.sets = sets
        self.family = family
        self.addresses = addresses
        self._known: dict[tuple[Test, bool], Set] = {}
        self._ported = sets.within("proto", [(p, p) for p in PORTED])
        self._icmp = sets.within("proto", [(ICMP, ICMP), (ICMPV6, ICMPV6)])
        self._tcp = sets.within("proto", [(TCP, TCP)])
        self.not_icmp = ~self._icmp

    def holds(self, match: Match, context: Context, config: Config, key: str) -> Set:
        """Return the packets for which a match holds; ``key`` names the question of a rule and a visit of it."""
        test, negated = settle(match, config.state, config.direction, context)
        return self._settled(test, config, key, negated=negated)

    def _settled(self, test: Test, config: Config, key: str, *, negated: bool) -> Set:
        if isinstance(test, AnyOf):
            return self._any_of(test, config, key, negated=negated)
        field = getattr(test, "field", "")
        if field in MARKS and isinstance(test, Bits | Within):
            return self._mark(test, config, negated=negated)
        times = dict(config.unknown).get(field)
        if times is not None:
            asked = self.sets.oracle(f"{test} changed {times}", f"{field} after a target changed it")
            return self._turn(asked, negated)
        if isinstance(test, Recent) and (test.list, test.side) in config.listed and (
            test.action in {"rcheck", "update"} and test.hitcount <= 1):  # fmt: skip
            return self._turn(self.sets.all, negated)
        if isinstance(test, Rate) or (isinstance(test, Oracle) and test.each):
            return self._turn(self.sets.oracle(key, test.name), negated)
        known = (test, negated)
        if known not in self._known:
            self._known[known] = self._exact(test, negated=negated)
        return self._known[known]

    def _any_of(self, test: AnyOf, config: Config, key: str, *, negated: bool) -> Set:
        """Unite the products; what the packet lacks is lacking to the whole."""
        fields = {getattr(atom, "field", "") for atom in atoms(test)}
        plain = not fields & {*MARKS, *dict(config.unknown)} and not any(
            isinstance(atom, Rate) or (isinstance(atom, Oracle) and atom.each) for atom in atoms(test))  # fmt: skip
        known = (test, negated)
        if plain and known in self._known:
            return self._known[known]
        products = []
        for product in test.products:
            held = self.sets.all
            for part, turned in product:
                held = self._settled(part, config, f"{key} {part}", negated=turned) & held
            products.append(held)
        has = self.sets.all
        if "fragment" in self.sets.fields and fields & {"sport", "dport", "icmp", "flags"}:
            has = self.sets.words("fragment", lambda word: word == "no")
        found = has & self._turn(self.sets.union(products), negated)
        if plain:
            self._known[known] = found
        return found

    def _turn(self, some: Set, negated: bool) -> Set:  # noqa: FBT001 - the negation of a match
        return ~some if negated else some

    def _mark(self, test: Bits | Within, config: Config, *, negated: bool) -> Set:
        value = config.mark if test.field == MARK else config.connmark
        if isinstance(test, Bits) and test.value & ~test.mask:
            return self._turn(self.sets.none, negated)
        if isinstance(value, str):
            asked = self.sets.oracle(f"{test} of {value}", f"{test.field} of the packet")
            return self._turn(asked, negated)
        if isinstance(test, Bits):
            return self._turn(self.sets.all if value & test.mask == test.value else self.sets.none, negated)
        inside = any(low <= value <= high for low, high in test.ranges)
        return self._turn(self.sets.all if inside else self.sets.none, negated)

    def _exact(self, test: Test, *, negated: bool) -> Set:
        has, found = self._header(test)
        return has & self._turn(found, negated)

    def _header(self, test: Test) -> tuple[Set, Set]:  # noqa: C901, PLR0911 - one return for each kind of test
        """Return the packets that have what a test looks at, and those for which it holds."""
        sets = self.sets
        if isinstance(test, Constant):
            return sets.all, sets.all if test.value else sets.none
        if isinstance(test, Interface):
            return sets.all, sets.words(test.field, test.covers)
        if isinstance(test, Within) and test.field in sets.fields:
            return self._carrier(test.field), sets.within(test.field, test.ranges)
        if isinstance(test, Bits) and test.field in sets.fields and sets.fields[test.field].raw:
            return self._carrier(test.field), sets.bits(test.field, test.mask, test.value)
        if isinstance(test, EitherPort):
            return self._carrier("dport"), sets.within("sport", test.ranges) | sets.within("dport", test.ranges)
        if isinstance(test, Fragment) and "fragment" in sets.fields:
            return sets.all, sets.words("fragment", lambda word: word == "yes")
        if isinstance(test, OneOf):
            field = {"mac_src": "mac", "pkttype": "pkttype"}.get(test.field, "")
            if field in sets.fields:
                return sets.all, sets.words(field, test.words.__contains__)
        if isinstance(test, AddressType) and self.addresses is not None:
            return sets.all, self._kind(test, self.addresses)
        name = test.name if isinstance(test, Oracle | Opaque) else str(test)
        if isinstance(test, AddressType):
            name = f"addrtype {test.text}"
        return sets.all, sets.oracle(name, name)

    def _carrier(self, field: str) -> Set:
        """Return the packets whose protocol has a field; later fragments have no transport header at all."""
        if field not in {"sport", "dport", "icmp", "flags"}:
            return self.sets.all
        carrier = {"icmp": self._icmp, "flags": self._tcp}.get(field, self._ported)
        if "fragment" in self.sets.fields:
            return carrier & self.sets.words("fragment", lambda word: word == "no")
        return carrier

    def _kind(self, test: AddressType, addresses: Addresses) -> Set:
        """Follow addrtype over the runs of addresses that are alike; where routes decide, it is a question."""
        make = IPv4Address if self.family is Family.IPV4 else IPv6Address
        starts = special(addresses, self.family)
        ends = [*(start - 1 for start in starts[1:]), (1 << bits(self.family)) - 1]
        answers = [addresses.is_kind(make(start), test.kinds) for start in starts]
        runs = list(zip(starts, ends, answers, strict=True))
        found = self.sets.within(test.field, [(low, high) for low, high, answer in runs if answer])
        unsure = [(low, high) for low, high, answer in runs if answer is None]
        if unsure:
            label = f"addrtype {test.text}"
            found |= self.sets.within(test.field, unsure) & self.sets.oracle(label, label)
        return found


def changed(config: Config, target: Target, context: Context) -> Config:
    """Return what is known after a target such as MARK (xt_mark.c, xt_connmark.c)."""
    if target.act is Act.NOTRACK:
        return config._replace(state=CtState.UNTRACKED) if context.untracked_yet else config
    if target.act is Act.CHANGE:
        times = dict(config.unknown)
        times |= {field: times.get(field, 0) + 1 for field in target.changes if field != MARK}
        mark = f"{target.text} of {config.mark}" if MARK in target.changes else config.mark
        return config._replace(unknown=frozenset(times.items()), mark=mark)
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


def _mixed(old: int | str, mask: int, new: int | str, keep: int) -> int | str:
    """Return ``old & ~mask ^ new & keep``, as a name where the value is not known."""
    if mask == 0xFFFFFFFF:
        old = 0
    if isinstance(old, int) and isinstance(new, int):
        return (old & ~mask) ^ (new & keep)
    return f"({old} without {mask:#x}, {new} within {keep:#x})"


def asking_rule(ref: RuleRef, name: str, nth: int, visit: int) -> str:
    """Return the key of a rate's question.

    ``nth`` of its kind in the chain rather than the number of the rule: a rule put before it leaves it the same.
    """
    return f"{name} @ {ref.table} {ref.chain} = {nth} # {visit}"
