"""Which rules the kernel says that a probe met, in the model's own terms, and whether the model says so too. Pure.

The kernel tells of rules that matched and of policies that decided, not of rules that were passed over: nf_tables by
the rule's handle (nft_trace_notify()), iptables-legacy by its number in the chain (trace_packet() of ip_tables.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.observation import Handles, Observation, RuleEvent
from fwproof.ruleset.model import Act, Chain, Table, Target
from fwproof.semantics.model import HostModel
from fwproof.semantics.stages import PRIORITY

_Place = tuple[bool, str, str, str]
"""Whether iptables-legacy has it, family, table, chain."""
_DEEDS = {
    Act.ACCEPT: "accept", Act.DROP: "drop", Act.REJECT: "drop", Act.RETURN: "return", Act.JUMP: "jump",
    Act.GOTO: "goto", Act.SOURCE_NAT: "accept", Act.DESTINATION_NAT: "accept", Act.UNKNOWN: "unknown",
    Act.ELSEWHERE: "unknown",
}  # fmt: skip
_UNSEEN = {"routing", "conntrack"}
"""What the model names as deciding that is no rule, so that no trace shows it."""


@dataclass(frozen=True, slots=True)
class Met:
    """A rule that matched, or a chain's policy that decided; ``verdict`` is nft's word for what it did.

    ``main``: this was where a host's rules usually decide (the filter table); ``final``: and at the hook of what
    comes in, leaves, or passes through.
    """

    rule: RuleRef
    verdict: str
    main: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The rules that one probe met, in order, and the one that decided about it, None where none did.

    ``decision`` is accept or drop: a trace does not tell a reject from a drop; None where no rule was met that
    decides. ``unnamed`` are rules that the tables as they were read do not have. ``begun``: its tracing began, so that
    no rule means none. ``whole`` is False when the host lost events meanwhile.
    """

    met: tuple[Met, ...] = ()
    by: RuleRef | None = None
    decision: Decision | None = None
    unnamed: tuple[str, ...] = ()
    begun: bool = False
    whole: bool = True

    @property
    def conclusive(self) -> bool:
        """Whether it tells what became of the packet: what was accepted before the routing may end there unseen."""
        ended = self.decision is Decision.DROP or any(met.final and met.verdict == "accept" for met in self.met)
        return self.whole and not self.unnamed and ended

    @property
    def accepted_by(self) -> tuple[RuleRef, ...]:
        """The rules and policies that let it pass, each in a base chain of its own."""
        return tuple(met.rule for met in self.met if met.verdict == "accept")

    def __str__(self) -> str:
        steps = [f"{met.rule} ({met.verdict})" for met in self.met]
        return " -> ".join([*steps, *self.unnamed]) or "no rule was met"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A probe's path, and whether the model has the same rule decide: None where that cannot be said. ``why`` not."""

    path: Path
    agrees: bool | None
    why: str = ""


class _Base(NamedTuple):
    """What is to be known of a base chain."""

    default: str = "ACCEPT"
    main: bool = False
    final: bool = False


