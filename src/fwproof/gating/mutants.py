"""Mutants of rule tables: one rule deleted, widened, or exchanged with its neighbour; one policy that accepts.

They are what slips happen to: the line that was lost in a merge, the match that was left out, the rule that went in one
place too early.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import groupby

from fwproof.decision import RuleRef
from fwproof.flow import Family, Network
from fwproof.ruleset.asks import Constant, Within
from fwproof.ruleset.model import Chain, Match, Rule, Ruleset
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
    """Tables with one slip in them: what it is, at which rule, and in words."""

    slip: Slip
    family: Family
    rule: RuleRef
    text: str
    model: HostModel


_Part = tuple[Rule, ...]
"""One rule as it was printed: of nft it may have become several."""


def mutants(model: HostModel, family: Family) -> Iterator[Mutant]:
    """Yield every mutant of a family's tables, in the order of their rules."""
    for number, ruleset in enumerate(model.rulesets.get(family, ())):
        for key, table in ruleset.tables.items():
            for chain in table.chains.values():
                for slip, ref, text, made in _of_chain(chain, family, table.family or family.table_family, table.name):
                    changed = _put(ruleset, key, made)
                    sets = (*model.rulesets[family][:number], changed, *model.rulesets[family][number + 1 :])
                    yield Mutant(
                        slip=slip, family=family, rule=ref, text=text,
                        model=replace(model, rulesets={**model.rulesets, family: sets}),
                    )  # fmt: skip


def _put(ruleset: Ruleset, table: str, chain: Chain) -> Ruleset:
    old = ruleset.tables[table]
    return replace(ruleset, tables={**ruleset.tables, table: replace(old, chains={**old.chains, chain.name: chain})})


def _of_chain(
    chain: Chain, family: Family, table_family: str, table: str
) -> Iterator[tuple[Slip, RuleRef, str, Chain]]:  # fmt: skip
    parts = [tuple(group) for _, group in groupby(chain.rules, key=lambda rule: rule.ref)]
    for at, part in enumerate(parts):
        ref = part[0].ref
        if ref.rule is None:  # it stands for a chain's default
            continue
        before, after = parts[:at], parts[at + 1 :]
        yield Slip.DELETED, ref, "deleted", _made(chain, [*before, *after])
        for text, wider in _wider(part, family):
            yield Slip.WIDENED, ref, text, _made(chain, [*before, wider, *after])
        if after and after[0][0].ref.rule is not None:
            text = f"exchanged with rule {after[0][0].ref.rule}"
            yield Slip.SWAPPED, ref, text, _made(chain, [*before, after[0], part, *after[1:]])
    if chain.default == "DROP":
        ref = RuleRef(family=table_family, table=table, chain=chain.name, rule=None, text="DROP")
        yield Slip.WIDENED, ref, "policy ACCEPT", replace(chain, default="ACCEPT")


def _made(chain: Chain, parts: Sequence[_Part]) -> Chain:
    return replace(chain, rules=tuple(rule for part in parts for rule in part))


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
