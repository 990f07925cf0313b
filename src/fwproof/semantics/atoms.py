"""Atoms: each field of a packet cut at every constant that some rule or question looks at.

All values between two cuts are alike for every test, so a set of atoms is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fwproof.flow import ICMP, ICMPV6, Family
from fwproof.ruleset.asks import Bits, ConnTuple, EitherPort, Interface, Ranges, Test, Within, atoms
from fwproof.ruleset.model import Rule
from fwproof.ruleset.numbers import bits
from fwproof.semantics import nat
from fwproof.semantics.packet import PORTED

NUMBERS = {"proto": 255, "sport": 65535, "dport": 65535, "icmp": 65535, "flags": 255, "length": 65575, "ttl": 255,
           "tos": 255, "spi": 0xFFFFFFFF}  # fmt: skip
"""The largest value of each number field but the addresses."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where fields are cut.

    ``starts`` holds the first value of each atom of a number field; ``names`` the interface names that occur, and
    one more for any other; a name that ends in ``*`` stands for the others with that beginning.
    """

    family: Family
    starts: dict[str, tuple[int, ...]]
    names: dict[str, tuple[str, ...]]

    def largest(self, field: str) -> int:
        """Return the largest value of a number field."""
        return NUMBERS.get(field, (1 << bits(self.family)) - 1)


def cuts_of(
    family: Family, rules: Iterable[Rule], extra: Iterable[tuple[str, Ranges]], interfaces: Iterable[str]
) -> Cuts:
    """Return where all tests of the rules and ``extra`` (field, ranges) of a question cut."""
    ends: dict[str, set[int]] = {field: {0} for field in ("src", "dst", *NUMBERS)}
    names = {"iif": dict.fromkeys(interfaces), "oif": dict.fromkeys(interfaces)}
    for test in _cutting(tuple(rules), extra):
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
    starts = {field: tuple(sorted(v for v in values if v <= largest[field])) for field, values in ends.items()}
    return Cuts(family, starts, {field: (*(name for name in found if name), "") for field, found in names.items()})


def _cutting(rules: Sequence[Rule], extra: Iterable[tuple[str, Ranges]]) -> Iterator[Test]:
    """Yield everything that tells packets apart: tests, the question, and what nat writes."""
    for test in (atom for rule in rules for match in rule.matches for atom in atoms(match.test)):
        yield Within(nat.BASE.get(test.field, test.field), test.ranges) if isinstance(test, ConnTuple) else test
    changes = [rule.target.nat for rule in rules if rule.target.nat is not None]
    for field, values in (*extra, *(cut for change in changes for cut in nat.cuts(change))):
        yield Within(field, values)
