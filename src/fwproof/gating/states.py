"""Every state that a host is in while a script changes its tables one command after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fwproof.flow import Family
from fwproof.gating.changes import applied
from fwproof.gating.command import LOOKS, Command
from fwproof.gating.tables import EMPTY, Shop, Tables, tables_of
from fwproof.ruleset.model import Ruleset
from fwproof.semantics.model import HostModel


@dataclass(frozen=True, slots=True)
class Load:
    """A part of a file that is loaded at once, and where it ends in the file; ``family`` None where it has both."""

    source: str
    line: int
    text: str
    family: Family | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.text}" if self.line else f"{self.source}: {self.text}"


Step = Command | Load


@dataclass(frozen=True, slots=True)
class State:
    """The host after ``number`` steps, of which ``command`` was the last, None before the first."""

    number: int
    command: Step | None
    model: HostModel


def states(start: HostModel, commands: Sequence[Command], names: dict[Family, str]) -> Iterator[State]:
    """Yield the host as it is before a script, and after each of its commands; the last is what the script makes.

    ``start`` has the tables that run, in which what is not of iptables stays as it is; ``names`` says where the rules
    are from, for messages. Raises InputError at a command that the kernel would refuse.
    """
    shops = {family: Shop(family, name) for family, name in names.items()}
    tables = {family: running(start, family) or EMPTY for family in shops}
    model = start
    yield State(0, None, model)
    # what only looks is no step: a state before and after it is the same
    for number, command in enumerate((each for each in commands if each.action not in LOOKS), 1):
        family, shop = command.family, shops[command.family]
        after = applied(tables[family], command, shop)
        if after is not tables[family]:
            tables[family] = after
            before = model.rulesets.get(family, ())
            # a line that was not understood stays one: no command takes it out
            odd = next((each.unparsed for each in before if plain(each)), ())
            own, others = replace(shop.ruleset(after), unparsed=odd), [each for each in before if not plain(each)]
            model = replace(model, rulesets={**model.rulesets, family: (own, *others)})
        yield State(number, command, model)


def plain(ruleset: Ruleset) -> bool:
    """Whether a ruleset is what iptables itself shows of the tables that its commands change."""
    return not ruleset.native and ruleset.backend != "legacy"


def running(model: HostModel, family: Family) -> Tables | None:
    """Return the tables of iptables that a host has, None where nobody has read them."""
    found = next((each for each in model.rulesets.get(family, ()) if plain(each)), None)
    return None if found is None else tables_of(found)
