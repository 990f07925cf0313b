"""Whether two dumps of one family mean the same: what is saved and what runs, what ran before and what runs now.

Structural, and therefore strict: tables without rules and with accepting defaults are nothing, counters and
line numbers do not count, and every rule is compared by what it asks and does rather than by its spelling.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from fnmatch import fnmatchcase

from fwproof.flow import Family
from fwproof.ruleset.asks import Constant
from fwproof.ruleset.model import Act, Chain, Rule, Ruleset

FAIL2BAN = ("f2b-*",)
"""Chains that fail2ban makes and fills while it runs; they are not part of what is saved."""

_BY_TEXT = frozenset({Act.CHANGE, Act.ELSEWHERE, Act.UNKNOWN})
"""Acts whose options are nowhere but in the text of the target."""

Meaning = tuple[object, ...]


def same_meaning(
    saved: Ruleset, running: Ruleset, ignore_chains: Sequence[str] = FAIL2BAN,
    sides: tuple[str, str] = ("saved", "running"),
) -> list[str]:  # fmt: skip
    """Return the differences in words, empty where both mean the same; ``sides`` are the words for the two.

    Chains that fit a pattern of ``ignore_chains``, and jumps to them, do not count; :func:`ignored` lists them.
    """
    differences = [f"{side}, line {u.line}: {u.reason}" for side, ruleset in
                   zip(sides, (saved, running), strict=True) for u in ruleset.unparsed]  # fmt: skip
    for name in dict.fromkeys([*saved.tables, *running.tables]):
        chains: list[dict[str, Chain]] = [_chains(ruleset, name, ignore_chains) for ruleset in (saved, running)]
        for chain in dict.fromkeys([*chains[0], *chains[1]]):
            differences += _chain_differences(
                f"{name} {chain}", chains[0].get(chain), chains[1].get(chain), ignore_chains, sides
            )
    return differences


def ignored(ruleset: Ruleset, ignore_chains: Sequence[str] = FAIL2BAN) -> list[str]:
    """Return the chains and jumps that :func:`same_meaning` leaves out, in words."""
    found = []
    for table in ruleset.tables.values():
        for chain in table.chains.values():
            if _fits(chain.name, ignore_chains):
                found.append(f"{table.name} {chain.name}: a chain of {len(chain.rules)} rules")
            found += [str(rule.ref) for rule in chain.rules if _fits(rule.target.chain, ignore_chains)]
    return found


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return bool(name) and any(fnmatchcase(name, pattern) for pattern in patterns)


def _chains(ruleset: Ruleset, table: str, ignore: Sequence[str]) -> dict[str, Chain]:
    """Return the chains of a table that say something: a base chain that accepts and has no rule says nothing."""
    found = ruleset.tables.get(table)
    if found is None:
        return {}
    return {
        chain.name: chain
        for chain in found.chains.values()
        if not _fits(chain.name, ignore) and (chain.default != "ACCEPT" or _kept(chain, ignore))
    }


def _kept(chain: Chain | None, ignore: Sequence[str]) -> list[Rule]:
    return [] if chain is None else [rule for rule in chain.rules if not _fits(rule.target.chain, ignore)]


def meaning(rule: Rule) -> Meaning:
    """Return what a rule asks and does, whatever its spelling: equal for rules that mean the same."""
    asked = frozenset((m.test, m.negated) for m in rule.matches if not isinstance(m.test, Constant) or not m.test.value)
    target = rule.target
    return (
        asked, target.act, target.name if target.act.value not in {"jump", "goto"} else "", target.chain,
        target.reject_with, target.prefix, target.group, target.mark, target.changes, target.nat, target.reason,
        target.text if target.act in _BY_TEXT else "",
    )  # fmt: skip


def _chain_differences(
    place: str, saved: Chain | None, running: Chain | None, ignore: Sequence[str], sides: tuple[str, str]
) -> list[str]:  # fmt: skip
    differences = []
    old, new = ((chain.default if chain else "ACCEPT") for chain in (saved, running))
    if saved is not None and running is not None and old != new:
        differences.append(f"{place}: the {sides[0]} default is {old}, the {sides[1]} one is {new}")
    elif saved is None or running is None:
        only, chain = (sides[1], running) if saved is None else (sides[0], saved)
        if chain is not None and (chain.default is None or chain.default == "DROP"):
            differences.append(f"{place}: only what is {only} has this chain (default {chain.default or 'return'})")
    rules = [_kept(chain, ignore) for chain in (saved, running)]
    meanings = [[meaning(rule) for rule in side] for side in rules]
    matcher = SequenceMatcher(None, meanings[0], meanings[1], autojunk=False)
    for tag, low, high, first, last in matcher.get_opcodes():
        if tag != "equal":
            differences += [f"{place}: only {sides[0]}: {rule.ref.text}" for rule in rules[0][low:high]]
            differences += [f"{place}: only {sides[1]}: {rule.ref.text}" for rule in rules[1][first:last]]
    return differences


def by_rule(
    saved: Iterable[Ruleset], running: Iterable[Ruleset], family: Family, sides: tuple[str, str] = ("saved", "running")
) -> list[str]:  # fmt: skip
    """Return the differences in what rules ask and do, view by view; empty means the same meaning for certain."""
    views = [{_view(each): each for each in found} for found in (saved, running)]
    found: list[str] = []
    for view in dict.fromkeys([*views[0], *views[1]]):
        none = Ruleset(family=family, source="", tables={}, native=view == "native")
        found += same_meaning(views[0].get(view, none), views[1].get(view, none), sides=sides)
    return found


def _view(ruleset: Ruleset) -> str:
    return "native" if ruleset.native else "legacy" if ruleset.backend == "legacy" else "iptables"
