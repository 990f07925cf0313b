"""Expectations of a host's tables as a whole, and of what is around them: drop log, sockets, kernel, boot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fwproof.policy.expectation import Expectation

FINDINGS_THAT_FAIL = ("never-matches", "unreachable", "shadowed", "contradicted", "redundant", "over-broad")
FINDINGS = (*FINDINGS_THAT_FAIL, "unused")
"""What can be wrong with a rule, in the words of ``fwproof lint``; an unused one can match, and has not yet."""
LISTENER_FINDINGS_THAT_FAIL = ("undeclared", "unexplained", "unanswered")
LISTENER_FINDINGS = (*LISTENER_FINDINGS_THAT_FAIL, "idle")
"""What sockets, rules and wire can differ in: a socket that can be reached and that no expectation names, a port that
answers without a socket, a socket that does not answer, a service that is let in and that nobody serves."""
HOST = "{host}"
"""What stands for a host's name in the folder of a baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A finding about a rule that stays, and why; ``rule`` is its text, an empty ``finding`` stands for any."""

    rule: str
    finding: str
    reason: str


DROP_FINDINGS = ("silent", "unlimited", "prefix", "unreachable")
"""What can be wrong with the log of drops: a drop without a line, a rule that logs without a limit, a line with another
prefix, a rule that logs and that no packet comes to."""
DROP_EXCEPTIONS = ("invalid", "broadcast", "multicast", "over-limit")
"""Drops that need no line: of what conntrack takes for invalid, of what is sent to all or to a group, and of what is
refused only because a limit is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPaths:
    """Whatever is dropped is logged first, over the whole packet space, and no log can be flooded.

    ``forward``: also on the way through the host. ``leave_out`` are words of :data:`DROP_EXCEPTIONS`, ``fail`` the
    findings that fail but for rules that are ``accepted``.
    """

    forward: bool = False
    leave_out: tuple[str, ...] = ()
    fail: tuple[str, ...] = DROP_FINDINGS
    accepted: tuple[Accepted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DropLog(Expectation):
    """Dropped packets leave a line in the log, in each of ``directions`` (``inbound``, ``outbound``).

    ``paths``: what is proved of every way to be dropped, beyond the one packet that ``exercise`` sends.
    """

    directions: tuple[str, ...]
    prefix: str | None = None
    exercise: bool = False
    paths: DropPaths | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence(Expectation):
    """What boots is what runs: the saved tables are loaded at boot and mean the same as the running ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity(Expectation):
    """IPv4 and IPv6 let the same through, zone by zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules(Expectation):
    """No rule has a finding of the kinds in ``fail`` but those that are ``accepted``."""

    fail: tuple[str, ...] = FINDINGS_THAT_FAIL
    accepted: tuple[Accepted, ...] = ()


ANY_ONE = "one"
MANAGERS = (ANY_ONE, "ufw", "firewalld", "nftables", "iptables")
"""Who may be expected to manage a host's tables: any one of them, or one by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Managers(Expectation):
    """One manager decides who gets in, the one of this name or whichever (``one``), and nobody else beside it."""

    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage(Expectation):
    """Probes reach the rules that can be reached, and the kernel counts them where the model says.

    ``at_least`` is the share, from 0 to 1, of the rules that packets can reach that must be confirmed, None for all
    that the vantages can reach. ``accepted`` are rules of which nothing is asked; their ``finding`` is empty.
    """

    at_least: float | None = None
    accepted: tuple[Accepted, ...] = ()


@dataclass(frozen=True, slots=True)
class AcceptedSocket:
    """A finding about a socket that stays, and why; an empty ``socket``, ``process`` or ``finding`` stands for any."""

    socket: str
    process: str
    finding: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners(Expectation):
    """Every socket that others can reach is named by an expectation, and sockets, rules and wire agree.

    Findings of the kinds in ``fail`` fail but those that are ``accepted``; the others are told.
    """

    fail: tuple[str, ...] = LISTENER_FINDINGS_THAT_FAIL
    accepted: tuple[AcceptedSocket, ...] = ()


@dataclass(frozen=True, slots=True)
class AcceptedSetting:
    """A setting that stays as it is, and why; ``interface`` is a pattern, empty for every one."""

    setting: str
    interface: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel(Expectation):
    """The kernel's settings are as ``wanted`` (``off``, ``on`` …, by name) and, with ``boot``, so after a reboot."""

    wanted: Mapping[str, str]
    boot: bool = True
    accepted: tuple[AcceptedSetting, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline(Expectation):
    """The tables mean what they meant in a snapshot; ``pattern`` is its folder, ``{host}`` in it the host's name."""

    pattern: str

    def folder(self, host: str) -> Path:
        """Return the folder of a host's snapshot."""
        return Path(self.pattern.replace(HOST, host))
