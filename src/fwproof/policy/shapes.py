"""The shape of a policy file: its keys, what each may hold, and the words that an editor shows for it.

Names of the inventory and of ``services`` are resolved while the shape is read, through :class:`Context`,
so that a misspelt zone and a misspelt key come out in one go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from fwproof.forms import GROUPS
from fwproof.inventory import Inventory
from fwproof.measured import MOST_STANDING, Part
from fwproof.policy.draft_shapes import AGREED, QuestionsField, StatusField
from fwproof.policy.fields import (
    Choice,
    Id,
    Name,
    OneOrMany,
    Shape,
    Shorthand,
    Text,
    quote_advice,
    read_network,
    suggest,
    word_for,
    wrong,
)
from fwproof.policy.model import Peers, Service
from fwproof.policy.scalars import describe, quoted
from fwproof.policy.surround_shapes import DropPathsField, KernelField
from fwproof.policy.table_shapes import (
    IPV6,
    IPV6_TEXT,
    BaselineField,
    Common,
    CoverageField,
    Ipv6Shape,
    ListenersField,
    ManagersField,
    PersistenceField,
    RulesField,
)

ANYWHERE = "any"
ESSENTIALS = ("loopback", "established", "icmpv6-nd")
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


def _header_value(value: Any) -> str:
    return Text("one line of text", r"[\x20-\x7e]*", 1024).read(value)


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
HeaderValue = Annotated[str, PlainValidator(_header_value), WithJsonSchema({"type": "string"})]
HeaderName = Annotated[str, Text("an HTTP header's name such as Authorization", r"[A-Z][A-Za-z0-9-]*")]


def _measured(value: Any) -> tuple[Part, ...]:
    """Return what of a limit is measured: nothing, what tells a limit from others (``true``), or what a list names."""
    if isinstance(value, bool):
        return (Part.BURST, Part.WINDOW, Part.ISOLATION) if value else ()
    words = value if isinstance(value, list) else [value]
    choice = Choice(tuple(part.value for part in Part))
    found = [Part(choice.read(word)) for word in words]
    return tuple(dict.fromkeys((Part.BURST, *found))) if found else ()


_PARTS = {"type": "string", "enum": [part.value for part in Part]}
Measures = Annotated[
    tuple[Part, ...],
    PlainValidator(_measured),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, _PARTS, {"type": "array", "items": _PARTS}]}),
]


class RateShape(Shape):
    """How many new connections are let in."""

    limit: int = Field(ge=1, le=10_000, description="New connections let in per period")
    per: Duration = Field(description="The period, with its unit: 60s, 5m or 1h")
    by: Annotated[str, Choice(("source", "total"))] = Field("source", description="Counted per source, or over all")
    measure: Measures = Field(
        (), description="Measure it on the wire, which takes its period: true, or a list of burst, window …"
    )


class ConnectionsShape(Shape):
    """How many connections may stand at once."""

    limit: int = Field(ge=1, le=MOST_STANDING, description="Connections that stand at once; one more is refused")
    by: Annotated[str, Choice(("source", "total"))] = Field("source", description="Counted per source, or over all")


ConnectionsField = Annotated[
    ConnectionsShape | None,
    Shorthand(
        lambda value: {"limit": value} if isinstance(value, int) and not isinstance(value, bool) else value,
        (("type", "integer"), ("minimum", 1), ("maximum", MOST_STANDING)),
    ),
]


class InboundAllow(Common):
    """A service that exactly these peers may reach."""

    id: Id = Field(description="Stable name of the expectation, used in check ids and reports")
    service: ServiceRef = Field(description="A name of 'services', or a protocol and port such as tcp/443")
    from_: PeerList = Field(alias="from", description="Who may reach it: zones, hosts, addresses or networks")
    rate: RateShape | None = Field(None, description="The limit of new connections that the host enforces")
    connections: ConnectionsField = Field(
        None, description="How many connections of TCP stand at once; tried where audits may exercise limits"
    )


class OutboundAllow(Common):
    """A service that the host may reach at these peers."""

    id: Id = Field(description="Stable name of the expectation, used in check ids and reports")
    service: ServiceRef = Field(description="A name of 'services', or a protocol and port such as tcp/443")
    to: PeerList = Field(description="Where it may be reached: zones, hosts, addresses or networks")


class ForwardAllow(Common):
    """A service that exactly these peers may reach through the hosts."""

    id: Id = Field(description="Stable name of the expectation, used in check ids and reports")
    service: ServiceRef = Field(description="The service at the far end: a name of 'services', or such as tcp/443")
    from_: PeerList = Field(alias="from", description="Who may reach it: zones, hosts, addresses or networks")
    to: PeerList = Field(description="Where it is: zones, hosts, addresses or networks beyond the host")
    published: ServiceRef | None = Field(
        None, description="A port forward: the port of the host's own first address at which it is reached"
    )


class FarSample(Shape):
    """A packet that must not come as far."""

    to: PeerList = Field(description="The far end: zones, hosts, addresses or networks")
    service: ServiceRef = Field(description="A name of 'services', or a protocol and port such as tcp/443")


class DefaultShape(Common):
    """What happens to everything that no expectation allows."""

    decision: Annotated[str, Choice(("deny", "unchecked"))] = Field(
        description="deny: proved over the whole packet space; unchecked: no claim"
    )


DefaultField = Annotated[DefaultShape, word_for("decision", ("deny", "unchecked"))]


class EvasionShape(Common):
    """Packets that the default denies, in the forms that are known to slip past rules."""

    forms: Annotated[list[Annotated[str, Choice(GROUPS)]], Field(min_length=1)] = Field(
        description="Which forms are tried; extension-headers are IPv6's, spoofing is from hosts with access root only"
    )
    from_: PeerList | None = Field(None, alias="from", description="Where from; left out: from every vantage")


EvasionField = Annotated[
    EvasionShape | None,
    Shorthand(
        lambda value: {"forms": value} if isinstance(value, list) else value,
        (("type", "array"), ("items", {"type": "string", "enum": list(GROUPS)}), ("minItems", 1)),
    ),
]


class InboundShape(Shape):
    """Traffic to the hosts."""

    default: DefaultField = Field(description="What happens to everything that no expectation allows")
    samples: list[ServiceRef] = Field(default_factory=list, description="Probes that show the default on the wire")
    evasion: EvasionField = Field(None, description="What is denied is denied in these forms too, a few packets each")
    allow: list[InboundAllow] = Field(default_factory=list, description="Services and who may reach them")


class OutboundShape(Shape):
    """Traffic from the hosts."""

    default: DefaultField = Field(description="What happens to everything that no expectation allows")
    samples: list[FarSample] = Field(default_factory=list, description="Probes that show the default on the wire")
    allow: list[OutboundAllow] = Field(default_factory=list, description="Services that the hosts may reach")


class ForwardShape(Shape):
    """Traffic through the hosts."""

    default: DefaultField = Field(description="What happens to packets that the host would pass on")
    samples: list[FarSample] = Field(default_factory=list, description="Probes that show the default on the wire")
    allow: list[ForwardAllow] = Field(default_factory=list, description="Services that are reached through the hosts")


class EssentialShape(Common):
    """Traffic without which a host does not work."""

    what: Annotated[str, Choice(ESSENTIALS)] = Field(description="loopback, established or icmpv6-nd")


class ProvokeShape(Shape):
    """The HTTP request that counts as a failed attempt."""

    method: Annotated[str, Text("an HTTP method such as GET", r"[A-Z]{3,10}")] = Field("GET", description="HTTP method")
    path: Annotated[str, Text("a path such as /api/tags", r"/[!-~]*", 1024)] = Field(description="Path of the request")
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, description="Headers, the bad key among them")


LogLine = Annotated[str, Text("one line of a log, without line ends", r"[^\x00-\x08\x0a-\x1f\x7f]+", 500)]


class SamplesShape(Shape):
    """Lines of the log that a jail watches."""

    banned: list[LogLine] = Field(default_factory=list, description="Lines that count as failed attempts")
    passed: list[LogLine] = Field(default_factory=list, description="Lines that must not count as failed attempts")


class BansShape(Common):
    """A fail2ban jail."""

    jail: Id = Field(description="Name of the jail")
    service: ServiceRef = Field(description="The service that the jail protects")
    maxretry: int = Field(ge=1, le=1000, description="Failed attempts that lead to a ban")
    findtime: int = Field(ge=1, description="Seconds within which they are counted")
    bantime: int = Field(ge=1, description="Seconds that a ban lasts")
    exercise: bool = Field(False, description="Whether the audit provokes a ban, and undoes it")
    blocks: Annotated[str, Choice(("service", "everything"))] = Field(
        "service", description="What a banned source must not reach any more; the rest is told"
    )
    provoke: ProvokeShape | None = Field(None, description="The request that counts as a failed attempt")
    ignore: PeerList | None = Field(
        None, description="Whom the jail may let off (ignoreip), beside loopback; left out: single addresses"
    )
    usedns: Annotated[str, Choice(("yes", "warn", "no", "raw"))] | None = Field(
        None, description="How host names in log lines are treated; left out: in any way"
    )
    increment: bool | None = Field(
        None, description="Whether each further ban of a source is longer (bantime.increment); left out: either"
    )
    ignoreself: bool | None = Field(None, description="Whether the host's own addresses are let off; left out: either")
    samples: SamplesShape | None = Field(None, description="Log lines that the jail's filter is tried on")


class DropLogShape(Common):
    """Dropped packets leave a line in the host's packet log."""

    inbound: bool = Field(False, description="Packets dropped on the way in are logged")
    outbound: bool = Field(False, description="Packets dropped on the way out are logged")
    prefix: Annotated[str, Text("the start of the log prefix", r"[ -~]*[!-~][ -~]*", 64)] = Field(
        "", description="What the log prefix starts with"
    )
    exercise: bool = Field(False, description="Whether the audit looks for the line of a packet of its own")
    paths: DropPathsField = Field(
        None, description="Proved over all packets: whatever is dropped is logged first, and the log is rate-limited"
    )


