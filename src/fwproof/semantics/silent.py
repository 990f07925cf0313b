"""Drops that leave no line: for all packets, whether a rule logs each that is dropped or rejected, before that happens.

A walk ends where a packet is refused, so a rule that logs it was met before. Limits of the log are taken to be unused:
a packet that is the first of its kind has to leave a line. Those of which the decision itself depends are not of the
log, and may say anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Family, Flow, Hook, Network
from fwproof.ruleset.model import Act, Rule
from fwproof.semantics import deciders
from fwproof.semantics.bdd import Set, guarded
from fwproof.semantics.bdd_calls import calls
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_taking import Met, Taking
from fwproof.semantics.bdd_walk import Ends, Incoming, Route
from fwproof.semantics.deciders import Decider
from fwproof.semantics.limits import LogAct, log_act, only_limited
from fwproof.semantics.lint import lint
from fwproof.semantics.lint_finding import Finding
from fwproof.semantics.lint_finding import Kind as Lint
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Answer, Asked
from fwproof.semantics.route import Path
from fwproof.semantics.ruling import REFUSED
from fwproof.semantics.runtime import without_bans
from fwproof.semantics.space import Claim
from fwproof.semantics.witness import dressed, pick

INVALID, BROADCAST, MULTICAST, OVER_LIMIT = EXCEPTIONS = ("invalid", "broadcast", "multicast", "over-limit")
"""What a question may leave out: packets that conntrack takes for invalid, those sent to all of a network or to a
group, and those that are refused only because a limit is used up."""
CONFIGS = (
    Config(CtState.NEW), Config(CtState.INVALID), Config(CtState.UNTRACKED), Config(CtState.RELATED),
    Config(CtState.ESTABLISHED, connmark="given"), Config(CtState.ESTABLISHED, "reply", connmark="given"),
)  # fmt: skip
"""All that conntrack may say of a packet."""
_MULTICAST: dict[Family, Network] = {Family.IPV4: ip_network("224.0.0.0/4"), Family.IPV6: ip_network("ff00::/8")}
_ALL = ip_network("255.255.255.255/32")
_MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Logger:
    """A rule that logs packets which are refused, with one of them.

    ``flooded`` is a packet that it logs although every limit is used up, so that nothing limits it; ``misnamed`` one
    that only rules with another prefix than the expected one log. Both are None where there is none.
    """

    act: LogAct
    witness: Flow
    flooded: Flow | None = None
    misnamed: Flow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What a question about a log found.

    ``refused`` is whether any packet is refused at all, ``drops`` are the packets that may be refused without a line,
    by the rule that refuses them. ``dead`` are rules that log, and that no packet ever comes to. ``bans`` counts the
    rules of fail2ban, which were left out.
    """

    refused: bool
    drops: Answer
    loggers: tuple[Logger, ...] = ()
    dead: tuple[Finding, ...] = ()
    bans: int = 0


@dataclass(slots=True)
class Walk:
    """One state of conntrack on one way through the host: what is refused, and what each rule logs of it."""

    config: Config
    route: Route
    arrivals: dict[int, Incoming]
    ends: Ends
    refused: Set
    logged: dict[RuleRef, Set] = field(default_factory=dict)


def silences(
    model: HostModel, hook: Hook, family: Family, *, prefix: str | None = None, leave_out: Collection[str] = ()
) -> Silence:
    """Return which packets of a path are refused without a line in the log.

    ``prefix`` is what the log's prefix has to begin with; ``leave_out`` are words of :data:`EXCEPTIONS`. Raises
    SpaceTooLarge, and Disagreement as :func:`~fwproof.semantics.reach.openings`.
    """
    kept, bans = without_bans(model, family)
    dead = tuple(_dead(kept, hook, family))
    return guarded(lambda: Asking(kept, hook, family, prefix, frozenset(leave_out)).found(dead, len(bans)))


