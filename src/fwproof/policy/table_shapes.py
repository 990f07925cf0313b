"""The shape of what a policy expects of the tables as a whole: families alike, rules with their effect, no drift."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from fwproof.policy.fields import Choice, Id, Shape, Shorthand, Text, Title, word_for, wrong
from fwproof.policy.scalars import describe
from fwproof.policy.table_model import (
    FINDINGS,
    FINDINGS_THAT_FAIL,
    LISTENER_FINDINGS,
    LISTENER_FINDINGS_THAT_FAIL,
    MANAGERS,
)

Framework = Annotated[str, Text("a framework's id such as pci-dss-4.0.1", r"[a-z0-9][a-z0-9.-]*")]
ControlId = Annotated[str, Text("a control's id such as SC-7(5)", r"[A-Za-z0-9][A-Za-z0-9.()_-]*")]
IPV6 = ("same", "deny")
DECLARED = ("declared",)
IPV6_TEXT = (
    "same: what is expected holds in IPv6 too, and the two families are compared: every zone can open the same"
    " services in both; deny: nothing is let through in IPv6; left out: what is expected holds in IPv6 too"
)


class Common(Shape):
    """What every expectation may have."""

    id: Id = Field("", description="Stable name of the expectation, used in check ids and reports")
    title: Title = Field("", description="One line for auditors: what is expected")
    controls: dict[Framework, Annotated[list[ControlId], Field(min_length=1)]] = Field(
        default_factory=dict, description="Controls that the expectation supports, by framework"
    )
    severity: Annotated[str, Choice(("critical", "high", "medium", "low"))] = Field(
        "high", description="How much a violation matters"
    )
    owner: Title = Field("", description="Who answers for it: a person or a team")
    justification: Title = Field("", description="The business need, or where it was approved")


class Ipv6Shape(Common):
    """What is expected of IPv6."""

    expect: Annotated[str, Choice(IPV6)] = Field(description="Same or deny, as in the one word")


class PersistenceShape(Common):
    """What boots is what runs."""


class AcceptShape(Shape):
    """A finding that is known and stays."""

    rule: Annotated[str, Text("a rule as iptables-save prints it", r"\S([^\n]*\S)?", 1024)] = Field(
        description="The rule's text, as the report and iptables-save show it"
    )
    finding: Annotated[str, Choice(FINDINGS)] = Field("", description="Only this finding; left out: any")
    reason: Title = Field(description="Why it stays")


class RulesShape(Common):
    """Which findings about single rules fail."""

    fail: Annotated[list[Annotated[str, Choice(FINDINGS)]], Field(min_length=1)] = Field(
        list(FINDINGS_THAT_FAIL), description="Findings that fail; the others are only told"
    )
    accept: list[AcceptShape] = Field(default_factory=list, description="Findings that are known and stay")


class ManagersShape(Common):
    """Who manages the tables."""

    who: Annotated[str, Choice(MANAGERS)] = Field(description="one: any, but one alone; or the name of the one")


class CoveredShape(Shape):
    """A rule of which coverage asks nothing."""

    rule: Annotated[str, Text("a rule as iptables-save prints it", r"\S([^\n]*\S)?", 1024)] = Field(
        description="The rule's text, as the report and iptables-save show it"
    )
    reason: Title = Field(description="Why nothing is asked of it")


_SHARE = "^(100|[1-9][0-9]?)%$"


def _share(value: Any) -> float:
    expected = "a share of the rules such as 80%"
    if not isinstance(value, str):  # quotes around a bare number would not help
        raise wrong(f"expected {expected}, with the % sign, not {describe(value)}")
    return int(Text(expected, r"(100|[1-9][0-9]?)%").read(value).removesuffix("%")) / 100


Share = Annotated[float, PlainValidator(_share), WithJsonSchema({"type": "string", "pattern": _SHARE})]


class CoverageShape(Common):
    """Probes reach the rules, and the kernel counts them where the model says."""

    at_least: Share | None = Field(
        None,
        description="The share that must be confirmed of the rules that packets can reach, such as 80%; left out: all"
        " that a probe from the inventory's vantages can reach",
    )
    accept: list[CoveredShape] = Field(default_factory=list, description="Rules of which nothing is asked")


class AcceptSocketShape(Shape):
    """A finding about a socket that is known and stays."""

    socket: Annotated[str, Text("a protocol and port such as udp/546", r"(tcp|udp)/[1-9][0-9]{0,4}")] = Field(
        "", description="Protocol and port; left out: any"
    )
    process: Annotated[str, Text("the name of a process as ss shows it", r"[!-~]([ -~]*[!-~])?", 15)] = Field(
        "", description="The process that listens; left out: any. A process chooses its own name"
    )
    finding: Annotated[str, Choice(LISTENER_FINDINGS)] = Field("", description="Only this finding; left out: any")
    reason: Title = Field(description="Why it stays")


class ListenersShape(Common):
    """Sockets that listen, what the rules let in to them, and what the wire shows of them."""

    expect: Annotated[str, Choice(DECLARED)] = Field("declared", description="Declared, as in the one word")
    fail: Annotated[list[Annotated[str, Choice(LISTENER_FINDINGS)]], Field(min_length=1)] = Field(
        list(LISTENER_FINDINGS_THAT_FAIL), description="Findings that fail; the others are only told"
    )
    accept: list[AcceptSocketShape] = Field(default_factory=list, description="Findings that are known and stay")


class BaselineShape(Common):
    """The tables mean what they meant when a snapshot was taken."""

    folder: Annotated[str, Text("a folder such as ../baseline/{host}", r"[^\x00-\x1f]+", 1024)] = Field(
        description="The folder that fwproof collect wrote for the host, from the policy's own; {host} is its name"
    )


def yes_or_no(value: Any) -> Any:
    """Read ``true`` as a mapping without keys, and ``false`` as nothing expected."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


TRUTH = (("type", "boolean"),)
PersistenceField = Annotated[PersistenceShape | None, Shorthand(yes_or_no, TRUTH)]
RulesField = Annotated[RulesShape | None, Shorthand(yes_or_no, TRUTH)]
ManagersField = Annotated[ManagersShape | None, word_for("who", MANAGERS)]
CoverageField = Annotated[
    CoverageShape | None,
    Shorthand(
        lambda value: {"at_least": value} if isinstance(value, str | int | float) and not isinstance(value, bool)
        else yes_or_no(value),
        (("type", ["boolean", "string"]), ("pattern", _SHARE)),
    ),
]  # fmt: skip


ListenersField = Annotated[ListenersShape | None, word_for("expect", DECLARED)]
BaselineField = Annotated[
    BaselineShape | None,
    Shorthand(lambda value: value if isinstance(value, dict) else {"folder": value}, (("type", "string"),)),
]
