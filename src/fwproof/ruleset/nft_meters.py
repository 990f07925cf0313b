"""Rates: ``limit``, and the sets that rules fill with a rate for each element (``meter``, ``update @set``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fwproof.ruleset.asks import ConnLimit, HashLimit, Limit, Oracle, Test
from fwproof.ruleset.model import Match
from fwproof.ruleset.nft import Json
from fwproof.ruleset.nft_fields import key_of
from fwproof.ruleset.nft_keys import AddressKey, Key, Masked, Number, inner
from fwproof.ruleset.nft_match import MISREAD, Surroundings, as_matches
from fwproof.ruleset.numbers import UNITS

_SECONDS = {**UNITS, "week": 604800}
_BURST = 5
"""Packets of a burst where a rule names none (NFT_LIMIT_PKT_BURST_DEFAULT)."""
_FOREVER = 1e12
_MODES = {"src": "srcip", "dst": "dstip", "sport": "srcport", "dport": "dstport"}


def limit_test(body: Mapping[str, Json]) -> Test:
    """Return the test of a ``limit`` statement, before its ``over``; rates in bytes are an oracle."""
    if "rate_unit" in body and body["rate_unit"] != "packets":
        text = f"limit {body['rate']} {body['rate_unit']}/{body['per']}"
        return Oracle("limit", text, each=True)
    return Limit(_positive(body["rate"]), _SECONDS[body["per"]], _positive(body.get("burst") or _BURST))


def _positive(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 32:
        raise ValueError(value)
    return value


def meter_conditions(body: Mapping[str, Json], text: str, around: Surroundings) -> list[Match]:
    """Return the conditions of a statement that adds to a set: what its key needs, and the rate of the element.

    That a full set ends the rule is not followed, as no table shows when that happens.
    """
    element = body["elem"] if "elem" in body else body["key"]
    key = key_of(inner(element), around.scope)
    matches = as_matches(key.needs, f"what {text} needs", inner(element)) if key.needs else []
    rates = [(kind, rate) for kind, rate in stated(body) if kind not in {"counter", "last"}]
    for kind, rate in rates:
        module = "connlimit" if kind == "ct count" else "nft"
        matches.append(Match(module=module, text=text, test=_rated(kind, rate, body, key, around)))
    name = str(body.get("set") or body.get("map")).removeprefix("@")
    if not rates and (name in around.rated or (name in around.sets and around.sets[name].grows)):
        # an element that is there already has its own rate asked (nft_dynset_eval), and may end the rule
        test = Oracle("meter", f"the rate of an element of {name}", each=True)
        matches.append(Match(module="nft", text=text, test=test))
    return matches


def stated(body: Mapping[str, Json]) -> list[tuple[str, Json]]:
    """Return the statements that elements get which a rule adds to a set."""
    found = body.get("stmt", [])
    return [pair for each in (found if isinstance(found, list) else [found]) for pair in each.items()]


def _rated(kind: str, rate: Json, body: Mapping[str, Json], key: Key, around: Surroundings) -> Test:
    name = str(body.get("name") or body.get("set")).removeprefix("@")
    try:
        modes, mask = _modes(key)
        above = bool(rate.get("inv"))
        if kind == "ct count" and modes in {("srcip",), ("dstip",)}:
            side = "src" if modes == ("srcip",) else "dst"
            return ConnLimit(above=above, limit=int(rate["val"]), mask=mask, side=side)
        limit = limit_test(rate) if kind == "limit" else None
        known = around.sets.get(name)
        lasting = known is None or known.timeout is None
        if isinstance(limit, Limit) and (lasting or body.get("op") == "update"):
            expire = _FOREVER if known is None or known.timeout is None else known.timeout
            own = f"{around.place} {name}"
            return HashLimit(own, above, limit.count, limit.seconds, limit.burst, modes, mask, _own(body, expire))
    except MISREAD:
        pass
    return Oracle("meter", f"{kind} of each element of {name}", each=True)


def _own(body: Mapping[str, Json], expire: float) -> float:
    """Return the time after which an element is forgotten: its own, or the set's."""
    own = body.get("elem")
    while isinstance(own, dict) and set(own) == {"elem"}:
        own = own["elem"]
    timeout = own.get("timeout") if isinstance(own, dict) else None
    return float(timeout) if isinstance(timeout, int | float) else expire


def _modes(key: Key) -> tuple[tuple[str, ...], int]:
    """Return what a key counts by, in the words of hashlimit, and the mask of the source."""
    parts: Sequence[Key] = getattr(key, "parts", (key,))
    modes, mask = [], (1 << 128) - 1
    for part in parts:
        number = part.number if isinstance(part, Masked) else part
        if not isinstance(number, Number):
            raise ValueError(part)  # noqa: TRY004 - "not understood"
        if isinstance(part, Masked):
            if number.field != "src":
                raise ValueError(part)
            mask = part.mask
        elif isinstance(number, AddressKey) and number.field == "src":
            mask = (1 << number.size) - 1
        modes.append(_MODES[number.field])
    return tuple(modes), mask
