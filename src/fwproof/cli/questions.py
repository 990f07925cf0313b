"""What a question on the command line is about: services and networks, as claims over the packet space."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_network

from fwproof.errors import UsageError
from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, Family, Network, protocol_name
from fwproof.inventory import Inventory
from fwproof.policy.nearest import suggest
from fwproof.ruleset.asks import Ranges
from fwproof.semantics.packet import PORTED
from fwproof.semantics.space import Claim

SERVICE = "a protocol, with ports or an ICMP type: tcp/22, tcp/80,8000-8100, udp, icmp/8, gre, ip/132"
_EXPECTED = f"expected {SERVICE}"
Names = Mapping[str, tuple[Network, ...]]
"""Zones and hosts of an inventory, with their networks."""


def service(text: str, family: Family) -> tuple[int, Ranges | None, tuple[int, ...] | None]:
    """Return protocol number, ports and ICMP types of a service; ``icmp`` is ICMPv6 in IPv6.

    Raises UsageError.
    """
    name, slash, detail = text.lower().partition("/")
    if name.isdigit() and not slash:  # what is meant is a port, as a rule
        raise UsageError(f"--service {text}: a number alone is no service: {_EXPECTED}")
    if name == "ip" and re.fullmatch(r"[0-9]{1,3}", detail):
        name, detail = protocol_name(int(detail)), ""
        slash = ""
    proto = PROTOCOLS.get(name, int(name) if name.isdigit() else 256)
    if proto > 255 or (slash and not detail):
        raise UsageError(f"--service {text}: {_EXPECTED}{suggest(name, PROTOCOLS) if proto > 255 else ''}")
    if proto in {ICMP, ICMPV6}:
        types = {"echo-request": 8 if family is Family.IPV4 else 128}
        if detail and detail not in types and not re.fullmatch(r"[0-9]{1,3}", detail):
            raise UsageError(f"--service {text}: {_EXPECTED}")
        proto = ICMP if family is Family.IPV4 else ICMPV6
        return proto, None, None if not detail else (types[detail] if detail in types else int(detail),)
    if detail and proto not in PORTED:
        raise UsageError(f"--service {text}: {name} has no ports")
    return proto, _ports(text, detail) if detail else None, None


def _ports(text: str, detail: str) -> Ranges:
    found = []
    for part in detail.split(","):
        ends = re.fullmatch(r"([0-9]{1,5})(?:[-:]([0-9]{1,5}))?", part)
        low, high = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if not low <= high <= 65535:
            raise UsageError(f"--service {text}: {_EXPECTED}")
        found.append((low, high))
    return tuple(found)


def networks(option: str, texts: tuple[str, ...], known: Callable[[], Names]) -> tuple[Network, ...] | None:
    """Return the networks of an option, None where it was not given; raises UsageError.

    ``known`` has the zones and hosts of the inventory, and is asked only where a text is no address.
    """
    return tuple(net for text in texts for net in _network(option, text, known)) if texts else None


def _network(option: str, text: str, known: Callable[[], Names]) -> tuple[Network, ...]:
    try:
        return (ip_network(text, strict=False),)
    except ValueError as error:
        if re.fullmatch(r"[0-9./]+|[0-9A-Fa-f]*:[0-9A-Fa-f:./]*", text):
            raise UsageError(f"{option} {text}: {error}") from error
    names = known()
    if text in names:
        return names[text]
    there = suggest(text, names) or (f"; known here: {', '.join(names)}" if names else "; name an --inventory")
    raise UsageError(f"{option} {text}: no network such as 10.0.0.0/16, and no zone or host of an inventory{there}")


def names_of(inventory: Inventory) -> Names:
    """Return the networks that the zones and hosts of an inventory stand for; a zone comes before a host."""
    hosts = {name: tuple(ip_network(each) for each in host.addresses) for name, host in inventory.hosts.items()}
    return {name: zone.networks for name, zone in inventory.zones.items()} | {
        name: nets for name, nets in hosts.items() if name not in inventory.zones
    }


def claims(family: Family, services: tuple[str, ...], ends: Mapping[str, tuple[Network, ...] | None]) -> list[Claim]:
    """Return one claim for each service; none where an end has no address of the family."""
    asked_ends = (ends["--from"], ends["--to"])
    if any(n is not None and not any(Family.of(e) is family for e in n) for n in asked_ends):
        return []
    if not services:
        return [Claim(sources=ends["--from"], destinations=ends["--to"])]
    asked = [service(text, family) for text in services]
    return [
        Claim(proto=p, ports=ports, icmp_types=types, sources=ends["--from"], destinations=ends["--to"])
        for p, ports, types in asked
    ]


def others(claim: Claim, ends: Mapping[str, tuple[Network, ...] | None]) -> list[Claim]:
    """Return the packets of a claim that are left out: those of some sources, and those to some destinations."""
    found = []
    if ends["--except-from"] is not None:
        found.append(replace(claim, sources=ends["--except-from"]))
    if ends["--except-to"] is not None:
        found.append(replace(claim, destinations=ends["--except-to"]))
    return found
