"""The shape of a policy file: its keys, what each may hold, and the words that an editor shows for it.

Names of the inventory and of ``services`` are resolved while the shape is read, through :class:`Context`,
so that a misspelt zone and a misspelt key come out in one go.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fwproof.forms import GROUPS
from fwproof.policy.ban_shapes import BansShape
from fwproof.policy.draft_shapes import AGREED, QuestionsField, StatusField
from fwproof.policy.fields import Choice, Id, Name, OneOrMany, Shape, Shorthand, Text, word_for
from fwproof.policy.limit_shapes import ConnectionsField, RateShape
from fwproof.policy.references import HostNames, PeerList, ServiceRef, ServiceText
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

ESSENTIALS = ("loopback", "established", "icmpv6-nd")


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
