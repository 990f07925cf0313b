"""From ``match`` statements and set look-ups to the matches of a rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fwproof.ruleset.asks import Constant, Fragment, Literal, Opaque, Oracle, Test, Within
from fwproof.ruleset.model import Match
from fwproof.ruleset.nft import Json, NftSet
from fwproof.ruleset.nft_fields import ALWAYS, Scope, key_of
from fwproof.ruleset.nft_hidden import has_ports, with_ports
from fwproof.ruleset.nft_keys import Key, inner
from fwproof.ruleset.nft_text import expression, statement_text

MISREAD = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError)
"""What reading JSON of an unexpected shape raises: the thing is not understood, and kept as such."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule may refer to: the sets of its table, those that rules fill, and those whose elements have rates.

    ``place`` is the family and name of the table, which tell its sets from those of other tables.
    """

    scope: Scope
    sets: Mapping[str, NftSet] = field(default_factory=dict)
    filled: frozenset[str] = frozenset()
    rated: frozenset[str] = frozenset()
    place: str = ""

    def stable(self, name: str) -> NftSet | None:
        """Return a set whose members are known: no rule fills it, and they have no conditions of their own."""
        found = self.sets.get(name)
        return None if found is None or found.grows or name in self.filled else found


def match_of(body: Mapping[str, Json], around: Surroundings) -> list[Match]:
    """Return the matches of a ``match`` statement; a single opaque one where it is not understood."""
    text = statement_text({"match": body})
    try:
        return as_matches(_literals(body, around), text, body["left"])
    except MISREAD:
        return [opaque(text)]


def opaque(text: str) -> Match:
    """Return a match that is not understood, kept by its text."""
    return Match(module="nft", text=text, test=Opaque(text))


def as_matches(literals: Sequence[Literal], text: str, left: Json) -> list[Match]:
    """Return literals as matches; the last carries the text of the statement."""
    module = _module(left)
    found = [
        Match(module=module, text=f"{'not ' if negated else ''}what {text} needs", test=test, negated=negated)
        for test, negated in literals[:-1]
        if (test, negated) != ALWAYS
    ]
    test, negated = literals[-1]
    return [*found, Match(module=module, text=text, test=test, negated=negated)]


def _module(left: Any) -> str:
    """Return ``conntrack`` for what makes the kernel track connections."""
    try:
        return "conntrack" if '"ct"' in repr(left).replace("'", '"') else "nft"
    except RecursionError:
        return "nft"


def _literals(body: Mapping[str, Json], around: Surroundings) -> list[Literal]:
    left, operator, right = body["left"], body["op"], body["right"]
    fragment = _fragment(left, operator, right)
    if fragment is not None:
        return [around.scope.only_four(), fragment]
    key = key_of(left, around.scope)
    needs = (*key.needs, *key.lacking) if operator in {"!=", "!"} else key.needs
    if operator in {"==", "!="}:
        return [*needs, (membership(key, right, expression(left), around), operator == "!=")]
    return [*needs, *key.compare(operator, right)]


def _fragment(left: Json, operator: str, right: Json) -> Literal | None:
    offset = {"&": [{"payload": {"protocol": "ip", "field": "frag-off"}}, 0x1FFF]}
    if left == offset and right == 0 and operator in {"!=", "=="}:
        return Fragment(), operator == "=="
    return None


def membership(key: Key, right: Json, text: str, around: Surroundings) -> Test:
    """Return the test that a key equals a value, or is in a set."""
    if isinstance(right, str) and right.startswith("@"):
        named = around.stable(right[1:])
        if named is None:
            return Oracle("set", f"{text} is in set {right} of {around.place}", each=right[1:] in around.filled)
        right = {"set": list(named.elements)}
    if isinstance(right, dict) and set(right) == {"set"}:
        elements = right["set"] if isinstance(right["set"], list) else [right["set"]]
        if not elements or has_rest(elements):
            return Constant(value=bool(elements))
        return key.among([_key(element) for element in elements])
    return key.among([right])


def simplified(matches: Sequence[Match]) -> tuple[Match, ...]:
    """Leave out what is asked twice, and the bytes of protocols without ports where ``th dport`` cannot meet them."""
    found: list[Match] = []
    ported = False
    for each in matches:
        match = replace(each, test=with_ports(each.test)) if ported else each
        if any((old.test, old.negated) == (match.test, match.negated) and _lasting(match.test) for old in found):
            continue
        found.append(match)
        ported |= has_ports(match.test) and not match.negated
    return tuple(found)


def _lasting(test: Test) -> bool:
    return isinstance(test, Within | Constant)


def _key(element: Json) -> Json:
    """Return the key of an element of a set or of a map."""
    return element[0] if isinstance(element, list) else element


def has_rest(elements: Sequence[Json]) -> bool:
    """Whether a set holds everything: nft's catch-all element ``*``."""
    return any(is_rest(_key(element)) for element in elements)


def is_rest(value: Json) -> bool:
    """Whether a value is the catch-all element."""
    return bool(inner(value) == "*")
