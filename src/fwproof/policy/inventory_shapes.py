"""The shape of an inventory file: its keys, what each may hold, and the words that an editor shows for it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from fwproof.inventory import AT_ONCE, SAFE_PPS
from fwproof.policy.fields import (
    AbsolutePath,
    AddressField,
    Choice,
    Name,
    NetworkField,
    OneOrMany,
    Shape,
    Text,
    Title,
    wrong,
)
from fwproof.policy.scalars import describe, quoted

PathText = Annotated[str, Text("a path", r"[^\x00-\x1f]+", 1024)]
SshName = Annotated[str, Text("a host name or an address", r"[A-Za-z0-9][A-Za-z0-9.:_-]*|::[A-Fa-f0-9:.]*", 253)]
User = Annotated[str, Text("a user name", r"[A-Za-z_][A-Za-z0-9._-]*", 32)]
HopText = Annotated[
    str, Text("none, or a jump host as [user@]host[:port]",
              r"(?:[A-Za-z_][A-Za-z0-9._-]*@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)(?::[0-9]{1,5})?", 320)
]  # fmt: skip
Sha256 = Annotated[str, Text("a SHA-256 in 64 lower-case hex digits", r"[0-9a-f]{64}")]
AccessField = Annotated[str, Choice(("read", "observe", "root"))]


def read_moment(value: Any) -> datetime:
    """Return a date and time with its time zone; raise the field's error for anything else (RFC 3339)."""
    form = "a date and time with its time zone, such as 2026-03-01T22:00+01:00"
    if not isinstance(value, str):
        raise wrong(f"expected {form}, not {describe(value)}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise wrong(f"expected {form}, not {quoted(value)}") from None
    if moment.tzinfo is None or len(value) <= len("2026-03-01"):
        raise wrong(f"{quoted(value)} has no time zone; write {form}, or Z for UTC")
    return moment


Moment = Annotated[datetime, PlainValidator(read_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


def read_config(value: Any) -> str:
    """Return the path of a client configuration, empty for none; raise the field's error for anything else."""
    if isinstance(value, bool):
        return "~/.ssh/config" if value else ""
    return Text("true, false or a path", r"[^\x00-\x1f]+", 1024).read(value)


ConfigField = Annotated[
    str, PlainValidator(read_config), WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string"}]})
]


class SshDefaults(Shape):
    """How SSH servers are reached where a host does not say otherwise."""

    user: User = Field("", description="Account that the auditor logs in as; auditor where not given")
    port: int = Field(0, ge=1, le=65535, description="TCP port of the SSH server; 22 where not given")
    identity_file: PathText = Field("", description="Private key; the SSH agent's keys where not given")
    known_hosts: PathText = Field("", description="File of known host keys; ~/.ssh/known_hosts where not given")
    timeout: float = Field(0.0, gt=0, le=300, description="Seconds to wait for a connection; 10 where not given")
    jump: Annotated[list[HopText], Field(min_length=1), OneOrMany()] | None = Field(
        None,
        description="Jump hosts on the way, the nearest first: names of this inventory or [user@]host[:port]; or none",
    )


class SshShape(SshDefaults):
    """How this host's SSH server is reached."""

    address: SshName = Field("", description="Name or address to connect to; the first address where not given")
    host_key_alias: SshName = Field("", description="Name under which known_hosts has the host's key")


class AgentShape(Shape):
    """The agent that the host's administrator installed."""

    path: AbsolutePath = Field(description="Where the agent is installed")
    sha256: Sha256 = Field(description="The SHA-256 that it must have; `fwproof agent hash` prints it")


class DefaultsShape(Shape):
    """What holds for every host that does not say otherwise."""

    ssh: SshDefaults = Field(default_factory=SshDefaults, description="How SSH servers are reached")
    access: AccessField = Field("read", description="What the auditor may do: read, observe or root")
    agent: AgentShape | None = Field(None, description="The agent on hosts with access observe")
    vantage: bool = Field(False, description="Whether probes of other hosts may be sent from a host")
    max_pps: int = Field(
        SAFE_PPS, ge=10, le=50000, description="Packets a second to one host, from all vantages together"
    )


class HostShape(Shape):
    """One machine."""

    addresses: Annotated[list[AddressField], Field(min_length=1), OneOrMany()] = Field(
        description="The addresses that are audited and probed"
    )
    ssh: SshShape = Field(default_factory=SshShape, description="How the host's SSH server is reached")
    access: AccessField = Field("", description="What the auditor may do: read, observe or root")
    agent: AgentShape | None = Field(None, description="The agent that is installed there, for access observe")
    groups: list[Name] = Field(default_factory=list, description="Groups that policies can name")
    vantage: bool | None = Field(None, description="Whether probes of other hosts may be sent from here")
    gateway: Name = Field("", description="Host of this inventory that passes its packets on to other networks")
    drop_log: AbsolutePath = Field("", description="File in which the host's packet log ends up")
    max_pps: int = Field(
        0, ge=10, le=50000, description="Packets a second to this host, from all vantages together; as in defaults"
    )


class AuthorisationShape(Shape):
    """Who agreed that these hosts are probed, and when; nothing is sent outside of it."""

    by: Title = Field(description="Who agreed: name and role")
    reference: Title = Field("", description="Where that is written down, such as a ticket's number")
    hosts: Annotated[list[Name], Field(min_length=1), OneOrMany()] | None = Field(
        None, description="Hosts and groups that may be audited and probed; all where not given"
    )
    opens: Moment | None = Field(None, alias="from", description="When sending may begin, with the time zone")
    closes: Moment | None = Field(None, alias="to", description="When sending ends, with the time zone")
    tester: Title = Field("", description="Who tests: name and qualification; auditors ask for it")
    independence: Title = Field("", description="Why the tester is independent of those who run the hosts")


class ZoneLimitsShape(Shape):
    """What holds in one zone."""

    at_once: int = Field(0, ge=1, le=256, description="Hosts of the zone that are worked on at once")
    vantages: int = Field(0, ge=1, le=1000, description="Vantages of the zone that ask one host; all where not given")


class LimitsShape(Shape):
    """How much is done at once."""

    at_once: int = Field(AT_ONCE, ge=1, le=256, description="Hosts that are connected to and read at once")
    zones: dict[Name, ZoneLimitsShape] = Field(default_factory=dict, description="Limits of single zones, by name")


class InventoryShape(Shape):
    """The hosts that are audited or probed from, the zones they stand in, and how each is reached."""

    lab: PathText = Field(
        "", description="Topology of the embedded lab that the hosts live in, from this file's folder"
    )
    auditor: Name = Field("", description="The lab host whose network the audit runs in")
    authorisation: AuthorisationShape | None = Field(None, description="Who agreed to what, and when")
    signing_key: PathText = Field("", description="SSH key that runs are signed with; a public key's, by the agent")
    ansible: PathText = Field("", description="A static Ansible inventory, INI or YAML, whose hosts are added to these")
    ssh_config: ConfigField = Field(
        "", description="Whether OpenSSH's client configuration is honoured: true for ~/.ssh/config, or a file"
    )
    limits: LimitsShape = Field(default_factory=LimitsShape, description="How much is done at once")
    defaults: DefaultsShape = Field(default_factory=DefaultsShape, description="What holds where a host is silent")
    zones: dict[Name, Annotated[list[NetworkField], Field(min_length=1), OneOrMany()]] = Field(
        default_factory=dict, description="Names for sets of networks"
    )
    hosts: dict[Name, HostShape] = Field(description="The machines, by name")
