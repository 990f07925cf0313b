"""What a policy file names or writes in one word: services, peers, hosts and times, looked up while it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from fwproof.inventory import Inventory
from fwproof.policy.fields import OneOrMany, quote_advice, read_network, wrong
from fwproof.policy.model import Peers, Service
from fwproof.policy.nearest import suggest
from fwproof.policy.scalars import describe, quoted

ANYWHERE = "any"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Context:
    """What the names in a policy are looked up in; ``services`` has None where the definition is faulty."""

    inventory: Inventory
    services: Mapping[str, Service | None]


def _context(info: ValidationInfo) -> Context:
    if not isinstance(info.context, Context):
        raise TypeError("a policy is read in the context of an inventory")
    return info.context


def read_service(value: Any, name: str | None = None) -> Service:
    """Return the service written as ``tcp/443``, ``udp/53`` or ``icmp/echo-request``."""
    expected = "expected a protocol and port such as tcp/443, udp/53 or icmp/echo-request"
    if not isinstance(value, str):
        raise wrong(f"{expected}, not {describe(value)}")
    if value == "icmp/echo-request":
        return Service("icmp", None, name or value, "echo-request")
    if value.startswith(("icmp/", "icmpv6/")):
        raise wrong(f"only icmp/echo-request (of both families) can be probed, not {quoted(value)}")
    found = re.fullmatch(r"(tcp|udp)/([1-9][0-9]{0,4})", value)
    if found is None:
        raise wrong(f"{expected}, not {quoted(value)}")
    if int(found[2]) > 65535:
        raise wrong(f"port {found[2]} does not exist; ports go from 1 to 65535")
    return Service(found[1], int(found[2]), name or value)


def _service_reference(value: Any, info: ValidationInfo) -> Service:
    context = _context(info)
    if isinstance(value, str) and "/" not in value:
        if value not in context.services:
            raise wrong(
                f"there is no service {quoted(value)}"
                f"{suggest(value, context.services) or '; name it under services, or write it as tcp/443'}"
            )
        # a faulty definition is reported where it stands; its users get a service that equals no other
        return context.services[value] or Service("tcp", None, value, value)
    return read_service(value)


def _peer(value: Any, info: ValidationInfo) -> Peers:
    inventory = _context(info).inventory
    if not isinstance(value, str):
        raise wrong(f"expected a zone, a host, an address or a network, not {describe(value)}{quote_advice(value)}")
    if value == ANYWHERE:
        return Peers(value, (ip_network("0.0.0.0/0"), ip_network("::/0")))
    if value in inventory.zones:
        return Peers(value, inventory.zones[value].networks)
    if value in inventory.hosts:
        return Peers(value, tuple(ip_network(address) for address in inventory.hosts[value].addresses))
    if re.fullmatch(r"[0-9.]+(/.*)?|[0-9A-Fa-f:]*:.*", value):
        return Peers(value, (read_network(value),))
    known = [*inventory.zones, *inventory.hosts, ANYWHERE]
    raise wrong(f"the inventory has no zone or host {quoted(value)}{suggest(value, known)}")


def _host_names(value: Any, info: ValidationInfo) -> tuple[str, ...]:
    inventory = _context(info).inventory
    if not isinstance(value, str):
        raise wrong(f"expected a host or group of the inventory, not {describe(value)}{quote_advice(value)}")
    names = tuple(host.name for host in inventory.select(value))
    if not names:
        known = [*inventory.hosts, *inventory.groups]
        raise wrong(f"the inventory has no host or group {quoted(value)}{suggest(value, known)}")
    return names


def _seconds(value: Any) -> float:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smh])", value) if isinstance(value, str) else None
    if found is None:
        raise wrong(f"expected a time with its unit such as 60s, 5m or 1h, not {describe(value)}")
    return int(found[1]) * _UNITS[found[2]]


ServiceText = Annotated[
    Service,
    PlainValidator(read_service),
    WithJsonSchema({"type": "string", "pattern": "^((tcp|udp)/[1-9][0-9]{0,4}|icmp/echo-request)$"}),
]
ServiceRef = Annotated[
    Service, PlainValidator(_service_reference), WithJsonSchema({"type": "string", "examples": ["ssh", "tcp/443"]})
]
Peer = Annotated[
    Peers, PlainValidator(_peer), WithJsonSchema({"type": "string", "examples": ["internal", "10.0.0.0/16"]})
]
PeerList = Annotated[list[Peer], Field(min_length=1), OneOrMany()]
HostNames = Annotated[
    tuple[str, ...], PlainValidator(_host_names), WithJsonSchema({"type": "string", "examples": ["ai-servers"]})
]
Duration = Annotated[
    float, PlainValidator(_seconds), WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,5}[smh]$"})
]
