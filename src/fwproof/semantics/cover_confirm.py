"""A chosen packet, followed rule by rule: what it really reaches, and whether that is what was claimed.

The walk of one packet is what is compared with the kernel. In large tables, rules that ask for an address that the
packet does not have are left out before, which is what takes nearly all of the time of a walk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fwproof.decision import RuleRef, Step
from fwproof.flow import Family, Flow, Hook
from fwproof.ruleset.asks import Ranges, Within
from fwproof.ruleset.model import Act, Chain, Rule, Table
from fwproof.semantics import route
from fwproof.semantics.cover_reach import Elements
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import Packet
from fwproof.semantics.trail import harmless
from fwproof.semantics.walk import Leaf

_SMALL = 64
"""Chains with fewer rules are walked whole."""
_WIDE = 64
"""Intervals that hold more of a chain's other addresses than this are looked at by every packet."""
_OWN = "own destination "
"""The question of a walk whether a packet is for the host itself, while no address of the host is known."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What a packet reaches, in the order of its way: for ``certain`` on every answer of the oracles, or on some."""

    certain: tuple[RuleRef, ...]
    maybe: tuple[RuleRef, ...]


class Walks:
    """Follows packets through the tables of one family."""

    def __init__(self, model: HostModel, family: Family, elements: Elements) -> None:
        self._model, self._family = model, family
        self._last: dict[RuleRef, frozenset[str]] = {}
        for each in elements.all:
            self._last[each.ref] = self._last.get(each.ref, frozenset()) | each.actions
        rules = model.rules(family)
        self._quiet = {rule.ref for rule in rules if harmless(rule, len(rule.matches))}
        changed = {name for rule in rules for name in rule.target.changes}
        translated = any(rule.target.act in {Act.SOURCE_NAT, Act.DESTINATION_NAT} for rule in rules)
        ordered = all(len(model.orders(family, hooks)) == 1 for hooks in (route.THROUGH, route.LOOPED))
        self._fields = () if translated or not ordered else tuple({"src", "dst"} - changed)
        self._index: dict[int, _Index] = {}
        self._keeper = self._tracking(rules)

    def _tracking(self, rules: Sequence[Rule]) -> RuleRef | None:
        """Return a rule that makes the kernel track connections, which no smaller table may lack."""
        if not self._model.conntrack(self._family):
            return None
        first = self._model.rulesets[self._family][0]
        for rule in rules:
            chain = Chain(name="x", rules=(rule,))
            if route.tracks([replace(first, tables={"x": Table(name="x", chains={"x": chain})})]):
                return rule.ref
        return None

    def passed(self, flow: Flow, hook: Hook) -> Iterator[Passed]:
        """Yield what a packet reaches, once for every end of its walk. Raises TooLarge."""
        leaves = [leaf for leaf in self._model_for(flow).leaves(flow) if _on_way(leaf, hook)]
        found = [dict(self._matched(leaf)) for leaf in leaves]
        sure = set[RuleRef]().union(*found).intersection(*(
            {ref for ref, certain in each.items() if certain} for each in found))  # fmt: skip
        for each in found:
            yield Passed(
                certain=tuple(ref for ref in each if ref in sure), maybe=tuple(ref for ref in each if ref not in sure)
            )

    def _matched(self, leaf: Leaf[Packet]) -> Iterator[tuple[RuleRef, bool]]:
        """Yield what a packet reaches at one end of its walk, and whether that is certain there.

        It is not where a rule that changes nothing asks an oracle: the walk does not try both answers then.
        """
        before: Step | None = None
        for step in leaf.trace:
            if step.action in self._last.get(step.rule, ()) and _holds(step):
                # the condition that a RETURN depended on is noted again at the rule that it leads to
                again = before is not None and before.action == "RETURN" and before.note == step.note
                yield step.rule, step.matched != "depends" or again or step.rule not in self._quiet
            before = step

    def _model_for(self, flow: Flow) -> HostModel:
        """Return the host with those rules that may take a packet; the others look at an address that it lacks."""
        if not self._fields:
            return self._model
        found = [
            replace(ruleset, tables={name: self._smaller(table, flow) for name, table in ruleset.tables.items()})
            for ruleset in self._model.rulesets[self._family]
        ]
        return replace(self._model, rulesets={**self._model.rulesets, self._family: tuple(found)})

    def _smaller(self, table: Table, flow: Flow) -> Table:
        index = self._index.get(id(table))
        if index is None:
            index = self._index[id(table)] = _Index(table, self._fields, self._keeper)
        return index.table(flow)


