"""Given: a policy with the places of its parts, which faults between the parts are told by."""

from __future__ import annotations

from collections.abc import Mapping

from fwproof.errors import Fault
from fwproof.flow import Family
from fwproof.inventory import Inventory
from fwproof.policy.document import Document, Keys, Place
from fwproof.policy.expectation import Expectation
from fwproof.policy.model import Policy


class Given:
    """A policy, its document and inventory; ``places`` has the place of the expectation on each line."""

    def __init__(self, policy: Policy, document: Document, inventory: Inventory, places: Mapping[int, Place]) -> None:
        self.places = places
        self.policy = policy
        self.document = document
        self.inventory = inventory
        self.hosts = [inventory.hosts[name] for name in policy.hosts]
        self.have = {Family.of(address) for host in self.hosts for address in host.addresses}

    def at(self, keys: Keys, message: str) -> Fault:
        """Return a fault of the part that some keys lead to."""
        return self.document.fault(self.document.key_place(keys), message)

    def on(self, expectation: Expectation, message: str) -> Fault:
        """Return a fault of an expectation."""
        return self.document.fault(self.places[expectation.line], message)
