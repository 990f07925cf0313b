"""From a file of waivers to :class:`fwproof.policy.waivers.Waivers`, or to every fault that it has."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from fwproof.errors import Fault, InputError
from fwproof.inventory import Inventory
from fwproof.policy.document import Document, Keys, read_document
from fwproof.policy.faults import read_shape, without_echoes
from fwproof.policy.fields import Name, OneOrMany, Shape, Text, Title, wrong
from fwproof.policy.nearest import suggest
from fwproof.policy.scalars import describe, quoted
from fwproof.policy.waivers import LONGEST, Selector, Waiver, Waivers

_PATTERN = r"[A-Za-z0-9*][A-Za-z0-9*._:\[\]-]*"
Pattern = Annotated[str, Text("a check's id or its expectation's, in which '*' stands for any text", _PATTERN, 200)]
Words = Annotated[str, Text("text", r"(?s:.*\S.*)", 2000)]


def read_day(value: Any) -> date:
    """Return a day; raise the field's error for anything else (RFC 3339, full-date)."""
    form = "a day such as 2026-03-01"
    if not isinstance(value, str):
        raise wrong(f"expected {form}, not {describe(value)}")
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise wrong(f"expected {form}, not {quoted(value)}") from None
    if day.isoformat() != value:
        raise wrong(f"expected {form}, not {quoted(value)}; write {day}")
    return day


Day = Annotated[date, PlainValidator(read_day), WithJsonSchema({"type": "string", "format": "date"})]


class WaiverShape(Shape):
    """A deviation that is accepted for a while."""

    id: Name = Field(description="The waiver's name, such as W-2026-004")
    policy: Name = Field(description="The policy whose checks it is about")
    checks: Annotated[list[Pattern], Field(min_length=1), OneOrMany()] = Field(
        description="Ids of checks or of expectations, as the report shows them; '*' stands for any text"
    )
    hosts: Annotated[list[Name], Field(min_length=1), OneOrMany()] | None = Field(
        None, description="Hosts and groups that it is about; left out: all of the policy's"
    )
    cause: Words = Field(
        "", description="The finding's cause as the report shows it, '*' for any text; another finding is not waived"
    )
    owner: Title = Field(description="Who sees to it that the deviation ends")
    approver: Title = Field(description="Who accepted the risk; somebody else than the owner")
    ticket: Title = Field("", description="Where that is written down")
    reason: Words = Field(description="Why the deviation is accepted")
    compensating_control: Words = Field("", description="What lowers the risk meanwhile")
    created: Day = Field(description="The day it was agreed, UTC")
    expires: Day = Field(description="The last day on which it holds, UTC")


class WaiversShape(Shape):
    """Deviations that are accepted for a while, by whom and why."""

    max_days: int = Field(LONGEST, ge=1, le=366, description="Days that a waiver may last")
    waivers: list[WaiverShape] = Field(description="The waivers")


def load_waivers(path: Path, inventory: Inventory, policies: Collection[str] | None = None) -> Waivers:
    """Read a file of waivers; ``policies`` are the names that it may speak of, any where it is None.

    Raises :class:`fwproof.errors.InputError` with every fault found.
    """
    return waivers_of(read_document(path), inventory, policies)


def waivers_of(document: Document, inventory: Inventory, policies: Collection[str] | None = None) -> Waivers:
    """Return the waivers in a document that has been read; raise InputError as :func:`load_waivers` does."""
    shape, rest, faults = read_shape(WaiversShape, document)
    faults = without_echoes(document, faults)
    if shape is not None:
        faults += _relation_faults(rest, shape, inventory, policies)
    if shape is None or faults:
        raise InputError(faults)
    made = tuple(_waiver(document, shape, n, each, inventory) for n, each in enumerate(shape.waivers))
    return Waivers(path=document.path, sha256=document.sha256, waivers=made)


def _waiver(document: Document, shape: WaiversShape, index: int, one: WaiverShape, inventory: Inventory) -> Waiver:
    keys = ("waivers", index)
    selectors = []
    for n, text in enumerate(one.checks):
        place = document.place((*keys, "checks", n))
        selectors.append(Selector(text, place.line, place.column))
    named = {host for name in one.hosts or () for host in inventory.groups.get(name, (name,))}
    return Waiver(
        id=one.id, title=one.reason.strip().splitlines()[0][:200], file=document.file,
        line=document.place((*keys, "id")).line, policy=one.policy, checks=tuple(selectors),
        hosts=tuple(name for name in inventory.hosts if name in named), cause=one.cause, owner=one.owner,
        approver=one.approver, ticket=one.ticket, reason=one.reason.strip(),
        compensating=one.compensating_control.strip(), created=one.created, expires=one.expires,
        longest=shape.max_days,
    )  # fmt: skip


def _relation_faults(
    document: Document, shape: WaiversShape, inventory: Inventory, policies: Collection[str] | None
) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, one in enumerate(shape.waivers):
        place = document.place(("waivers", index, "id"))
        if first.setdefault(one.id, place.line) != place.line:
            message = f"waiver {quoted(one.id)} is in line {first[one.id]} already; give each a name of its own"
            yield document.fault(place, message)
        for keys, message in (*_name_faults(one, inventory, policies), *_agreement_faults(one)):
            yield document.fault(document.place(("waivers", index, *keys)), message)


def _name_faults(
    one: WaiverShape, inventory: Inventory, policies: Collection[str] | None
) -> Iterator[tuple[Keys, str]]:
    if policies is not None and one.policy not in policies:
        yield ("policy",), f"there is no policy {quoted(one.policy)} here{suggest(one.policy, policies)}"
    known = [*inventory.hosts, *inventory.groups]
    for n, name in enumerate(one.hosts or ()):
        if name not in known:
            yield ("hosts", n), f"there is no host or group {quoted(name)}{suggest(name, known)}"
    for n, text in enumerate(one.checks):
        if not text.strip("*"):
            yield ("checks", n), f"{quoted(text)} would waive everything; name the checks"


def _agreement_faults(one: WaiverShape) -> Iterator[tuple[Keys, str]]:
    if one.owner.strip().casefold() == one.approver.strip().casefold():
        yield ("approver",), "the approver is the owner; a risk is accepted by somebody else"
    if one.expires < one.created:
        yield ("expires",), f"it ends on {one.expires}, before it was agreed on {one.created}"
