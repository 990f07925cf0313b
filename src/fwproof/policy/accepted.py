"""Accepted drift: changes since a baseline that stay, as a file ``accepted.yaml`` in the baseline's folder.

Each entry selects changes by the text of a rule, by a header space, or by both, and says who answers for it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from fwproof.errors import Fault, InputError
from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, Family, Hook, Network
from fwproof.policy.document import Document, Keys, read_document
from fwproof.policy.faults import read_shape, without_echoes
from fwproof.policy.fields import Choice, NetworkField, OneOrMany, Shape, Text, Title, wrong
from fwproof.policy.scalars import describe, quoted

NAME = "accepted.yaml"
"""The file in the folder of a baseline."""
EFFECT = "other-effect"
KINDS = ("became-reachable", "stopped-being-reachable", "refused-otherwise", EFFECT)
"""The words of ``fwproof diff`` for what changed, and one for rules that mark, log or translate."""
_SERVICE = re.compile(r"(tcp|udp|sctp|icmp)(?:/([0-9]{1,5})(?:-([0-9]{1,5}))?)?")
_EXAMPLE = "a service such as tcp/443, udp/8000-8100, icmp/8 or tcp"

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Space:
    """A protocol by name, with the ports or the ICMP types that are meant; None for all of them."""

    proto: str
    numbers: Span | None

    def number(self, family: Family) -> int:
        """Return the protocol's number; ``icmp`` is ICMPv6 in IPv6."""
        icmp = ICMP if family is Family.IPV4 else ICMPV6
        return icmp if self.proto == "icmp" else PROTOCOLS[self.proto]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedChange:
    """One accepted change: what it selects, who answers for it since when, and until when at most."""

    file: str
    line: int
    change: str
    family: Family
    owner: str
    reason: str
    date: dt.date
    ticket: str = ""
    expires: dt.date | None = None
    hook: Hook | None = None
    rule: str = ""
    sources: tuple[Network, ...] | None = None
    destinations: tuple[Network, ...] | None = None
    services: tuple[Space, ...] = ()

    def __str__(self) -> str:
        return f"{self.owner}, {self.date}: {self.reason}" + (f" [{self.ticket}]" if self.ticket else "")

    @property
    def place(self) -> str:
        """The file and line that it stands on."""
        return f"{self.file}:{self.line}"


def _day(value: Any) -> dt.date:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            raise wrong(f"{quoted(value)} is no day of the calendar") from None
    raise wrong(f"expected a day such as 2026-03-01, not {describe(value)}")


def _service(value: Any) -> Space:
    found = _SERVICE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise wrong(f"expected {_EXAMPLE}, not {describe(value)}")
    if found[2] is None:
        return Space(found[1], None)
    low, high = int(found[2]), int(found[3] or found[2])
    if not low <= high <= (255 if found[1] == "icmp" else 65535):
        raise wrong(f"{quoted(value)}: expected {_EXAMPLE}, numbers in order and in range")
    return Space(found[1], (low, high))


Day = Annotated[dt.date, PlainValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
ServiceSpace = Annotated[
    Space, PlainValidator(_service), WithJsonSchema({"type": "string", "pattern": f"^(?:{_SERVICE.pattern})$"})
]
Networks = Annotated[list[NetworkField], Field(min_length=1), OneOrMany()]


class AcceptedShape(Shape):
    """A change since the baseline that stays."""

    change: Annotated[str, Choice(KINDS)] = Field(description="What changed, in the words of fwproof diff")
    family: Annotated[str, Choice(tuple(Family))] = Field(description="ipv4 or ipv6")
    hook: Annotated[str, Choice(("input", "forward", "output"))] = Field("", description="Only there; left out: any")
    rule: Annotated[str, Text("a rule as the report shows it", r"\S([^\n]*\S)?", 1024)] = Field(
        "", description="The text of the rule that lets the packets in now, or that let them in; left out: any"
    )
    from_: Networks | None = Field(None, alias="from", description="Only packets from these networks")
    to: Networks | None = Field(None, description="Only packets to these networks")
    service: Annotated[list[ServiceSpace], Field(min_length=1), OneOrMany()] | None = Field(
        None, description="Only packets of these services, such as tcp/443"
    )
    owner: Title = Field(description="Who answers for it")
    reason: Title = Field(description="Why it stays")
    date: Day = Field(description="The day on which it was accepted, such as 2026-03-01")
    ticket: Title = Field("", description="Where that is written down, such as a ticket's number")
    expires: Day | None = Field(None, description="The last day on which it is accepted")


class AcceptedFileShape(Shape):
    """Changes since the baseline in this folder that stay."""

    accepted: Annotated[list[AcceptedShape], Field(min_length=1)] = Field(description="The changes, one entry each")


def load_accepted(path: Path) -> tuple[AcceptedChange, ...]:
    """Read a file of accepted changes; raises InputError with every fault of it, each with line and column."""
    document = read_document(path)
    shape, rest, faults = read_shape(AcceptedFileShape, document)
    faults = without_echoes(document, faults)
    if shape is not None:
        for at, entry in enumerate(shape.accepted):
            faults += _faults(rest, ("accepted", at), entry)
    if shape is None or faults:
        raise InputError(faults)
    return tuple(_change(document, at, entry) for at, entry in enumerate(shape.accepted))


def _faults(document: Document, keys: Keys, entry: AcceptedShape) -> Iterator[Fault]:
    here = document.place(keys)
    by_space = [name for name, value in (("from", entry.from_), ("to", entry.to), ("service", entry.service)) if value]
    if not entry.rule and not by_space:
        yield document.fault(here, "accepts everything of its kind: say which by 'rule', 'from', 'to' or 'service'")
    if entry.change == EFFECT and (by_space or entry.hook or not entry.rule):
        yield document.fault(here, f"a change of {EFFECT} is selected by its 'rule' alone")
    if entry.expires is not None and entry.expires < entry.date:
        yield document.fault(document.place((*keys, "expires")), "ends before the day on which it was accepted")
    for name, networks in (("from", entry.from_), ("to", entry.to)):
        if any(Family.of(network).value != entry.family for network in networks or ()):
            yield document.fault(document.place((*keys, name)), f"has a network that is not {entry.family}")


def _change(document: Document, at: int, entry: AcceptedShape) -> AcceptedChange:
    return AcceptedChange(
        file=document.file, line=document.place(("accepted", at)).line, change=entry.change,
        family=Family(entry.family), owner=entry.owner, reason=entry.reason, date=entry.date, ticket=entry.ticket,
        expires=entry.expires, hook=Hook(entry.hook) if entry.hook else None, rule=entry.rule,
        sources=None if entry.from_ is None else tuple(entry.from_),
        destinations=None if entry.to is None else tuple(entry.to), services=tuple(entry.service or ()),
    )  # fmt: skip
