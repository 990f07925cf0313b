"""From the options of one match module to the tests they ask (``iptables-extensions(8)``).

Each builder returns the tests of one ``-m`` instance; they all have to hold. A ValueError or KeyError means
"not understood", and makes the whole instance opaque: a half-understood match is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fwproof.flow import CtState, Family
from fwproof.ruleset import numbers, rates
from fwproof.ruleset.asks import (
    AddressType,
    Bits,
    Conntrack,
    ConnTuple,
    Constant,
    EitherPort,
    Fragment,
    Interface,
    OneOf,
    Opaque,
    Oracle,
    Test,
    Within,
)  # fmt: skip
from fwproof.ruleset.model import Match
from fwproof.ruleset.rates import Asked
from fwproof.ruleset.words import MODULES, Instance, Option

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
        asked = None
        if builder is not None and all(o.name in MODULES[instance.module] for o in instance.options):
            asked = builder(instance.options, family)
    except (ValueError, KeyError, IndexError):
        asked = None
    if asked is None:
        return [_opaque(instance)]
    return [Match(module=instance.module, text=text, test=test, negated=negated) for test, negated, text in asked]


def _opaque(instance: Instance) -> Match:
    """Keep a match by its text; with a single option its negation is kept apart, so that both share an oracle."""
    if len(instance.options) == 1 and instance.options[0].negated:
        text = f"-m {instance.module} {instance.options[0].text}"
        return Match(module=instance.module, text=instance.text, test=Opaque(text), negated=True)
    return Match(module=instance.module, text=instance.text, test=Opaque(instance.text))


def _each(convert: Callable[[Option, Family], Test]) -> Builder:
    """Make a builder from a function that turns each option, on its own, into a test."""

    def build(options: Sequence[Option], family: Family) -> list[Asked]:
        return [(convert(option, family), option.negated, option.full) for option in options]

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


_TUPLES = {
    f"--ct{way}{end}{port}": (f"{way}_{'s' if end == 'src' else 'd'}port" if port else f"{way}_{end}")
    for way in ("orig", "repl") for end in ("src", "dst") for port in ("", "port")
}  # fmt: skip


def _conntrack(options: Sequence[Option], family: Family) -> list[Asked]:
    states: frozenset[str] | None = None
    direction: str | None = None
    negated, rest, tuples, texts = False, [], [], []
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
        elif option.name in _TUPLES:
            tuples.append(option)
            continue
        else:
            rest.append(option.full)
        texts.append(option.full)
    stateful = states is not None
    asked: list[Asked] = []
    if texts or not tuples:
        asked.append((Conntrack(states, negated, direction, " ".join(rest)), False, " ".join(texts)))
    return asked + [(_tuple(option, family, stateful=stateful), option.negated, option.full) for option in tuples]


def _tuple(option: Option, family: Family, *, stateful: bool) -> Test:
    field, value = _TUPLES[option.name], option.arguments[0]
    if field.endswith("port"):
        ranges = numbers.ports(_single(value))
    else:
        test = numbers.address_test(field, value, family)
        if not isinstance(test, Within):
            raise ValueError(option.text)
        ranges = test.ranges
    return ConnTuple(field, ranges, stateful, option.text)


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
        asked.append((test, option.negated, option.full))
    return asked


def _oracle(kind: str, *, each: bool = False) -> Builder:
    """Make a builder of a named oracle; several options are one oracle, and negation needs a single one."""

    def build(options: Sequence[Option], _family: Family) -> list[Asked]:
        if len(options) > 1 and any(option.negated for option in options):
            raise ValueError(kind)
        name = " ".join([kind, *(" ".join(o.arguments) if len(options) == 1 else o.text for o in options)])
        text = " ".join(option.full for option in options)
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
    "recent": rates.recent,
    "limit": rates.limit,
    "hashlimit": rates.hashlimit,
    "connlimit": rates.connlimit,
    "statistic": _oracle("statistic", each=True),
    "owner": _oracle("owner"),
    "set": _oracle("set"),
    "comment": _comment,
}
