"""One packet out of a set that a reader takes for a real one: ordinary addresses, ports that services have.

A witness shows something only where nobody can object to it: its source is not the host's own address, not of
loopback, not multicast, and it comes in by the interface that leads back to it, wherever the set leaves the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, Family, Flow, Hook
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.bdd_layout import Field
from fwproof.semantics.packet import PORTED, SECURED
from fwproof.semantics.routing import Router

FLAG_BITS = {name: bit for name, bit in FLAGS.items() if name not in {"ALL", "NONE"}}
_EMPTY = {
    "sport": 40000,
    "dport": 9,
    "icmp": 8 * 256,
    "flags": 2,
    "ttl": 64,
    "length": 60,
    "tos": 0,
    "proto": TCP,
    "spi": 256,
}
_NICE: dict[str, tuple[int | str, ...]] = {
    "proto": (TCP, UDP, ICMP, ICMPV6), "flags": (2, 16, 18), "sport": (40000,), "ttl": (64, 128, 255, 2),
    "length": (60, 40), "tos": (0,), "icmp": (8 * 256, 128 * 256), "pkttype": ("host",), "mac": ("",),
    "fragment": ("no",), "dport": (9, 22, 80, 443, 53, 8080, 3306, 5432), "spi": (256,),
}  # fmt: skip
_FAR = {
    Family.IPV4: ("203.0.113.7", "10.200.0.7"),
    Family.IPV6: ("2001:db8:ffff::7", "fd00:200::7"),
}
"""Far ends that a witness takes where it has the choice (RFC 5737, RFC 3849, private)."""
_BEYOND = {
    Family.IPV4: ("198.51.100.9", "192.168.200.9"),
    Family.IPV6: ("2001:db8:fffe::9", "fd00:201::9"),
}
"""Destinations that it takes where the packet is not for the host."""
_PLEASANT = {
    Family.IPV4: ("203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    Family.IPV6: ("2001:db8::/32", "fd00::/8", "2000::/3"),
}
"""Documentation and private networks (RFC 5737, RFC 3849, RFC 1918, RFC 4193), the best first."""
_ODD = {
    Family.IPV4: ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    Family.IPV6: ("::/8", "fe80::/10", "ff00::/8"),
}
"""Unspecified, loopback, link-local, multicast and reserved."""

Spans = Sequence[tuple[int, int]]


@dataclass(slots=True)
class Chooser:
    """Narrows a set down to one packet of a hook of a host, field by field.

    ``onto``: nat sends the packet on, so it came for one of the host's own addresses. ``hook`` None is any.
    """

    sets: Sets
    router: Router
    hook: Hook | None
    rest: Set
    onto: bool = False

    def flow(self) -> Flow:
        """Return one packet."""
        values: dict[str, int | str] = {name: self._plain(name) for name in ("proto", "fragment") if self._has(name)}
        sent = self.hook is Hook.OUTPUT
        if not sent:
            self._usual_way_in()
        for end, face in (("src", "iif"), ("dst", "oif")):
            values[end] = self._address(end)
            values[face] = self._face(face, int(values[end]))
        for name in self.sets.fields:
            if name not in values:
                values[name] = self._plain(name)
        return _flow(values, self.router.family)

    def _has(self, name: str) -> bool:
        return name in self.sets.fields

    def _take(self, part: Set) -> bool:
        if part == self.sets.none:
            return False
        self.rest = part
        return True

    def _spans(self, name: str) -> Spans:
        """Return the values, or codes of words, that a field can still have; (value, mask) of one without atoms."""
        return self.sets.pieces(self.sets.only(self.rest, [name]), name)[0][0]

    def _plain(self, name: str) -> int | str:
        """Choose a value that is liked, else the first that there is."""
        field = self.sets.fields[name]
        for value in _NICE.get(name, ()):
            if self._take(self.rest & one(self.sets, field, value)):
                return value
        low, high = self._spans(name)[0]
        if field.words:
            self._take(self.rest & self.sets.within(name, ((low, low),)))
            return field.words[low]
        if name == "sport" and not field.raw:  # clients take high ports
            low = next((max(first, 1024) for first, last in self._spans(name) if last >= 1024), low)
        elif low == 0 and high > 0 and not field.raw:
            low = 1  # 0 is no ordinary number
        self._take(self.rest & one(self.sets, field, low))
        return low

    # ---- addresses

    def _usual_way_in(self) -> None:
        """Let packets come in by the interface that leads to anywhere, where a sensible source can."""
        usual = self.router.out(self._make(self._wish("src")[0])) if self.router.addresses is not None else None
        if usual is None:
            return
        before = self.rest
        if self._take(self.rest & one(self.sets, self.sets.fields["iif"], usual)) and not self._sensible("src"):
            self.rest = before

    def _sensible(self, end: str) -> bool:
        return self.sets.fields[end].raw or bool(_minus(self._spans(end), self._odd()))

    def _odd(self) -> Spans:
        own = () if self.hook is Hook.OUTPUT else self._own()
        return [*map(_span, _ODD[self.router.family]), *((value, value) for value in own)]

    def _make(self, value: int) -> Address:
        return IPv4Address(value) if self.router.family is Family.IPV4 else IPv6Address(value)

    def _own(self) -> list[int]:
        if self.router.addresses is None:
            return []
        own = self.router.addresses.of(self.router.family)
        # an address of its own network card is what people know a host by
        return [int(a) for a in sorted(own, key=lambda a: (a.is_loopback, a.is_link_local))]

    def _wish(self, end: str) -> list[int]:
        """Return the addresses that an end should have, the best first."""
        own = self._own()
        near = (end == "src") == (self.hook is Hook.OUTPUT) and (self.hook is not Hook.FORWARD or self.onto)
        if near and own:
            return [value for value in own if not self._make(value).is_loopback]
        family = self.router.family
        far = _BEYOND[family] if end == "dst" and self.hook is Hook.FORWARD else _FAR[family]
        if end == "dst" and self.hook is not Hook.FORWARD:
            far = far[::-1]
        make = IPv4Address if family is Family.IPV4 else IPv6Address
        return [int(make(text)) for text in far if int(make(text)) not in own]

    def _address(self, end: str) -> int:
        field = self.sets.fields[end]
        for value in self._wish(end):
            if self._take(self.rest & one(self.sets, field, value)):
                return value
        value = self._spans(end)[0][0] if field.raw else self._pleasant(self._spans(end))
        self._take(self.rest & one(self.sets, field, value))
        return value

    def _pleasant(self, spans: Spans) -> int:
        plain = _minus(spans, self._odd())
        for low, high in map(_span, _PLEASANT[self.router.family]):
            for first, last in plain:
                if max(first, low) <= min(last, high):
                    return _inner(max(first, low), min(last, high))
        own = self._own()
        return _inner(*(plain or _minus(spans, [(v, v) for v in own]) or spans)[0])

    def _face(self, face: str, address: int) -> str:
        field = self.sets.fields[face]
        wanted = None if self.router.addresses is None else self.router.out(self._make(address))
        if wanted is not None and self._take(self.rest & one(self.sets, field, wanted)):
            return wanted
        at = next((low for low, _ in self._spans(face) if field.words[low]), self._spans(face)[0][0])
        self._take(self.rest & self.sets.within(face, ((at, at),)))
        return _named(field, field.words[at])


def one(sets: Sets, field: Field, value: int | str) -> Set:
    """Return the packets of the atom that a value is in."""
    if field.words:
        at = atom_of(field, str(value))
        return sets.none if at is None else sets.within(field.name, ((at, at),))
    assert isinstance(value, int)
    if value > field.largest:
        return sets.none
    if field.raw:
        return sets.bits(field.name, (1 << field.width) - 1, value)
    code = field.code(value)
    top = (1 << field.width) - 1
    return sets.coded(field.name, ((code, top if code == field.size - 1 else code),))


def atom_of(field: Field, word: str) -> int | None:
    """Return the atom of a word field that a word is in; of interfaces the narrowest pattern that fits."""
    if word in field.words:
        return field.words.index(word)
    fitting = [at for at, each in enumerate(field.words) if each.endswith("*") and word.startswith(each[:-1])]
    if fitting:
        return max(fitting, key=lambda at: len(field.words[at]))
    return field.words.index("") if "" in field.words else None


def _named(field: Field, word: str) -> str:
    """Return an interface name that stands for a group of names: ``eth*`` and, empty, any other."""
    if word and not word.endswith("*"):
        return word
    stem = word[:-1] or "other"
    tries = (f"{stem}{number}" for number in ((99, "x0", "zz9", 1234567) if word else (0, 99, "x0", 1234567)))
    at = field.words.index(word)
    return next((name for name in tries if atom_of(field, name) == at), word)


def _flow(values: dict[str, int | str], family: Family) -> Flow:
    make = IPv4Address if family is Family.IPV4 else IPv6Address
    number = {name: int(values.get(name, empty)) for name, empty in _EMPTY.items()}
    proto = number["proto"]
    ported, icmp = proto in PORTED, number["icmp"] if proto in {ICMP, ICMPV6} else None
    flags = frozenset(name for name, bit in FLAG_BITS.items() if number["flags"] & bit) if proto == TCP else frozenset()
    return Flow(
        src=make(int(values["src"])), dst=make(int(values["dst"])), proto=proto,
        sport=number["sport"] if ported else None, dport=number["dport"] if ported else None, flags=flags,
        icmp_type=None if icmp is None else icmp >> 8, icmp_code=None if icmp is None else icmp & 255,
        iif=str(values["iif"]) or "other0", oif=str(values["oif"]) or "other0", ttl=number["ttl"],
        length=number["length"], tos=number["tos"], mac_src=str(values.get("mac", "")) or None,
        pkttype=str(values.get("pkttype", "host")), fragment=values.get("fragment") == "yes",
        spi=number["spi"] if proto in SECURED else None,
    )  # fmt: skip


def _inner(low: int, high: int) -> int:
    """Return an address inside an interval; the first of a network is no ordinary one."""
    return low + 7 if high - low > 14 else min(low + 1, high)


@lru_cache(maxsize=64)
def _span(text: str) -> tuple[int, int]:
    network = ip_network(text)
    return int(network.network_address), int(network.broadcast_address)


def _minus(spans: Spans, others: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    rest = list(spans)
    for low, high in others:
        rest = [part for first, last in rest for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
                if part[0] <= part[1]]  # fmt: skip
    return rest
