"""nftables chains as chains of :mod:`fwproof.ruleset.model`, which every engine can walk.

A rule of nft is a list of statements, and does several things; a rule of the model has matches and one target. So a
rule becomes several rules with the same reference, some of them in chains of their own: ``goto`` there does not
come back, which is what a verdict does; a chain that ends leads behind the rule. Names of such chains have spaces,
which no chain of nft has. That is exact: every packet meets the statements in their order, and once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from fwproof.decision import RuleRef
from fwproof.ruleset.asks import Bits, Conntrack, OneOf, Sort, atoms, sort_of
from fwproof.ruleset.model import NO_TARGET, Act, Counters, Match, Rule, Target
from fwproof.ruleset.nft import Json, NftChain, NftRule
from fwproof.ruleset.nft_items import ENDING, Choose, Do, Item, When
from fwproof.ruleset.nft_match import Surroundings, simplified
from fwproof.ruleset.nft_statements import items_of
from fwproof.ruleset.nft_text import rule_text

_CHANGING = frozenset({"mark", "connmark", "ctstate", "tos", "ttl", "flags", "sport", "dport", "icmp", "spi"})
"""What statements can change of a packet, so that a test of it may not be asked again."""
_LEAVING = frozenset({Act.RETURN, Act.GOTO})


@dataclass(slots=True)
class Lowered:
    """The chains that one chain of nft becomes: its own, and those of its rules' parts."""

    name: str
    chains: dict[str, list[Rule]] = field(default_factory=dict)
    _used: Counter[str] = field(default_factory=Counter)

    def fresh(self, text: str, word: str) -> str:
        """Return the name of a new chain for a rule; rules before it leave its name alone, so that diffs are small."""
        stem = f"{self.name} {word} {crc32(text.encode('utf-8', 'replace')):08x}"
        self._used[stem] += 1
        name = f"{stem} {self._used[stem]}"
        self.chains[name] = []
        return name


@dataclass(slots=True)
class _Writer:
    """Writes the rules of one chain; ``here`` is where they go, ``ref`` the rule of nft that they are part of."""

    lowered: Lowered
    here: str
    ref: RuleRef
    line: int
    comment: str

    def put(self, matches: Sequence[Match], target: Target, where: str | None = None) -> None:
        rule = Rule(ref=self.ref, matches=tuple(matches), target=target, line=self.line, comment=self.comment)
        self.lowered.chains[where or self.here].append(rule)

    def at(self, where: str) -> _Writer:
        return _Writer(self.lowered, where, self.ref, self.line, self.comment)

    def fresh(self, word: str = "part") -> str:
        return self.lowered.fresh(self.ref.text, word)

    def call(self, act: Act, chain: str) -> Target:
        return Target(act=act, name=chain, text=f"(the rest of rule {self.ref.rule})", chain=chain)


def lower(
    chain: NftChain, table: tuple[str, str], around: Surroundings, chains: Iterable[str]
) -> dict[str, list[Rule]]:
    """Return the rules of a chain, and of the chains that their parts are in, by name.

    ``table`` is the family and name of the table, ``chains`` are the chains that its rules may jump to.
    """
    lowered = Lowered(chain.name)
    lowered.chains[chain.name] = []
    here, known = chain.name, frozenset(chains)
    for number, rule in enumerate(chain.rules, 1):
        ref = RuleRef(family=table[0], table=table[1], chain=chain.name, rule=number, text=text_of(rule))
        writer = _Writer(lowered, here, ref, rule.object, rule.comment)
        _write(writer, _tidied(items_of(rule.statements, around, known)))
        here = writer.here
    return lowered.chains


def text_of(rule: NftRule) -> str:
    """Return the text of a rule; one without statements is named by its handle."""
    return rule_text(rule) or f"(empty rule, handle {rule.handle})"


def counters_of(rule: NftRule) -> Counters | None:
    """Return the first counter of a rule, None where it has none of its own."""
    for statement in rule.statements:
        body: Json = statement.get("counter") if isinstance(statement, dict) else None
        if isinstance(body, dict):
            packets, octets = body.get("packets"), body.get("bytes")
            if isinstance(packets, int) and isinstance(octets, int):
                return Counters(packets, octets)
    return None


def _tidied(items: Sequence[Item]) -> list[Item]:
    """Unite conditions that follow one another, and leave out what comes after a verdict."""
    found: list[Item] = []
    for item in items:
        if isinstance(item, When) and found and isinstance(found[-1], When):
            found[-1] = When(simplified((*found[-1].matches, *item.matches)))
        else:
            found.append(item)
        if isinstance(item, Do) and item.target.act in ENDING:
            break
    return found