class Names:
    """The names of a host's rules, for what its kernel tells; ``handles`` are those at the time of the trace."""

    def __init__(self, model: HostModel, handles: Handles) -> None:
        self._handles = handles
        self._rules: dict[_Place, dict[int, tuple[RuleRef, Target]]] = {}
        self._bases: dict[_Place, _Base] = {}
        for ruleset in (each for found in model.rulesets.values() for each in found):
            for table in ruleset.tables.values():
                family = table.family or ruleset.family.table_family
                for chain in table.chains.values():
                    self._note((ruleset.backend == "legacy", family, table.name, chain.name), table, chain)

    def _note(self, place: _Place, table: Table, chain: Chain) -> None:
        if chain.default is not None or chain.hook:
            usual = chain.kind == "filter" and PRIORITY["mangle"] < (chain.priority or 0) < PRIORITY["security"]
            main = usual if chain.hook else table.name == "filter"
            final = main and (chain.hook or chain.name.lower()) in {"input", "forward", "output"}
            self._bases[place] = _Base(chain.default or "ACCEPT", main, final)
        self._rules.setdefault(place, {})
        for rule in chain.rules:
            if rule.ref.rule is not None:
                into = self._rules.setdefault((place[0], rule.ref.family, rule.ref.table, rule.ref.chain), {})
                into.setdefault(rule.ref.rule, (rule.ref, rule.target))

    def path(self, events: Iterable[RuleEvent], *, whole: bool = True) -> Path:
        """Return the rules that a probe met from what the kernel told of it, in the order of the telling."""
        met: list[Met] = []
        unnamed: list[str] = []
        base = {True: _Base(), False: _Base()}
        begun = False
        for event in events:
            if event.kind == "begin":
                begun = True
                continue
            place = self._place(event)
            base[event.legacy] = self._bases.get(place, base[event.legacy])
            found = self._named(event, place)
            if event.legacy and met and _goes_on(met[-1], place) and place not in self._bases:
                # so that number is another rule's now
                unnamed.append(f"{met[-1].rule}, after which it went on in {event.chain}")
            elif isinstance(found, Met):
                met.append(replace(found, main=base[event.legacy].main, final=base[event.legacy].final))
            elif found:
                unnamed.append(found)
        decided = _decided(met)
        decision = None if decided is None else Decision(decided.verdict)
        return Path(
            met=tuple(met), by=decided.rule if decided else None, decision=decision, unnamed=tuple(unnamed),
            begun=begun, whole=whole,
        )  # fmt: skip

    def _place(self, event: RuleEvent) -> _Place:
        place = (event.legacy, event.family, event.table, event.chain)
        known = place in self._rules or not event.legacy
        return place if known else (False, *place[1:])  # tables of which nothing says that they are legacy

    def _named(self, event: RuleEvent, place: _Place) -> Met | str:
        """Return what was met, a description where it has no name here, empty for what is no rule."""
        rules = self._rules.get(place)
        where = f"{event.family} {event.table} {event.chain}"
        if rules is None:
            return f"{where}, a chain that the tables as they were read do not have"
        if event.legacy and event.kind != "rule" and event.number > len(rules) + 1:
            return f"{where}, which has {event.number - 1} rules now and had {len(rules)} when it was read"
        if event.kind == "policy" and not (event.legacy and event.number <= len(rules)):
            default = self._bases.get(place, _Base()).default
            if event.family == "netdev" and event.verdict:
                default = event.verdict.upper()  # the model has a rule in its place, for the chain's devices
            policy = RuleRef(family=event.family, table=event.table, chain=event.chain, rule=None, text=default)
            told = event.verdict or default.lower()
            return Met(policy, told) if told == default.lower() else f"the policy {told} of {where}"
        if event.legacy:
            return self._by_number(event, rules)
        if event.kind != "rule" or not event.number:
            return ""  # the end of a chain
        return self._by_handle(event, rules, where)

    @staticmethod
    def _by_number(event: RuleEvent, rules: Mapping[int, tuple[RuleRef, Target]]) -> Met | str:
        """Name a legacy rule; the kernel calls a last rule without conditions by the word for the chain's end."""
        if event.number in rules:
            ref, target = rules[event.number]
            return Met(ref, _DEEDS.get(target.act, "continue"))
        if event.kind == "return" and event.number == len(rules) + 1:
            return ""
        return f"rule {event.number} of {event.family} {event.table} {event.chain}"

    def _by_handle(self, event: RuleEvent, rules: Mapping[int, tuple[RuleRef, Target]], where: str) -> Met | str:
        handles = self._handles.get((event.family, event.table, event.chain), ())
        if event.number not in handles:
            return f"handle {event.number} of {where}, a rule that is not there any more"
        number = handles.index(event.number) + 1
        if len(handles) != len(rules) or number not in rules:
            return f"rule {number} of {where}, which has {len(handles)} rules now and had {len(rules)} when it was read"
        return Met(rules[number][0], event.verdict)


def _goes_on(met: Met, place: _Place) -> bool:
    """Whether what comes next in the same table shows that a rule that ends the walk there was another rule."""
    return met.verdict in {"accept", "drop"} and (met.rule.family, met.rule.table) == place[1:3]


def _decided(met: Sequence[Met]) -> Met | None:
    """Return what decided: the last to drop, else, as the model has it, the main chain's, a rule, the last."""
    dropped = next((each for each in reversed(met) if each.verdict == "drop"), None)
    if dropped is not None:
        return dropped
    accepting = [each for each in met if each.verdict == "accept"]
    ranked = [(each.main, each.rule.rule is not None, at) for at, each in enumerate(accepting)]
    return accepting[max(ranked)[2]] if ranked else None


def rules_met(names: Names, host: str, seen: Observation) -> Path:
    """Return which rules of a host an observed probe met there; empty where the host was not traced meanwhile."""
    return names.path((e for e in seen.events if e.host == host), whole=host not in seen.untold)


def compared(path: Path, ruling: Ruling, fresh: Ruling | None = None) -> Traced:
    """Compare a path with what the model says of the packet, ``fresh`` while no limit is used up."""
    deciders = [each.by for each in (fresh, ruling) if each is not None]
    unseen = Decision.UNKNOWN in ruling.may or any(by is not None and by.table in _UNSEEN for by in deciders)
    none = not path.met and not path.unnamed
    if none and path.begun and path.whole and ruling.accepted and ruling.by is None:
        return Traced(path=path, agrees=True)
    cannot = {
        "no tracing began for it": none and not path.begun,
        "the host lost events of the trace": not path.whole,
        "the model names no rule for it": unseen and not path.unnamed,
        "it met no rule that decides": path.by is None and not path.unnamed,
    }
    why = next((why for why, holds in cannot.items() if holds), None)
    if why is not None:
        return Traced(path=path, agrees=None, why=why)
    if path.unnamed:
        return Traced(path=path, agrees=False, why=f"it met {path.unnamed[0]}")
    if path.by in deciders or (path.decision is Decision.ACCEPT and set(path.accepted_by) & set(deciders)):
        return Traced(path=path, agrees=True)
    return _apart(path, ruling, fresh)


def _apart(path: Path, ruling: Ruling, fresh: Ruling | None) -> Traced:
    """Say whether a path by another rule than the model's is a disagreement."""
    accepted = path.decision is Decision.ACCEPT
    if accepted and ruling.decision is Decision.DEPENDS and fresh is None:
        return Traced(path=path, agrees=None, why="the model names no rule for what lets it in")
    if accepted and not any(met.final for met in path.met):
        return Traced(path=path, agrees=None, why="it met no rule that decides")
    said = (fresh or ruling).by or "no rule at all"
    return Traced(path=path, agrees=False, why=f"the kernel had {path.by} {path.decision}, the model has {said}")
