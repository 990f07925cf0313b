"""Facts: what gathering found out, in the form that judging reads. Nothing here does I/O.

A fact that could not be established is a :class:`~fwproof.errors.HostError` in its place, so that a judge meets
the reason instead of an absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from fwproof.covered import CoverageFacts
from fwproof.decision import RuleRef, Ruling
from fwproof.errors import HostError
from fwproof.evidence.ban_lines import Trials
from fwproof.evidence.droplog import DropLine
from fwproof.evidence.sockets import Sockets
from fwproof.flow import Flow
from fwproof.forms import Form
from fwproof.frontends.front_end import FrontEnd
from fwproof.inventory import Inventory
from fwproof.measured import Attempt, Held, Measured
from fwproof.observation import Observation
from fwproof.policy.accepted import AcceptedChange
from fwproof.semantics.limits import LogAct
from fwproof.semantics.model import HostModel
from fwproof.semantics.traced import Traced
from fwproof.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How far a rule's packet counter moved while ``probes`` packets that it should decide arrived."""

    rule: RuleRef
    probes: int
    moved: int

    @property
    def confirms(self) -> bool:
        """Whether the counter accounts for every probe; other traffic can only move it further."""
        return self.moved >= self.probes

    def __str__(self) -> str:
        return f"+{self.moved} for {self.probes} probe{'s' if self.probes != 1 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFacts:
    """All that is known of one probe: the packet, what the model says of it and of its reply, what the wire did.

    ``fresh`` is the model's answer while every rate limit is unused, where ``ruling`` depends on one. ``traced`` is
    None where rules were not traced. ``stopped`` says where on the way a probe was stopped that never arrived, empty
    where no router told. ``after`` is the packet as it leaves a host that passes it on, by the tables.
    """

    flow: Flow
    ruling: Ruling
    reply: Ruling | None = None
    fresh: Ruling | None = None
    observation: Observation | HostError | None = None
    counted: Counted | None = None
    logged: DropLine | None = None
    connected: Connected | HostError | None = None
    traced: Traced | None = None
    stopped: str = ""
    after: Flow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """An ordinary TCP connection, made by the sender's own kernel: whether it stood, and what was read."""

    ok: bool
    detail: str
    data: str = ""


