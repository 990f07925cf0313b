"""Tables of iptables while commands change them: values, from the tables that run to any state in between.

What a command does is what the kernel does (iptables(8)); one that the kernel would refuse is a fault with its line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fwproof.decision import RuleRef
from fwproof.errors import Fault, InputError
from fwproof.flow import Family
from fwproof.gating.command import COMMIT, Command
from fwproof.ruleset.iptables import BUILT_IN, parse_rule
from fwproof.ruleset.model import Act, Chain, Match, Rule, Ruleset, Table, Target
from fwproof.ruleset.words import split
from fwproof.semantics.compare import meaning

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


@dataclass(frozen=True, slots=True)
class _Edit:
    """One command on its way into the tables of its family."""

    command: Command
    tables: Tables
    shop: Shop = field(compare=False)

    def wrong(self, message: str) -> InputError:
        return InputError([Fault(self.command.source, self.command.line, 1, message)])

    @property
    def chains(self) -> dict[str, Rules]:
        """The chains of the command's table; those that are built in are always there."""
        known = self.tables.get(self.command.table, {})
        return {**{name: Rules("ACCEPT") for name in BUILT_IN[self.command.table]}, **known}

    def chain(self) -> Rules:
        found = self.chains.get(self.command.chain)
        if found is None:
            raise self.wrong(f"there is no chain {self.command.chain} in table {self.command.table} at this point")
        return found

    def put(self, chains: Mapping[str, Rules]) -> Tables:
        return {**self.tables, self.command.table: chains}

    def filled(self, entries: Iterable[Entry]) -> Tables:
        own = replace(self.chain(), entries=tuple(entries))
        return self.put({**self.chains, self.command.chain: own})


def applied(tables: Tables, command: Command, shop: Shop) -> Tables:
    """Return the tables after a command of their family.

    Raises InputError where the kernel would refuse it; one that ``may_fail`` then changes nothing.
    """
    try:
        return _DO[command.action](_Edit(command, tables, shop))
    except InputError:
        if command.may_fail:
            return tables
        raise


def _append(edit: _Edit) -> Tables:
    return edit.filled((*edit.chain().entries, *_new(edit)))


def _new(edit: _Edit) -> list[Entry]:
    chains = frozenset(edit.chains)
    for text in edit.command.rules:
        _, target, _ = edit.shop.parsed(text, chains)
        # targets of the kernel are written in capitals, so a name that is not, and no chain, is nothing
        if target.act is Act.UNKNOWN and target.text and not target.text.split(" ")[0].isupper():
            raise edit.wrong(f"there is no chain {target.text} in table {edit.command.table} at this point")
    return [Entry(text, edit.command.line) for text in edit.command.rules]


def _insert(edit: _Edit) -> Tables:
    entries, at = edit.chain().entries, (edit.command.position or 1) - 1
    if at > len(entries):
        raise edit.wrong(
            f"chain {edit.command.chain} has {len(entries)} rules at this point: none can come in as {at + 1}"
        )
    # each of several goes in at the same place, and so before those that went in before it
    return edit.filled((*entries[:at], *reversed(_new(edit)), *entries[at:]))


def _delete(edit: _Edit) -> Tables:
    entries = edit.chain().entries
    if edit.command.position is not None:
        at = edit.command.position - 1
        if at >= len(entries):
            raise edit.wrong(f"chain {edit.command.chain} has {len(entries)} rules at this point, and no rule {at + 1}")
        return edit.filled((*entries[:at], *entries[at + 1 :]))
    chains = frozenset(edit.chains)
    left = list(entries)
    for text in edit.command.rules:
        wanted = _meaning(edit, text, chains)
        at = next((n for n, entry in enumerate(left) if _meaning(edit, entry.text, chains) == wanted), -1)
        if at < 0:
            raise edit.wrong(
                f"chain {edit.command.chain} has no such rule at this point; where the script changes tables that run,"
                " give them with --against"
            )
        del left[at]
    return edit.filled(left)


