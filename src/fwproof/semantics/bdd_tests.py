"""What each test of a rule says of a set of packets, in a given state of what no header shows.

The single-packet meaning is :mod:`fwproof.semantics.packet`; this is the same over all packets at once. The
variables are the header as it came in; what nat has written is in the :class:`Config`.
"""

from __future__ import annotations

from typing import NamedTuple

from fwproof.decision import RuleRef
from fwproof.flow import ICMP, ICMPV6, TCP, Family
from fwproof.ruleset.asks import (
    BRIDGED,
    AddressType,
    AnyOf,
    Bits,
    Constant,
    EitherPort,
    Fragment,
    Interface,
    OneOf,
    Opaque,
    Oracle,
    Rate,
    Recent,
    ReversePath,
    Test,
    Within,
    atoms,
)  # fmt: skip
from fwproof.ruleset.model import Match
from fwproof.semantics import kinds, nat
from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.bdd_config import MARK, MARKS, Config
from fwproof.semantics.context import Context, settle
from fwproof.semantics.limits import unused
from fwproof.semantics.packet import LATE, PORTED, SECURED
from fwproof.semantics.reverse import followed, sources, unborn
from fwproof.semantics.rewriting import asked_before, written
from fwproof.semantics.routing import Router

_TRANSPORT = frozenset({"sport", "dport", "icmp", "flags", "spi"})


_NOTHING: frozenset[str] = frozenset()


class Where(NamedTuple):
    """Where a question is asked: a key for the rule and its visit, and a name for what has become of the packets."""

    key: str
    version: str


