"""Plan: Expectation x Host x Vantage x Family becomes Check, with a stable, readable id each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fwproof.flow import Address, Family
from fwproof.policy.model import Expectation, Policy, Service


class Kind(StrEnum):
    """What a check asks; each kind has one judge."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    INBOUND_DEFAULT = "inbound-default"
    OUTBOUND_DEFAULT = "outbound-default"
    FORWARD_DEFAULT = "forward-default"
    RATE = "rate"
    LOOPBACK = "loopback"
    ESTABLISHED = "established"
    NEIGHBOUR = "icmpv6-nd"
    BANS = "bans"
    BAN_EXERCISE = "ban-exercise"
    DROP_LOG = "drop-log"
    PERSISTENCE = "persistence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question about one host, asked from one vantage in one family.

    ``id`` is unique in a run and stable between runs: ``ollama-internal[ai-server-workstation-ipv4]``.
    ``vantage`` is the host that packets come from (or, outbound, the host that watches them arrive) and
    ``peer`` its address; both are None where a check needs no second host. ``expected`` is ``allow`` or
    ``deny`` for a single flow and a short phrase otherwise. ``direction`` is ``inbound`` or ``outbound``.
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
