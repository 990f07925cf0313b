"""Tables of iptables while commands change them: values, from the tables that run to any state in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.ruleset.iptables import parse_rule
from fwproof.ruleset.model import Chain, Match, Rule, Ruleset, Table, Target
from fwproof.ruleset.words import split

_Parsed = tuple[tuple[Match, ...], Target, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule as it stands in a chain: its text without ``-A CHAIN``, and the line that it is from."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Rules:
    """A chain; ``default`` is None for a user chain."""

    default: str | None
    entries: tuple[Entry, ...] = ()


Tables = Mapping[str, Mapping[str, Rules]]
"""Chains by name, by table."""


class Shop:
    """Makes rulesets of tables, each rule read once however many states it stands in."""

    def __init__(self, family: Family, source: str) -> None:
        self.family, self.source = family, source
        self._parsed: dict[tuple[str, frozenset[str]], _Parsed] = {}

    def parsed(self, text: str, chains: frozenset[str]) -> _Parsed:
        """Return matches, target and comment of a rule's text."""
        key = (text, chains)
        if key not in self._parsed:
            words, _ = split(text)
            self._parsed[key] = parse_rule(words, chains, self.family)
        return self._parsed[key]

    def ruleset(self, tables: Tables) -> Ruleset:
        """Return the ruleset that tables are."""
        made = {name: Table(name=name, chains={each: self._chain(name, each, chains) for each in chains})
                for name, chains in tables.items()}  # fmt: skip
        return Ruleset(family=self.family, source=self.source, tables=made)

    def _chain(self, table: str, name: str, chains: Mapping[str, Rules]) -> Chain:
        known, own = frozenset(chains), chains[name]
        rules = []
        for position, entry in enumerate(own.entries, 1):
            matches, target, comment = self.parsed(entry.text, known)
            text = f"-A {name} {entry.text}".rstrip()
            ref = RuleRef(family=self.family.table_family, table=table, chain=name, rule=position, text=text)
            rules.append(Rule(ref=ref, matches=matches, target=target, line=entry.line, comment=comment))
        return Chain(name=name, rules=tuple(rules), default=own.default)


def tables_of(ruleset: Ruleset) -> Tables:
    """Return the tables that a ruleset of iptables was read from."""
    return {
        name: {
            each: Rules(chain.default, tuple(Entry(_specification(rule), rule.line) for rule in chain.rules))
            for each, chain in table.chains.items()
        }
        for name, table in ruleset.tables.items()
    }


def _specification(rule: Rule) -> str:
    words = rule.ref.text.split(" ", 2)
    return words[2] if len(words) > 2 else ""


def text_of(ruleset: Ruleset) -> str:
    """Return a ruleset of iptables as iptables-restore reads it."""
    lines: list[str] = []
    for name, chains in tables_of(ruleset).items():
        lines.append(f"*{name}")
        lines += [f":{each} {chain.default or '-'} [0:0]" for each, chain in chains.items()]
        lines += [f"-A {each} {entry.text}" for each, chain in chains.items() for entry in chain.entries]
        lines.append("COMMIT")
    return "\n".join([*lines, ""])


EMPTY: Tables = {}
"""The tables of a kernel that nobody has told anything."""
