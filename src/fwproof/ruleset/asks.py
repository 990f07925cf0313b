"""What one match of a rule asks of a packet, as plain values.

Every test is one of three sorts. *Exact* tests follow from the header and from what the kernel knows of the
packet. *Oracle* tests depend on state that no header shows (a rate, a set's members, the time of day); they
keep their parameters, so that a burst can settle them. *Opaque* tests were not understood and keep their text.
The meaning of each test against a packet is in :mod:`fwproof.semantics.packet`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

Ranges = tuple[tuple[int, int], ...]
"""Closed integer intervals; a value is inside when one of them contains it."""


class Sort(StrEnum):
    """How much of a test is understood."""

    EXACT = "exact"
    ORACLE = "oracle"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class Constant:
    """Always this ``value``: ``-m comment``, ``-p all``."""

    value: bool


@dataclass(frozen=True, slots=True)
class Within:
    """The header field is a number inside ``ranges``; ``icmp`` is type * 256 + code."""

    field: str
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Bits:
    """``field & mask == value``: TCP flags, marks, TOS, and addresses with holes in their mask."""

    field: str
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class EitherPort:
    """Source or destination port inside ``ranges`` (``multiport --ports``)."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Interface:
    """The interface (``iif`` or ``oif``) is called ``name``; a last ``+`` stands for any ending."""

    field: str
    name: str

    def covers(self, interface: str) -> bool:
        """Whether an interface name fits; the empty name (no such interface at this hook) fits ``+`` only."""
        return interface.startswith(self.name[:-1]) if self.name.endswith("+") else interface == self.name


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field is one of these words: ``ctstate``, ``pkttype``, ``mac_src``."""

    field: str
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A second or later fragment (``-f``)."""


@dataclass(frozen=True, slots=True)
class Conntrack:
    """``-m conntrack`` as one test, because its parts are not independent (xt_conntrack.c).

    Where conntrack has no entry for the packet, a state test that holds makes the whole match hold, and a
    match without a state test never does. ``status`` are bits of what conntrack has done with the connection, of
    which one is set (none of them: ``status_negated``). ``rest`` is the text of the parts that no header decides.
    """

    states: frozenset[str] | None
    states_negated: bool
    direction: str | None
    rest: str
    status: frozenset[str] | None = None
    status_negated: bool = False


@dataclass(frozen=True, slots=True)
class ConnTuple:
    """A part of ``-m conntrack`` about the connection's own addresses, ports and protocol (``--ctorigdst`` …).

    ``field`` is ``orig_`` (as the connection began) or ``repl_`` (as its answers look) and src, dst, sport or
    dport, or ``proto``. ``stateful``: the same match asks for a state as well, which alone decides where conntrack has
    no entry.
    """

    field: str
    ranges: Ranges
    stateful: bool
    text: str


@dataclass(frozen=True, slots=True)
class AddressType:
    """The kernel's kind of address (``addrtype``) of ``field`` is one of ``kinds``."""

    field: str
    kinds: frozenset[str]
    text: str


@dataclass(frozen=True, slots=True)
class ReversePath:
    """The way back to the source leads through the interface that the packet came in by (``rpfilter``, ``fib``).

    ``loose``: any way back will do. ``accept_local``: a source that is one of the host's own addresses fits too.
    ``native``: nft asks, to which loopback is like any other interface after prerouting.
    """

    loose: bool
    accept_local: bool
    native: bool
    text: str


@dataclass(frozen=True, slots=True)
class Oracle:
    """Something outside the packet, by name; equal names are one and the same thing.

    ``each``: every visit of every rule has a value of its own (statistic, quota …).
    """

    kind: str
    name: str
    each: bool = False

    @property
    def changeable(self) -> bool:
        """Whether what a rule does to the packet (or to a set) may change the answer."""
        return self.kind in _CHANGEABLE


_CHANGEABLE = frozenset({"packet", "routing", "fib", "socket", "interface", "set", "addrtype", "link", "ipsec"})
EXTENDED = Oracle("extension", "IPv6 extension headers before the transport header")
"""A packet without them is what a single flow describes; the whole packet space has both."""
SENDER = Oracle("sender", "a socket of the host belongs to the packet")
"""Never so for packets that are passed on, nor before routing (ip_rcv_core(), ip_forward())."""
BRIDGED = Oracle("bridged", "a bridge of the host carries the packet")
IPSEC = {
    "in": Oracle("ipsec", "IPsec protected the packet on its way in"),
    "out": Oracle("ipsec", "IPsec protects the packet on its way out"),
}
TRACKED = Conntrack(None, states_negated=False, direction=None, rest="")
"""Conntrack has an entry for the packet."""