class Asker:
    """Turns tests into sets, for the rules of one host; ``written`` are the fields that nat may have written.

    ``whole`` and ``loads`` are those of the :class:`Context`: what the tests make of late fragments.
    """

    def __init__(
        self, sets: Sets, router: Router, moved: frozenset[str], *, whole: bool = False, loads: bool = False
    ) -> None:
        self.sets = sets
        self.late = sets.none
        if "fragment" in sets.fields and not whole:
            self.late = sets.words("fragment", lambda word: word == "yes")
        self.loads = loads
        self._others: dict[tuple[bool, bool], Asker] = {(whole, loads): self}
        self.router = router
        self.written = moved
        self._known: dict[tuple[Test, bool], Set] = {}
        self.ported = sets.within("proto", [(p, p) for p in PORTED])
        self._icmp = sets.within("proto", [(ICMP, ICMP), (ICMPV6, ICMPV6)])
        self._tcp = sets.within("proto", [(TCP, TCP)])
        self.not_icmp = ~self._icmp

    def holds(self, match: Match, context: Context, config: Config, key: str) -> Set:
        """Return the packets for which a match holds; ``key`` names the question of a rule and a visit of it."""
        here = context.after(notrack=config.notrack)
        unknown = frozenset(name for name, _ in config.unknown) if config.unknown else _NOTHING
        test, negated = settle(match, config.state, config.direction, here, config.nat.translated, unknown)
        where = Where(key, config.version() + (" forwarded" if context.hops_lost else ""))
        asker = self._for(context.seen_by(match)) if "fragment" in self.sets.fields else self
        return asker._settled(test, config, where, negated=negated)  # noqa: SLF001 - one of our own kind

    def _for(self, context: Context) -> Asker:
        seen = (context.whole, context.loads)
        if seen not in self._others:
            self._others[seen] = Asker(self.sets, self.router, self.written, whole=seen[0], loads=seen[1])
        return self._others[seen]

    def _settled(self, test: Test, config: Config, where: Where, *, negated: bool) -> Set:
        if isinstance(test, AnyOf):
            return self._any_of(test, config, where, negated=negated)
        if isinstance(test, AddressType):
            test = kinds.plain(test, self.router)
        field = getattr(test, "field", "")
        if field in MARKS and isinstance(test, Bits | Within):
            return self._mark(test, config, negated=negated)
        other = self._elsewhere(test, field, config, where)
        if other is not None:
            return self._turn(other, negated)
        change = written(config.rewritten, field) if config.rewritten else None
        if change is not None and isinstance(test, Bits | Within):
            test = asked_before(test, change)
            return self._carrier(field) & self._exact(test, negated=negated)
        moved = self._moved(test, config, negated=negated) if config.nat.moved else None
        if moved is not None:
            return moved
        known = (test, negated)
        if known not in self._known:
            self._known[known] = self._exact(test, negated=negated)
        return self._known[known]

    def _elsewhere(self, test: Test, field: str, config: Config, where: Where) -> Set | None:
        """Answer what the header as it came in does not decide: changed fields, lists, rates; None for all else."""
        if config.unknown:
            fields = ("sport", "dport") if isinstance(test, EitherPort) else (field,)
            times = [config.lost(name) for name in fields]
            if any(times):
                return self.sets.oracle(f"{test} changed {times}", f"{' or '.join(fields)} after a target changed it")
        if isinstance(test, Recent) and (test.list, test.side) in config.listed and (
            test.action in {"rcheck", "update"} and test.hitcount <= 1):  # fmt: skip
            return self.sets.all
        if isinstance(test, Rate) or (isinstance(test, Oracle) and test.each):
            return self.sets.oracle(where.key, test.name, rate=unused(test) if isinstance(test, Rate) else None)
        if isinstance(test, Oracle) and test.changeable and where.version:
            return self.sets.oracle(f"{test.name} after {where.version}", test.name)
        return None

    def _any_of(self, test: AnyOf, config: Config, where: Where, *, negated: bool) -> Set:
        """Unite the products; what the packet lacks is lacking to the whole."""
        fields = {getattr(atom, "field", "") for atom in atoms(test)}
        lost = {*MARKS, *dict(config.unknown), *(each.field for each in config.rewritten)}
        plain = not config.nat.moved and not fields & lost and not any(
            isinstance(atom, Rate)
            or (isinstance(atom, Oracle) and (atom.each or (atom.changeable and bool(where.version))))
            for atom in atoms(test))  # fmt: skip
        known = (test, negated)
        if plain and known in self._known:
            return self._known[known]
        products = []
        for product in test.products:
            held = self.sets.all
            for part, turned in product:
                held = self._settled(part, config, where._replace(key=f"{where.key} {part}"), negated=turned) & held
            products.append(held)
        found = self._turn(self.sets.union(products), negated)
        if fields & _TRANSPORT or any(isinstance(atom, EitherPort) for atom in atoms(test)):
            found = (found & ~self.late) | self._loaded(test, negated=negated)
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
        return self._turn(self.sets.all if inside(value, test) else self.sets.none, negated)

    def _moved(self, test: Test, config: Config, *, negated: bool) -> Set | None:
        """Answer a test of what nat has written, None where it looks at something else."""
        if isinstance(test, EitherPort):
            if config.nat.value("sport") is None and config.nat.value("dport") is None:
                return None
            nowhere = Where("", "")
            ends = [
                self._settled(Within(end, test.ranges), config, nowhere, negated=False) for end in ("sport", "dport")
            ]
            return self._carrier("dport") & self._turn(ends[0] | ends[1], negated)
        field = getattr(test, "field", "")
        if isinstance(test, Interface) and field == "oif" and config.nat.leaving:
            return self._turn(self.sets.all if test.covers(config.nat.leaving) else self.sets.none, negated)
        base = nat.BASE.get(field, field)
        value = None if field.startswith("orig_") else config.nat.value(base)
        if value is None:
            return None
        if isinstance(value, int) and isinstance(test, Within | Bits):
            found = self.sets.all if inside(value, test) else self.sets.none
        else:
            found = self.sets.oracle(f"{test} of {value}", f"{base} after nat", vague=True)
        return self._carrier(base) & self._turn(found, negated)

    def _exact(self, test: Test, *, negated: bool) -> Set:
        has, found = self._header(test)
        held = has & self._turn(found, negated)
        if isinstance(test, EitherPort) or getattr(test, "field", "") in _TRANSPORT:
            held |= self._loaded(test, negated=negated)
        return held

    def _loaded(self, test: Test, *, negated: bool) -> Set:
        """Return the late fragments for which a test of the transport header holds all the same."""
        if not self.loads or self.late == self.sets.none:
            return self.sets.none
        return self.late & self._turn(self.sets.oracle(f"{test} of a late fragment", LATE), negated)

    def _header(self, test: Test) -> tuple[Set, Set]:  # noqa: PLR0911 - one return for each kind of test
        """Return the packets that have what a test looks at, and those for which it holds."""
        sets = self.sets
        if isinstance(test, Constant):
            return sets.all, sets.all if test.value else sets.none
        if isinstance(test, Interface):
            return sets.all, sets.words(test.field, test.covers)
        if isinstance(test, Within) and nat.BASE.get(test.field, test.field) in sets.fields:
            return self._number(test)
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
        if isinstance(test, ReversePath):
            return sets.all, self._back(test)
        return sets.all, self._question(test)

    def _back(self, test: ReversePath) -> Set:
        """Return the packets whose way back is as a test wants it, interface by interface."""
        sets, asked, found = self.sets, self._question(test), [self.sets.none]
        if not followed(self.router):
            return sets.words("iif", lambda name: name == "lo") | asked
        assert self.router.addresses is not None
        for at, name in enumerate(sets.fields["iif"].words):
            here = sets.within("iif", ((at, at),))
            if name == "lo":
                found.append(here)
            elif name not in self.router.addresses.interfaces:
                found.append(here & asked)
            else:
                held, unknown = sources(self.router, test, name)
                found.append(here & (sets.within("src", held) | (sets.within("src", unknown) & asked)))
        if self.router.family is Family.IPV4:
            nobody, nearby = unborn()
            found.append(sets.within("src", nobody) & sets.within("dst", nearby))
        return sets.union(found)

    def _number(self, test: Within) -> tuple[Set, Set]:
        base = nat.BASE.get(test.field, test.field)
        found = self.sets.within(base, test.ranges)
        if test.field in nat.PORTS:  # other protocols have something else in their tuple
            return self.sets.all, (found & self.ported) | (self._question(test) & ~self.ported)
        return self._carrier(base), found

    def _question(self, test: Test) -> Set:
        name = test.name if isinstance(test, Oracle | Opaque) else str(test)
        if isinstance(test, AddressType):
            name = f"addrtype {test.text}"
        if isinstance(test, ReversePath):
            name = test.text
        if test == BRIDGED and self.router.bridges() is False:
            return self.sets.none
        asked = self.sets.oracle(name, name)
        if isinstance(test, Oracle) and test.kind == "extension":
            self.sets.extensions[name] = asked
        return asked

    def _carrier(self, field: str) -> Set:
        """Return the packets whose protocol has a field; later fragments have no transport header at all."""
        if field not in _TRANSPORT:
            return self.sets.all
        carrier = {"icmp": self._icmp, "flags": self._tcp}.get(field, self.ported)
        if field == "spi":
            carrier = self.sets.within("proto", [(number, number) for number in SECURED])
        return carrier & ~self.late


def inside(value: int, test: Within | Bits) -> bool:
    """Whether a number fits a test."""
    if isinstance(test, Bits):
        return value & test.mask == test.value
    return any(low <= value <= high for low, high in test.ranges)


def asking_rule(ref: RuleRef, chain: str, name: str, nth: int, visit: int) -> str:
    """Return the key of a rate's question.

    ``nth`` of its kind in the chain rather than the number of the rule: a rule put before it leaves it the same.
    """
    return f"{name} @ {ref.family} {ref.table} {chain} = {nth} # {visit}"
