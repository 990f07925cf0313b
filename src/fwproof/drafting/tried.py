"""A draft held against the host that it was made of: what does not hold is no expectation, but a question.

The judges are those of an audit, as far as tables and files tell; nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fwproof.drafting.subject import Subject
from fwproof.errors import HostError
from fwproof.facts import Facts
from fwproof.flow import Family, Hook
from fwproof.inventory import Inventory
from fwproof.judging import judge
from fwproof.judging.space import STATES, claims_of, own_networks
from fwproof.plan import Check, Kind
from fwproof.planning.plan import plan
from fwproof.policy.model import Policy
from fwproof.results import Verdict
from fwproof.semantics.reach import Opening, openings
from fwproof.semantics.space import SpaceTooLarge

_ASKED = {
    Kind.CLAIM, Kind.LOOPBACK, Kind.ESTABLISHED, Kind.NEIGHBOUR, Kind.PERSISTENCE, Kind.BOOT, Kind.PARITY, Kind.RULES,
    Kind.MANAGERS, Kind.KERNEL, Kind.BANS, Kind.BAN_FILTER, Kind.BAN_ACTION, Kind.BAN_SERVER,
}  # fmt: skip
"""Kinds of checks that need no packet."""
_OF_JAILS = {Kind.BAN_FILTER, Kind.BAN_ACTION, Kind.BAN_SERVER}
SERVER = "fail2ban"
"""What is wrong with fail2ban as a whole goes by this name, whichever jail stands for it in the policy."""
_GOOD = {Verdict.PASS, Verdict.NOT_APPLICABLE}
WAYS = {"inbound": Hook.INPUT, "outbound": Hook.OUTPUT, "forward": Hook.FORWARD}


@dataclass(frozen=True, slots=True)
class Broken:
    """An expectation that does not hold today: its id, and why, in the judge's words."""

    expectation: str
    why: str


def broken(policy: Policy, inventory: Inventory, subject: Subject) -> list[Broken]:
    """Return the expectations of a policy that do not hold, as far as can be told without packets."""
    alone = replace(inventory, hosts={name: replace(host, vantage=False) for name, host in inventory.hosts.items()})
    asked = [check for check in plan(policy, alone) if check.vantage is None and check.kind in _ASKED]
    facts = Facts(
        inventory=alone, snapshots={subject.name: subject.snapshot}, models={subject.name: subject.model},
        agents={}, front_ends={subject.name: subject.front},
        exercised={check.id: subject.jails for check in asked if check.kind in _OF_JAILS},
    )  # fmt: skip
    found = (
        Broken(SERVER if check.kind is Kind.BAN_SERVER else check.expectation.id, why)
        for check in asked
        if (why := _why(check, facts))
    )
    return list({each.expectation: each for each in reversed(list(found))}.values())[::-1]


def unseen(policy: Policy, inventory: Inventory) -> dict[str, None]:
    """Return the expectations of limits that no vantage of the inventory can put to the test."""
    limits = (check for check in plan(policy, inventory) if check.kind in {Kind.RATE, Kind.CONNECTIONS})
    return dict.fromkeys(check.expectation.id for check in limits if check.vantage is None)


def _why(check: Check, facts: Facts) -> str:
    try:
        outcome = judge(check, facts)
    except HostError as error:
        return error.message
    return "" if outcome.verdict in _GOOD else outcome.reason


def leaks(policy: Policy, subject: Subject) -> Iterator[tuple[str, Family, Opening | str]]:
    """Yield everything that passes and that no expectation allows, by direction; words where nobody can tell."""
    for direction, hook in WAYS.items():
        for family in subject.addresses:
            claimed = claims_of(policy, hook, family, own_networks(subject.model, family))
            try:
                found = openings(subject.model, hook, family, outside=claimed, states=STATES)
            except SpaceTooLarge as limit:
                yield direction, family, str(limit)
                continue
            yield from ((direction, family, opening) for opening in found.openings)
            if found.unlisted:
                yield direction, family, f"{found.unlisted} more rules let packets pass"


def named(broken_: Iterable[Broken]) -> dict[str, str]:
    """Return the reasons by expectation."""
    return {each.expectation: each.why for each in broken_}
