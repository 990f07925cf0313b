"""Policy: what a host's firewall is expected to do, as values; :mod:`fwproof.policy.load` reads them.

Every expectation knows the file and the 1-based line it was written on, because reports and CI annotations
point there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fwproof.controls import Framework
from fwproof.flow import Family, Network
from fwproof.measured import Part
from fwproof.policy.expectation import Expectation
from fwproof.policy.table_model import (
    Baseline,
    Coverage,
    DropLog,
    Kernel,
    Listeners,
    Managers,
    Parity,
    Persistence,
    Rules,
)


@dataclass(frozen=True, slots=True, order=True)
class Service:
    """A protocol and, where it has ports, one port; for ICMP the type (``icmp/echo-request``).

    ``proto`` is ``tcp``, ``udp`` or ``icmp``; ICMP means ICMPv6 in the IPv6 family. ``name`` is the policy's
    own name for it, or its text (``tcp/5432``) where it has none.
    """

    proto: str
    port: int | None
    name: str
    icmp: str | None = None

    def __str__(self) -> str:
        return f"{self.proto}/{self.port if self.port is not None else self.icmp}"


@dataclass(frozen=True, slots=True)
class Rate:
    """``limit`` new connections per ``per`` seconds are let in, counted by ``by`` (``source`` or ``total``).

    ``measure``: what the audit measures of it, beyond counting one burst.
    """

    limit: int
    per: float
    by: str = "source"
    measure: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """At most ``limit`` connections stand at once, counted by ``by`` (``source`` or ``total``)."""

    limit: int
    by: str = "source"


@dataclass(frozen=True, slots=True)
class Peers:
    """The other end of an expectation: the words used in the policy, and the networks they stand for."""

    name: str
    networks: tuple[Network, ...]

    def __contains__(self, address: object) -> bool:
        return any(address in network for network in self.networks)

    def of(self, family: Family) -> tuple[Network, ...]:
        """Return the networks of one family."""
        return tuple(n for n in self.networks if Family.of(n) is family)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow(Expectation):
    """A service that exactly ``peers`` may reach (inbound), or that the host may reach there (outbound)."""

    service: Service
    peers: Peers
    rate: Rate | None = None
    standing: Standing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing(Expectation):
    """A service at ``to`` that exactly ``peers`` may reach through the host, which passes their packets on.

    ``published``: they send to the host's own address and this port, and it sends them on to the service (DNAT).
    """

    service: Service
    peers: Peers
    to: Peers
    published: Service | None = None

    @property
    def asked(self) -> Service:
        """The protocol and port that its packets have when they come to the host."""
        return self.published or self.service


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A packet sent to observe a default on the wire; ``to`` names the far end of one that leaves the host."""

    service: Service
    to: Peers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Default(Expectation):
    """Everything that no expectation allows has this ``decision`` (``deny``), over the whole packet space."""

    decision: str
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evasion(Expectation):
    """What the default denies is denied in every form, of the groups in ``forms`` (:class:`fwproof.forms.Group`).

    ``peers`` are where it is tried from, None for every vantage.
    """

    forms: tuple[str, ...]
    peers: Peers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Essential(Expectation):
    """Traffic without which a host does not work: ``what`` is loopback, established or icmpv6-nd."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bans(Expectation):
    """A fail2ban jail: its numbers, the service it protects, and whether the audit may provoke a ban.

    ``provoke`` is the request that counts as a failed attempt: method, path and headers of an HTTP request.
    ``blocks`` is what a banned source must not reach any more: ``service``, or ``everything``.

    ``ignore`` are the addresses that the jail may let off, None where the policy does not say. ``usedns``,
    ``increment`` and ``ignore_self`` are as in jail.conf(5), None where any will do. ``banned`` and ``passed`` are log
    lines: those that count as failed attempts, and those that must not.
    """

    jail: str
    service: Service
    maxretry: int
    findtime: int
    bantime: int
    exercise: bool = False
    blocks: str = "service"
    provoke: Mapping[str, str] = field(default_factory=dict)
    ignore: Peers | None = None
    usedns: str | None = None
    increment: bool | None = None
    ignore_self: bool | None = None
    banned: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(Expectation):
    """Nobody has confirmed the policy yet: no audit of it is good, whatever it finds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Expectation):
    """What a person has to decide before a draft is a policy; the title is the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy file. ``hosts`` are host names of the inventory, groups already resolved, in its order.

    ``frameworks`` are those whose controls it names, with all that the catalogue knows of them.
    """

    name: str
    path: Path
    sha256: str
    hosts: tuple[str, ...]
    services: Mapping[str, Service]
    inbound: tuple[Allow, ...] = ()
    outbound: tuple[Allow, ...] = ()
    forward: tuple[Passing, ...] = ()
    inbound_default: Default | None = None
    outbound_default: Default | None = None
    forward_default: Default | None = None
    evasion: Evasion | None = None
    essential: tuple[Essential, ...] = ()
    bans: tuple[Bans, ...] = ()
    drop_log: DropLog | None = None
    persistence: Persistence | None = None
    parity: Parity | None = None
    rules: Rules | None = None
    managers: Managers | None = None
    coverage: Coverage | None = None
    listeners: Listeners | None = None
    kernel: Kernel | None = None
    baseline: Baseline | None = None
    draft: Draft | None = None
    questions: tuple[Question, ...] = ()
    frameworks: tuple[Framework, ...] = ()
