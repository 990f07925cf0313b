"""Tables without what fail2ban puts into them while they run: who is banned is not a matter of how rules are written.

Left out are chains with fail2ban's names and the jumps to them, and rules that refuse members of its sets; but only
where all that they can do is refuse: an ACCEPT behind such a name is looked at like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.ruleset.asks import Recent, atoms
from fwproof.ruleset.model import NO_TARGET, Act, Chain, Rule, Table
from fwproof.semantics.compare import FAIL2BAN
from fwproof.semantics.model import HostModel

_REFUSES = frozenset({Act.DROP, Act.REJECT})
_HARMLESS = _REFUSES | {Act.RETURN, Act.NOTHING, Act.LOG}
_SET = re.compile(r"--match-set f2b-\S+ src\b")


def without_bans(model: HostModel, family: Family) -> tuple[HostModel, tuple[RuleRef, ...]]:
    """Return the model without a family's bans, and the rules that were left out.

    A rule that calls such a chain stays where it is and does nothing, so that the others keep their numbers.
    """
    gone: list[RuleRef] = []
    rulesets = []
    for ruleset in model.rulesets.get(family, ()):
        tables = {name: _without(table, gone) for name, table in ruleset.tables.items()}
        rulesets.append(replace(ruleset, tables=tables))
    return replace(model, rulesets={**model.rulesets, family: tuple(rulesets)}), tuple(gone)


def _without(table: Table, gone: list[RuleRef]) -> Table:
    chains = _chains(table)
    kept = {}
    for name, chain in table.chains.items():
        bans = [rule for rule in chain.rules if name in chains or _bans(rule, chains)]
        gone += [rule.ref for rule in bans]
        if name not in chains:
            rules = tuple(replace(rule, target=NO_TARGET) if rule in bans else rule for rule in chain.rules)
            kept[name] = replace(chain, rules=rules) if bans else chain
    return replace(table, chains=kept) if gone else table


def _bans(rule: Rule, chains: set[str]) -> bool:
    if rule.target.act is Act.JUMP:
        return rule.target.chain in chains and not _counts(rule)
    asked = " ".join(match.text for match in rule.matches)
    return rule.target.act in _REFUSES and not _counts(rule) and _SET.search(asked) is not None


def _counts(rule: Rule) -> bool:
    """Whether meeting a rule is noted in a list that other rules may ask."""
    return any(isinstance(test, Recent) for match in rule.matches for test in atoms(match.test))


def _chains(table: Table) -> set[str]:
    """Return the chains that fail2ban made and that can do nothing but refuse; what calls another chain is not one."""
    called = {rule.target.chain for rule in _rules(table) if rule.target.act is Act.GOTO}
    return {
        chain.name for chain in table.chains.values()
        if any(fnmatchcase(chain.name, pattern) for pattern in FAIL2BAN)
        and chain.name not in called and _refuses_only(chain)
    }  # fmt: skip


def _refuses_only(chain: Chain) -> bool:
    acts = {rule.target.act for rule in chain.rules}
    return chain.default in {None, "ACCEPT"} and acts <= _HARMLESS and not any(map(_counts, chain.rules))


def _rules(table: Table) -> Iterator[Rule]:
    for chain in table.chains.values():
        yield from chain.rules
