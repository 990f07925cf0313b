"""What the statements of a rule of nft become: conditions, deeds, and choices between deeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fwproof.ruleset.asks import Literal
from fwproof.ruleset.model import Act, Match, Target
from fwproof.ruleset.nft import Json
from fwproof.ruleset.nft_fields import key_of
from fwproof.ruleset.nft_match import Surroundings, as_matches, is_rest
from fwproof.ruleset.nft_text import expression


@dataclass(frozen=True, slots=True)
class When:
    """Conditions: where one of them does not hold, the rule is over for the packet."""

    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Do:
    """Something that is done, or a verdict."""

    target: Target


@dataclass(frozen=True, slots=True)
class Choose:
    """The first of several options whose conditions hold; where none does, the rule is over."""

    options: tuple[tuple[tuple[Match, ...], Target], ...]


Item = When | Do | Choose
ENDING = frozenset({Act.ACCEPT, Act.DROP, Act.REJECT, Act.RETURN, Act.GOTO, Act.ELSEWHERE, Act.UNKNOWN, Act.SOURCE_NAT,
                    Act.DESTINATION_NAT})  # fmt: skip
"""Acts after which the packet does not come back to the chain."""


def unknown(text: str) -> Do:
    """Return a deed that is not understood."""
    reason = f"{text} is not understood"
    return Do(Target(act=Act.UNKNOWN, name="nft", text=text, reason=reason))


def choice(body: Mapping[str, Json], around: Surroundings, text: str, target: Callable[[Json], Target]) -> list[Item]:
    """Read a map: one option for each distinct value, and the catch-all element last."""
    data, left = body["data"], body["key"]
    if isinstance(data, str) and data.startswith("@"):
        named = around.stable(data[1:])
        if named is None:
            return [unknown(f"{text}, whose elements are not known")]
        elements: Sequence[Json] = named.elements
    else:
        elements = data["set"] if isinstance(data["set"], list) else [data["set"]]
    key = key_of(left, around.scope)
    groups: dict[str, list[tuple[Json, Json]]] = {}
    for name, value in elements:
        groups.setdefault("*" if is_rest(name) else repr(value), []).append((name, value))
    rest = groups.pop("*", None)
    options = []
    for pairs in groups.values():
        test = key.among([name for name, _ in pairs])
        asked = f"{expression(left)} {expression({'set': [name for name, _ in pairs]})}"
        options.append((tuple(as_matches([(test, False)], asked, left)), target(pairs[0][1])))
    if rest is not None:
        options.append(((), target(rest[0][1])))
    return [*needed((*key.needs, *key.lacking), text, left), Choose(tuple(options))]


def needed(needs: Sequence[Literal], text: str, left: Json) -> list[Item]:
    """Return what has to hold before a statement does anything; without it the rule breaks off."""
    return [When(tuple(as_matches(needs, f"what {text} needs", left)))] if needs else []
