"""What the verbs about a whole packet space ask of each address family, and why one could not be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from fwproof.flow import Family
from fwproof.semantics.bdd_walk import unread
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import SpaceTooLarge

T = TypeVar("T")


def in_each(
    model: HostModel, families: Iterable[Family], find: Callable[[HostModel, Family], T]
) -> tuple[dict[Family, T], list[str]]:
    """Return what is found in each family that can be looked at, and what could not be, in words."""
    found: dict[Family, T] = {}
    unanswered: list[str] = []
    for family in families:
        unanswered += [f"{family}: {reason}" for reason in unread(model, family)]
        if model.blind.get(family):
            continue
        try:
            found[family] = find(model, family)
        except SpaceTooLarge as limit:
            unanswered.append(f"{family}: {limit}")
    return found, unanswered