def _meaning(edit: _Edit, text: str, chains: frozenset[str]) -> object:
    matches, target, _ = edit.shop.parsed(text, chains)
    ref = RuleRef(family="", table="", chain="", rule=None, text=text)
    return meaning(Rule(ref=ref, matches=matches, target=target, line=0))


def _replace(edit: _Edit) -> Tables:
    entries, at = edit.chain().entries, (edit.command.position or 1) - 1
    if at >= len(entries):
        raise edit.wrong(f"chain {edit.command.chain} has {len(entries)} rules at this point, and no rule {at + 1}")
    if len(edit.command.rules) != 1:
        raise edit.wrong("-R takes one source and one destination")
    return edit.filled((*entries[:at], *_new(edit), *entries[at + 1 :]))


def _flush(edit: _Edit) -> Tables:
    if edit.command.chain:
        return edit.filled(())
    return edit.put({name: replace(chain, entries=()) for name, chain in edit.chains.items()})


def _create(edit: _Edit) -> Tables:
    name = edit.command.chain
    if name in edit.chains:
        raise edit.wrong(f"there is a chain {name} already at this point")
    return edit.put({**edit.chains, name: Rules(None)})


def _remove(edit: _Edit) -> Tables:
    gone = [edit.command.chain] if edit.command.chain else [n for n, c in edit.chains.items() if c.default is None]
    chains = edit.chains
    for name in gone:
        if name not in chains or chains[name].default is not None:
            raise edit.wrong(f"there is no chain {name} at this point that could be deleted")
        if chains[name].entries:
            raise edit.wrong(f"chain {name} still has {len(chains[name].entries)} rules at this point: flush it first")
    known = frozenset(chains)
    for name, chain in chains.items():
        for entry in chain.entries:
            target = edit.shop.parsed(entry.text, known)[1]
            if target.chain in gone:
                raise edit.wrong(f"chain {target.chain} is still called by a rule of {name} at this point")
    return edit.put({name: chain for name, chain in chains.items() if name not in gone})


def _default(edit: _Edit) -> Tables:
    own = edit.chain()
    if own.default is None:
        raise edit.wrong(f"{edit.command.chain} is a chain of the user's, and has no policy")
    return edit.put({**edit.chains, edit.command.chain: replace(own, default=edit.command.default)})


def _declare(edit: _Edit) -> Tables:
    """Do a line ``:CHAIN POLICY`` of iptables-restore: a chain that is there is emptied, unless it is built in."""
    name, default = edit.command.chain, edit.command.default
    if name not in BUILT_IN[edit.command.table]:
        return edit.put({**edit.chains, name: Rules(None)})
    own = edit.chains[name]
    return edit.put({**edit.chains, name: replace(own, default=own.default if default == "-" else default)})


def _commit(edit: _Edit) -> Tables:
    """Do one table of iptables-restore, as a whole or not at all."""
    command, before = edit.command, edit.chains
    chains = before if command.keeps else {name: Rules(before[name].default) for name in BUILT_IN[command.table]}
    said = {each.chain for each in command.block if each.action in {":", "-P"} and each.default != "-"}
    for name in () if command.keeps else BUILT_IN[command.table]:
        if before[name].default == "DROP" and name not in said:
            raise edit.wrong(
                f"the policy of {name} is DROP at this point, and table {command.table} does not say what it is to be:"
                f" variants of iptables-restore differ; write :{name} DROP [0:0] or :{name} ACCEPT [0:0] in it"
            )
    tables = edit.put(chains)
    for each in command.block:
        tables = applied(tables, each, edit.shop)
    return tables


_DO = {
    "-A": _append, "-I": _insert, "-D": _delete, "-R": _replace, "-F": _flush, "-N": _create, "-X": _remove,
    "-P": _default, ":": _declare, COMMIT: _commit,
}  # fmt: skip
