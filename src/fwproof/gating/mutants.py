"""Mutants of rule tables: one rule deleted, widened, or exchanged with its neighbour; one policy that accepts.

They are what slips happen to: the line that was lost in a merge, the match that was left out, the rule that went in one
place too early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import groupby

from fwproof.decision import RuleRef
from fwproof.flow import Family, Network
from fwproof.ruleset.asks import Constant, Within
from fwproof.ruleset.model import Chain, Match, Rule
from fwproof.semantics.model import HostModel

_STEPS = {Family.IPV4: (24, 16, 8), Family.IPV6: (64, 48, 32)}
"""Prefix lengths that an address is widened to, the next shorter one at a time."""
_OF_PROTOCOL = frozenset({"sport", "dport", "flags", "icmp"})
"""Fields that mean nothing where any protocol will do."""


class Slip(StrEnum):
    """What was done to a rule."""

    DELETED = "deleted"
    WIDENED = "widened"
    SWAPPED = "swapped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """Tables with one slip in them: what it is, at which rule, and in words; ``make`` makes them.

    They are made when they are asked for: of many rules there are many mutants, each of as many rules.
    """

    slip: Slip
    family: Family
    rule: RuleRef
    text: str
    make: Callable[[], HostModel]

    @property
    def model(self) -> HostModel:
        """The tables, made anew each time."""
        return self.make()


_Part = tuple[Rule, ...]
"""One rule as it was printed: of nft it may have become several."""


def mutants(model: HostModel, family: Family) -> Iterator[Mutant]:
    """Yield every mutant of a family's tables, in the order of their rules."""
    for number, ruleset in enumerate(model.rulesets.get(family, ())):
        for key, table in ruleset.tables.items():
            for chain in table.chains.values():
                for slip, ref, text, made in _of_chain(chain, family, table.family or family.table_family, table.name):
                    make = partial(_changed, model, family, number, key, made)
                    yield Mutant(slip=slip, family=family, rule=ref, text=text, make=make)


def _changed(model: HostModel, family: Family, number: int, key: str, made: Callable[[], Chain]) -> HostModel:
    """Return a model with another chain in a table of one of its rulesets."""
    sets, chain = list(model.rulesets[family]), made()
    old = sets[number].tables[key]
    table = replace(old, chains={**old.chains, chain.name: chain})
    sets[number] = replace(sets[number], tables={**sets[number].tables, key: table})
    return replace(model, rulesets={**model.rulesets, family: tuple(sets)})


def _of_chain(
    chain: Chain, family: Family, table_family: str, table: str
) -> Iterator[tuple[Slip, RuleRef, str, Callable[[], Chain]]]:
    parts = [tuple(group) for _, group in groupby(chain.rules, key=lambda rule: rule.ref)]
    for at, part in enumerate(parts):
        ref = part[0].ref
        if ref.rule is None:  # it stands for a chain's default
            continue
        yield Slip.DELETED, ref, "deleted", partial(_made, chain, parts, at, 1)
        for text, wider in _wider(part, family):
            yield Slip.WIDENED, ref, text, partial(_made, chain, parts, at, 1, wider)
        after = parts[at + 1][0].ref if at + 1 < len(parts) else ref
        if after.rule is not None and after is not ref:
            text = f"exchanged with rule {after.rule}"
            yield Slip.SWAPPED, ref, text, partial(_made, chain, parts, at, 2, parts[at + 1], part)
    if chain.default == "DROP":
        ref = RuleRef(family=table_family, table=table, chain=chain.name, rule=None, text="DROP")
        yield Slip.WIDENED, ref, "policy ACCEPT", partial(replace, chain, default="ACCEPT")


def _made(chain: Chain, parts: Sequence[_Part], at: int, count: int, *instead: _Part) -> Chain:
    """Return a chain with others instead of ``count`` of its rules."""
    kept = (*parts[:at], *instead, *parts[at + count :])
    return replace(chain, rules=tuple(rule for part in kept for rule in part))


def _wider(part: _Part, family: Family) -> Iterator[tuple[str, _Part]]:
    """Yield a rule with each of its matches left out or, where it is one network, with a shorter prefix."""
    asked = {match.text: match for rule in part for match in rule.matches if not isinstance(match.test, Constant)}
    for text, match in asked.items():
        shorter = _shorter(match, family)
        if shorter is not None:
            network, test = shorter
            wide = replace(match, test=test)
            yield f"{text} widened to {network}", _each(part, text, (wide,))
        else:
            negated = "! " if match.negated and not text.startswith("!") else ""
            yield f"without {negated}{text}", _each(part, text, ())


def _each(part: _Part, text: str, instead: tuple[Match, ...]) -> _Part:
    """Return a rule with something instead of a match, and with what needs its protocol left out with it."""

    def changed(rule: Rule) -> Rule:
        gone = next((match for match in rule.matches if match.text == text), None)
        if gone is None:
            return rule
        any_protocol = isinstance(gone.test, Within) and gone.test.field == "proto" and not instead
        kept: list[Match] = []
        for match in rule.matches:
            if match.text == text:
                kept += instead
            elif not (any_protocol and getattr(match.test, "field", "") in _OF_PROTOCOL):
                kept.append(match)
        return replace(rule, matches=tuple(kept))

    return tuple(map(changed, part))


def _shorter(match: Match, family: Family) -> tuple[Network, Within] | None:
    """Return the network that an address match is widened to, None where it is none or of a short prefix already."""
    test = match.test
    if match.negated or not isinstance(test, Within) or test.field not in {"src", "dst"} or len(test.ranges) != 1:
        return None
    make = IPv4Address if family is Family.IPV4 else IPv6Address
    low, high = test.ranges[0]
    bits = make(0).max_prefixlen
    length = bits - (high - low).bit_length() if (high - low) & (high - low + 1) == 0 else -1
    wanted = next((step for step in _STEPS[family] if step < length), None)
    if wanted is None:
        return None
    network = ip_network((low, wanted), strict=False)
    span = (int(network.network_address), int(network.broadcast_address))
    return network, Within(test.field, (span,))
