"""What a policy wants of packets that the tables treat otherwise, in the terms that a front end's commands need."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fwproof.decision import RuleRef
from fwproof.flow import Family, Network


class Way(StrEnum):
    """How packets go through the host."""

    IN = "in"
    OUT = "out"
    THROUGH = "through"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A service that a policy lets through for these peers; ``port`` is None for ICMP.

    ``rate`` is how many new connections in how many seconds, counted by ``source`` or in ``total``; None: any number.
    """

    proto: str
    port: int | None
    peers: tuple[Network, ...]
    rate: tuple[int, float, str] | None = None

    def of(self, family: Family) -> tuple[Network, ...]:
        """Return the peers of one family."""
        return tuple(network for network in self.peers if Family.of(network) is family)

    @property
    def is_for_all(self) -> bool:
        """Whether everybody of both families is meant."""
        return {str(network) for network in self.peers} >= {"0.0.0.0/0", "::/0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What has to change: ``by`` let through too much (``open``) or refuse what should pass (``shut``).

    ``allowed`` is all that the policy lets through on this way; ``wanted`` what the check in question is about, None
    where it is about everything else.
    """

    wrong: str
    way: Way
    family: Family
    by: tuple[RuleRef, ...]
    allowed: tuple[Opening, ...] = ()
    wanted: Opening | None = None


def address(network: Network) -> str:
    """Return a network as people write it: one address without its length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)
