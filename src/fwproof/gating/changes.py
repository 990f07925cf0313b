"""What a command of iptables does to the tables, and its exit status, as iptables-nft 1.8.9 has them (iptables(8)).

One that iptables, or the kernel, would refuse is a fault with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fwproof.decision import RuleRef
from fwproof.errors import Fault, InputError
from fwproof.gating.command import COMMIT, LOOKS, Command
from fwproof.gating.equality import same
from fwproof.gating.tables import Entry, Rules, Shop, Tables
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.model import Act, Rule
from fwproof.ruleset.options import TARGETS
from fwproof.semantics.compare import meaning

_JUMP = re.compile(r"((?:^| )(?:-j|--jump|-g|--goto) +)\S+")
_NONE = Rules(None)
ODD, BUSY = 2, 4
"""Statuses of iptables: what is wrong in a command by itself, and what the kernel does not take."""


class Rejected(InputError):
    """What iptables refuses, with the exit status that it ends with."""

    def __init__(self, command: Command, message: str, status: int) -> None:
        super().__init__([Fault(command.source, command.line, 1, message)])
        self.status = status


@dataclass(frozen=True, slots=True)
class _Edit:
    """One command on its way into the tables of its family."""

    command: Command
    tables: Tables
    shop: Shop = field(compare=False)

    def wrong(self, message: str, status: int = 1) -> Rejected:
        return Rejected(self.command, message, status)

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

    Raises Rejected where it would be refused; one that ``may_fail`` then changes nothing.
    """
    try:
        return outcome(tables, command, shop)
    except Rejected:
        if command.may_fail:
            return tables
        raise


def outcome(tables: Tables, command: Command, shop: Shop) -> Tables:
    """Return the tables after a command; raises Rejected where it would be refused, whoever expects that."""
    edit = _Edit(command, tables, shop)
    if command.rules:
        _targets(edit)
    return _DO[command.action](edit)


def unsure(tables: Tables, command: Command, shop: Shop) -> str:
    """Return a rule of which nobody knows whether it is the one that -C or -D looks for; empty where there is none."""
    edit = _Edit(command, tables, shop)
    own = edit.chains.get(command.chain)
    for text in command.rules if own is not None and command.action in {"-C", "-D"} else ():
        for entry in own.entries if own is not None else ():
            alike = same(entry.text, text, shop.family)
            if alike is None:
                return entry.text
            if alike:
                break
    return ""


def _append(edit: _Edit) -> Tables:
    return edit.filled((*edit.chain().entries, *_new(edit)))


def _new(edit: _Edit) -> list[Entry]:
    known = frozenset(edit.chains)
    for text in edit.command.rules:
        to = edit.shop.parsed(text, known)[1].chain
        if to in BUILT_IN[edit.command.table]:
            raise edit.wrong(f"{to} is a chain that is built in: no rule jumps to it", BUSY)
        if to and _circles(edit, to):
            raise edit.wrong(f"chain {to} leads to chains that call one another in a circle", BUSY)
    return [Entry(text, edit.command.line) for text in edit.command.rules]


def _circles(edit: _Edit, to: str) -> bool:
    """Whether a circle of calls is reached from the command's chain where that calls another one."""
    known, chains, done, path = frozenset(edit.chains), edit.chains, set[str](), [edit.command.chain]

    def circles(name: str) -> bool:
        if name in path or name in done:
            return name in path
        path.append(name)
        targets = (edit.shop.parsed(each.text, known)[1].chain for each in chains[name].entries)
        found = any(circles(each) for each in targets if each in chains)
        done.add(path.pop())
        return found

    return circles(to)


