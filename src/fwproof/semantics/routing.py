"""The routing decision: for the host itself, on to another interface, or dropped by the kernel without any rule.

Follows ip_route_input_slow(), fib_validate_source() and ip_forward() for IPv4 and ip6_rcv_core(), ip6_forward() for
IPv6. Sysctls that were not read are taken at the kernel's defaults, but for forwarding, which is taken to be on:
a default must not hide what a rule lets through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address

from fwproof.errors import Fault, InputError
from fwproof.flow import Address, Family
from fwproof.semantics.addresses import Addresses, Route

_BROADCAST = IPv4Address("255.255.255.255")
_FILE = re.compile(r"(?:/proc/sys/)?net[./]([^:=\s]+)\s*[:=]\s*(\S+)")

Settings = Mapping[str, str]
"""Values of sysctls by their path below ``/proc/sys/net``."""


def parse_sysctls(text: str, source: str = "sysctls") -> dict[str, str]:
    """Return the net sysctls of ``grep -r '' /proc/sys/net`` or of ``sysctl -a``; other lines say nothing.

    Raises InputError naming ``source`` where there are lines and none of them is a net sysctl.
    """
    found = {}
    for line in text.splitlines():
        match = _FILE.match(line.strip())
        if match is not None:
            path = match.group(1)
            # sysctl(8) swaps dots and slashes, also within the name of an interface
            path = path if line.lstrip().startswith("/") else path.translate(str.maketrans("./", "/."))
            found[path] = match.group(2)
    if text.strip() and not found:
        message = "expected lines such as net.ipv4.ip_forward = 1, as `sysctl -a` prints; there is none"
        raise InputError([Fault(source, 1, 1, message)])
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """What of a host decides where a packet of one family goes.

    ``special``: there are routing rules besides the kernel's own, so the routes alone do not tell the way.
    """

    family: Family
    addresses: Addresses | None = None
    routes: Sequence[Route] = ()
    settings: Settings = field(default_factory=dict)
    special: bool = False

    def forwards(self, iif: str | None = None) -> bool | None:
        """Whether packets that come in by an interface (None: by any) are passed on; None when it was not read."""
        if self.family is Family.IPV6:  # since 6.17 single interfaces may be told to, all.forwarding or not
            every = self._truth("ipv6/conf/all/forwarding")
            return True if every or self._forced(iif) else every
        if iif is not None and f"ipv4/conf/{iif}/forwarding" in self.settings:
            return self._truth(f"ipv4/conf/{iif}/forwarding")
        pattern = re.compile(r"ipv4/(ip_forward|conf/(?!default/|lo/)[^/]+/forwarding)")
        known = [self._truth(path) for path in self.settings if pattern.fullmatch(path)]
        return any(known) if known else None

    def _forced(self, iif: str | None) -> bool:
        """Whether an interface (None: any) passes IPv6 packets on by itself (``force_forwarding``, ip6_forward())."""
        if iif is not None:
            return bool(self._truth(f"ipv6/conf/{iif}/force_forwarding"))
        pattern = re.compile(r"ipv6/conf/(?!all/|default/)[^/]+/force_forwarding")
        return any(self._truth(path) for path in self.settings if pattern.fullmatch(path))

    def is_own(self, address: Address) -> bool | None:
        """Whether packets to an address are for the host; None where its addresses are not known.

        Any of its addresses is taken on any interface; broadcast and multicast are taken to be listened to.
        """
        if address.is_multicast:
            return True
        if self.addresses is None:
            return True if address.is_loopback else None
        return self.addresses.is_local(address) or self.addresses.is_broadcast(address)

    def out(self, address: Address) -> str | None:
        """Return the interface that packets to an address leave by, None when it is not known."""
        if self.addresses is None:
            return None
        if self.addresses.is_local(address):
            return "lo"
        ways = set() if self.special else self._ways(address)
        if not ways:
            ways = set(self.addresses.interfaces) - {"lo"}
        return ways.pop() if len(ways) == 1 else None

    def bars(self, src: Address, dst: Address, iif: str | None) -> str:
        """Return why the kernel drops a packet that came in before input and forward, empty where it does not."""
        if self.addresses is None or iif == "lo":
            return ""
        return self._martian(src, dst, iif) or self._backwards(src, iif)

    def holds_back(self, src: Address, iif: str | None) -> str:
        """Return why the kernel does not pass on a packet for another host, empty where it does."""
        if self.forwards(iif) is False:
            name = "net.ipv4.ip_forward" if self.family is Family.IPV4 else "net.ipv6.conf.all.forwarding"
            return f"the host does not forward ({name} = 0)"
        if self.family is Family.IPV6 and (src.is_link_local or src.is_unspecified):
            return f"the source {src} is valid on its own link only"
        return ""

    def early(self, src: Address, dst: Address, iif: str | None) -> str:
        """Return why the kernel drops a packet before any table, empty where it does not (ip6_rcv_core())."""
        if self.family is Family.IPV4 or iif == "lo":
            return ""
        if src.is_multicast:
            return f"the source {src} is a multicast address"
        bad = next((each for each in (src, dst) if each.is_loopback), None)
        return "" if bad is None else f"{bad} is a loopback address, which comes over no wire"

    def _martian(self, src: Address, dst: Address, iif: str | None) -> str:
        if self.family is Family.IPV6:
            return ""
        assert self.addresses is not None
        bad = ""
        if src.is_multicast or src == _BROADCAST or (
            src.is_unspecified and not (dst.is_multicast or dst == _BROADCAST)):  # fmt: skip
            bad = f"source {src}"
        elif (src.is_loopback or dst.is_loopback) and not self._either("route_localnet", iif):
            kind, address = ("destination", dst) if dst.is_loopback else ("source", src)
            bad = f"{kind} {address}, a loopback address, which comes over no wire (route_localnet = 0)"
        elif dst.is_unspecified:
            bad = f"destination {dst}"
        elif self.addresses.is_local(src) and not self._either("accept_local", iif):
            bad = f"source {src}, the host's own address (accept_local = 0)"
        return bad and f"martian {bad}"

    def _backwards(self, src: Address, iif: str | None) -> str:
        """Follow rp_filter: strict (1) wants the way back to be the way in, loose (2) any way back."""
        if self.family is Family.IPV6 or iif is None or src.is_unspecified or not self.routes or self.special:
            return ""
        mode = max(self._number(f"ipv4/conf/{name}/rp_filter") for name in ("all", iif))
        back = self._ways(src)
        if mode == 1 and iif not in back:
            return f"rp_filter: the way back to {src} does not lead through {iif}"
        return f"rp_filter: there is no way back to {src}" if mode == 2 and not back else ""

    def _ways(self, address: Address) -> set[str]:
        """Return the interfaces of the best route to an address; several where it has several next hops."""
        assert self.addresses is not None
        fitting = [route for route in self.routes if address in route.network]
        best = min(((-route.network.prefixlen, route.metric) for route in fitting), default=None)
        if fitting:
            return {route.interface for route in fitting if (-route.network.prefixlen, route.metric) == best} - {""}
        link = self.addresses.on_link(address)
        return {link} if link else set()

    def bridges(self) -> bool | None:
        """Whether the rules see what bridges carry (br_netfilter); None where that was not read."""
        name = "ip" if self.family is Family.IPV4 else "ip6"
        return self._truth(f"bridge/bridge-nf-call-{name}tables")

    def _either(self, name: str, iif: str | None) -> bool:
        """Return IN_DEV_ORCONF: on for all interfaces, or for this one; an interface not known might have it."""
        names = [f"ipv4/conf/{each}/{name}" for each in ("all", iif) if each is not None]
        if iif is None:
            names += [path for path in self.settings if path.endswith(f"/{name}") and "/default/" not in path]
        return any(self._truth(path) for path in names)

    def _truth(self, path: str) -> bool | None:
        value = self.settings.get(path)
        return None if value is None else value != "0"

    def _number(self, path: str) -> int:
        value = self.settings.get(path, "0")
        return int(value) if value.isascii() and value.isdigit() else 0


def own_for(router: Router, side: str, iif: str | None, oif: str | None, peer: Address) -> list[int] | None:
    """Return the own address that REDIRECT (``dst``) or MASQUERADE (``src``) takes; none: it drops; None: not known.

    ``iif`` is None for what the host sends itself, which REDIRECT turns to loopback. ``peer`` is the source, of
    whose scope an IPv6 address has to be.
    """
    if router.addresses is None:
        return None
    v6 = router.family is Family.IPV6
    if side == "dst" and iif is None:
        return [int(ip_address("::1" if v6 else "127.0.0.1"))]
    device = iif if side == "dst" else oif
    if device is None or device not in router.addresses.interfaces:
        return None
    mine = [o for o in router.addresses.own if Family.of(o.prefix.ip) is router.family]
    here = [o.prefix.ip for o in mine if o.interface == device]
    if v6:
        fitting = [address for address in here if address.is_link_local == peer.is_link_local]
        return [int(address) for address in (fitting if side == "src" else fitting[:1])]
    if side == "src":
        everywhere = [o.prefix.ip for o in mine if not o.prefix.ip.is_loopback]
        here = [address for address in here if not address.is_loopback] or everywhere
    return [int(address) for address in here[:1]]
