"""What nftables loads from a packet to compare: from an expression's JSON to tests of its values.

A :class:`Key` says what has to hold before there is a value at all (nft adds ``meta l4proto tcp`` in front of
``tcp dport`` and does not print it), and turns values into tests. A ValueError, KeyError or TypeError means "not
understood".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member
from ipaddress import ip_address
from typing import Protocol

from fwproof.ruleset import numbers
from fwproof.ruleset.asks import AnyOf, Bits, Constant, Interface, Literal, OneOf, Ranges, Test, Within
from fwproof.ruleset.nft import Json
from fwproof.ruleset.ranges import merged


class Key(Protocol):
    """Something that nft loads from a packet."""

    @property
    def needs(self) -> tuple[Literal, ...]:
        """What has to hold before there is a value; otherwise the rule does not match, whatever it asks."""
        ...

    @property
    def lacking(self) -> tuple[Literal, ...]:
        """What has to hold as well, and goes without saying where the value is equal to another."""
        ...

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that the value is one of these."""
        ...

    def compare(self, operator: str, value: Json) -> list[Literal]:
        """Return the tests of an operator other than ``==`` and ``!=``."""
        ...


class Plain(ABC):
    """A key that can only be compared for equality."""

    needs: tuple[Literal, ...] = ()
    lacking: tuple[Literal, ...] = ()

    @abstractmethod
    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that the value is one of these."""

    def compare(self, operator: str, value: Json) -> list[Literal]:
        """Return the tests of ``in`` and ``!``, which ask for one of the values and for none of them."""
        if operator in {"in", "!"}:
            return [(self.among(value if isinstance(value, list) else [value]), operator == "!")]
        raise ValueError(operator)


def inner(value: Json) -> Json:
    """Return the value of a set's element without its properties."""
    if isinstance(value, dict) and set(value) == {"elem"}:
        return inner(value["elem"]["val"])
    return value


def _same(low: int, high: int) -> Ranges:
    return ((low, high),)


@dataclass(frozen=True, slots=True)
class Number(Plain):
    """A number of ``size`` bits; ``spread`` gives the values of the model's field for an interval of nft's."""

    field: str
    size: int
    words: Mapping[str, int] = member(default_factory=dict)
    needs: tuple[Literal, ...] = ()
    spread: Callable[[int, int], Ranges] = _same

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that the number is in one of the intervals."""
        spans = [span for value in values for span in self.spans(value)]
        if self.spread is not _same:
            spans = [part for low, high in merged(spans) for part in self.spread(low, high)]
        return Within(self.field, merged(spans))

    def compare(self, operator: str, value: Json) -> list[Literal]:
        """Return the test of an order, or of bits (``in``, ``!``)."""
        ((low, high),) = self.spans(value)
        most = (1 << self.size) - 1
        spans = {"<": (0, low - 1), "<=": (0, high), ">": (high + 1, most), ">=": (low, most), "in": (low, high)}
        first, last = spans[operator]
        return [(Within(self.field, merged(self.spread(first, last)) if first <= last else ()), False)]

    def spans(self, value: Json) -> Ranges:
        """Return the intervals of a value: a number, a word, a prefix, a range, an element.

        nft 1.0.6 lists ``ip ttl < 64 ip length > 40`` as ``ip length != 64-40``. Where the range is not turned
        round, nothing tells such a line from a true range.
        """
        value = inner(value)
        if isinstance(value, dict) and set(value) == {"range"}:
            (low, _), (_, high) = self._one(value["range"][0]), self._one(value["range"][1])
            if low > high:
                raise ValueError(value)
            return ((low, high),)
        return (self._one(value),)

    def number(self, value: Json) -> int:
        """Return a single number."""
        low, high = self._one(inner(value))
        if low != high:
            raise ValueError(value)
        return low

    def _one(self, value: Json) -> tuple[int, int]:
        if isinstance(value, dict) and set(value) == {"prefix"}:
            low = self._number(value["prefix"]["addr"])
            length = value["prefix"]["len"]
            if not isinstance(length, int) or not 0 <= length <= self.size:
                raise ValueError(value)
            rest = (1 << (self.size - length)) - 1
            return low & ~rest, low | rest
        number = self._number(value)
        return number, number

    def _number(self, value: Json) -> int:
        if isinstance(value, str):
            known = self.words.get(value)
            value = known if known is not None else numbers.whole(value, (1 << self.size) - 1, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << self.size:
            raise ValueError(value)
        return value


@dataclass(frozen=True, slots=True)
class AddressKey(Number):
    """An address of one family."""

    def _number(self, value: Json) -> int:
        address = ip_address(value)
        if not isinstance(value, str) or address.max_prefixlen != self.size:
            raise ValueError(value)
        return int(address)


@dataclass(frozen=True, slots=True)
class Masked(Plain):
    """Some bits of a number: ``ip saddr & 255.255.0.0``, ``meta mark & 0xff``."""

    number: Number
    mask: int
    needs: tuple[Literal, ...] = ()

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that the bits are exactly these."""
        found = [self._test(value) for value in values]
        return found[0] if len(found) == 1 else AnyOf(tuple(((test, False),) for test in found), self.number.field)

    def _test(self, value: Json) -> Test:
        wanted, most = bits_of(self.number, value), (1 << self.number.size) - 1
        if wanted & ~self.mask:
            return Constant(value=False)
        if self.mask == most or (self.number.field in {"src", "dst"} and _prefix(self.mask, most)):
            return Within(self.number.field, ((wanted, wanted | (most & ~self.mask)),))
        return Bits(self.number.field, self.mask, wanted)

    def compare(self, operator: str, value: Json) -> list[Literal]:
        """Return the test of ``in`` and ``!``: any of the bits, none of them."""
        wanted = bits_of(self.number, value) & self.mask
        if operator not in {"in", "!"}:
            raise ValueError(operator)
        return [(Bits(self.number.field, wanted, 0), operator == "in")]