class Untried(StrEnum):
    """Why an exercise was left out, in words for a report."""

    OFF = "exercises are switched off"
    POLICY = "the policy asks for no exercise"
    NO_VANTAGE = "no vantage of the inventory stands where it has to be tried from"
    TIER = "the host's access is read, so nothing can be sent from it"


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstFacts:
    """A burst of new connections from one source: how many of them the target's tables let in.

    ``untried`` says why none was sent; ``predicted`` is then all that is known. ``watched`` is False where nobody
    looks at the target's end: what was answered is then all that is known of what was let in. ``seen`` is what became
    of each packet.
    """

    sent: int
    arrived: int
    admitted: int
    answered: int
    first_refused: int | None
    predicted: tuple[bool, ...]
    limiter: str = ""
    counters: tuple[str, ...] = ()
    note: str = ""
    untried: Untried | None = None
    watched: bool = True
    seen: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureFacts:
    """A limit as measured on the wire (``seen``) and as the tables have it by simulation (``predicted``).

    ``limiter`` are the rules that limit, ``limits`` the model's names of their rates. ``others`` is how many packets
    of other traffic they counted meanwhile, None where that is not known. ``untried`` says why nothing was sent.
    ``attempts`` are the schedule's connections, without those that were kept open.
    """

    predicted: Measured | None
    limiter: str
    limits: tuple[str, ...] = ()
    seen: Measured | None = None
    sources: tuple[str, ...] = ()
    packets: int = 0
    seconds: float = 0.0
    others: int | None = None
    counters: tuple[str, ...] = ()
    note: str = ""
    untried: Untried | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingFacts:
    """How many connections stood at once (``held``) and how many should by the tables, by simulation.

    ``predicted`` and ``free`` (whether another source may open one all the same) are None where the tables do not
    tell. ``limiter`` are the rules that count, ``untried`` says why nothing was opened.
    """

    predicted: int | None
    free: bool | None
    limiter: str
    held: Held | None = None
    sources: tuple[str, ...] = ()
    untried: Untried | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BanFacts:
    """The life of one provoked ban. ``steps`` tells it in words, in order; each flag is one thing that must hold.

    ``others_unharmed`` is None where no other source was at hand. ``before``, ``during`` and ``after`` are the host's
    tables as they were around it, ``held`` and ``left`` the tables and sets that named the address while it was banned
    and after the unban. ``also`` says of other services that the source might reach whether it still did, and
    ``banned_too`` whom the jail banned meanwhile.
    """

    attempts: int
    banned: bool
    refused: bool
    others_unharmed: bool | None
    unbanned: bool
    open_again: bool
    steps: tuple[str, ...]
    flow: Flow | None = None
    before: HostModel | None = None
    during: HostModel | None = None
    after: HostModel | None = None
    held: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    also: tuple[tuple[str, bool | None], ...] = ()
    banned_too: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JailFacts:
    """What the filters of a host's jails do with real lines (or why nobody could try), and a second look at its bans.

    ``again`` is None where the first look left nothing to settle: bans come and go between two commands.
    """

    trials: Trials | HostError
    again: Snapshot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """A probe that was dropped on purpose: the rules that log before the drop, and the line that it left.

    ``decided`` names the rule that decides, ``observed`` says what the wire did with the probe, in words; ``met``:
    it came to the host's tables. Where the first probe left no line and the rules' own limit may be why, more were
    ``sent``, over ``seconds``: ``others`` is how many lines of other packets these rules left meanwhile, ``counted``
    how many packets they logged and how many were dropped by their counters, None where there are none.
    ``untried`` says why no packet was sent; the tables alone then say whether it would be logged.
    """

    refused: bool
    decided: str
    rules: tuple[LogAct, ...]
    observed: str
    line: DropLine | None
    log_file: str
    lines_read: int
    met: bool = True
    sent: int = 1
    seconds: float = 0.0
    others: int = 0
    counted: tuple[int | None, int | None] = (None, None)
    untried: Untried | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormFacts:
    """All that is known of one probe in one form. ``tracked``: conntrack would have told, had it been let in."""

    form: Form
    known: FlowFacts
    tracked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EvasionFacts:
    """The forms of one group that were tried from one vantage; none where the inventory has no vantage for them."""

    forms: tuple[FormFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourFacts:
    """Whether a host answered an ICMPv6 neighbour solicitation of a vantage on its own link.

    ``answered`` is False only where it was seen to arrive and no advertisement left the host; None where an answer is
    missing and the wire does not tell why.
    """

    answered: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFacts:
    """What a host's tables were: the folder that they were read from, the snapshot in it, and its model.

    ``accepted`` are the changes since that stay, and ``day`` is the one on which that is asked.
    """

    folder: str
    snapshot: Snapshot
    model: HostModel
    accepted: tuple[AcceptedChange, ...] = ()
    day: date = date.min


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketFacts:
    """The sockets that listened in one family, before all probes and after them, and what probes of them showed.

    ``gap`` says why the owners of the sockets are not known, empty where they are.
    """

    before: Sockets
    after: Sockets
    probed: tuple[FlowFacts, ...] = ()
    gap: str = ""


Exercised = (
    BurstFacts
    | MeasureFacts
    | StandingFacts
    | BanFacts
    | JailFacts
    | LogFacts
    | NeighbourFacts
    | EvasionFacts
    | CoverageFacts
    | SocketFacts
    | Connected
)
"""What trying something on purpose found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything one audit found out, by host name or check id.

    ``exercised`` holds what a check of its own kind needs, or the HostError that stood in the way. ``baselines`` are
    by host and folder. ``front_ends`` are of the hosts that have a model. ``untraced`` says why hosts were not traced
    that should have been.
    """

    inventory: Inventory
    snapshots: Mapping[str, Snapshot | HostError]
    models: Mapping[str, HostModel | HostError]
    agents: Mapping[str, HostError | None]
    flows: Mapping[str, FlowFacts | HostError] = field(default_factory=dict)
    exercised: Mapping[str, Exercised | HostError] = field(default_factory=dict)
    baselines: Mapping[tuple[str, Path], BaselineFacts | HostError] = field(default_factory=dict)
    front_ends: Mapping[str, FrontEnd] = field(default_factory=dict)
    untraced: Mapping[str, HostError] = field(default_factory=dict)

    def baseline(self, host: str, folder: Path) -> BaselineFacts:
        """Return what a host's tables were; raise the HostError that stood in the way."""
        return _or_raise(self.baselines[host, folder])

    def snapshot(self, host: str) -> Snapshot:
        """Return a host's snapshot; raise the HostError that stood in the way."""
        return _or_raise(self.snapshots[host])

    def model(self, host: str) -> HostModel:
        """Return a host's model; raise the HostError that stood in the way."""
        return _or_raise(self.models[host])


_T = TypeVar("_T")


def _or_raise(value: _T | HostError) -> _T:
    if isinstance(value, HostError):
        raise value
    return value
