"""A chosen packet, followed rule by rule: what it really reaches, and whether that is what was claimed.

The walk of one packet is what is compared with the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fwproof.decision import RuleRef, Step
from fwproof.flow import Family, Flow, Hook
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
        self._model = model

    def passed(self, flow: Flow, hook: Hook) -> Iterator[Passed]:
        """Yield what a packet reaches, once for every end of its walk. Raises TooLarge."""
        leaves = [leaf for leaf in self._model.leaves(flow, whole=False) if _on_way(leaf, hook)]
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
