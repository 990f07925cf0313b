"""The rules of a host's tables that log, and which of them wrote a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.flow import ICMP, ICMPV6, TCP, Family, Flow, Hook
from fwproof.flows import MODEL_PORT
from fwproof.review.bucket import Bucket
from fwproof.review.sorts import MANY, Key, Sort
from fwproof.ruleset.asks import Limit
from fwproof.ruleset.model import Act, Chain, Ruleset
from fwproof.semantics.limits import NotSettled
from fwproof.semantics.model import HostModel

_WAYS = {
    "input": ("in",), "prerouting": ("in",), "forward": ("forward",), "output": ("out",), "postrouting": ("out",),
    "ingress": ("in",), "egress": ("out",),
}  # fmt: skip
_HOOKS = {"in": Hook.INPUT, "out": Hook.OUTPUT, "forward": Hook.FORWARD}
_LETS_IN = re.compile(r"\b(?:ALLOW(?:ED)?|ACCEPT(?:ED)?|AUDIT|PASS(?:ED)?)\b", re.IGNORECASE)
_REFUSES = re.compile(r"\b(?:NOT?|BLOCK(?:ED)?|DEN(?:Y|IED)|DROP(?:PED)?|REJECT(?:ED)?|INVALID)\b", re.IGNORECASE)
_TRIED = 10
_SETTLED = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Logger:
    """A rule that logs; ``ways`` are the directions whose packets can meet it, ``counted`` its packet counter."""

    ref: RuleRef
    version: int
    prefix: str
    ways: frozenset[str]
    limit: Limit | None
    counted: int | None


def says_let_in(prefix: str) -> bool:
    """Whether a prefix says by its words that the packet was not refused (``[UFW ALLOW]``, ``[UFW AUDIT]``)."""
    return bool(_LETS_IN.search(prefix)) and not _REFUSES.search(prefix)


def flow_of(sort: Sort) -> Flow:
    """Return the packet that lines of a sort tell of, as the first of a connection."""
    icmp = sort.proto in {ICMP, ICMPV6}
    ported = not icmp and sort.port is not None and sort.port >= 0
    return Flow(
        src=ip_address(sort.src), dst=ip_address(sort.dst), proto=sort.proto,
        sport=MODEL_PORT if ported else None, dport=sort.port if ported else None,
        icmp_type=sort.port if icmp else None, icmp_code=0 if icmp else None,
        flags=frozenset({"SYN"}) if sort.proto == TCP else frozenset(),
        iif=sort.iif or None, oif=sort.oif or None,
    )  # fmt: skip


def where(ref: RuleRef) -> str:
    """Return where a rule stands, without its text."""
    return f"{ref.family} {ref.table} {ref.chain} rule {ref.rule}"


class Loggers:
    """What the tables of a host say about its log."""

    def __init__(self, model: HostModel) -> None:
        self.model = model
        found: dict[tuple[RuleRef, int], Logger] = {}
        for family, rulesets in model.rulesets.items():
            for logger in (each for ruleset in rulesets for each in _loggers(ruleset, family)):
                key = (logger.ref, logger.version)
                ways = logger.ways | (found[key].ways if key in found else frozenset())
                found[key] = replace(logger, ways=ways)  # both iptables and nft may list it
        self.all = tuple(found.values())
        self._by_key: dict[Key, list[Logger]] = {}
        for logger in self.all:
            for way in logger.ways:
                self._by_key.setdefault((logger.version, way, logger.prefix), []).append(logger)
        self._asked: dict[Sort, tuple[Logger, ...]] = {}
        self._let_in: dict[Key, set[bool]] = {}

    def buckets(self) -> Mapping[Key, Bucket]:
        """Return the limits of the rules, where a line tells which rule wrote it."""
        return {
            key: Bucket(found[0].limit.count, found[0].limit.seconds, found[0].limit.burst)
            for key, found in self._by_key.items()
            if len(found) == 1 and found[0].limit is not None
        }

    def alike(self, sort: Sort) -> tuple[Logger, ...]:
        """Return the rules whose prefix and direction are those of a line."""
        return tuple(self._by_key.get(sort.key, ()))

    def wrote(self, sort: Sort) -> tuple[Logger, ...]:
        """Return the rules that can have written a line; where several are alike, the model is asked about it."""
        found = self.alike(sort)
        if len(found) < 2 or not _fit(sort):
            return found
        if sort not in self._asked and len(self._asked) < _SETTLED:
            try:
                logged = {act.rule for act in self.model.logs(flow_of(sort), _HOOKS[sort.way])}
            except NotSettled:
                logged = set()
            self._asked[sort] = tuple(each for each in found if each.ref in logged) or found
        return self._asked.get(sort, found)

    def limited(self, sort: Sort, ruling: Ruling) -> bool:
        """Whether nothing but rates in the tables keeps a packet from being let in, as :meth:`decide` ruled."""
        if ruling.decision is not Decision.DEPENDS:
            return False
        try:
            rates = {limiter.name for limiter in self.model.limiters(flow_of(sort), _HOOKS[sort.way])}
        except NotSettled:
            return False
        return set(ruling.depends_on) <= rates

    def decide(self, sort: Sort) -> Ruling:
        """Return what the tables do with the packet that lines of a sort tell of, were it the first of a connection."""
        return self.model.decide(flow_of(sort), _HOOKS[sort.way])

    def learn(self, sorts: Iterable[Sort]) -> None:
        """Find which rules log what is then let in, by the first few packets of each that it logs, as the tables go.

        A packet that the tables let in and would not log tells nothing: they were others when it was logged.
        """
        tried: Counter[Key] = Counter()
        for sort in sorts:
            found = self.alike(sort)
            if not found or not _fit(sort) or tried[sort.key] >= _TRIED:
                continue
            tried[sort.key] += 1
            ruling = self.model.evaluate(flow_of(sort), _HOOKS[sort.way])
            refs = {each.ref for each in found}
            if any(step.rule in refs and step.matched in {"yes", "depends"} for step in ruling.trace):
                self._let_in.setdefault(sort.key, set()).add(ruling.accepted)

    def lets_in(self, sort: Sort) -> bool | None:
        """Whether the rule that wrote a line logs what is then let in, as :meth:`learn` found; None: not known.

        Of a rule that logs both, each packet is asked about by itself; what cannot be asked about counts as refused.
        """
        found = self._let_in.get(sort.key)
        if found is None:
            return None
        if len(found) == 1:
            return True in found
        return _fit(sort) and self.decide(sort).accepted


def _fit(sort: Sort) -> bool:
    """Whether the model can be asked about lines of a sort."""
    return sort.opens == "new" and not sort.merged and sort.way in _HOOKS and bool(sort.dst) and sort.port != MANY


def _loggers(ruleset: Ruleset, family: Family) -> list[Logger]:
    found = []
    for table in ruleset.tables.values():
        hooks = _reached(table.chains)
        for chain in table.chains.values():
            for rule in chain.rules:
                if rule.target.act is not Act.LOG:
                    continue
                limits = [match.test for match in rule.matches if isinstance(match.test, Limit)]
                ways = frozenset(way for hook in hooks.get(chain.name, ()) for way in _WAYS.get(hook, ()))
                found.append(Logger(
                    ref=rule.ref, version=4 if family is Family.IPV4 else 6, prefix=rule.target.prefix.strip(),
                    ways=ways, limit=limits[0] if limits else None,
                    counted=rule.counters.packets if rule.counters else None,
                ))  # fmt: skip
    return found


def _reached(chains: Mapping[str, Chain]) -> dict[str, set[str]]:
    """Return the hooks from which each chain of a table is reached, by jumps."""
    hooks: dict[str, set[str]] = {name: set() for name in chains}
    waiting = []
    for name, chain in chains.items():
        hook = chain.hook or (name.lower() if chain.default is not None and name.lower() in _WAYS else "")
        if hook:
            waiting.append((name, hook))
    while waiting:
        name, hook = waiting.pop()
        if name not in hooks or hook in hooks[name]:
            continue
        hooks[name].add(hook)
        waiting += [(rule.target.chain, hook) for rule in chains[name].rules if rule.target.chain]
    return hooks
