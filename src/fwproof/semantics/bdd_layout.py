"""How the fields of a header lie in a decision diagram: their atoms by number, and the variables that spell these."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fwproof.ruleset.ranges import merged

Spans = tuple[tuple[int, int], ...]

ORDER = ("iif", "oif", "pkttype", "mac", "fragment", "proto", "tos", "ttl", "length", "dst", "src", "dport", "sport",
         "icmp", "spi", "flags")  # fmt: skip
"""The fields from the top of a diagram to its bottom."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field and its variables: ``starts`` holds the first value of each atom, empty where every value is one.

    ``words`` names the atoms of a field that is no number; ``largest`` is the largest value.
    """

    name: str
    first: int
    width: int
    starts: tuple[int, ...]
    words: tuple[str, ...]
    largest: int

    @property
    def raw(self) -> bool:
        """Whether the field has no atoms, so that the variables are its bits."""
        return not self.starts and not self.words

    @property
    def size(self) -> int:
        """The number of atoms."""
        return len(self.words) or len(self.starts) or self.largest + 1

    def codes(self, spans: Iterable[tuple[int, int]]) -> Spans:
        """Return values as codes; the ends of the spans are cuts. Codes above the last atom stand for it too.

        Values that the field cannot have (an IPv6 address in a set that both families share) are in none.
        """
        top = (1 << self.width) - 1
        found = []
        for low, high in spans:
            high = min(high, self.largest)  # noqa: PLW2901
            if low > high:
                continue
            if self.starts:
                low, high = bisect_left(self.starts, low), bisect_left(self.starts, high + 1) - 1  # noqa: PLW2901
                assert low <= high, f"{self.name}: the ends of an interval are no cuts"
            found.append((low, top if high >= self.size - 1 else high))
        return merged(found)

    def code(self, value: int) -> int:
        """Return the code of a value."""
        return bisect_right(self.starts, value) - 1 if self.starts else value

    def values(self, codes: Spans) -> Spans:
        """Return codes as values."""
        if not self.starts:
            return tuple((low, min(high, self.size - 1)) for low, high in codes if low < self.size)
        found = []
        for low, high in codes:
            if low < self.size:
                ends = self.starts[high + 1] - 1 if high + 1 < self.size else self.largest
                found.append((self.starts[low], ends))
        return tuple(found)


def fields_of(numbers: dict[str, tuple[Sequence[int], int]], words: dict[str, Sequence[str]]) -> dict[str, Field]:
    """Lay out fields: ``numbers`` are cuts (none: every value) and largest value, ``words`` the atoms' names."""
    found: dict[str, Field] = {}
    first = 0
    for name in ORDER:
        if name in numbers:
            starts, largest = numbers[name]
            size, names = len(starts) or largest + 1, tuple[str, ...]()
        elif name in words:
            starts, largest, names = (), len(words[name]) - 1, tuple(words[name])
            size = len(names)
        else:
            continue
        width = (size - 1).bit_length()
        found[name] = Field(name, first, width, tuple(starts), names, largest)
        first += width
    return found
