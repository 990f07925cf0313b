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
from fwproof.ruleset.model import Act, Chain, Rule
from fwproof.semantics import route
from fwproof.semantics.cover_reach import Elements
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import Packet
from fwproof.semantics.trail import harmless
from fwproof.semantics.walk import Leaf

_SMALL = 8
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
        self._last: dict[RuleRef, frozenset[str]] = {}
        for each in elements.all:
            self._last[each.ref] = self._last.get(each.ref, frozenset()) | each.actions
        rules = model.rules(family)
        self._quiet = {rule.ref for rule in rules if harmless(rule, len(rule.matches))}
        changed = {name for rule in rules for name in rule.target.changes}
        translated = any(rule.target.act in {Act.SOURCE_NAT, Act.DESTINATION_NAT} for rule in rules)
        ordered = all(len(model.orders(family, hooks)) == 1 for hooks in (route.THROUGH, route.LOOPED, route.OUTBOUND))
        fields = () if translated or not ordered else tuple({"src", "dst"} - changed)
        self._views: list[_View] = []
        self._model = self._viewed(model, family, fields) if fields else model

    def _viewed(self, model: HostModel, family: Family, fields: Collection[str]) -> HostModel:
        """Return the host with tables that show, of long chains, only the rules that may take the packet at hand."""
        rulesets = []
        for ruleset in model.rulesets.get(family, ()):
            tables = dict(ruleset.tables)
            for name, table in tables.items():
                if any(len(chain.rules) >= _SMALL for chain in table.chains.values()):
                    view = _View(table.chains, fields)
                    self._views.append(view)
                    tables[name] = replace(table, chains=view)
            rulesets.append(replace(ruleset, tables=tables))
        if not self._views:
            return model
        found = replace(model, rulesets={**model.rulesets, family: tuple(rulesets)})
        # both are known once and for all, and are so from the whole tables
        found.tracking(family)
        for hooks in (route.THROUGH, route.LOOPED, route.OUTBOUND):
            found.orders(family, hooks)
        return found

    def passed(self, flow: Flow, hook: Hook) -> Iterator[Passed]:
        """Yield what a packet reaches, once for every end of its walk. Raises TooLarge."""
        for view in self._views:
            view.look(flow)
        if self._views:
            self._model.chains_changed()
        leaves = [leaf for leaf in self._model.leaves(flow) if _on_way(leaf, hook)]
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


def _on_way(leaf: Leaf[Packet], hook: Hook) -> bool:
    return all(value == (hook is Hook.INPUT) for question, value in leaf.choices if question.key == _OWN)


def _holds(step: Step) -> bool:
    """Whether a step is of a rule that took the packet; one that an oracle's answer kept from it says "not …"."""
    return step.matched in {"yes", "unknown"} or (step.matched == "depends" and not step.note.startswith("not "))


class _View(Mapping[str, Chain]):
    """The chains of a table, long ones with those rules only that may take one packet."""

    def __init__(self, chains: Mapping[str, Chain], fields: Collection[str]) -> None:
        self._chains = chains
        self._long = {name: _Long(chain, fields) for name, chain in chains.items() if len(chain.rules) >= _SMALL}
        self._flow: Flow | None = None
        self._now: dict[str, Chain] = {}

    def look(self, flow: Flow) -> None:
        """Show what may take this packet from now on."""
        self._flow, self._now = flow, {}

    def __getitem__(self, name: str) -> Chain:
        if self._flow is None or name not in self._long:
            return self._chains[name]
        if name not in self._now:
            self._now[name] = self._long[name].chain(self._flow)
        return self._now[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chains)

    def __len__(self) -> int:
        return len(self._chains)


class _Long:
    """One long chain: for each atom of a field the rules that ask for it, and the rules that every packet looks at."""

    def __init__(self, chain: Chain, fields: Collection[str]) -> None:
        self._chain = chain
        asked = {field: [_asked(rule, field) for rule in chain.rules] for field in fields}
        self._cuts = {
            field: sorted({0, *(end for spans in all_ for low, high in spans or () for end in (low, high + 1))})
            for field, all_ in asked.items()
        }
        self._by: dict[str, dict[int, list[int]]] = {field: {} for field in fields}
        self._rest: list[int] = []
        for at in range(len(chain.rules)):
            found = self._narrowest(asked, at)
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
