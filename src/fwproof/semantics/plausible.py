"""One packet out of a box that a reader takes for a real one: ordinary addresses, ports that services have.

A witness shows something only where nobody can object to it: its source is not the host's own address, not of
loopback, not multicast, and it comes in by the interface that leads back to it, wherever the box leaves the choice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from fwproof.flow import ICMP, ICMPV6, TCP, Address, Family, Flow, Hook
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics.boxes import ORDINARY, Box, Span
from fwproof.semantics.packet import PORTED
from fwproof.semantics.routing import Router

_NICE: dict[str, tuple[int, ...]] = {
    "proto": (6, 17, 1, 58), "sport": (40000,), "dport": (9, 22, 80, 443, 53, 8080, 3306, 5432),
    "ttl": (64, 128, 255, 2), "length": (60,), "tos": (0,), "flags": (2, 16), "icmp": (8 * 256, 128 * 256),
}  # fmt: skip
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
_BEYOND = {
    Family.IPV4: tuple(int(IPv4Address(a)) for a in ("198.51.100.9", "192.168.200.9")),
    Family.IPV6: tuple(int(IPv6Address(a)) for a in ("2001:db8:fffe::9", "fd00:201::9")),
}
"""Destinations that a witness takes where it has the choice and the packet is not for the host."""


_FEW = 8
"""Atoms of sources that are looked at one by one, to see whether there is an ordinary one among them."""


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses values for the packets of one hook of a host."""

    router: Router
    hook: Hook

    def flow(self, box: Box) -> Flow:
        """Return one packet of the box, an ordinary one where there is a choice."""
        family = box.space.family
        value = {field: _number(box, field) for field in _NICE}
        src, dst = self._address(box, "src"), self._address(box, "dst")
        make: Callable[[int], Address] = IPv4Address if family is Family.IPV4 else IPv6Address
        iif, oif = self._interfaces(box, make(src), make(dst))
        proto, ported = value["proto"], value["proto"] in PORTED
        icmp = value["icmp"] if proto in {ICMP, ICMPV6} else None
        flags = frozenset(n for n, bit in FLAGS.items() if n not in {"ALL", "NONE"} and value["flags"] & bit)
        return Flow(
            src=make(src), dst=make(dst), proto=proto, sport=value["sport"] if ported else None,
            dport=value["dport"] if ported else None, flags=flags if proto == TCP else frozenset(),
            icmp_type=None if icmp is None else icmp >> 8, icmp_code=None if icmp is None else icmp & 255,
            iif=iif, oif=oif, ctstate=box.state, ctdir=box.direction, ttl=value["ttl"], length=value["length"],
            tos=value["tos"],
        )  # fmt: skip

    def rank(self, box: Box) -> int:
        """Return how ordinary a box can be: at how many ends is an address that is liked, and how packets come in."""
        near, found = self._near(box), 0
        for field in ("src", "dst"):
            atoms = (bisect_right(box.space.cuts[field], value) - 1 for value in self._tries(box, field, near))
            found += any(box.get(field) >> atom & 1 for atom in atoms)
        found += not (box.get("src").bit_count() <= _FEW and self._strange(box))
        names, usual = box.space.names["iif"], self._usual(box.space.family)
        return 2 * found + (box.get("iif") >> names.index(usual) & 1 if usual in names else 0)

    def _strange(self, box: Box) -> bool:
        """Whether the source can be nothing but odd, or the host's own where it comes from elsewhere."""
        family = box.space.family
        own = () if self.hook is Hook.OUTPUT else self._own(family)
        odd = [_span(text) for text in _ODD[family]] + [(value, value) for value in own]
        return not _minus(box.space.spans("src", box.get("src")), odd)

    def _usual(self, family: Family) -> str:
        """Return the interface that most packets come in by: the one that leads to anywhere."""
        anywhere = IPv4Address(ORDINARY[family][0]) if family is Family.IPV4 else IPv6Address(ORDINARY[family][0])
        return self.router.out(anywhere) or ""

    def _near(self, box: Box) -> dict[str, Sequence[int]]:
        """Return the host's own addresses for the end that the hook means, and none for the other."""
        own, field = self._own(box.space.family), ""
        if self.hook is Hook.OUTPUT:
            field = "src"
        elif self.hook is Hook.INPUT or "dst" in box.translated:
            field = "dst"
        return {each: own if each == field else () for each in ("src", "dst")}

    def _tries(self, box: Box, field: str, near: dict[str, Sequence[int]]) -> Sequence[int]:
        far = _BEYOND if field == "dst" and self.hook is Hook.FORWARD else ORDINARY
        own = self._own(box.space.family)
        return near[field] or [value for value in far[box.space.family] if value not in own]

    def _own(self, family: Family) -> tuple[int, ...]:
        if self.router.addresses is None:
            return ()
        own = self.router.addresses.of(family)
        # an address of its own network card is what people know a host by
        return tuple(int(a) for a in sorted(own, key=lambda a: (a.is_loopback, a.is_link_local)))

    def _address(self, box: Box, field: str) -> int:
        family, spans = box.space.family, box.space.spans(field, box.get(field))
        own = self._own(family)
        found = next((value for value in self._tries(box, field, self._near(box)) if _inside(spans, value)), None)
        if found is not None:
            return found
        odd = [_span(text) for text in _ODD[family]] + [(v, v) for v in own]
        plain = _minus(spans, odd)
        for text in _PLEASANT[family]:
            low, high = _span(text)
            for first, last in plain:
                if max(first, low) <= min(last, high):
                    return _inner(max(first, low), min(last, high))
        rest = plain or _minus(spans, [(v, v) for v in own]) or spans
        return _inner(*rest[0])

    def _interfaces(self, box: Box, src: Address, dst: Address) -> tuple[str | None, str | None]:
        """Return the interfaces; what translation decides is left to the routing."""
        iif = None if self.hook is Hook.OUTPUT else _name(box, "iif", self.router.out(src))
        if self.hook is Hook.INPUT or "dst" in box.translated:
            return iif, None
        return iif, _name(box, "oif", self.router.out(dst))


def _name(box: Box, field: str, wanted: str | None) -> str:
    names = [name for at, name in enumerate(box.space.names[field]) if box.get(field) >> at & 1]
    if wanted in names:
        return str(wanted)
    plain = [name for name in names if name and not name.endswith("*")]
    name = plain[0] if plain else names[0]
    # a name that stands for a group of names: ``eth*`` and, empty, any other
    return name.replace("*", "99") or "other0"


def _number(box: Box, field: str) -> int:
    spans = box.space.spans(field, box.get(field))
    found = next((v for v in _NICE[field] if _inside(spans, v)), None)
    if found is not None:
        return found
    if field == "sport":  # clients take high ports
        found = next((max(low, 1024) for low, high in spans if high >= 1024), None)
    return next((low or 1 for low, high in spans if high), spans[0][0]) if found is None else found


def _inside(spans: Iterable[Span], value: int) -> bool:
    return any(low <= value <= high for low, high in spans)


def _inner(low: int, high: int) -> int:
    """Return an address inside an interval; the first of a network is no ordinary one."""
    return low + 7 if high - low > 14 else min(low + 1, high)


def _span(text: str) -> Span:
    network = ip_network(text)
    return int(network.network_address), int(network.broadcast_address)


def _minus(spans: Sequence[Span], others: Iterable[Span]) -> list[Span]:
    rest = list(spans)
    for low, high in others:
        rest = [part for first, last in rest for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
                if part[0] <= part[1]]  # fmt: skip
    return rest
