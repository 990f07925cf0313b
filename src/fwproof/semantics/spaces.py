"""Spaces: the fields of packets, each cut into atoms at every constant that some rule or question looks at."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import ICMP, ICMPV6, Family
from fwproof.ruleset.asks import (
    Bits,
    ConnTuple,
    EitherPort,
    Interface,
    Ranges,
    Test,
    Within,
    atoms,
)  # fmt: skip
from fwproof.ruleset.model import Rule
from fwproof.ruleset.numbers import bits
from fwproof.semantics import kinds, nat
from fwproof.semantics.packet import PORTED
from fwproof.semantics.routing import Router

NUMBERS = {"proto": 255, "sport": 65535, "dport": 65535, "icmp": 65535, "flags": 255, "length": 65575, "ttl": 255,
           "tos": 255, "spi": 0xFFFFFFFF}  # fmt: skip
"""The largest value of each number field but the addresses."""

ORDINARY = {
    Family.IPV4: tuple(int(IPv4Address(a)) for a in ("203.0.113.7", "10.200.0.7")),
    Family.IPV6: tuple(int(IPv6Address(a)) for a in ("2001:db8:ffff::7", "fd00:200::7")),
}
"""Sources that a witness takes where it has the choice (RFC 5737, RFC 3849, private)."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Space:
    """The fields of a packet space, each cut into atoms.

    ``cuts`` holds the first value of each atom of a number field; ``names`` the interface names that occur, and
    one more for any other; a name that ends in ``*`` stands for the others with that beginning. ``router`` is what
    is known of the host's addresses and routes.
    """

    family: Family
    fields: tuple[str, ...]
    cuts: dict[str, tuple[int, ...]]
    names: dict[str, tuple[str, ...]]
    router: Router | None = None

    def largest(self, field: str) -> int:
        """Return the largest value of a number field."""
        return NUMBERS.get(field, (1 << bits(self.family)) - 1)

    def size(self, field: str) -> int:
        """Return the number of atoms of a field."""
        return len(self.names[field]) if field in self.names else len(self.cuts[field])

    def mask(self, field: str, ranges: Ranges) -> int:
        """Return the atoms inside ranges whose ends are cuts."""
        found, cuts = 0, self.cuts[field]
        for low, high in ranges:
            first, last = bisect_left(cuts, low), bisect_left(cuts, high + 1)
            found |= (1 << last) - (1 << first)
        return found

    def bits_mask(self, test: Bits) -> int:
        """Return the atoms whose values fit a bit test; all values of such a field are atoms of their own."""
        return sum(1 << at for at, value in enumerate(self.cuts[test.field]) if value & test.mask == test.value)

    def spans(self, field: str, mask: int) -> list[Span]:
        """Return the values of a set of atoms as maximal intervals."""
        cuts = self.cuts[field]
        spans: list[Span] = []
        for at, low in enumerate(cuts):
            if mask >> at & 1:
                high = cuts[at + 1] - 1 if at + 1 < len(cuts) else self.largest(field)
                if spans and spans[-1][1] + 1 == low:
                    spans[-1] = (spans[-1][0], high)
                else:
                    spans.append((low, high))
        return spans

    def everything(self) -> tuple[int, ...]:
        """Return the box of all packets."""
        return tuple((1 << self.size(field)) - 1 for field in self.fields)


def space_of(
    family: Family, rules: Iterable[Rule], extra: Iterable[tuple[str, Ranges]], interfaces: Iterable[str],
    router: Router | None = None,
) -> Space:  # fmt: skip
    """Return the space that is cut by all tests of the rules and by ``extra`` (field, ranges) of a question."""
    ends: dict[str, set[int]] = {field: {0} for field in ("src", "dst", *NUMBERS)}
    names = {"iif": dict.fromkeys(interfaces), "oif": dict.fromkeys(interfaces)}
    for test in _cutting(family, tuple(rules), extra, router):
        if isinstance(test, Within) and test.field in ends:
            for low, high in test.ranges:
                ends[test.field] |= {low, high + 1}
                if test.field == "ttl":
                    ends["ttl"] |= {low + 1, high + 2}  # as it was before the routing counted down
        elif isinstance(test, EitherPort):
            for low, high in test.ranges:
                ends["sport"] |= {low, high + 1}
                ends["dport"] |= {low, high + 1}
        elif isinstance(test, Bits) and test.field in {"flags", "tos"}:
            ends[test.field] |= set(range(64 if test.field == "flags" and test.mask < 64 else 256))
        elif isinstance(test, Interface):
            names[test.field][test.name.removesuffix("+") + ("*" if test.name.endswith("+") else "")] = None
    for proto in (ICMP, ICMPV6, *PORTED):
        ends["proto"] |= {proto, proto + 1}
    largest = {**NUMBERS, "src": (1 << bits(family)) - 1, "dst": (1 << bits(family)) - 1}
    cuts = {field: tuple(sorted(v for v in values if v <= largest[field])) for field, values in ends.items()}
    called = {field: (*(name for name in found if name), "") for field, found in names.items()}
    return Space(family, (*cuts, *called), cuts, called, router)


def _cutting(
    family: Family, rules: Sequence[Rule], extra: Iterable[tuple[str, Ranges]], router: Router | None
) -> Iterator[Test]:
    """Yield everything that tells packets apart: tests, the question, kinds of address, and what nat writes."""
    tests = [atom for rule in rules for match in rule.matches for atom in atoms(match.test)]
    for test in tests:
        yield Within(nat.BASE.get(test.field, test.field), test.ranges) if isinstance(test, ConnTuple) else test
    changes = [rule.target.nat for rule in rules if rule.target.nat is not None]
    ranges = [*extra, *(cut for change in changes for cut in nat.cuts(change))]
    if router is not None and router.addresses is not None:
        ranges += kinds.cuts(tests, router.addresses, family)
        ranges += [("dst", kinds.own(router.addresses, family))] if changes else []
    for field, values in ranges:
        yield Within(field, values)
