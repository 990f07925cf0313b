"""Expectation: what everything that a policy expects has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fwproof.flow import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What all expectations have in common. ``families`` are the address families that it is checked in.

    ``owner`` answers for it and ``justification`` is its business need, for the list of what is allowed.
    """

    id: str
    title: str
    file: str
    line: int
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    controls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    severity: str = "high"
    owner: str = ""
    justification: str = ""
