"""What an agent says of itself and of its host when it is greeted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from fwproof.flow import Address

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13  # linux/capability.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface of the agent's host; ``mac`` is lower-case and empty where there is none."""

    name: str
    index: int
    mac: str
    up: bool
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What the agent says of itself and its host; ``skew`` is its clock minus the auditor's, in seconds."""

    python: str
    uid: int
    capabilities: int
    kernel: str
    skew: float
    interfaces: tuple[Interface, ...]

    @property
    def addresses(self) -> frozenset[Address]:
        """All addresses of the host."""
        return frozenset(address for interface in self.interfaces for address in interface.addresses)

    def may(self, capability: int) -> bool:
        """Whether the agent has a capability, by its number in linux/capability.h."""
        return bool(self.capabilities >> capability & 1)


def greeting(answer: Mapping[str, Any], now: float) -> Hello:
    """Return what an answer to ``hello`` says; ``now`` is the auditor's time when the agent made it."""
    return Hello(
        python=str(answer["python"]),
        uid=int(answer["uid"]),
        capabilities=int(answer["capabilities"]),
        kernel=str(answer["kernel"]),
        skew=int(answer["time"]) / 1e9 - now,
        interfaces=tuple(_interface(link) for link in answer["interfaces"]),
    )


def _interface(link: Mapping[str, Any]) -> Interface:
    return Interface(
        name=str(link["name"]),
        index=int(link["index"]),
        mac=str(link["mac"]),
        up=bool(link["up"]),
        addresses=tuple(ip_address(address) for address in link["addresses"]),
    )
