"""Keys whose values no single header field holds: conntrack's, the routing table's, and what is not modelled.

As in :mod:`fwproof.ruleset.nft_keys`, a ValueError, KeyError or TypeError means "not understood".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fwproof.flow import Family
from fwproof.ruleset import asks
from fwproof.ruleset.asks import (
    EXTENDED,
    AddressType,
    AnyOf,
    Conntrack,
    ConnTuple,
    Constant,
    Literal,
    Oracle,
    Test,
    Within,
)  # fmt: skip
from fwproof.ruleset.nft import Json
from fwproof.ruleset.nft_keys import Number, Plain, inner
from fwproof.ruleset.nft_text import expression
from fwproof.ruleset.ranges import merged

PORTED = frozenset({6, 17, 33, 132, 136})
"""The protocols whose header starts with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite."""
TRACKED: Literal = (asks.TRACKED, False)
"""Conntrack has an entry for the packet; without one, what nft loads of it breaks off the rule (nft_ct.c)."""


@dataclass(frozen=True, slots=True)
class Kind(Plain):
    """The kernel's kind of an address (``fib daddr type``)."""

    field: str
    family: Family

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that the address is of one of these kinds."""
        kinds = [str(inner(value)).upper() for value in values]
        known = {"LOCAL", "MULTICAST", "BROADCAST", "UNICAST"}
        if self.family is Family.IPV4 and set(kinds) <= known:
            return AddressType(self.field, frozenset(kinds), f"fib {self.field} type {','.join(kinds).lower()}")
        return AnyOf(tuple(((self._one(kind), False),) for kind in kinds), f"fib {self.field} type")

    def _one(self, kind: str) -> Test:
        if self.family is Family.IPV6 and kind == "BROADCAST":
            return Constant(value=False)
        if kind in {"LOCAL", "MULTICAST"}:
            return AddressType(self.field, frozenset([kind]), f"fib {self.field} type {kind.lower()}")
        return Oracle("fib", f"fib {self.field} type {kind.lower()}")


@dataclass(frozen=True, slots=True)
class Direction(Plain):
    """``ct direction``."""

    needs: tuple[Literal, ...] = (TRACKED,)

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test of the direction."""
        words = {{0: "original", 1: "reply"}.get(inner(value), inner(value)) for value in values}
        if not words <= {"original", "reply"}:
            raise ValueError(words)
        return Conntrack(None, states_negated=False, direction=words.pop() if len(words) == 1 else None, rest="")


@dataclass(frozen=True, slots=True)
class Status(Plain):
    """``ct status``: bits of what conntrack has done with a connection."""

    needs: tuple[Literal, ...] = (TRACKED,)

    def among(self, values: Sequence[Json]) -> Test:
        """Not modelled: all bits of a status at once."""
        return Oracle("conntrack", f"ct status is exactly {_shown(values)}")

    def compare(self, operator: str, value: Json) -> list[Literal]:
        """Return the test of any of some bits."""
        words = [str(word) for word in (value if isinstance(value, list) else [value])]
        if operator not in {"in", "!"}:
            raise ValueError(operator)
        if set(words) <= {"snat", "dnat"}:
            states = frozenset(word.upper() for word in words)
            return [(Conntrack(states, states_negated=False, direction=None, rest=""), operator == "!")]
        status = frozenset(word.upper().replace("-", "_") for word in words)
        if status <= {"EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"}:
            return [(Conntrack(None, states_negated=False, direction=None, rest="", status=status), operator == "!")]
        rest = f"conntrack status {','.join(sorted(status))}"
        return [(Conntrack(None, states_negated=False, direction=None, rest=rest), operator == "!")]


@dataclass(frozen=True, slots=True)
class Tuple(Plain):
    """An address or port of the connection as conntrack knows it: ``ct original ip daddr``.

    ``blurred``: the older ``ct original daddr``. nft 1.0.6 lists ``ct reply saddr fd00:9::/64`` as
    ``::fd00:9:0:0``, so a single address of it may be a prefix, and is an oracle.
    """

    field: str
    number: Number
    blurred: bool = False
    needs: tuple[Literal, ...] = (TRACKED,)

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that it is inside of these."""
        if self.blurred and any(isinstance(inner(value), str) for value in values):
            return Oracle("conntrack", f"ct {self.field} {_shown(values)}, or a prefix that nft lists so")
        ranges = merged(span for value in values for span in self.number.spans(value))
        return ConnTuple(self.field, ranges, stateful=False, text=f"--ct{self.field.replace('_', '')} {_shown(values)}")


@dataclass(frozen=True, slots=True)
class Port(Plain):
    """``th dport``: the port where the protocol has one, and whatever else stands there where it has not."""

    field: str
    number: Number
    ported: Test

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test of the port, or of the bytes in its place."""
        other = Oracle("packet", f"th {self.field} of a protocol without ports is {_shown(values)}")
        known = self.number.among(values)
        return AnyOf(
            (((self.ported, False), (known, False)), ((self.ported, True), (other, False))), f"th {self.field}"
        )

    def compare(self, operator: str, value: Json) -> list[Literal]:
        """Return the test of an order."""
        ((test, _),) = self.number.compare(operator, value)
        other = Oracle("packet", f"th {self.field} of a protocol without ports {operator} {_shown([value])}")
        products = (((self.ported, False), (test, False)), ((self.ported, True), (other, False)))
        return [(AnyOf(products, f"th {self.field}"), False)]


