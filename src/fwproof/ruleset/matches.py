"""From the options of one match module to the tests they ask (``iptables-extensions(8)``).

Each builder returns the tests of one ``-m`` instance; they all have to hold. A ValueError or KeyError means
"not understood", and makes the whole instance opaque: a half-understood match is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fwproof.flow import CtState, Family
from fwproof.ruleset import numbers
from fwproof.ruleset.model import Match
from fwproof.ruleset.asks import (
    AddressType, Bits, ConnLimit, Conntrack, Constant, EitherPort, Fragment, HashLimit, Interface, Limit, OneOf,
    Opaque, Oracle, Recent, Test, Within,
)  # fmt: skip
from fwproof.ruleset.words import MODULES, Instance, Option

Asked = tuple[Test, bool, str]
"""A test, whether it is negated, and the text it came from."""

Builder = Callable[[Sequence[Option], Family], list[Asked]]


def base_match(option: Option, family: Family) -> Match:
    """Return the match of a base option such as ``-s``; opaque where its argument is not understood."""
    text = f"! {option.text}" if option.negated else option.text
    try:
        test = _base_test(option, family)
    except (ValueError, KeyError, IndexError):
        return Match(module="", text=text, test=Opaque(option.text), negated=option.negated)
    return Match(module="", text=text, test=test, negated=option.negated)


def _base_test(option: Option, family: Family) -> Test:
    name = option.name
    if name == "-f":
        return Fragment()
    (value,) = option.arguments
    if name in {"-s", "-d"}:
        return numbers.address_test("src" if name == "-s" else "dst", value, family)
    if name == "-p":
        number = numbers.protocol(value)
        return Constant(value=True) if number is None else Within("proto", ((number, number),))
    if not value or len(value) > 15:  # IFNAMSIZ - 1
        raise ValueError(value)
    return Interface("iif" if name == "-i" else "oif", value)


def module_matches(instance: Instance, family: Family) -> list[Match]:
    """Return the matches of one module instance; a single opaque one where anything in it is not understood."""
    builder = _BUILDERS.get(instance.module)
    try:
        if builder is None or any(o.name not in MODULES[instance.module] for o in instance.options):
            raise ValueError(instance.module)
        asked = builder(instance.options, family)
    except (ValueError, KeyError, IndexError):
        return [_opaque(instance)]
    return [Match(module=instance.module, text=text, test=test, negated=negated) for test, negated, text in asked]


def _opaque(instance: Instance) -> Match:
    """Keep a match by its text; with a single option its negation is kept apart, so that both share an oracle."""
    if len(instance.options) == 1 and instance.options[0].negated:
        text = f"-m {instance.module} {instance.options[0].text}"
        return Match(module=instance.module, text=instance.text, test=Opaque(text), negated=True)
    return Match(module=instance.module, text=instance.text, test=Opaque(instance.text))


def _text(option: Option) -> str:
    return f"! {option.text}" if option.negated else option.text


def _each(convert: Callable[[Option, Family], Test]) -> Builder:
    """Make a builder from a function that turns each option, on its own, into a test."""

    def build(options: Sequence[Option], family: Family) -> list[Asked]:
        return [(convert(option, family), option.negated, _text(option)) for option in options]

    return build


def _transport(option: Option, _family: Family) -> Test:
    if option.name in {"--sport", "--source-port"}:
        return Within("sport", numbers.ports(_single(option.arguments[0])))
    if option.name in {"--dport", "--destination-port"}:
        return Within("dport", numbers.ports(_single(option.arguments[0])))
    if option.name == "--syn":
        return Bits("flags", numbers.flag_bits("FIN,SYN,RST,ACK"), numbers.flag_bits("SYN"))
    if option.name == "--tcp-flags":
        mask, value = (numbers.flag_bits(argument) for argument in option.arguments)
        return Bits("flags", mask, value)
    return Oracle("packet", f"tcp option {int(option.arguments[0])} present")


def _single(text: str) -> str:
    if "," in text:
        raise ValueError(text)
    return text


def _multiport(option: Option, _family: Family) -> Test:
    ranges = numbers.ports(option.arguments[0])
    if option.name == "--ports":
        return EitherPort(ranges)
    return Within("sport" if option.name in {"--sports", "--source-ports"} else "dport", ranges)


def _icmp(option: Option, family: Family) -> Test:
    return Within("icmp", numbers.icmp(option.arguments[0], family))


def _state(option: Option, _family: Family) -> Test:
    words = frozenset(option.arguments[0].split(","))
    if not words <= set(CtState):
        raise ValueError(option.text)
    return OneOf("ctstate", words)


def _conntrack(options: Sequence[Option], _family: Family) -> list[Asked]:
    states: frozenset[str] | None = None
    direction: str | None = None
    negated, rest = False, []
    for option in options:
        if option.name == "--ctstate" and states is None:
            states, negated = frozenset(option.arguments[0].split(",")), option.negated
            if not states <= {*CtState, "SNAT", "DNAT"}:
                raise ValueError(option.text)
        elif option.name == "--ctdir" and direction is None:
            direction = option.arguments[0].lower()
            if direction not in {"original", "reply"}:
                raise ValueError(option.text)
            if option.negated:
                direction = "reply" if direction == "original" else "original"
        else:
            rest.append(_text(option))
    text = " ".join(_text(option) for option in options)
    return [(Conntrack(states, negated, direction, " ".join(rest)), False, text)]


def _mark(field: str) -> Builder:
    def convert(option: Option, _family: Family) -> Test:
        value, mask = numbers.masked(option.arguments[0], 0xFFFFFFFF)
        return Bits(field, mask, value)

    return _each(convert)


def _iprange(option: Option, family: Family) -> Test:
    return numbers.address_range("src" if option.name == "--src-range" else "dst", option.arguments[0], family)


def _hops(option: Option, _family: Family) -> Test:
    number = numbers.whole(option.arguments[0], 255)
    if option.name.endswith("-lt"):
        return Within("ttl", ((0, number - 1),) if number else ())
    if option.name.endswith("-gt"):
        return Within("ttl", ((number + 1, 255),) if number < 255 else ())
    return Within("ttl", ((number, number),))


_DSCP = {"EF": 46, "BE": 0, "DF": 0} | {f"CS{n}": 8 * n for n in range(8)} | {
    f"AF{a}{b}": 8 * a + 2 * b for a in range(1, 5) for b in range(1, 4)
}  # fmt: skip


def _dscp(option: Option, _family: Family) -> Test:
    text = option.arguments[0]
    number = numbers.whole(text, 63, 0) if option.name == "--dscp" else _DSCP[text.upper()]
    return Bits("tos", 0xFC, number << 2)


def _tos(option: Option, _family: Family) -> Test:
    value, mask = numbers.masked(option.arguments[0], 255)
    return Bits("tos", mask, value)


def _mac(option: Option, _family: Family) -> Test:
    parts = option.arguments[0].lower().split(":")
    if len(parts) != 6:
        raise ValueError(option.text)
    return OneOf("mac_src", frozenset([":".join(f"{numbers.whole(part, 255, 16):02x}" for part in parts)]))


def _pkttype(option: Option, _family: Family) -> Test:
    words = {"unicast": "host", "host": "host", "broadcast": "broadcast", "multicast": "multicast"}
    return OneOf("pkttype", frozenset([words[option.arguments[0]]]))


def _addrtype(options: Sequence[Option], _family: Family) -> list[Asked]:
    limited = any(option.name.startswith("--limit-iface") for option in options)
    asked: list[Asked] = []
    for option in options:
        if option.name.startswith("--limit-iface"):
            continue
        kinds = frozenset(option.arguments[0].upper().split(","))
        test: Test = AddressType("src" if option.name == "--src-type" else "dst", kinds, option.text)
        if limited:
            test = Oracle("addrtype", f"addrtype {option.text} on the packet's interface")
        asked.append((test, option.negated, _text(option)))
    return asked


def _options(options: Sequence[Option], *flags: str) -> dict[str, str]:
    """Return option names to their argument (empty for flags); an option given twice is not understood."""
    found: dict[str, str] = {}
    for option in options:
        if option.name in found or (option.negated and option.name not in flags):
            raise ValueError(option.text)
        found[option.name] = option.arguments[0] if option.arguments else ""
    return found


def _recent(options: Sequence[Option], family: Family) -> list[Asked]:
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
    return [(test, any(option.negated for option in options), " ".join(_text(option) for option in options))]


def _limit(options: Sequence[Option], _family: Family) -> list[Asked]:
    found = _options(options)
    count, seconds = numbers.rate(found.get("--limit", "3/hour"))
    test = Limit(count, seconds, numbers.whole(found.get("--limit-burst", "5"), 10000))
    return [(test, False, " ".join(option.text for option in options))]


def _hashlimit(options: Sequence[Option], family: Family) -> list[Asked]:
    names = ("--hashlimit-upto", "--hashlimit", "--hashlimit-above")
    found = _options(options, *names)
    (name,) = [name for name in names if name in found]
    count, seconds = numbers.rate(found[name])
    negated = any(option.negated for option in options)
    modes = found.get("--hashlimit-mode", "")
    if "--hashlimit-rate-match" in found:
        raise ValueError(name)
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
    return [(test, False, " ".join(_text(option) for option in options))]


def _connlimit(options: Sequence[Option], family: Family) -> list[Asked]:
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
    return [(test, False, " ".join(_text(option) for option in options))]


def _oracle(kind: str, *, each: bool = False) -> Builder:
    """Make a builder of a named oracle; several options are one oracle, and negation needs a single one."""

    def build(options: Sequence[Option], _family: Family) -> list[Asked]:
        if len(options) > 1 and any(option.negated for option in options):
            raise ValueError(kind)
        name = " ".join([kind, *(" ".join(o.arguments) if len(options) == 1 else o.text for o in options)])
        text = " ".join(_text(option) for option in options)
        return [(Oracle(kind, name, each), any(option.negated for option in options), text)]

    return build


def _comment(options: Sequence[Option], _family: Family) -> list[Asked]:
    return [(Constant(value=True), False, option.text) for option in options]


_BUILDERS: dict[str, Builder] = {
    **dict.fromkeys(("tcp", "udp", "udplite", "sctp", "dccp"), _each(_transport)),
    **dict.fromkeys(("icmp", "icmp6"), _each(_icmp)),
    **dict.fromkeys(("ttl", "hl"), _each(_hops)),
    "multiport": _each(_multiport),
    "state": _each(_state),
    "conntrack": _conntrack,
    "mark": _mark("mark"),
    "connmark": _mark("connmark"),
    "iprange": _each(_iprange),
    "length": _each(lambda option, _family: Within("length", numbers.span(option.arguments[0], 65535))),
    "dscp": _each(_dscp),
    "tos": _each(_tos),
    "mac": _each(_mac),
    "pkttype": _each(_pkttype),
    "addrtype": _addrtype,
    "recent": _recent,
    "limit": _limit,
    "hashlimit": _hashlimit,
    "connlimit": _connlimit,
    "statistic": _oracle("statistic", each=True),
    "owner": _oracle("owner"),
    "set": _oracle("set"),
    "comment": _comment,
}
