"""A policy given as an inventory, or the other way round: one message instead of one for each key."""

from __future__ import annotations

from fwproof.errors import Fault, InputError
from fwproof.policy.document import Document
from fwproof.policy.scalars import quoted

_OF_INVENTORIES = ("zones", "defaults", "lab", "auditor", "authorisation")
_OF_POLICIES = ("inbound", "outbound", "forward", "services", "essential")


def refuse_inventory(document: Document) -> None:
    """Raise InputError for a document that is an inventory, where a policy was expected."""
    _refuse(document, "policy", _OF_INVENTORIES, "an inventory, not a policy: give it with --inventory")


def refuse_policy(document: Document) -> None:
    """Raise InputError for a document that is a policy, where an inventory was expected."""
    _refuse(document, "hosts", _OF_POLICIES, "a policy, not an inventory: give the file with the hosts and zones")


def _refuse(document: Document, own: str, others: tuple[str, ...], what: str) -> None:
    """Refuse a mapping with keys of the other kind, unless its ``own`` key is there as its kind has it."""
    root = document.root.value
    if not isinstance(root, dict) or (own in root and (own == "policy" or isinstance(root[own].value, dict))):
        return
    key = next((key for key in others if key in root), None)
    if key is None:
        return
    place = document.key_place((key,))
    raise InputError([Fault(document.file, place.line, place.column, f"{quoted(key)} is here, so this is {what}")])
