"""The shape of the limits of a service: new connections in a period, and connections that stand at once."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from fwproof.measured import MOST_STANDING, Part
from fwproof.policy.fields import Choice, Shape, Shorthand
from fwproof.policy.references import Duration


def _measured(value: Any) -> tuple[Part, ...]:
    """Return what of a limit is measured: nothing, what tells a limit from others (``true``), or what a list names."""
    if isinstance(value, bool):
        return (Part.BURST, Part.WINDOW, Part.ISOLATION) if value else ()
    words = value if isinstance(value, list) else [value]
    choice = Choice(tuple(part.value for part in Part))
    found = [Part(choice.read(word)) for word in words]
    return tuple(dict.fromkeys((Part.BURST, *found))) if found else ()


_PARTS = {"type": "string", "enum": [part.value for part in Part]}
Measures = Annotated[
    tuple[Part, ...],
    PlainValidator(_measured),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, _PARTS, {"type": "array", "items": _PARTS}]}),
]


class RateShape(Shape):
    """How many new connections are let in."""

    limit: int = Field(ge=1, le=10_000, description="New connections let in per period")
    per: Duration = Field(description="The period, with its unit: 60s, 5m or 1h")
    by: Annotated[str, Choice(("source", "total"))] = Field("source", description="Counted per source, or over all")
    measure: Measures = Field(
        (), description="Measure it on the wire, which takes its period: true, or a list of burst, window …"
    )


class ConnectionsShape(Shape):
    """How many connections may stand at once."""

    limit: int = Field(ge=1, le=MOST_STANDING, description="Connections that stand at once; one more is refused")
    by: Annotated[str, Choice(("source", "total"))] = Field("source", description="Counted per source, or over all")


ConnectionsField = Annotated[
    ConnectionsShape | None,
    Shorthand(
        lambda value: {"limit": value} if isinstance(value, int) and not isinstance(value, bool) else value,
        (("type", "integer"), ("minimum", 1), ("maximum", MOST_STANDING)),
    ),
]
