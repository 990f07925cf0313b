"""What is known of the rules of one family of a host after probes were sent to reach each of them. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fwproof.decision import RuleRef
from fwproof.flow import Flow, Hook
from fwproof.observation import Observation
from fwproof.semantics.cover_found import Missed
from fwproof.semantics.model import HostModel

Refs = frozenset[RuleRef]


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What the model says that a packet, and what follows from it, meets on the host.

    ``certain``: the packet itself, whatever the oracles answer; ``maybe``: on some of their answers. ``answer``: what
    its answer meets for certain, once there is one. ``after`` is all that anything that may follow, such as a reset,
    may meet.
    """

    certain: Refs = frozenset()
    maybe: Refs = frozenset()
    answer: Refs = frozenset()
    after: Refs = frozenset()

    @property
    def all(self) -> Refs:
        """Everything that may count because of the packet."""
        return self.certain | self.beside

    @property
    def beside(self) -> Refs:
        """What may count it, or what follows, beside the packet's own certain way."""
        return self.maybe | self.answer | self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverProbe:
    """A packet that was chosen to reach rules; ``limited``: a limit counts it, so it is sent once.

    ``flow`` has the state and the interface that it has on the host.
    """

    name: str
    sender: str
    receiver: str
    hook: Hook
    flow: Flow
    limited: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.flow}, from {self.sender})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One sending of a probe: ``sent`` packets, of which ``counted`` met the host's rules, by what was seen.

    ``sure`` is False where nobody watched: ``counted`` is then what may have. ``answered``: an answer met them as well.
    ``state`` says what became of it. ``traced`` are the rules that the kernel itself says it met, None where it was not
    asked.
    """

    probe: str
    met: Met
    sent: int
    counted: int
    answered: bool
    state: str
    sure: bool = True
    traced: Refs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Probes sent together, and how far each rule's counter moved meanwhile.

    ``moved`` is None where that cannot be told, since the tables changed. ``alone``: of one probe only. A round
    without trips shows what other traffic counts.
    """

    trips: tuple[Trip, ...]
    moved: Mapping[RuleRef, int] | None
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageFacts:
    """The rules and defaults of one family, in the order of the tables, and all that was found out about each.

    ``missed`` says of those that no probe was chosen for why. ``provoked`` is how far counters moved while limits were
    exercised. ``silent`` says of rules that have no counter to be read
    why. ``ends`` holds, for each base chain, the rules and the default one of which every packet in it ends at.
    ``instead`` names, for rules that only packets from or to elsewhere reach, the vantage that would do it. ``away``
    are sources of which nothing arrives, ``gaps`` what could not be looked at, ``seen`` what became of every packet.
    ``model`` is of the tables at that time.
    """

    rules: tuple[RuleRef, ...]
    probes: tuple[CoverProbe, ...] = ()
    rounds: tuple[Round, ...] = ()
    missed: Mapping[RuleRef, Missed] = field(default_factory=dict)
    silent: Mapping[RuleRef, str] = field(default_factory=dict)
    ends: tuple[Refs, ...] = ()
    instead: Mapping[RuleRef, str] = field(default_factory=dict)
    provoked: Mapping[RuleRef, int] = field(default_factory=dict)
    away: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    seen: tuple[Observation, ...] = ()
    model: HostModel | None = None
