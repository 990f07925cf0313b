"""From a policy file to a :class:`fwproof.policy.model.Policy`, or to every fault that it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from fwproof.errors import InputError
from fwproof.inventory import Inventory
from fwproof.policy.build import build
from fwproof.policy.catalogue import Catalogue, catalogue_of, control_faults, shipped
from fwproof.policy.document import Document, read_document
from fwproof.policy.faults import Spare, read_shape, without_echoes
from fwproof.policy.mistaken import refuse_inventory
from fwproof.policy.model import Policy, Service
from fwproof.policy.references import Context, read_service
from fwproof.policy.relations import expectations, relation_faults
from fwproof.policy.shapes import PolicyShape

_STAND_INS: Spare = {("policy",): "unnamed", ("inbound", "default"): "deny", ("outbound", "default"): "deny"}


def load_policy(path: Path, inventory: Inventory) -> Policy:
    """Read a policy file and resolve its names in ``inventory``.

    Raises :class:`fwproof.errors.InputError` with every fault found: file, line, column, what was expected
    and what to do.
    """
    return policy_of(read_document(path), inventory, catalogue_of(path.parent))


def policy_of(document: Document, inventory: Inventory, catalogue: Catalogue | None = None) -> Policy:
    """Return the policy in a document that has been read; raise InputError as :func:`load_policy` does.

    The controls that it names are looked up in ``catalogue``, or in what ships with fwproof.
    """
    refuse_inventory(document)
    known = shipped() if catalogue is None else catalogue
    spare: Spare = {("hosts",): list(inventory.hosts), **_STAND_INS}
    shape, rest, faults = read_shape(PolicyShape, document, _context(document, inventory), spare)
    faults = without_echoes(document, faults)
    policy = None
    if shape is not None:
        policy, places = build(rest, shape, inventory)
        faults += relation_faults(policy, rest, inventory, places, whole=not faults)
    told = {(fault.line, fault.column) for fault in faults}
    faults += [fault for fault in control_faults(document, known) if (fault.line, fault.column) not in told]
    if faults or policy is None:
        raise InputError(faults)
    named = {framework for expectation in expectations(policy) for framework in expectation.controls}
    return replace(policy, frameworks=tuple(known[framework] for framework in sorted(named)))


def _context(document: Document, inventory: Inventory) -> Context:
    root = document.plain()
    named = root.get("services") if isinstance(root, dict) else None
    return Context(inventory, {name: _or_none(name, text) for name, text in _items(named)})


def _items(named: Any) -> list[tuple[str, Any]]:
    return list(named.items()) if isinstance(named, dict) else []


def _or_none(name: str, text: Any) -> Service | None:
    try:
        return read_service(text, name)
    except PydanticCustomError:
        return None