def _prefix(mask: int, most: int) -> bool:
    return (mask | (mask - 1)) & most == most if mask else True


def bits_of(number: Number, value: Json) -> int:
    """Return a value of bits: a number, a word, or several joined by ``|`` or as a list."""
    value = inner(value)
    if isinstance(value, dict) and set(value) == {"|"}:
        value = value["|"]
    if isinstance(value, list):
        found = 0
        for each in value:
            found |= bits_of(number, each)
        return found
    return number.number(value)


@dataclass(frozen=True, slots=True)
class FlagKey(Masked):
    """Bits that are usually asked one by one (TCP flags): ``in`` and ``!`` look at some, ``==`` at all."""

    def compare(self, operator: str, value: Json) -> list[Literal]:
        """Return the test of bits, or of an order."""
        if operator in {"in", "!"}:
            return Masked.compare(self, operator, value)
        return self.number.compare(operator, value)


@dataclass(frozen=True, slots=True)
class Words(Plain):
    """A field of words: conntrack's state, the kind of packet, a hardware address."""

    field: str
    known: Mapping[str | int, str] | None = None
    needs: tuple[Literal, ...] = ()

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that the word is one of these."""
        return OneOf(self.field, frozenset(self._word(inner(value)) for value in values))

    def _word(self, value: Json) -> str:
        if self.known is not None:
            return self.known[value]
        parts = value.lower().split(":")
        if len(parts) != 6:
            raise ValueError(value)
        return ":".join(f"{numbers.whole(part, 255, 16):02x}" for part in parts)


@dataclass(frozen=True, slots=True)
class Device(Plain):
    """The name of an interface; a last ``*`` stands for any ending."""

    field: str

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that the interface is one of these."""
        tests = [Interface(self.field, _name(inner(value))) for value in values]
        return tests[0] if len(tests) == 1 else AnyOf(tuple(((test, False),) for test in tests), self.field)


def _name(value: Json) -> str:
    if not isinstance(value, str) or not value or value.endswith("+"):
        raise ValueError(value)
    if value.endswith("\\*"):
        return value[:-2] + "*"
    return value[:-1] + "+" if value.endswith("*") else value


@dataclass(frozen=True, slots=True)
class Fixed(Plain):
    """Something that the family of the packet decides: ``meta nfproto``, ``meta protocol``, ``ip version``."""

    names: frozenset[str | int]

    def among(self, values: Sequence[Json]) -> Test:
        """Return whether it is one of these."""
        return Constant(value=any(self._holds(inner(value)) for value in values))

    def _holds(self, value: Json) -> bool:
        if isinstance(value, dict):
            raise ValueError(value)  # noqa: TRY004 - ValueError is what "not understood" is here
        return value in self.names


@dataclass(frozen=True, slots=True)
class Joined(Plain):
    """A concatenation: every part on its own."""

    parts: tuple[Key, ...]

    @property
    def needs(self) -> tuple[Literal, ...]:  # type: ignore[override]
        """What all parts need."""
        return tuple(dict.fromkeys(need for part in self.parts for need in part.needs))

    @property
    def lacking(self) -> tuple[Literal, ...]:  # type: ignore[override]
        """What all parts need as well."""
        return tuple(dict.fromkeys(need for part in self.parts for need in part.lacking))

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test of the products; values that differ in their first part only are one product."""
        groups: dict[tuple[Test, ...], list[Json]] = {}
        for value in values:
            items = inner(value)["concat"]
            if len(items) != len(self.parts):
                raise ValueError(value)
            rest = tuple(part.among([item]) for part, item in zip(self.parts[1:], items[1:], strict=True))
            groups.setdefault(rest, []).append(items[0])
        products = (
            tuple((test, False) for test in (self.parts[0].among(first), *rest)) for rest, first in groups.items()
        )
        return AnyOf(tuple(products), "concatenation")
