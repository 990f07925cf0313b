"""Asker: one host of a policy, and the checks that ask something of it, with their ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fwproof.farends import FarEnds
from fwproof.flow import Family
from fwproof.inventory import Host, Inventory
from fwproof.plan import Check, Kind
from fwproof.policy.expectation import Expectation
from fwproof.policy.model import Policy, Service


class Asker:
    """Asks one host what one policy expects; ``field`` are the hosts at the far ends."""

    def __init__(self, policy: Policy, inventory: Inventory, host: Host) -> None:
        self.policy = policy
        self.inventory = inventory
        self.host = host
        self.field = FarEnds(policy, inventory, host)

    def families(self, expectation: Expectation) -> tuple[Family, ...]:
        """Return the families of an expectation that the host has an address of."""
        return tuple(family for family in expectation.families if self.host.address(family) is not None)

    def each(self, kind: Kind, expectation: Expectation | None, expected: str) -> Iterator[Check]:
        """Yield one check in each family, where the policy has the expectation."""
        if expectation is not None:
            for family in self.families(expectation):
                yield self.check(kind, expectation, expected, family)

    def check(  # noqa: PLR0913 - the columns of a Check
        self, kind: Kind, expectation: Expectation, expected: str, family: Family | None = None, *parts: str,
        vantage: Host | None = None, name: str = "", service: Service | None = None, direction: str | None = None,
    ) -> Check:  # fmt: skip
        """Return one check; its id is the expectation (or ``name``) and, in brackets, what tells it from others."""
        words = [self.host.name, vantage.name if vantage else None, family.value if family else None, *parts]
        return Check(
            id=f"{name or expectation.id}[{'-'.join(word for word in words if word)}]",
            kind=kind,
            policy=self.policy,
            expectation=expectation,
            host=self.host.name,
            expected=expected,
            family=family,
            vantage=vantage.name if vantage else None,
            peer=vantage.address(family) if vantage and family else None,
            service=service,
            direction=direction,
        )

    def through(  # noqa: PLR0913 - the columns of a Check
        self, kind: Kind, expectation: Expectation, expected: str, family: Family, *parts: str, service: Service,
        ends: tuple[Host, Host],
    ) -> Check:  # fmt: skip
        """Return the check of one packet from a vantage that goes through the host to a host beyond."""
        vantage, end = ends
        check = self.check(
            kind, expectation, expected, family, end.name, *parts, vantage=vantage, service=service,
            direction="forward",
        )  # fmt: skip
        return replace(check, to=end.name, far=end.address(family))
