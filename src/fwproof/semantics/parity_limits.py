"""What an acceptance depends on, in words that the two families share, so that equal limits are equal.

A limit is its parameters: the name of its list is not one of them, and a whole IPv6 address counts as a /64, which is
one customer's (RFC 6177), so that both are "per address".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from fwproof.flow import Family
from fwproof.ruleset.asks import ConnLimit, HashLimit, Limit, Rate, Recent, atoms
from fwproof.ruleset.numbers import bits
from fwproof.semantics.bdd import Set, Sets
from fwproof.semantics.bdd_tests import asking_rule
from fwproof.semantics.model import HostModel

_MOST = 8
"""Questions for whose every answer an acceptance is written down."""


@dataclass(frozen=True, slots=True)
class Limited:
    """Accepted for some answers of what no header decides: the questions, and for which answers.

    ``rates``: all of them are limits, whose parameters are known. ``accepted`` has one bit for each combination of
    answers, None where there are too many.
    """

    questions: tuple[str, ...]
    rates: bool
    accepted: int | None


Value = bool | Limited
"""Whether packets are accepted: always, never, or up to limits and other questions."""


class Limits:
    """Reads what is left of sets when every field of the header is settled."""

    def __init__(self, model: HostModel, family: Family, sets: Sets) -> None:
        self.sets, self.family = sets, family
        self._rates = _rates(model, family)
        self._by_name: dict[str, set[Rate]] = {}
        for rule in model.rules(family):
            for test in (atom for match in rule.matches for atom in atoms(match.test)):
                if isinstance(test, Recent | Limit | HashLimit | ConnLimit):
                    self._by_name.setdefault(test.name, set()).add(test)
        self._known: dict[Set, Value] = {}

    def value(self, some: Set) -> Value:
        """Return what a set of nothing but answers amounts to."""
        if some in {self.sets.all, self.sets.none}:
            return some == self.sets.all
        if some not in self._known:
            self._known[some] = self._limited(some)
        return self._known[some]

    def _limited(self, some: Set) -> Limited:
        named = sorted((*self._word(at), at) for at in self._variables(some))
        questions = tuple(word for word, *_ in named)
        rates = all(is_rate for _, is_rate, *_ in named)
        if len(named) > _MOST:
            return Limited(questions, rates, None)
        accepted = 0
        for answers in product((False, True), repeat=len(named)):
            given = {at: answer != turned for answer, (_, _, turned, at) in zip(answers, named, strict=True)}
            accepted = accepted << 1 | self._holds(some, given)
        return Limited(questions, rates, accepted)

    def _word(self, variable: int) -> tuple[str, bool, bool]:
        """Return a question in words, whether it is a limit, and whether it asks for being above it."""
        at = variable - self.sets.header
        label = self.sets.labels[at]
        key = next(key for key, number in self.sets.oracles.items() if number == variable)
        rate = self._rates.get(key.rpartition(" # ")[0])
        found = {rate} if rate is not None else self._by_name.get(label, set())
        if not found:
            return label, False, False
        if len(found) > 1:
            return label, False, False
        (rate,) = found
        return limit_text(rate, self.family), True, isinstance(rate, HashLimit | ConnLimit) and rate.above

    def _variables(self, some: Set) -> set[int]:
        found, seen, pending = set[int](), set[Set](), [some]
        while pending:
            node = pending.pop()
            variable = node.node_var()
            if variable is None or node in seen:
                continue
            seen.add(node)
            found.add(variable)
            pending += node.cofactors() or ()
        return found

    def _holds(self, some: Set, given: Mapping[int, bool]) -> bool:
        variable = some.node_var()
        while variable is not None:
            yes, no = some.cofactors() or (some, some)
            some = yes if given[variable] else no
            variable = some.node_var()
        return some == self.sets.all


def _rates(model: HostModel, family: Family) -> dict[str, Rate]:
    """Return the limits by the key of the question that asks for them, without the visit."""
    found: dict[str, Rate] = {}
    chains = (c for r in model.rulesets.get(family, ()) for t in r.tables.values() for c in t.chains.values())
    for chain in chains:
        seen: dict[str, int] = {}
        for rule in chain.rules:
            for match in rule.matches:
                name = getattr(match.test, "name", "")
                if isinstance(match.test, Recent | Limit | HashLimit | ConnLimit):
                    key = asking_rule(rule.ref, chain.name, name, seen.get(name, 0), 0)
                    found[key.rpartition(" # ")[0]] = match.test
                seen[name] = seen.get(name, 0) + 1
    return found


def limit_text(rate: Rate, family: Family) -> str:
    """Return a limit by its parameters."""
    if isinstance(rate, Recent):
        who = f"{'source' if rate.side == 'src' else 'destination'} {_group(rate.mask, family)}"
        hits = f" {rate.hitcount} times" if rate.hitcount else ""
        within = f" in {rate.seconds} s" if rate.seconds else ""
        return f"recent {rate.action}: seen{hits}{within}, per {who}{' and TTL' if rate.ttl else ''}"
    if isinstance(rate, Limit):
        return rate.name
    if isinstance(rate, ConnLimit):
        return f"connlimit: at most {rate.limit} connections per {rate.side} {_group(rate.mask, family)}"
    modes = [f"{mode} {_group(rate.srcmask, family)}" if mode == "srcip" else mode for mode in sorted(rate.mode)]
    each = ", ".join(modes) or "all together"
    return f"hashlimit {rate.count} in {rate.seconds} s, burst {rate.burst}, per {each}, forgotten in {rate.expire:g} s"


def _group(mask: int, family: Family) -> str:
    length = mask.bit_count()
    if mask != ((1 << length) - 1) << (bits(family) - length):
        return f"mask {mask:#x}"
    whole = length == bits(family) or (family is Family.IPV6 and length == 64)
    return "address" if whole else f"/{length} network"
