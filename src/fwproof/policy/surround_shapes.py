"""The shape of what a policy expects around the tables: the log of drops, and the kernel's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fwproof.policy.fields import Choice, Shape, Shorthand, Text, Title
from fwproof.policy.model import DROP_EXCEPTIONS, DROP_FINDINGS, Accepted, DropPaths
from fwproof.policy.table_shapes import TRUTH, yes_or_no


class AcceptDropShape(Shape):
    """A rule whose drops, or whose lines in the log, are as they are meant to be."""

    rule: Annotated[str, Text("a rule as iptables-save prints it", r"\S([^\n]*\S)?", 1024)] = Field(
        description="The text of the rule that drops, or of the rule that logs, as the report shows it"
    )
    finding: Annotated[str, Choice(DROP_FINDINGS)] = Field("", description="Only this finding; left out: any")
    reason: Title = Field(description="Why it stays")


class DropPathsShape(Shape):
    """Whatever is dropped is logged first, whichever packet it is, and the log cannot be flooded."""

    forward: bool = Field(False, description="Also on the way through the host, where it forwards")
    except_: list[Annotated[str, Choice(DROP_EXCEPTIONS)]] = Field(
        default_factory=list, alias="except",
        description="Drops that need no line: of invalid packets, broadcast, multicast, or only over a limit",
    )  # fmt: skip
    fail: Annotated[list[Annotated[str, Choice(DROP_FINDINGS)]], Field(min_length=1)] = Field(
        list(DROP_FINDINGS), description="Findings that fail; the others are only told"
    )
    accept: list[AcceptDropShape] = Field(default_factory=list, description="Rules that are known and stay")


DropPathsField = Annotated[DropPathsShape | None, Shorthand(yes_or_no, TRUTH)]


def drop_paths(shape: DropPathsShape | None) -> DropPaths | None:
    """Return the value of a shape."""
    if shape is None:
        return None
    accepted = tuple(Accepted(rule=one.rule, finding=one.finding, reason=one.reason) for one in shape.accept)
    return DropPaths(
        forward=shape.forward, leave_out=tuple(shape.except_), fail=tuple(shape.fail), accepted=accepted
    )  # fmt: skip
