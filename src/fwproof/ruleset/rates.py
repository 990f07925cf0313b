"""The match modules that limit rates: recent, limit, hashlimit, connlimit (``iptables-extensions(8)``).

As in :mod:`fwproof.ruleset.matches`, a ValueError or KeyError means "not understood".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fwproof.flow import Family
from fwproof.ruleset import numbers
from fwproof.ruleset.asks import ConnLimit, HashLimit, Limit, Oracle, Recent, Test
from fwproof.ruleset.words import Option

_BYTES = re.compile(r"[0-9]+[kKmM]?b(/s)?", re.ASCII)

Asked = tuple[Test, bool, str]
"""A test, whether it is negated, and the text it came from."""


def _options(options: Sequence[Option], *flags: str) -> dict[str, str]:
    """Return option names to their argument (empty for flags); an option given twice is not understood."""
    found: dict[str, str] = {}
    for option in options:
        if option.name in found or (option.negated and option.name not in flags):
            raise ValueError(option.text)
        found[option.name] = option.arguments[0] if option.arguments else ""
    return found


def recent(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the test of ``-m recent``."""
    actions = ("--set", "--rcheck", "--update", "--remove")
    found = _options(options, *actions)
    (action,) = [name for name in actions if name in found]
    test = Recent(
        action=action[2:],
        list=found.get("--name", "DEFAULT"),
        seconds=numbers.whole(found.get("--seconds", "0"), 2**32),
        hitcount=numbers.whole(found.get("--hitcount", "0"), 65535),
        mask=numbers.mask(found.get("--mask"), family),
        side="dst" if "--rdest" in found else "src",
        ttl="--rttl" in found,
    )
    return [(test, any(option.negated for option in options), " ".join(option.full for option in options))]


def limit(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the test of ``-m limit``."""
    found = _options(options)
    count, seconds = numbers.rate(found.get("--limit", "3/hour"))
    test = Limit(count, seconds, numbers.whole(found.get("--limit-burst", "5"), 10000))
    return [(test, False, " ".join(option.text for option in options))]


def hashlimit(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the test of ``-m hashlimit``; rates in bytes, and those that are only compared, are a plain oracle."""
    names = ("--hashlimit-upto", "--hashlimit", "--hashlimit-above")
    found = _options(options, *names)
    (name,) = [name for name in names if name in found]
    negated = any(option.negated for option in options)
    if "--hashlimit-rate-match" in found or _BYTES.fullmatch(found[name]):
        text = " ".join(option.full for option in options)
        return [(Oracle("hashlimit", f"hashlimit {text}", each=True), False, text)]
    count, seconds = numbers.rate(found[name])
    modes = found.get("--hashlimit-mode", "")
    test = HashLimit(
        list=found["--hashlimit-name"],
        above=(name == "--hashlimit-above") != negated,
        count=count,
        seconds=seconds,
        burst=numbers.whole(found.get("--hashlimit-burst", "5"), 1_000_000),
        mode=tuple(modes.split(",")) if modes else (),
        srcmask=numbers.mask(found.get("--hashlimit-srcmask"), family),
        expire=numbers.whole(found.get("--hashlimit-htable-expire", str(seconds * 1000)), 2**32) / 1000,
    )
    return [(test, False, " ".join(option.full for option in options))]


def connlimit(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the test of ``-m connlimit``."""
    names = ("--connlimit-above", "--connlimit-upto")
    found = _options(options, *names)
    (name,) = [name for name in names if name in found]
    negated = any(option.negated for option in options)
    test = ConnLimit(
        above=(name == "--connlimit-above") != negated,
        limit=numbers.whole(found[name], 2**32),
        mask=numbers.mask(found.get("--connlimit-mask"), family),
        side="dst" if "--connlimit-daddr" in found else "src",
    )
    return [(test, False, " ".join(option.full for option in options))]
