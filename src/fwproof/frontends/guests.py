"""Tables without what guests put into them: programs that write their rules anew whenever they start.

What they wrote is no part of what a host saves, and is left out where saved and running tables are compared. Docker's
chain for the administrator (DOCKER-USER) is empty after a boot, unless somebody fills it: its rules are told apart.
"""

from __future__ import annotations

from dataclasses import replace

from fwproof.flow import Family
from fwproof.frontends.recognise import RULERS, Manager, owner_of, owner_of_rule, owner_of_table
from fwproof.ruleset.model import Act, Chain, Rule, Table
from fwproof.semantics.model import HostModel

_NOT_GUESTS = {*RULERS, Manager.FAIL2BAN}
_FOR_THE_ADMINISTRATOR = "DOCKER-USER"


def _guest(manager: Manager | None) -> bool:
    return manager is not None and manager not in _NOT_GUESTS


def without_guests(model: HostModel, family: Family) -> tuple[HostModel, tuple[Manager, ...]]:
    """Return the model without a family's rules of guests, and whose they were."""
    gone: dict[Manager, None] = {}
    rulesets = []
    for ruleset in model.rulesets.get(family, ()):
        tables = {}
        for name, table in ruleset.tables.items():
            owner = owner_of_table(table.name) if ruleset.native else None
            if owner is not None and _guest(owner):
                gone[owner] = None
            else:
                tables[name] = _without(table, gone)
        rulesets.append(replace(ruleset, tables=tables))
    return replace(model, rulesets={**model.rulesets, family: tuple(rulesets)}), tuple(gone)


def _without(table: Table, gone: dict[Manager, None]) -> Table:
    chains = {}
    for name, chain in table.chains.items():
        owner = owner_of(name)
        if owner is not None and _guest(owner):
            gone[owner] = None
            continue
        owners = [owner_of_rule(rule) for rule in chain.rules]
        gone |= {each: None for each in owners if each is not None and _guest(each)}
        kept = tuple(rule for rule, each in zip(chain.rules, owners, strict=True) if not _guest(each))
        chains[name] = replace(chain, rules=kept)
    return replace(table, chains=chains)


def for_docker(model: HostModel, family: Family) -> tuple[Rule, ...]:
    """Return the rules of the administrator in Docker's chain for them."""
    return tuple(
        rule for rule in model.rules(family)
        if rule.ref.chain == _FOR_THE_ADMINISTRATOR and (rule.target.act is not Act.RETURN or rule.matches)
    )  # fmt: skip


def forwards_as(model: HostModel, other: HostModel, family: Family) -> HostModel:
    """Return the model with the default of FORWARD that ``other`` has, where that is DROP: Docker sets it at start."""
    shut = any(
        chain.default == "DROP"
        for ruleset in other.rulesets.get(family, ()) if not ruleset.native
        for table in ruleset.tables.values() if table.name == "filter"
        for chain in table.chains.values() if chain.name == "FORWARD"
    )  # fmt: skip
    found = list(model.rulesets.get(family, ()))
    at = next((i for i, each in enumerate(found) if not each.native), None)
    if not shut or at is None:
        return model
    table = found[at].tables.get("filter", Table(name="filter", chains={}))
    chain = table.chains.get("FORWARD", Chain(name="FORWARD", rules=()))
    table = replace(table, chains={**table.chains, "FORWARD": replace(chain, default="DROP")})
    found[at] = replace(found[at], tables={**found[at].tables, "filter": table})
    return replace(model, rulesets={**model.rulesets, family: tuple(found)})
