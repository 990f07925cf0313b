"""Rules that do more than decide (mark, log, translate, list), compared as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from fwproof.flow import Family
from fwproof.ruleset.asks import Constant, Recent
from fwproof.ruleset.model import Act, Rule
from fwproof.semantics.model import HostModel

_DECIDES = frozenset({Act.ACCEPT, Act.DROP, Act.REJECT, Act.RETURN, Act.JUMP, Act.GOTO, Act.NOTHING})


def effects(old: HostModel, new: HostModel, family: Family) -> Iterator[str]:
    """Yield the rules with other effects than a decision that only one side has, chain by chain."""
    sides = [_by_chain(model, family) for model in (old, new)]
    for place in dict.fromkeys([*sides[0], *sides[1]]):
        before, after = (side.get(place, []) for side in sides)
        matcher = SequenceMatcher(None, [_meaning(r) for r in before], [_meaning(r) for r in after], autojunk=False)
        for tag, low, high, first, last in matcher.get_opcodes():
            if tag != "equal":
                yield from (f"only before: {rule.ref}" for rule in before[low:high])
                yield from (f"only after: {rule.ref}" for rule in after[first:last])


def _by_chain(model: HostModel, family: Family) -> dict[tuple[str, str], list[Rule]]:
    found: dict[tuple[str, str], list[Rule]] = {}
    for rule in model.rules(family):
        if rule.target.act not in _DECIDES or any(isinstance(match.test, Recent) for match in rule.matches):
            found.setdefault((rule.ref.table, rule.ref.chain), []).append(rule)
    return found


def _meaning(rule: Rule) -> tuple[object, ...]:
    asked = frozenset((m.test, m.negated) for m in rule.matches if not isinstance(m.test, Constant) or not m.test.value)
    return asked, rule.target.text
