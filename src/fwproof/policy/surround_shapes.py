"""The shape of what a policy expects around the tables: the log of drops, and the kernel's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fwproof.policy.fields import Choice, Shape, Shorthand, Text, Title, word_for
from fwproof.policy.table_model import DROP_EXCEPTIONS, DROP_FINDINGS, Accepted, DropPaths
from fwproof.policy.table_shapes import TRUTH, Common, yes_or_no

UNCHECKED = "unchecked"


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


_OnOff = Annotated[str, Choice(("on", "off", UNCHECKED))]


class SettingsShape(Shape):
    """What each setting is expected to be, for the packets of every interface; what is left out is as hardened."""

    forwarding: Annotated[str, Choice(("on", "off", UNCHECKED, ""))] = Field(
        "", description="Packets of others are passed on; left out: as 'router' says; on, off or unchecked"
    )
    rp_filter: Annotated[str, Choice(("strict", "loose", "off", UNCHECKED))] = Field(
        "strict",
        description="Packets from a source that is not reached the same way (strict) or not at all (loose) are dropped;"
        " strict, loose (at least), off or unchecked; IPv4 only",
    )
    accept_source_route: _OnOff = Field("off", description="Senders choose the way of packets; on, off or unchecked")
    segment_routing: _OnOff = Field("off", description="IPv6 segment routing headers are taken; on, off or unchecked")
    accept_redirects: _OnOff = Field("off", description="ICMP redirects change routes; on, off or unchecked")
    secure_redirects: _OnOff = Field(
        UNCHECKED,
        description="Redirects to known gateways alone, which matters where any are taken; on, off, unchecked",
    )
    send_redirects: _OnOff = Field("off", description="The host sends ICMP redirects; on, off or unchecked")
    route_localnet: _OnOff = Field("off", description="127.0.0.0/8 is routed; on, off or unchecked")
    log_martians: _OnOff = Field("on", description="Packets from impossible sources are logged; on, off or unchecked")
    accept_ra: _OnOff = Field("off", description="IPv6 router advertisements are taken; on, off or unchecked")
    tcp_syncookies: _OnOff = Field("on", description="SYN cookies against floods; on, off or unchecked")
    icmp_echo_ignore_broadcasts: _OnOff = Field(
        "on", description="Echo to broadcast is not answered; on, off, unchecked"
    )
    icmp_ignore_bogus_error_responses: _OnOff = Field(
        "on", description="Broken answers to broadcast are not logged; on, off or unchecked"
    )
    conntrack_loose: _OnOff = Field(
        UNCHECKED, description="Conntrack picks up connections in the middle; on, off or unchecked"
    )
    conntrack_helper: _OnOff = Field("off", description="Helpers are attached by port alone; on, off or unchecked")
    conntrack_table: Annotated[str, Choice(("roomy", UNCHECKED))] = Field(
        "roomy",
        description="roomy: less than 80% of conntrack's table is in use, and its chains are short; or unchecked",
    )
    bridged: _OnOff = Field(UNCHECKED, description="iptables sees what bridges carry; on, off or unchecked")


SETTINGS = tuple(SettingsShape.model_fields)
_WORDS = ("hardened",)


class AcceptSettingShape(Shape):
    """A setting that is not as expected, and stays."""

    setting: Annotated[str, Choice(SETTINGS)] = Field(description="The setting, by its name under 'settings'")
    interface: Annotated[str, Text("the name of an interface such as eth0 or veth*", r"[!-.0-~]+", 15)] = Field(
        "", description="The interface, with * for any letters; default for those to come; left out: every one"
    )
    reason: Title = Field(description="Why it stays")


class KernelShape(Common):
    """The kernel's settings beside the rules: what counts for packets now, and what a reboot makes of it."""

    expect: Annotated[str, Choice(_WORDS)] = Field("hardened", description="Hardened, as in the one word")
    router: bool = Field(False, description="Whether the host is meant to pass packets on")
    boot: bool = Field(True, description="Whether a reboot has to leave the settings as they are expected")
    settings: SettingsShape = Field(
        default_factory=SettingsShape, description="Settings that differ from hardened ones"
    )
    accept: list[AcceptSettingShape] = Field(default_factory=list, description="Settings that are known and stay")


KernelField = Annotated[KernelShape | None, word_for("expect", _WORDS)]


def wanted_settings(shape: KernelShape) -> dict[str, str]:
    """Return the expected word of each setting that is checked."""
    found = {name: getattr(shape.settings, name) for name in SETTINGS}
    found["forwarding"] = found["forwarding"] or ("on" if shape.router else "off")
    return {name: word for name, word in found.items() if word != UNCHECKED}
