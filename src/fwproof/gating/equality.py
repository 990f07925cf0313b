"""Whether iptables takes two rules for the same, which is what ``-C`` and ``-D`` ask (iptables(8)).

It compares addresses, interfaces and the protocol, then the matches in their order, then the target, each as it is
kept: ``ssh`` is 22, ``-m tcp`` stands where its first option does. Measured with iptables-nft 1.8.9; where this is not
known for certain, the answer is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network

from fwproof.flow import Family
from fwproof.ruleset import numbers
from fwproof.ruleset.grouping import group
from fwproof.ruleset.targets import reject_with
from fwproof.ruleset.words import Instance, Option, split

_RAW = frozenset({
    "addrtype", "owner", "recent", "hashlimit", "connlimit", "pkttype", "iprange", "mac", "set", "physdev",
    "MASQUERADE", "DNAT", "SNAT", "REDIRECT", "TCPMSS", "NFLOG", "MARK",
})  # fmt: skip
"""Of which the same words are the same, and of others nobody knows."""
_LEVELS = {
    "emerg": 0, "panic": 0, "alert": 1, "crit": 2, "err": 3, "error": 3, "warning": 4, "warn": 4, "notice": 5,
    "info": 6, "debug": 7,
}  # fmt: skip
_PREFIX = 29
"""Letters that LOG keeps of a prefix (xt_LOG.h)."""
_SYN = ("--tcp-flags", ("SYN,RST,ACK,FIN", "SYN"))
_ONCE = 10_000
"""What one packet in a second is to the limit match (xt_limit.h, XT_LIMIT_SCALE)."""
_NAMES = {
    "--source-port": "--sport", "--destination-port": "--dport", "--source-ports": "--sports",
    "--destination-ports": "--dports",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Part:
    """A match or the target: what it asks as iptables keeps it, and words of which that is not known."""

    name: str
    kept: frozenset[tuple[str, object]]
    raw: frozenset[tuple[str, bool, tuple[str, ...]]] = frozenset()


@dataclass(frozen=True, slots=True)
class _Form:
    base: frozenset[tuple[str, object]]
    parts: tuple[_Part, ...]
    target: _Part


def same(one: str, other: str, family: Family) -> bool | None:
    """Return whether two rules, as iptables-save writes them without ``-A CHAIN``, are the same; None for unknown."""
    left, right = _form(one, family), _form(other, family)
    if left is None or right is None:
        return None
    mine, theirs = (*left.parts, left.target), (*right.parts, right.target)
    if left.base != right.base or [each.name for each in mine] != [each.name for each in theirs]:
        return False
    found = [_alike(each, its) for each, its in zip(mine, theirs, strict=True)]
    return False if False in found else None if None in found else True


def _alike(one: _Part, other: _Part) -> bool | None:
    odd = {name for name, *_ in one.raw | other.raw}
    mine, its = ({pair for pair in each.kept if pair[0] not in odd} for each in (one, other))
    if mine != its:
        return False
    if not one.raw and not other.raw:
        return True
    return True if one.raw == other.raw and one.name in _RAW else None


@lru_cache(maxsize=4096)
def _form(text: str, family: Family) -> _Form | None:
    """Return a rule as iptables keeps it, None where a word of it is not understood."""
    words, closed = split(text)
    parts = group(words)
    named = [each.module for each in parts.modules]
    if not closed or parts.strays or len(set(named)) < len(named):
        return None
    try:
        base = [kept for option in parts.base if (kept := _base(option, family)) is not None]
        target = _Part("", frozenset())
        if parts.target is not None:
            made = _part(parts.target, family)
            target = _Part(made.name, made.kept | {("goto", parts.goto)}, made.raw)
        found = tuple(_part(each, family) for each in parts.modules)
    except (ValueError, KeyError, IndexError):
        return None
    twice = len({option.name for option in parts.base}) < len(parts.base)
    return None if twice else _Form(frozenset(base), found, target)


def _base(option: Option, family: Family) -> tuple[str, object] | None:
    """Return what a base option asks, None where it asks nothing; raises ValueError."""
    (text,) = option.arguments
    if option.name in {"-s", "-d"}:
        network = ip_network(text, strict=False)
        if Family.of(network) is not family or (option.negated and not network.prefixlen):
            raise ValueError(text)
        return (option.name, (option.negated, network)) if network.prefixlen else None
    if option.name == "-p":
        number = numbers.protocol(text)
        if number is None and option.negated:
            raise ValueError(text)
        return None if number is None else ("-p", (option.negated, number))
    if option.name in {"-i", "-o"} and text != "+":
        return (option.name, (option.negated, text))
    raise ValueError(option.name)


def _part(instance: Instance, family: Family) -> _Part:
    """Return a match or a target; raises ValueError, KeyError or IndexError for what makes no sense of its own."""
    options = [_named(option) for option in instance.options]
    if len({option.name for option in options}) < len(options):
        raise ValueError(instance.text)
    kept = dict(_DEFAULTS.get((instance.module, family), _DEFAULTS.get((instance.module, None), {})))
    raw = set()
    for option in options:
        read = _KEPT.get((instance.module, option.name))
        value = None if read is None else read(option.arguments, family)
        if value is None:
            raw.add((option.name, option.negated, option.arguments))
        else:
            kept[option.name] = (option.negated, value)
    return _Part(instance.module, frozenset(kept.items()), frozenset(raw))


def _named(option: Option) -> Option:
    if option.name == "--syn":
        return Option(*_SYN, option.negated)
    return Option(_NAMES.get(option.name, option.name), option.arguments, option.negated)


def _port(words: Sequence[str], _: Family) -> object:
    ranges = numbers.ports(words[0])
    if "," in words[0] or len(ranges) != 1 or ranges == ((0, 65535),):
        return None  # a reversed one is turned round by one version, and all ports asked of by none
    return ranges


def _flags(words: Sequence[str], _: Family) -> object:
    return numbers.flag_bits(words[0]), numbers.flag_bits(words[1])


def _states(words: Sequence[str], _: Family) -> object:
    return frozenset(words[0].upper().split(","))


def _limit(words: Sequence[str], _: Family) -> object:
    count, seconds = numbers.rate(words[0])
    one = _ONCE * seconds // count
    unit = next((each for each in (1, 60, 3600, 86400) if one and _ONCE * each // one), 0)
    # it is kept as so many in the smallest unit that has one; where that is another rate, nobody knows
    number = _ONCE * unit // one if one else 0
    return (number, unit) if number and _ONCE * unit // number == one else None


def _prefix(words: Sequence[str], _: Family) -> object:
    return words[0][:_PREFIX]


def _level(words: Sequence[str], _: Family) -> object:
    return _LEVELS[words[0]] if words[0] in _LEVELS else numbers.whole(words[0], 7)


def _list(words: Sequence[str], _: Family) -> object:
    """Ports of multiport, in their order."""
    return tuple(numbers.ports(each) for each in words[0].split(","))


_Reader = Callable[[Sequence[str], Family], object]
_KEPT: dict[tuple[str, str], _Reader] = {
    **{(each, option): _port for each in ("tcp", "udp") for option in ("--sport", "--dport")},
    ("tcp", "--tcp-flags"): _flags,
    ("icmp", "--icmp-type"): lambda words, family: numbers.icmp(words[0], family),
    ("icmp6", "--icmpv6-type"): lambda words, family: numbers.icmp(words[0], family),
    ("conntrack", "--ctstate"): _states,
    ("state", "--state"): _states,
    **{("multiport", option): _list for option in ("--sports", "--dports", "--ports")},
    ("comment", "--comment"): lambda words, _: words[0],
    ("limit", "--limit"): _limit,
    ("limit", "--limit-burst"): lambda words, _: numbers.whole(words[0], 10_000),
    ("mark", "--mark"): lambda words, _: numbers.masked(words[0], 0xFFFFFFFF),
    ("REJECT", "--reject-with"): lambda words, family: reject_with(words[0], family),
    ("LOG", "--log-prefix"): _prefix,
    ("LOG", "--log-level"): _level,
    **{("LOG", option): lambda _, __: "" for option in (
        "--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid")},
}  # fmt: skip
"""What is known of options: how iptables keeps their words."""
_DEFAULTS: dict[tuple[str, Family | None], dict[str, object]] = {
    ("limit", None): {"--limit": (False, (3, 3600)), "--limit-burst": (False, 5)},
    ("LOG", None): {"--log-level": (False, 4), "--log-prefix": (False, "")},
    ("REJECT", Family.IPV4): {"--reject-with": (False, "icmp-port-unreachable")},
    ("REJECT", Family.IPV6): {"--reject-with": (False, "icmp6-port-unreachable")},
}
"""What a match or target has that nobody says."""