@dataclass(frozen=True, slots=True)
class Recent:
    """``-m recent`` (xt_recent.c): ``action`` is set, rcheck, update or remove; ``seconds`` 0 means ever.

    ``mask`` is the integer network mask that groups sources, ``side`` the address looked up (``src``, ``dst``).
    """

    action: str
    list: str
    seconds: int
    hitcount: int
    mask: int
    side: str
    ttl: bool = False

    @property
    def name(self) -> str:
        """The oracle's name in the reports: ``recent OLLAMA hitcount 20/60s``."""
        text = f"recent {self.list}"
        if self.hitcount:
            return f"{text} hitcount {self.hitcount}" + (f"/{self.seconds}s" if self.seconds else "")
        return f"{text} listed" + (f" within {self.seconds}s" if self.seconds else "")


@dataclass(frozen=True, slots=True)
class Limit:
    """``-m limit`` (xt_limit.c): a bucket of ``burst`` tokens, filled with ``count`` every ``seconds``."""

    count: int
    seconds: int
    burst: int

    @property
    def name(self) -> str:
        """The oracle's name in the reports."""
        return f"limit {self.count}/{_unit(self.seconds)} burst {self.burst}"


@dataclass(frozen=True, slots=True)
class HashLimit:
    """``-m hashlimit``: a bucket for each value of ``mode``; ``above`` holds when the bucket is empty.

    ``expire`` is the idle time in seconds after which a bucket is forgotten, and so full again.
    """

    list: str
    above: bool
    count: int
    seconds: int
    burst: int
    mode: tuple[str, ...]
    srcmask: int
    expire: float

    @property
    def name(self) -> str:
        """The oracle's name in the reports."""
        word = "above" if self.above else "upto"
        mode = ",".join(self.mode) or "all"
        return f"hashlimit {self.list} {word} {self.count}/{_unit(self.seconds)} burst {self.burst} per {mode}"


@dataclass(frozen=True, slots=True)
class ConnLimit:
    """``-m connlimit``: ``above`` holds with more than ``limit`` connections open in the group of ``mask``."""

    above: bool
    limit: int
    mask: int
    side: str

    @property
    def name(self) -> str:
        """The oracle's name in the reports."""
        return f"connlimit {'above' if self.above else 'upto'} {self.limit} by {self.side}"


@dataclass(frozen=True, slots=True)
class Opaque:
    """A match that was not understood; ``text`` is what it said, and equal texts are one oracle."""

    text: str

    @property
    def name(self) -> str:
        """The oracle's name in the reports."""
        return f"unread match {self.text}"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the products holds; a product is tests, each with its negation, that all have to hold.

    nftables' sets of concatenations, masked values and interface names. Where a test finds that the packet lacks
    what it looks at, the whole does not hold, negated or not. ``text`` is what the rule said.
    """

    products: tuple[tuple[Literal, ...], ...]
    text: str


Exact = (
    Constant | Within | Bits | EitherPort | Interface | OneOf | Fragment | Conntrack | ConnTuple | AddressType
    | ReversePath
)  # fmt: skip
Rate = Recent | Limit | HashLimit | ConnLimit
Outside = Rate | Oracle | Opaque
"""Tests that no header decides."""
Test = Exact | Rate | Oracle | Opaque | AnyOf
Literal = tuple[Test, bool]
"""A test, and whether it is negated."""


def atoms(test: Test) -> Iterator[Test]:
    """Yield a test, or the tests that it is made of."""
    if isinstance(test, AnyOf):
        for product in test.products:
            for part, _ in product:
                yield from atoms(part)
    else:
        yield test


def sort_of(test: Test) -> Sort:
    """Return how much of a test is understood."""
    if isinstance(test, AnyOf):
        sorts = {sort_of(atom) for atom in atoms(test)}
        return next((sort for sort in (Sort.OPAQUE, Sort.ORACLE) if sort in sorts), Sort.EXACT)
    if isinstance(test, Opaque):
        return Sort.OPAQUE
    if isinstance(test, Oracle | Rate) or (isinstance(test, Conntrack) and test.rest):
        return Sort.ORACLE
    return Sort.EXACT


def _unit(seconds: int) -> str:
    return {1: "sec", 60: "min", 3600: "hour", 86400: "day"}.get(seconds, f"{seconds}s")