def _targets(edit: _Edit) -> None:
    """Refuse rules with a target that is nothing, which iptables does before it looks at the chain."""
    entries = edit.chains.get(edit.command.chain, _NONE).entries if edit.command.action in {"-C", "-D"} else None
    chains = frozenset(edit.chains)
    for text in edit.command.rules:
        _, target, _ = edit.shop.parsed(text, chains)
        name = target.text.split(" ")[0]
        # targets of the kernel are written in capitals, so a name that is not, and no chain, is nothing; and so is one
        # of which there is no rule where one is looked for
        used = entries is None or name in TARGETS or any(name in entry.text for entry in entries)
        if target.act is Act.UNKNOWN and name and not (name.isupper() and used):
            raise edit.wrong(f"there is no chain {target.text} in table {edit.command.table} at this point", ODD)


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
        at = _numbered(edit, edit.command.position)
        return edit.filled((*entries[:at], *entries[at + 1 :]))
    left = list(entries)
    for text in edit.command.rules:
        del left[_place(edit, left, text)]
    return edit.filled(left)


def _numbered(edit: _Edit, position: int) -> int:
    """Return the index of the rule that a command names by number; raises Rejected where there is none."""
    count = len(edit.chain().entries)
    if position > count:
        raise edit.wrong(f"chain {edit.command.chain} has {count} rules at this point, and no rule {position}")
    return position - 1


def _place(edit: _Edit, entries: Sequence[Entry], text: str) -> int:
    """Return which of some rules iptables takes for one; raises Rejected where it is none of them."""
    chains = frozenset(edit.chains)
    for at, entry in enumerate(entries):
        alike = same(entry.text, text, edit.shop.family)
        if alike or (alike is None and _meaning(edit, entry.text, chains) == _meaning(edit, text, chains)):
            return at
    raise edit.wrong(
        f"chain {edit.command.chain} has no such rule at this point; where the script changes tables that run,"
        " give them with --against"
    )


def _check(edit: _Edit) -> Tables:
    """Do -C: each of several has to be there."""
    entries = edit.chain().entries
    for text in edit.command.rules:
        _place(edit, entries, text)
    return edit.tables


def _look(edit: _Edit) -> Tables:
    """Do -L, -S or -Z."""
    if edit.command.chain:
        edit.chain()
    return edit.tables


def _rename(edit: _Edit) -> Tables:
    old, new = edit.command.chain, edit.command.default
    if edit.chain().default is not None:
        raise edit.wrong(f"{old} is a chain that is built in, and keeps its name")
    if new in edit.chains:
        raise edit.wrong(f"there is a chain {new} already at this point")
    known = frozenset(edit.chains)

    def moved(entry: Entry) -> Entry:
        if edit.shop.parsed(entry.text, known)[1].chain != old:
            return entry
        return replace(entry, text=_JUMP.sub(lambda found: f"{found[1]}{new}", entry.text))

    chains = {name: replace(own, entries=tuple(map(moved, own.entries))) for name, own in edit.chains.items()}
    return edit.put({new if name == old else name: own for name, own in chains.items()})


def _meaning(edit: _Edit, text: str, chains: frozenset[str]) -> object:
    matches, target, _ = edit.shop.parsed(text, chains)
    ref = RuleRef(family="", table="", chain="", rule=None, text=text)
    return meaning(Rule(ref=ref, matches=matches, target=target, line=0))


def _replace(edit: _Edit) -> Tables:
    entries, at = edit.chain().entries, _numbered(edit, edit.command.position or 1)
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
            count = len(chains[name].entries)
            raise edit.wrong(f"chain {name} still has {count} rules at this point: flush it first", BUSY)
    known = frozenset(chains)
    for name, chain in chains.items():
        for entry in chain.entries:
            target = edit.shop.parsed(entry.text, known)[1]
            if target.chain in gone:
                raise edit.wrong(f"chain {target.chain} is still called by a rule of {name} at this point", BUSY)
    return edit.put({name: chain for name, chain in chains.items() if name not in gone})


def _default(edit: _Edit) -> Tables:
    own = edit.chain()
    if own.default is None:
        raise edit.wrong(f"{edit.command.chain} is a chain of the user's, and has no policy")
    if edit.command.table == "nat" and edit.command.default == "DROP":
        raise edit.wrong("the chains of nat take no policy DROP", ODD)
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
    "-P": _default, "-E": _rename, "-C": _check, **dict.fromkeys(LOOKS - {"-C"}, _look), ":": _declare, COMMIT: _commit,
}  # fmt: skip
