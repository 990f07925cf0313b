"""The host's own addresses and routes, from ``ip -j addr`` and ``ip -j route`` (iproute2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

from fwproof.errors import Fault, InputError
from fwproof.flow import Address, Family, Network

_ALL_ONES = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """One address of the host, its prefix, the interface that has it, and its broadcast address if any."""

    interface: str
    prefix: IPv4Interface | IPv6Interface
    broadcast: Address | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route: everything in ``network`` leaves through ``interface``; of equal length the lowest metric wins.

    By a route without an interface (blackhole, unreachable, prohibit) nothing leaves.
    """

    network: Network
    interface: str
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Addresses:
    """All own addresses and interfaces of a host; loopback networks are own even where they are not listed.

    ``programs`` are the interfaces with an XDP program, which drops, answers or redirects packets before any table.
    """

    own: tuple[OwnAddress, ...]
    interfaces: tuple[str, ...]
    programs: tuple[str, ...] = ()

    def is_local(self, address: Address) -> bool:
        """Whether packets to an address are for the host itself."""
        return address.is_loopback or any(address == own.prefix.ip for own in self.own)

    def of(self, family: Family) -> tuple[Address, ...]:
        """Return the own addresses of a family, in the order of ``ip addr``."""
        return tuple(own.prefix.ip for own in self.own if Family.of(own.prefix.ip) is family)

    def is_broadcast(self, address: Address) -> bool:
        """Whether an address is a broadcast address of one of the host's networks (IPv4 only)."""
        return address.version == 4 and int(address) in self.broadcasts()

    def broadcasts(self) -> frozenset[int]:
        """Return the broadcast addresses of IPv4; a network's last one always is one (fib_add_ifaddr())."""
        given = {int(own.broadcast) for own in self.own if own.broadcast is not None}
        networks = [own.prefix.network for own in self.own if own.prefix.version == 4 and not own.prefix.is_loopback]
        return frozenset({_ALL_ONES, *given, *(int(n.broadcast_address) for n in networks if n.prefixlen < 31)})

    def is_kind(self, address: Address, kinds: frozenset[str]) -> bool | None:
        """Whether an address is of the ``kinds`` that addrtype asks for; None where routes would decide it.

        IPv4 asks for any of them, IPv6 for all at once, and there LOCAL is UNICAST too (xt_addrtype.c).
        """
        if address.version == 6:
            return self._is_kind6(address, kinds)
        kind = "UNICAST"
        if self.is_local(address):
            kind = "LOCAL"
        elif address.is_multicast:
            kind = "MULTICAST"
        elif self.is_broadcast(address):
            kind = "BROADCAST"
        if kind == "UNICAST" and kinds - {"LOCAL", "MULTICAST", "BROADCAST", "UNICAST"}:
            return None
        return kind in kinds

    def _is_kind6(self, address: Address, kinds: frozenset[str]) -> bool | None:
        multicast, nothing = address.is_multicast, address.is_unspecified
        if ("MULTICAST" in kinds and not multicast) or ("UNSPEC" in kinds and not nothing):
            return False
        if "UNICAST" in kinds and (multicast or nothing):
            return False
        routed = kinds - {"MULTICAST", "UNSPEC", "UNICAST"}
        if not routed or ("LOCAL" in routed and self.is_local(address)):
            return True
        return False if routed == {"LOCAL"} else None

    def on_link(self, address: Address) -> str | None:
        """Return the interface whose network holds an address, None when there is none."""
        return next((own.interface for own in self.own if address in own.prefix.network), None)


def parse_addresses(text: str, source: str) -> Addresses:
    """Return the addresses of ``ip -j addr``; raises InputError naming ``source``."""
    own, interfaces, programs = [], [], []
    for link in _entries(text, source, "ip -j addr"):
        try:
            name = str(link["ifname"])
            interfaces.append(name)
            programs += [name] if link.get("xdp") else []
            for info in link.get("addr_info", []):
                if info.get("family") in {"inet", "inet6"}:
                    prefix = ip_interface(f"{info['local']}/{info['prefixlen']}")
                    broadcast = ip_address(info["broadcast"]) if "broadcast" in info else None
                    own.append(OwnAddress(name, prefix, broadcast))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _fault(source, f"not what `ip -j addr` prints ({type(error).__name__}: {error})") from error
    return Addresses(tuple(own), tuple(dict.fromkeys(interfaces)), tuple(programs))


def parse_routes(text: str, source: str, family: Family | None = None) -> tuple[Route, ...]:
    """Return the routes of ``ip -j route``; ``family`` is what ``default`` means where nothing else tells."""
    routes: list[Route] = []
    for entry in _entries(text, source, "ip -j route"):
        try:
            routes += _routes(entry, family)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _fault(source, f"not what `ip -j route` prints ({type(error).__name__}: {error})") from error
    return tuple(routes)


def _routes(entry: Mapping[str, Any], family: Family | None) -> list[Route]:
    """Return a route for each next hop, and one without an interface where no packet leaves."""
    hops = entry.get("nexthops") or [{}]
    refused = entry.get("type") in {"blackhole", "unreachable", "prohibit", "throw"}
    devices = (
        [""]
        if refused
        else [str(entry["dev"])]
        if entry.get("dev")
        else [str(hop["dev"]) for hop in hops if hop.get("dev")]
    )
    destination = str(entry["dst"])
    if destination == "default":
        hint = str(entry.get("gateway") or entry.get("prefsrc") or "")
        six = ":" in hint if hint else family is Family.IPV6
        destination = "::/0" if six else "0.0.0.0/0"
    network = ip_network(destination, strict=False)
    return [Route(network, device, int(entry.get("metric", 0))) for device in devices]


def special_rules(text: str, source: str) -> bool:
    """Whether ``ip -j rule`` shows more than the kernel's own three tables; raises InputError naming ``source``."""
    usual = ("local", "main", "default")
    plain = {"priority", "src", "table", "protocol"}
    return any(
        entry.get("table") not in usual or entry.get("src") != "all" or not set(entry) <= plain
        for entry in _entries(text, source, "ip -j rule")
    )


def interface_to(routes: Sequence[Route], address: Address) -> str | None:
    """Return the interface of the longest route to an address, None when no route is known."""
    fitting = [route for route in routes if address in route.network]
    return (min(fitting, key=lambda r: (-r.network.prefixlen, r.metric)).interface or None) if fitting else None


def _entries(text: str, source: str, command: str) -> Iterable[Mapping[str, Any]]:
    """Read the JSON arrays of one or more runs of ``ip -j`` that follow one another."""
    decoder, at, entries = json.JSONDecoder(), 0, []
    text = text.strip()
    if not text:
        raise _fault(source, f"is empty, and `{command}` prints a JSON list in any case")
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, at) + 1
            raise _fault(source, f"expected the JSON of `{command}` ({error})", line) from error
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise _fault(source, f"expected a JSON list of objects, as `{command}` prints")
        entries += [entry for entry in value if entry]
        while at < len(text) and text[at].isspace():
            at += 1
    return entries


def _fault(source: str, message: str, line: int = 0) -> InputError:
    return InputError([Fault(source, line, 1 if line else 0, message)])
