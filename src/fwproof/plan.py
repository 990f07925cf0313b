"""Plan: the checks of a run, as values; :mod:`fwproof.planning.plan` makes them of policies and inventory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fwproof.flow import Address, Family
from fwproof.forms import Group
from fwproof.policy.expectation import Expectation
from fwproof.policy.model import Policy, Service


class Kind(StrEnum):
    """What a check asks; each kind has one judge."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    FORWARD = "forward"
    CLAIM = "claim"
    INBOUND_DEFAULT = "inbound-default"
    OUTBOUND_DEFAULT = "outbound-default"
    FORWARD_DEFAULT = "forward-default"
    EVASION = "evasion"
    RATE = "rate"
    MEASURE = "measure"
    CONNECTIONS = "connections"
    LOOPBACK = "loopback"
    ESTABLISHED = "established"
    NEIGHBOUR = "icmpv6-nd"
    BANS = "bans"
    BAN_FILTER = "ban-filter"
    BAN_ACTION = "ban-action"
    BAN_SERVER = "ban-server"
    BAN_EXERCISE = "ban-exercise"
    DROP_LOG = "drop-log"
    DROP_PATHS = "drop-paths"
    PERSISTENCE = "persistence"
    BOOT = "boot-order"
    PARITY = "parity"
    RULES = "rules"
    COVERAGE = "coverage"
    LISTENERS = "listeners"
    DRIFT = "drift"
    MANAGERS = "managers"
    KERNEL = "kernel"
    DRAFT = "draft"
    WAIVER = "waiver"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question about one host, asked from one vantage in one family.

    ``id`` is unique in a run and stable between runs: ``ollama-internal[ai-server-workstation-ipv4]``.
    ``vantage`` is the host that packets come from (or, outbound, the host that watches them arrive) and
    ``peer`` its address; both are None where a check needs no second host. ``expected`` is ``allow`` or
    ``deny`` for a single flow and a short phrase otherwise. ``direction`` is ``inbound``, ``outbound`` or
    ``forward``; forward, packets go on to ``far``, an address of the host ``to``: both are None where the audited host
    publishes a port at its own address, and its nat says where to.

    An ABSENT is about a ``family`` that the inventory gives the host no address of.
    An EVASION is about all forms of one ``group``. A CLAIM is an allow over the whole packet space, for which no
    packet is sent. A RATE, MEASURE, CONNECTIONS, BAN_EXERCISE or EVASION without a vantage is one that the inventory
    has no vantage for, and stays unsettled.
    """

    id: str
    kind: Kind
    policy: Policy
    expectation: Expectation
    host: str
    expected: str
    family: Family | None = None
    vantage: str | None = None
    peer: Address | None = None
    service: Service | None = None
    direction: str | None = None
    group: Group | None = None
    to: str | None = None
    far: Address | None = None
