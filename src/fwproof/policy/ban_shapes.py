"""The shape of a fail2ban jail in a policy file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from fwproof.policy.fields import Choice, Id, Shape, Text
from fwproof.policy.references import PeerList, ServiceRef
from fwproof.policy.table_shapes import Common


def _header_value(value: Any) -> str:
    return Text("one line of text", r"[\x20-\x7e]*", 1024).read(value)


HeaderValue = Annotated[str, PlainValidator(_header_value), WithJsonSchema({"type": "string"})]
HeaderName = Annotated[str, Text("an HTTP header's name such as Authorization", r"[A-Z][A-Za-z0-9-]*")]


class ProvokeShape(Shape):
    """The HTTP request that counts as a failed attempt."""

    method: Annotated[str, Text("an HTTP method such as GET", r"[A-Z]{3,10}")] = Field("GET", description="HTTP method")
    path: Annotated[str, Text("a path such as /api/tags", r"/[!-~]*", 1024)] = Field(description="Path of the request")
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, description="Headers, the bad key among them")


LogLine = Annotated[str, Text("one line of a log, without line ends", r"[^\x00-\x08\x0a-\x1f\x7f]+", 500)]


class SamplesShape(Shape):
    """Lines of the log that a jail watches."""

    banned: list[LogLine] = Field(default_factory=list, description="Lines that count as failed attempts")
    passed: list[LogLine] = Field(default_factory=list, description="Lines that must not count as failed attempts")


class BansShape(Common):
    """A fail2ban jail."""

    jail: Id = Field(description="Name of the jail")
    service: ServiceRef = Field(description="The service that the jail protects")
    maxretry: int = Field(ge=1, le=1000, description="Failed attempts that lead to a ban")
    findtime: int = Field(ge=1, description="Seconds within which they are counted")
    bantime: int = Field(ge=1, description="Seconds that a ban lasts")
    exercise: bool = Field(False, description="Whether the audit provokes a ban, and undoes it")
    blocks: Annotated[str, Choice(("service", "everything"))] = Field(
        "service", description="What a banned source must not reach any more; the rest is told"
    )
    provoke: ProvokeShape | None = Field(None, description="The request that counts as a failed attempt")
    ignore: PeerList | None = Field(
        None, description="Whom the jail may let off (ignoreip), beside loopback; left out: single addresses"
    )
    usedns: Annotated[str, Choice(("yes", "warn", "no", "raw"))] | None = Field(
        None, description="How host names in log lines are treated; left out: in any way"
    )
    increment: bool | None = Field(
        None, description="Whether each further ban of a source is longer (bantime.increment); left out: either"
    )
    ignoreself: bool | None = Field(None, description="Whether the host's own addresses are let off; left out: either")
    samples: SamplesShape | None = Field(None, description="Log lines that the jail's filter is tried on")