def _write(writer: _Writer, items: Sequence[Item]) -> None:
    """Append rules for the statements of one rule; what falls through goes on with what is appended next."""
    matches: tuple[Match, ...] = ()
    if items and isinstance(items[0], When):
        matches, items = items[0].matches, items[1:]
    if not items:
        writer.put(matches, NO_TARGET)
    elif len(items) == 1 and isinstance(items[0], Do):
        writer.put(matches, items[0].target)
    elif len(items) == 1 and isinstance(items[0], Choose) and _flat(matches, items[0]):
        _spread(writer, matches, items[0])
    elif _repeatable(matches) and _logs_and_ends(items):
        for item in items:
            assert isinstance(item, Do)
            writer.put(matches, item.target)
    else:
        _apart(writer, matches, items)


def _logs_and_ends(items: Sequence[Item]) -> bool:
    """Whether there are only logs and one more deed at the end, so that all conditions can be asked again."""
    return all(isinstance(item, Do) for item in items) and all(
        item.target.act in {Act.LOG, Act.NOTHING} for item in items[:-1] if isinstance(item, Do)
    )


def _repeatable(matches: Iterable[Match]) -> bool:
    """Whether asking again gives the same answer and leaves nothing behind."""
    return all(sort_of(atom) is Sort.EXACT for match in matches for atom in atoms(match.test))


def _flat(matches: Sequence[Match], choice: Choose) -> bool:
    """Whether the options of a map can stand one after another, each with all conditions.

    They cannot where an option that comes back could be followed by another one that then holds as well.
    """
    if not _repeatable(matches):
        return False
    returning = [asked for asked, target in choice.options if target.act not in ENDING]
    if any(not asked for asked, _ in choice.options):
        return not returning
    asked_of = [match for asked in returning for match in asked] + list(matches)
    return len(returning) <= 1 or not any(_changes(match) for match in asked_of)


def _changes(match: Match) -> bool:
    return any(
        isinstance(atom, Conntrack) or (isinstance(atom, Bits | OneOf) and atom.field in _CHANGING)
        or getattr(atom, "field", "") in _CHANGING
        for atom in atoms(match.test)
    )  # fmt: skip


def _spread(writer: _Writer, matches: tuple[Match, ...], choice: Choose) -> None:
    """Write the options of a map, those that come back to the chain last."""
    for asked, target in sorted(choice.options, key=lambda option: option[1].act not in ENDING):
        writer.put((*matches, *asked), target)


def _apart(writer: _Writer, matches: tuple[Match, ...], items: Sequence[Item]) -> None:
    """Write the rest of a rule into a chain of its own.

    Where it may return or go elsewhere and may also fall through, the rules after it move to a chain as well.
    """
    rest = writer.fresh()
    if not _leaves(items):
        writer.put(matches, writer.call(Act.JUMP, rest))
        _inside(writer.at(rest), items, None)
    elif _ends(items):
        writer.put(matches, writer.call(Act.GOTO, rest))
        _inside(writer.at(rest), items, None)
    else:
        tail = writer.fresh("and on")
        writer.put(matches, writer.call(Act.GOTO, rest))
        writer.put((), writer.call(Act.GOTO, tail))
        _inside(writer.at(rest), items, tail)
        writer.here = tail


def _targets(items: Iterable[Item]) -> Iterable[Target]:
    for item in items:
        if isinstance(item, Do):
            yield item.target
        elif isinstance(item, Choose):
            yield from (target for _, target in item.options)


def _leaves(items: Sequence[Item]) -> bool:
    return any(target.act in _LEAVING for target in _targets(items))


def _ends(items: Sequence[Item]) -> bool:
    """Whether every packet that comes to these statements ends with a verdict."""
    return all(isinstance(item, Do) for item in items) and any(target.act in ENDING for target in _targets(items))


def _inside(writer: _Writer, items: Sequence[Item], tail: str | None) -> None:
    """Write statements into a chain of their own, whose end leads behind the rule, or to ``tail``."""
    for at, item in enumerate(items):
        if isinstance(item, When) and at + 1 == len(items):
            writer.put(item.matches, NO_TARGET)
        elif isinstance(item, When):
            more = writer.fresh()
            writer.put(item.matches, writer.call(Act.GOTO, more))
            _end(writer, tail)
            writer = writer.at(more)
        elif isinstance(item, Do):
            writer.put((), item.target)
            if item.target.act in ENDING:
                return
        else:
            _options(writer, item, items[at + 1 :], tail)
            return
    _end(writer, tail)


def _options(writer: _Writer, choice: Choose, after: Sequence[Item], tail: str | None) -> None:
    for asked, target in choice.options:
        if target.act in ENDING:
            writer.put(asked, target)
        else:
            more = writer.fresh()
            writer.put(asked, writer.call(Act.GOTO, more))
            _inside(writer.at(more), [Do(target), *after], tail)
    _end(writer, tail)


def _end(writer: _Writer, tail: str | None) -> None:
    if tail is not None:
        writer.put((), writer.call(Act.GOTO, tail))
