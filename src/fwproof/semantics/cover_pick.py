"""One packet out of a set, in a few steps for each variable: thousands are chosen in one go.

As :func:`fwproof.semantics.witness.pick`, which weighs more carefully which packet people like to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, Family, Flow
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.bdd_layout import Field
from fwproof.semantics.packet import PORTED, SECURED
from fwproof.semantics.plausible import atom_of

_FLAGS = {name: bit for name, bit in FLAGS.items() if name not in {"ALL", "NONE"}}
_NICE: dict[str, tuple[int | str, ...]] = {
    "proto": (TCP, UDP, ICMP, ICMPV6), "flags": (0x02, 0x10, 0x12), "ttl": (64,), "length": (60, 40), "tos": (0,),
    "icmp": (8 * 256, 128 * 256, 3 * 256 + 3, 256 + 4), "pkttype": ("host",), "mac": ("",), "fragment": ("no",),
    "dport": (9, 22, 80, 443, 53), "iif": (), "oif": (),
    "spi": (256,),
}  # fmt: skip
_ORDINARY = {
    Family.IPV4: tuple(int(IPv4Address(a)) for a in ("203.0.113.7", "198.51.100.7", "192.0.2.7", "10.200.0.7")),
    Family.IPV6: tuple(int(IPv6Address(a)) for a in ("2001:db8:ffff::7", "2001:db8::7", "fd00:200::7")),
}
"""Documentation and private addresses (RFC 5737, RFC 3849, RFC 1918, RFC 4193)."""
_FIRST_PORT, _PORTS = 32768, 28000
"""Source ports that clients take (ip_local_port_range); one after the other, so that packets are no one connection."""

_DRAWN = frozenset({"src", "dst", "dport"})
_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95
"""Multiples of it have bits that look drawn (the golden ratio's, Knuth, The Art of Computer Programming 6.4)."""


class Picker:
    """Picks packets; ``own`` are the host's addresses."""

    def __init__(self, sets: Sets, family: Family, own: Sequence[Address]) -> None:
        self.sets, self.family = sets, family
        self._own = tuple(map(int, own))
        self._draw = 0
        self._codes: dict[tuple[str, int | str], int | None] = {}

    def pick(
        self, some: Set, number: int, *, sent: bool, first: bool = True, draw: int = 0
    ) -> tuple[Flow, dict[str, bool]]:
        """Return the packet with this number out of a set that is not empty, and the answers that it needs.

        Its state and marks are Flow's defaults; ``first``: it may begin a connection. Another ``draw`` is another
        packet of the set, and no nicer one.
        """
        self._draw = draw * _SPREAD
        far = _ORDINARY[self.family]
        # further atoms are no worse where the host's addresses are not known
        near = (*self._own, *far[::-1])
        port = (_FIRST_PORT + number % _PORTS, 40000)
        nice = {**_NICE, "src": near if sent else far, "dst": far if sent else near, "sport": port}
        nice["flags"] = _NICE["flags"] if first else (0x10, 0x12)
        values: dict[str, int | str] = {}
        for name, field in self.sets.fields.items():
            some, values[name] = self._field(some, field, () if draw and name in _DRAWN else nice[name])
        return _flow(values, self.family), self._answers(some)

    def _field(self, some: Set, field: Field, nice: Sequence[int | str]) -> tuple[Set, int | str]:
        variable = some.node_var()
        free = variable is None or variable >= field.first + field.width
        for value in nice:
            code = self._code(field, value)
            after = None if code is None else some if free else self._follow(some, field, code)
            if after is not None:
                return after, value if not field.words else _named(field, value)
        after, code = self._any(some, field)
        if field.words:
            return after, _named(field, field.words[min(code, field.size - 1)])
        return after, code if not field.starts else self._inside(field, min(code, field.size - 1))

    def _inside(self, field: Field, code: int) -> int:
        """Return a value of an atom: the first address of a network is no ordinary one, and 0 no ordinary number."""
        low = field.starts[code]
        high = field.starts[code + 1] - 1 if code + 1 < field.size else field.largest
        if field.name == "sport" and high >= _FIRST_PORT:
            return max(low, _FIRST_PORT)
        return low + 1 if low < high and (field.name in {"src", "dst"} or not low) else low

    def _code(self, field: Field, value: int | str) -> int | None:
        key = field.name, value
        if key not in self._codes:
            if field.words:
                self._codes[key] = atom_of(field, str(value))
            else:
                self._codes[key] = None if int(value) > field.largest else field.code(int(value))
        return self._codes[key]

    def _follow(self, node: Set, field: Field, code: int) -> Set | None:
        """Return what is left of a set with a field at a code, None for nothing."""
        last, bottom = field.first + field.width - 1, field.first + field.width
        while (variable := node.node_var()) is not None and variable < bottom:
            children = node.cofactors()
            assert children is not None
            node = children[not code >> (last - variable) & 1]
        return None if node == self.sets.none else node

    def _any(self, node: Set, field: Field) -> tuple[Set, int]:
        """Return some code that a field has in a set, and what is left of the set with it.

        Of addresses it is a high one: the lowest of a network is the network's own.
        """
        last, bottom, code = field.first + field.width - 1, field.first + field.width, 0
        first = int(field.name not in {"src", "dst"})
        while (variable := node.node_var()) is not None and variable < bottom:
            children = node.cofactors()
            assert children is not None
            wanted = first ^ (self._draw >> variable & 1)
            taken = wanted if children[wanted] != self.sets.none else 1 - wanted
            node, code = children[taken], code | (1 - taken) << (last - variable)
        return node, code

    def _answers(self, node: Set) -> dict[str, bool]:
        """Return answers of the oracles for which a packet is in a set; those that do not matter are left out."""
        found: dict[str, bool] = {}
        while (variable := node.node_var()) is not None:
            children = node.cofactors()
            assert children is not None
            yes, no = children
            label = self.sets.labels[variable - self.sets.header]
            found[label] = no == self.sets.none
            node = yes if found[label] else no
        return found


def _named(field: Field, word: int | str) -> int | str:
    """Return a name for an atom that stands for many: ``eth*``, and empty, any other interface or address."""
    if not isinstance(word, str) or (word and not word.endswith("*")) or field.name not in {"iif", "oif", "mac"}:
        return word
    if field.name == "mac":
        return next(name for name in (f"02:00:5e:10:00:{n:02x}" for n in range(256)) if name not in field.words)
    stem = word[:-1] or "other"
    tries = (f"{stem}{number}" for number in ((99, "x0", "zz9", 1234567) if word else (0, 99, "x0", 1234567)))
    at = field.words.index(word)
    return next((name for name in tries if atom_of(field, name) == at), word)


def _flow(values: Mapping[str, int | str], family: Family) -> Flow:
    make = IPv4Address if family is Family.IPV4 else IPv6Address
    proto = int(values["proto"])
    ported, icmp = proto in PORTED, int(values["icmp"]) if proto in {ICMP, ICMPV6} else None
    bits = int(values["flags"]) if proto == TCP else 0
    flags = frozenset(name for name, bit in _FLAGS.items() if bits & bit)
    return Flow(
        src=make(int(values["src"])), dst=make(int(values["dst"])), proto=proto,
        sport=int(values["sport"]) if ported else None, dport=int(values["dport"]) if ported else None, flags=flags,
        icmp_type=None if icmp is None else icmp >> 8, icmp_code=None if icmp is None else icmp & 255,
        iif=str(values["iif"]), oif=str(values["oif"]), ttl=int(values["ttl"]), length=int(values["length"]),
        tos=int(values.get("tos", 0)), mac_src=str(values.get("mac", "")) or None,
        pkttype=str(values.get("pkttype", "host")), fragment=values.get("fragment") == "yes",
        spi=int(values["spi"]) if proto in SECURED and "spi" in values else None,
    )  # fmt: skip