class PolicyShape(Shape):
    """What the firewall of some hosts is expected to do."""

    policy: Name = Field(description="Name of the policy")
    hosts: Annotated[list[HostNames], Field(min_length=1), OneOrMany()] = Field(
        description="Hosts or groups of the inventory that it is about"
    )
    status: StatusField = AGREED
    questions: QuestionsField = Field(default_factory=list)
    services: dict[Name, ServiceText] = Field(default_factory=dict, description="Names for protocols and ports")
    inbound: InboundShape | None = Field(None, description="Traffic to the hosts")
    outbound: OutboundShape | None = Field(None, description="Traffic from the hosts")
    forward: ForwardShape | None = Field(None, description="Traffic through the hosts")
    ipv6: Annotated[Ipv6Shape | None, word_for("expect", IPV6)] = Field(None, description=IPV6_TEXT)
    essential: list[Annotated[EssentialShape, word_for("what", ESSENTIALS)]] = Field(
        default_factory=list, description="Traffic without which a host does not work"
    )
    bans: Annotated[list[BansShape], OneOrMany()] = Field(default_factory=list, description="fail2ban jails")
    drop_log: DropLogShape | None = Field(None, description="Dropped packets are logged")
    persistence: PersistenceField = Field(
        None, description="What boots is what runs: saved tables are loaded at boot and mean the same"
    )
    rules: RulesField = Field(
        None, description="Every rule has a part in what the tables decide, and none is too broad"
    )
    managers: ManagersField = Field(
        None, description="Who manages the tables: one manager and no other beside it, or the one of this name"
    )
    coverage: CoverageField = Field(
        None, description="Probes reach the rules one by one, and the kernel counts them where the model says"
    )
    listeners: ListenersField = Field(
        None, description="Every socket that others can reach is named by an expectation; sockets, rules and wire agree"
    )
    kernel: KernelField = Field(
        None, description="The kernel's settings beside the rules, now and after a reboot: forwarding, rp_filter …"
    )
    baseline: BaselineField = Field(None, description="The tables mean what they meant when a snapshot was taken")