def _on_way(leaf: Leaf[Packet], hook: Hook) -> bool:
    return all(value == (hook is Hook.INPUT) for question, value in leaf.choices if question.key == _OWN)


def _holds(step: Step) -> bool:
    """Whether a step is of a rule that took the packet; one that an oracle's answer kept from it says "not …"."""
    return step.matched in {"yes", "unknown"} or (step.matched == "depends" and not step.note.startswith("not "))


class _Index:
    """The rules of a table's chains by the addresses that they ask for."""

    def __init__(self, table: Table, fields: Collection[str], keeper: RuleRef | None) -> None:
        self._table = table
        self._large = {name: _Long(chain, fields, keeper) for name, chain in table.chains.items()
                       if len(chain.rules) >= _SMALL}  # fmt: skip

    def table(self, flow: Flow) -> Table:
        """Return the table with those rules that may take a packet."""
        if not self._large:
            return self._table
        chains = _Lazy(self._table.chains, {name: long.chain(flow) for name, long in self._large.items()})
        return replace(self._table, chains=chains)


class _Lazy(Mapping[str, Chain]):
    """Chains of which some are others than before; a chain that no rule left calls is never looked at."""

    def __init__(self, before: Mapping[str, Chain], now: Mapping[str, Chain]) -> None:
        self._before, self._now = before, now

    def __getitem__(self, name: str) -> Chain:
        return self._now[name] if name in self._now else self._before[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._before)

    def __len__(self) -> int:
        return len(self._before)


class _Long:
    """One long chain: for each atom of a field the rules that ask for it, and the rules that every packet looks at."""

    def __init__(self, chain: Chain, fields: Collection[str], keeper: RuleRef | None) -> None:
        self._chain = chain
        asked = {field: [_asked(rule, field) for rule in chain.rules] for field in fields}
        self._cuts = {
            field: sorted({0, *(end for spans in all_ for low, high in spans or () for end in (low, high + 1))})
            for field, all_ in asked.items()
        }
        self._by: dict[str, dict[int, list[int]]] = {field: {} for field in fields}
        self._rest: list[int] = []
        for at, rule in enumerate(chain.rules):
            found = None if rule.ref == keeper else self._narrowest(asked, at)
            if found is None:
                self._rest.append(at)
                continue
            for atom in found[1]:
                self._by[found[0]].setdefault(atom, []).append(at)

    def _narrowest(self, asked: Mapping[str, Sequence[Ranges | None]], at: int) -> tuple[str, list[int]] | None:
        tried = []
        for field, all_ in asked.items():
            spans, cuts = all_[at], self._cuts[field]
            if spans is not None:
                ends = [(bisect_right(cuts, low) - 1, bisect_right(cuts, high) - 1) for low, high in spans]
                if sum(last - first + 1 for first, last in ends) <= _WIDE:
                    tried.append((field, [atom for first, last in ends for atom in range(first, last + 1)]))
        return min(tried, key=lambda each: len(each[1]), default=None)

    def chain(self, flow: Flow) -> Chain:
        """Return the chain with those rules that may take a packet."""
        found = list(self._rest)
        for field, by in self._by.items():
            value = int(flow.src if field == "src" else flow.dst)
            found += by.get(bisect_right(self._cuts[field], value) - 1, ())
        rules = self._chain.rules
        return replace(self._chain, rules=tuple(rules[at] for at in sorted(set(found))))


def _asked(rule: Rule, field: str) -> Ranges | None:
    """Return the addresses that a rule asks for, None where it does not."""
    for match in rule.matches:
        if isinstance(match.test, Within) and match.test.field == field and not match.negated:
            return match.test.ranges
    return None