def has_ports(test: Test) -> bool:
    """Whether a test holds for protocols with ports only."""
    return isinstance(test, Within) and test.field == "proto" and all(
        number in PORTED for low, high in test.ranges for number in range(low, high + 1))  # fmt: skip


def with_ports(test: Test) -> Test:
    """Return what :class:`Port` asks of a protocol that has ports; any other test as it is."""
    if isinstance(test, AnyOf) and test.text in {"th sport", "th dport"}:
        ((_, (known, _)), _) = test.products
        return known
    return test


@dataclass(frozen=True, slots=True)
class NextHeader(Plain):
    """``ip6 nexthdr``: the protocol, unless extension headers come first."""

    number: Number
    needs: tuple[Literal, ...] = ()

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test of the first header's protocol."""
        plain = ((EXTENDED, True), (self.number.among(values), False))
        other = Oracle("packet", f"the first extension header is {_shown(values)}")
        return AnyOf((plain, ((EXTENDED, False), (other, False))), "ip6 nexthdr")


_ALWAYS_THERE = frozenset({"cpu", "time", "random", "priority", "ipsec", "numgen", "trace", "conntrack", "fib", "hash"})


@dataclass(frozen=True, slots=True)
class Hidden(Plain):
    """Something that no header of the model shows; equal questions about it have equal answers.

    Where the packet lacks it the rule breaks off, whatever it asks: ``!=`` is more than the opposite of ``==``. It is
    ``certain`` that every packet has it.
    """

    kind: str
    text: str
    each: bool = False
    needs: tuple[Literal, ...] = ()
    certain: bool = False

    @property
    def lacking(self) -> tuple[Literal, ...]:  # type: ignore[override]
        """What has to be there before there is a value."""
        if self.kind in {"owner", "cgroup"}:
            return ((asks.SENDER, False),)
        return (
            () if self.certain or self.kind in _ALWAYS_THERE else ((Oracle(self.kind, f"{self.text} is there"), False),)
        )

    def among(self, values: Sequence[Json]) -> Test:
        """Return an oracle; ``missing`` is that the same thing does not exist."""
        first = inner(values[0]) if len(values) == 1 else None
        if isinstance(first, bool):
            there = Oracle(self.kind, f"{self.text} exists", self.each)
            return there if first else AnyOf((((there, True),),), self.text)
        return Oracle(self.kind, f"{self.text} {_shown(values)}", self.each)

    def compare(self, operator: str, value: Json) -> list[Literal]:
        """Return an oracle of its own for each operator."""
        word = {"in": "", "!": "!"}.get(operator, operator)
        return [(Oracle(self.kind, f"{self.text} {word}{' ' if word else ''}{_shown([value])}", self.each), False)]


_HEADERS = {"hbh": "hop-by-hop options", "rt": "routing", "rt0": "routing", "rt2": "routing", "srh": "routing",
            "frag": "fragment", "dst": "destination options"}  # fmt: skip


def extension_header(body: Json, needs: tuple[Literal, ...]) -> Hidden:
    """Return the key of a field of an IPv6 extension header, or of the header's presence (nft_exthdr.c)."""
    name = body["name"]
    if name == "mh":
        return Hidden("packet", expression({"exthdr": body}), needs=(*needs, (Within("proto", ((135, 135),)), False)))
    header = f"IPv6 {_HEADERS[name]} header"
    if "field" not in body and "offset" not in body:
        return Present("extension", header, needs=needs)
    return Hidden("packet", expression({"exthdr": body}), needs=(*needs, (header_test(name, header), False)))


def header_test(name: str, header: str) -> Test:
    """Return the test that an extension header is there; a later fragment has a header of fragments, for one."""
    present = Oracle("extension", header)
    return AnyOf((((asks.Fragment(), False),), ((present, False),)), header) if name == "frag" else present


@dataclass(frozen=True, slots=True)
class Present(Hidden):
    """Whether an extension header of IPv6 is there."""

    lacking: tuple[Literal, ...] = ()

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test of its presence."""
        (value,) = (inner(each) for each in values)
        if not isinstance(value, bool):
            raise ValueError(value)  # noqa: TRY004 - ValueError is what "not understood" is here
        test = header_test("frag" if "fragment" in self.text else "", self.text)
        return test if value else AnyOf((((test, True),),), self.text)


@dataclass(frozen=True, slots=True)
class IpSec(Plain):
    """Whether IPsec protected a packet on its way ``in`` (``meta ipsec``) or will on its way ``out`` (``rt ipsec``)."""

    way: str

    def among(self, values: Sequence[Json]) -> Test:
        """Return the question that ``-m policy --pol ipsec`` asks as well."""
        (value,) = (inner(each) for each in values)
        test = asks.IPSEC[self.way]
        return AnyOf((((test, value in {False, "missing"}),),), test.name)


@dataclass(frozen=True, slots=True)
class WayBack(Plain):
    """``fib saddr . iif oif``: the interface of the way back to the source, which may be missing (nft_fib.c)."""

    hidden: Hidden
    loose: bool

    def among(self, values: Sequence[Json]) -> Test:
        """Return the test that there is such a way, or none; of a certain interface it is an oracle."""
        first = inner(values[0]) if len(values) == 1 else None
        if not isinstance(first, bool) and first not in {0, "0"}:
            return self.hidden.among(values)
        test = asks.ReversePath(self.loose, accept_local=False, native=True, text=self.hidden.text)
        return test if first is True else AnyOf((((test, True),),), self.hidden.text)


def _shown(values: Sequence[Json]) -> str:
    texts = sorted(expression(inner(value)) for value in values)
    return ",".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")
