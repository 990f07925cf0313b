"""Changes of rule tables: one rule put in or taken out, and the model of a host with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.ruleset.iptables import parse
from fwproof.ruleset.model import Chain, Rule, Ruleset, Table
from fwproof.semantics.model import HostModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A chain, by the family and the table that it is in, as a :class:`RuleRef` names them."""

    family: str
    table: str
    chain: str

    @classmethod
    def of(cls, ref: RuleRef) -> Place:
        """Return the place of a rule or of a chain's policy."""
        return cls(family=ref.family, table=ref.table, chain=ref.chain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One rule more, or one less where ``rule`` is None; ``command`` does the same on the host.

    ``at`` is the number of the rule that it goes before or that is taken out, None for the end of the chain.
    """

    family: Family
    place: Place
    at: int | None
    rule: Rule | None
    command: str


def rule_of(words: str, family: Family, text: str = "") -> Rule:
    """Return the rule that an iptables command would add, from its words after the chain; ``text`` is how it reads."""
    line = f"-A X {words}"
    (rule,) = parse(f"*filter\n:X - [0:0]\n{line}\nCOMMIT\n", family, "change").rules()
    return replace(rule, ref=replace(rule.ref, text=text or line))


def chain_at(model: HostModel, family: Family, place: Place) -> Chain | None:
    """Return a chain of a host, None where it has none of that name there."""
    found = (
        chain
        for ruleset in model.rulesets.get(family, ())
        for table in ruleset.tables.values()
        for chain in table.chains.values()
        if chain.name == place.chain and _is(ruleset, table, place)
    )
    return next(found, None)


def is_native(model: HostModel, family: Family, place: Place) -> bool:
    """Whether a chain is one of nftables' own."""
    return any(
        ruleset.native
        for ruleset in model.rulesets.get(family, ())
        for table in ruleset.tables.values()
        if place.chain in table.chains and _is(ruleset, table, place)
    )


def is_legacy(model: HostModel, family: Family, place: Place) -> bool:
    """Whether a chain is one of iptables' legacy variant."""
    return any(
        ruleset.backend == "legacy" and table.name == place.table and place.chain in table.chains
        for ruleset in model.rulesets.get(family, ())
        for table in ruleset.tables.values()
    )


def touched(edits: Iterable[Edit]) -> tuple[Family, ...]:
    """Return the families whose tables are changed; what is taken out of a table of both is taken out of both."""
    found = {each for edit in edits for each in (Family if _is_of_both(edit) else (edit.family,))}
    return tuple(family for family in Family if family in found)


def _is_of_both(edit: Edit) -> bool:
    return edit.rule is None and edit.place.family == "inet"


def applied(model: HostModel, edits: Iterable[Edit]) -> HostModel:
    """Return a host's model with changes made in its tables, one after the other."""
    rulesets = dict(model.rulesets)
    for edit in edits:
        for each in touched([edit]):
            rulesets[each] = tuple(_changed(ruleset, edit) for ruleset in rulesets.get(each, ()))
    return replace(model, rulesets=rulesets)


def _is(ruleset: Ruleset, table: Table, place: Place) -> bool:
    return table.name == place.table and (table.family or ruleset.family.table_family) == place.family


def _changed(ruleset: Ruleset, edit: Edit) -> Ruleset:
    tables = {
        key: replace(table, chains={**table.chains, edit.place.chain: _edited(table.chains[edit.place.chain], edit)})
        if edit.place.chain in table.chains and _is(ruleset, table, edit.place)
        else table
        for key, table in ruleset.tables.items()
    }
    return replace(ruleset, tables=tables)


def _edited(chain: Chain, edit: Edit) -> Chain:
    if edit.rule is None:
        left = (rule for rule in chain.rules if rule.ref.rule != edit.at or edit.at is None)
        return replace(chain, rules=tuple(_moved(rule, edit.at or 0, -1) for rule in left))
    index = next((i for i, rule in enumerate(chain.rules) if _is_behind(rule, edit.at)), len(chain.rules))
    before, after = chain.rules[:index], chain.rules[index:]
    number = edit.at or max((rule.ref.rule or 0 for rule in before), default=0) + 1
    ref = RuleRef(
        family=edit.place.family, table=edit.place.table, chain=chain.name, rule=number,
        text=edit.rule.ref.text.replace("-A X ", f"-A {chain.name} ", 1),
    )  # fmt: skip
    new = replace(edit.rule, ref=ref)
    return replace(chain, rules=(*before, new, *(_moved(rule, number, 1) for rule in after)))


def _is_behind(rule: Rule, at: int | None) -> bool:
    """Whether a rule comes after one that is put in; what has no number stands for a chain's policy, and is last."""
    return rule.ref.rule is None or (at is not None and rule.ref.rule >= at)


def _moved(rule: Rule, number: int, by: int) -> Rule:
    if rule.ref.rule is None or rule.ref.rule < number:
        return rule
    return replace(rule, ref=replace(rule.ref, rule=rule.ref.rule + by))
