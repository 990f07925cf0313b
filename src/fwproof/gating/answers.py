"""What commands of iptables answer while a script is followed: exit statuses, on the tables as they are at that point.

Where nobody says what runs, chains and rules may be there that the script has not made. What does not depend on them
is known all the same: after ``iptables -F`` and ``iptables -X`` a table is empty, whatever it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fwproof.flow import Family
from fwproof.gating.changes import BUSY, ODD, Rejected, outcome, unsure
from fwproof.gating.command import COMMIT, LOOKS, Command
from fwproof.gating.states import running
from fwproof.gating.tables import EMPTY, Rules, Shop, Tables
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.model import Act
from fwproof.semantics.model import HostModel

_UNTOLD = ("what this command answers depends on what runs: give that with --against (an empty file, empty.v4 or"
           " empty.v6, where nothing does)")  # fmt: skip
_KERNELS = "kernels differ in whether they refuse this"


@dataclass(frozen=True, slots=True)
class Answer:
    """An exit status, None where it is not known, and then why; ``refusal`` is what iptables says where it fails."""

    status: int | None
    why: str = ""
    refusal: Rejected | None = None

    @property
    def fatal(self) -> bool:
        """Whether not even ``|| true`` helps, as some kernels take what was refused, and the tables are others then."""
        return self.why == _KERNELS


@dataclass(slots=True)
class _Sure:
    """What is known of one table: whether no chain is there but those of the model, and which of these have more rules.

    ``bare`` is whether a chain that nobody knows of has no rules, at least.
    """

    names: bool
    hazy: set[str] = field(default_factory=set)
    bare: bool = False

    @property
    def whole(self) -> bool:
        return self.names and not self.hazy


class Answers:
    """The tables of a host while scripts change them, from those that run, None where nobody knows them."""

    def __init__(self, before: HostModel | None) -> None:
        self._shops = {family: Shop(family, "") for family in Family}
        self._tables: dict[Family, Tables] = {}
        self._sure: dict[tuple[Family, str], _Sure] = {}
        for family in Family:
            known = None if before is None else running(before, family)
            odd = before is not None and any(each.unparsed for each in before.rulesets.get(family, ()))
            self._tables[family] = known or EMPTY
            for table, chains in BUILT_IN.items():
                told = known is not None and not odd
                hazy = set() if told else {*chains, *self._tables[family].get(table, ())}
                self._sure[family, table] = _Sure(told, hazy)

    def run(self, commands: Iterable[Command]) -> Answer:
        """Carry out the parts of one command in turn, up to the first that fails."""
        answer = Answer(0)
        for command in commands:
            own = self._one(command)
            if own.refusal is not None:
                return own
            answer = answer if own.status is not None else own
        return answer

    def _one(self, command: Command) -> Answer:
        family, shop = command.family, self._shops[command.family]
        tables, sure = self._tables[family], self._sure[family, command.table]
        odd = unsure(tables, command, shop)
        refusal = None
        before = self._chains(command)
        try:
            self._tables[family] = outcome(tables, command, shop)
        except Rejected as rejected:
            refusal = rejected
        why = self._doubt(command, before, sure, refusal)
        if odd:
            why = f"whether iptables takes this rule for the same as {odd!r} is not known: write both the same way"
        self._learn(command, before, sure, known=not why, failed=refusal is not None)
        return Answer(None if why else refusal.status if refusal else 0, why, refusal)

    def _chains(self, command: Command) -> Mapping[str, Rules]:
        own = self._tables[command.family].get(command.table, {})
        return {**{name: Rules("ACCEPT") for name in BUILT_IN[command.table]}, **own}

    def _doubt(
        self, command: Command, chains: Mapping[str, Rules], sure: _Sure, refusal: Rejected | None
    ) -> str:  # fmt: skip
        """Return why it is not known how a command ends, empty where it is."""
        action, chain = command.action, command.chain
        if action == COMMIT:
            if refusal is not None:
                return "with which status iptables-restore ends is not read"
            return "" if sure.whole or not command.keeps else _UNTOLD
        if chain in BUILT_IN[command.table] and action in {"-X", "-E", "-Z"}:
            return f"{action} of a chain that is built in depends on whether the kernel has it yet: leave it out"
        if refusal is not None and refusal.status == BUSY and command.rules:
            return _KERNELS
        if self._foreign(command, chains):
            return "whether iptables has its target is not known: make the chain first, or write it without a condition"
        return "" if sure.whole or self._holds(command, chains, sure, refusal) else _UNTOLD

    @staticmethod
    def _holds(command: Command, chains: Mapping[str, Rules], sure: _Sure, refusal: Rejected | None) -> bool:
        """Whether a command ends so whatever else may be there."""
        action, chain = command.action, command.chain
        if not chain and action in {"-F", "-L", "-S", "-Z"}:
            return True
        if action == "-X":
            return not sure.hazy and (sure.names or (sure.bare and not chain))
        if action in {"-N", "-P"} and chain in chains:
            return True
        if chain not in chains or action in {"-N", "-E"} or (refusal is not None and refusal.status == ODD):
            return sure.names and (chain not in chains or action in {"-N", "-E"} or chain not in sure.hazy)
        return action in {"-F", "-L", "-S", "-Z", "-A", "-P"} or chain not in sure.hazy or (
            action == "-I" and (command.position or 1) == 1)  # fmt: skip

    def _foreign(self, command: Command, chains: Mapping[str, Rules]) -> bool:
        """Whether a rule that is to come in has a target that is not understood, and so perhaps an extension's."""
        if command.action in {"-C", "-D"}:
            return False
        known = frozenset(chains)
        parsed = (self._shops[command.family].parsed(text, known)[1] for text in command.rules)
        names = [target.text.split(" ")[0] for target in parsed if target.act is Act.UNKNOWN]
        return any(not name or name.isupper() for name in names)

    def _learn(
        self, command: Command, chains: Mapping[str, Rules], sure: _Sure, *, known: bool, failed: bool
    ) -> None:  # fmt: skip
        """Note what is known of a table after a command."""
        action, chain = command.action, command.chain
        if action in LOOKS or (failed and known):
            return
        if action == COMMIT:
            replaced = not command.keeps and not failed
            if replaced or not known:
                sure.names = sure.bare = replaced
                sure.hazy = set() if replaced else {*self._chains(command), *chains}
        elif action == "-F" and not chain:
            sure.hazy, sure.bare = set(), True
        elif action == "-F" and not failed:
            sure.hazy.discard(chain)
        elif action == "-X" and not chain and known:
            sure.names = True
        elif action == "-N" and not known and not sure.bare:
            sure.hazy.add(chain)
        elif action == "-E" and not failed:
            sure.hazy = {command.default if name == chain else name for name in sure.hazy}
        elif not known and action != "-N":
            sure.bare = False
            sure.hazy |= {chain} if chain in chains or not sure.names else set()