class Asking:
    """One question in one engine; ``walks`` are those of every state that conntrack may give a packet."""

    def __init__(
        self, model: HostModel, hook: Hook, family: Family, prefix: str | None, leave_out: frozenset[str]
    ) -> None:  # fmt: skip
        mine, others = _claims(model, hook, family, leave_out)
        self.asked = Asked(model, hook, family, mine, others, loopback=False)
        self.asked.expected = REFUSED
        self.sets, self.hook, self.prefix, self.leave_out = self.asked.sets, hook, prefix, leave_out
        if BROADCAST in leave_out and "pkttype" in self.sets.fields:
            self.asked.start &= ~self.sets.words("pkttype", "broadcast".__eq__)
        if MULTICAST in leave_out and "pkttype" in self.sets.fields:
            self.asked.start &= ~self.sets.words("pkttype", "multicast".__eq__)
        self.rules = {rule.ref: rule for rule in model.rules(family) if rule.target.act is Act.LOG}
        self.walks = [walk for config in CONFIGS if self._wanted(config) for walk in self._walks(config)]
        decisive = set().union(*(self.sets.questions(walk.refused) for walk in self.walks))
        self.limits = {at: answer for at, answer in self.sets.rates.items() if at not in decisive}
        self.full = {at: not answer for at, answer in self.sets.rates.items()}

    def _wanted(self, config: Config) -> bool:
        return INVALID not in self.leave_out or config.state is not CtState.INVALID

    def _walks(self, config: Config) -> Iterator[Walk]:
        sets = self.sets
        for route, arrivals, ends, start in self.asked.walked(config):
            passed = sets.union([ends.accepted, ends.outside, *ends.unknown.values()])
            refused = start & ~passed
            if OVER_LIMIT in self.leave_out:
                refused &= ~sets.without_rates(ends.accepted)
            walk = Walk(config, route, arrivals, ends, refused)
            self._take(walk)
            yield walk

    def _take(self, walk: Walk) -> None:
        """Note what each rule logs of all that comes by."""

        def hit(met: Met) -> None:
            if met.rule.target.act is Act.LOG:
                known = walk.logged.get(met.rule.ref, self.sets.none)
                walk.logged[met.rule.ref] = known | (met.taken & walk.refused)

        for at, stage in walk.route.stages():
            arrived = walk.arrivals.get(at, {})
            if arrived and not stage.blind:
                keep = walk.route.later(at + 1)
                Taking(walk.route.host.program(stage.table), stage.context, hit, keep=keep).run(
                    stage.chain.name, arrived
                )

    def found(self, dead: Sequence[Finding], bans: int) -> Silence:
        """Return the answer; ``dead`` and ``bans`` are those of :class:`Silence`."""
        for walk in self.walks:
            silent = walk.refused & ~self._first(walk.logged.values())
            for ref, some in deciders.refused(walk.route, walk.arrivals, silent).items():
                self._add(walk, ref, self.sets.answered(some, self.limits))
            for (ref, reason), some in deciders.accepted(walk.route, walk.arrivals, walk.ends)[1].items():
                self.asked.add(walk.config, Decider(ref), "unknown", some, (reason,))
        return Silence(
            refused=any(walk.refused != self.sets.none for walk in self.walks), drops=self.asked.answer(_MOST),
            loggers=tuple(self._loggers()), dead=tuple(dead), bans=bans,
        )  # fmt: skip

    def _add(self, walk: Walk, ref: RuleRef | None, some: Set) -> None:
        """Note silent drops of a rule: those that are silent whatever is asked, and those on which that depends."""
        certain = self.sets.must(some)
        self.asked.add(walk.config, Decider(ref), "refused", some & certain)
        rest = some & ~certain
        self.asked.add(walk.config, Decider(ref), "depends", rest, self.sets.asked(rest))

    def _first(self, logged: Collection[Set]) -> Set:
        """Return the packets that are logged while no limit of the log is used up."""
        return self.sets.answered(self.sets.union(list(logged)), self.limits)

    def _loggers(self) -> Iterator[Logger]:
        for ref, rule in self.rules.items():
            met = [
                (walk, walk.logged[ref])
                for walk in self.walks
                if walk.logged.get(ref, self.sets.none) != self.sets.none
            ]
            if not met:
                continue
            witness = self._packet(met)
            assert witness is not None
            flood = self._packet([(walk, self.sets.answered(some, self.full)) for walk, some in met])
            yield Logger(
                act=log_act(rule, certain=only_limited(rule)), witness=witness, flooded=flood,
                misnamed=None if self._named(rule) else self._packet([self._misnamed(*each) for each in met]),
            )  # fmt: skip

    def _named(self, rule: Rule) -> bool:
        return self.prefix is None or rule.target.prefix.startswith(self.prefix.strip())

    def _misnamed(self, walk: Walk, some: Set) -> tuple[Walk, Set]:
        right = [logged for ref, logged in walk.logged.items() if self._named(self.rules[ref])]
        return walk, self.sets.answered(some, self.limits) & ~self._first(right)

    def _packet(self, met: Sequence[tuple[Walk, Set]]) -> Flow | None:
        """Return a packet of the first part that has any."""
        for walk, some in met:
            if some != self.sets.none:
                plain = self.sets.plain(some)
                there = plain if plain != self.sets.none else some
                return dressed(pick(self.sets, there, self.asked.host.router, self.hook), walk.config, self.hook)
        return None


def _claims(
    model: HostModel, hook: Hook, family: Family, leave_out: Collection[str]
) -> tuple[Claim, tuple[Claim, ...]]:
    """Return the packets that a hook really sees, and which of them are left out."""
    addresses = model.addresses
    out: list[Network] = [_MULTICAST[family]] if MULTICAST in leave_out else []
    if BROADCAST in leave_out and family is Family.IPV4:
        out += [_ALL, *(ip_network(each) for each in (addresses.broadcasts() if addresses else ()))]
    outside = [Claim(destinations=tuple(out))] if out else []
    if addresses is None or hook is Hook.OUTPUT:
        return Claim(), tuple(outside)
    own: list[Network] = [ip_network(each) for each in addresses.of(family) if not each.is_loopback]
    if hook is Hook.FORWARD:
        return Claim(), (*outside, Claim(destinations=tuple(own)))
    own.append(_MULTICAST[family])
    if family is Family.IPV4:
        own += [_ALL, *(ip_network(each) for each in addresses.broadcasts())]
    return Claim(destinations=tuple(dict.fromkeys(own))), tuple(outside)


def _dead(model: HostModel, hook: Hook, family: Family) -> Iterator[Finding]:
    """Yield the rules that log on the way of a hook and that no packet ever comes to."""
    here = set()
    for stage in model.chains(family, (hook,))(Path((hook,))):
        called, pending = calls(stage.table), [stage.chain.name]
        while pending:
            name = pending.pop()
            if (stage.table.name, name) not in here and name in called:
                here.add((stage.table.name, name))
                pending += called[name]
    logs = {rule.ref for rule in model.rules(family) if rule.target.act is Act.LOG}
    if logs:
        for each in lint(model, family):
            gone = each.kind in {Lint.NEVER, Lint.UNREACHABLE, Lint.SHADOWED}
            if gone and each.rule in logs and (each.rule.table, each.rule.chain) in here:
                yield each
