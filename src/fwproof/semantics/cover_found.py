"""What a cover is: packets that reach rules, and for every other rule the reason why none of them does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Family, Flow, Hook, Network
from fwproof.ruleset.asks import Ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Somewhere that packets can be sent from: a vantage's addresses and the interface that they come in by.

    None stands for any. ``itself``: it is the host whose tables these are, which sends them out. ``destinations`` are
    those that packets from here take the way through the host to.
    """

    name: str
    networks: tuple[Network, ...] | None = None
    interface: str | None = None
    itself: bool = False
    destinations: tuple[Network, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Which packets may be chosen; without anything given, every first packet of a connection.

    ``sources`` and ``destinations`` None stand for any, ``states`` are conntrack's, of the packet as it arrives. With
    ``shapes``, a packet has the values of one of them: ranges by the name of a field.
    ``everything``: also packets that no network brings, such as a NEW packet with all TCP flags.
    """

    sources: tuple[Source, ...] | None = None
    destinations: tuple[Network, ...] | None = None
    states: frozenset[CtState] = frozenset({CtState.NEW})
    everything: bool = False
    shapes: tuple[Mapping[str, Ranges], ...] | None = None


class Why(StrEnum):
    """Why a rule is reached by none of the packets, or not for certain."""

    ORACLE = "oracle"
    """A packet reaches it if something that no header decides answers so: a rate, a list, the time."""
    SOURCE = "source"
    """Only packets reach it that come from elsewhere, or go elsewhere."""
    STATE = "state"
    """Only packets reach it that are of another state, and so belong to a connection that there is already."""
    MARK = "mark"
    """Only packets reach it that have a mark before the first rule."""
    UNREAL = "unreal"
    """Only packets reach it that no network brings, such as a first packet with all TCP flags."""
    UNREACHABLE = "unreachable"
    """Proved: no packet reaches it."""
    UNKNOWN = "unknown"
    """Not known: something on the way is not understood or was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A rule, or the default of a chain, that no packet reaches for certain.

    ``needs`` names the answers, states or marks that would do it, or what is not understood; ``kind`` is lint's for
    an unreachable rule, and ``causes`` the rules that make it so. ``example`` is a packet that would reach it.
    """

    rule: RuleRef
    why: Why
    text: str
    needs: tuple[str, ...] = ()
    kind: str = ""
    causes: tuple[RuleRef, ...] = ()
    example: Flow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One packet and what it reaches, in the order of its way.

    ``hook`` is input, forward or output: for the host, through it, or from it, before nat has a say. ``reaches``
    holds whatever the oracles answer, ``depends`` where they answer as in ``given``. ``source`` names where it is
    sent from. ``confirmed``: the walk of this one packet says the same; it does not where the packet meets more
    oracles than can be followed one by one.
    """

    flow: Flow
    hook: Hook
    reaches: tuple[RuleRef, ...]
    depends: tuple[RuleRef, ...] = ()
    given: tuple[tuple[str, bool], ...] = ()
    source: str = ""
    confirmed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """Packets that reach what can be reached, as few as were found.

    ``at_least`` is how many are needed, by proof: so many rules have no packet in common. ``missed`` are all rules
    and defaults that none of them reaches for certain; ``total`` counts rules and defaults alike.
    """

    family: Family
    witnesses: tuple[Witness, ...]
    at_least: int
    missed: tuple[Missed, ...]
    total: int

    @property
    def minimal(self) -> bool:
        """Whether it is proved that fewer packets do not do."""
        return len(self.witnesses) == self.at_least

    @property
    def known(self) -> bool:
        """Whether it is known of every rule whether some packet reaches it, and every packet was confirmed."""
        return all(each.confirmed for each in self.witnesses) and not any(m.why is Why.UNKNOWN for m in self.missed)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many rules and defaults are reached for certain, and how many are not, by reason."""
        reasons = Counter(each.why for each in self.missed)
        return {"total": self.total, "reached": self.total - len(self.missed)} | {
            why.value: reasons[why] for why in Why
        }

    @property
    def coverage(self) -> float | None:
        """The share of what can be reached that is reached for certain, from 0 to 1; None where nothing can."""
        counts = self.counts
        reachable = counts["total"] - counts[Why.UNREACHABLE]
        return counts["reached"] / reachable if reachable else None
