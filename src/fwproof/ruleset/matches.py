"""From the options of one match module to the tests they ask (``iptables-extensions(8)``).

Each builder returns the tests of one ``-m`` instance; they all have to hold. A ValueError or KeyError means
"not understood", and makes the whole instance opaque: a half-understood match is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fwproof.flow import CtState, Family
from fwproof.ruleset import match_headers, match_oracles, numbers, rates
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
from fwproof.ruleset.match_headers import single
from fwproof.ruleset.model import Match
from fwproof.ruleset.options import MAYBE, MODULES, Options
from fwproof.ruleset.rates import Asked
from fwproof.ruleset.words import Instance, Option

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
        return Constant(value=True) if number is None else Within("proto", numbers.transport(number, family))
    if not value or len(value) > 15:  # IFNAMSIZ - 1
        raise ValueError(value)
    return Interface("iif" if name == "-i" else "oif", value)


def module_matches(instance: Instance, family: Family) -> list[Match]:
    """Return the matches of one module instance; a single opaque one where anything in it is not understood."""
    builder = _BUILDERS.get(instance.module)
    known = MODULES.get(instance.module, {})
    try:
        asked = None
        if builder is not None and all(_whole(o, known) for o in instance.options):
            asked = builder(instance.options, family)
    except (ValueError, KeyError, IndexError):
        asked = None
    if asked is None:
        return [_opaque(instance)]
    return [Match(module=instance.module, text=text, test=test, negated=negated) for test, negated, text in asked]


def writing(instance: Instance) -> str:
    """Return what a match does to a packet that fits, beyond matching; empty where it does nothing."""
    names = {option.name for option in instance.options}
    if instance.module == "socket" and "--restore-skmark" in names:
        return "-m socket --restore-skmark writes the socket's mark into the packet's"
    return ""


def _whole(option: Option, known: Options) -> bool:
    """Whether an option is one of the module's, and has all of its words."""
    count = known.get(option.name)
    return count == len(option.arguments) or (count == MAYBE and len(option.arguments) < 2)


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
} | {"--ctproto": "proto"}  # fmt: skip
_STATUS = frozenset({"NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"})


def _conntrack(options: Sequence[Option], family: Family) -> list[Asked]:
    test = Conntrack(states=None, states_negated=False, direction=None, rest="")
    rest, tuples, texts = [], [], []
    for option in options:
        if option.name in _TUPLES:
            tuples.append(option)
            continue
        if option.name == "--ctexpire":
            rest.append(option.full)
        else:
            test = _with(test, option)
        texts.append(option.full)
    asked: list[Asked] = []
    if texts or not tuples:
        asked.append((replace(test, rest=" ".join(["conntrack", *rest]) if rest else ""), False, " ".join(texts)))
    stateful = test.states is not None
    return asked + [(_tuple(option, family, stateful=stateful), option.negated, option.full) for option in tuples]


def _with(test: Conntrack, option: Option) -> Conntrack:
    """Return a test of conntrack that asks for an option as well."""
    words = frozenset(option.arguments[0].upper().split(","))
    if option.name == "--ctstate" and test.states is None and words <= {*CtState, "SNAT", "DNAT"}:
        return replace(test, states=words, states_negated=option.negated)
    if option.name == "--ctstatus" and test.status is None and words <= _STATUS:
        return replace(test, status=words - {"NONE"}, status_negated=option.negated)
    if option.name == "--ctdir" and test.direction is None and len(words) == 1 and words <= {"ORIGINAL", "REPLY"}:
        turned = {"ORIGINAL": "reply", "REPLY": "original"}
        (word,) = words
        return replace(test, direction=turned[word] if option.negated else word.lower())
    raise ValueError(option.text)


def _tuple(option: Option, family: Family, *, stateful: bool) -> Test:
    field, value = _TUPLES[option.name], option.arguments[0]
    if field.endswith("port"):
        ranges = numbers.ports(single(value))
    elif field == "proto":
        number = numbers.protocol(value)
        ranges = () if number is None else ((number, number),)
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


TOS = {"Minimize-Delay": 16, "Maximize-Throughput": 8, "Maximize-Reliability": 4, "Minimize-Cost": 2,
       "Normal-Service": 0}  # fmt: skip
"""iptables' names of a type of service (libxtables, tos_values.c); as a match they leave out the two lowest bits."""

DSCP = {"EF": 46, "BE": 0, "DF": 0} | {f"CS{n}": 8 * n for n in range(8)} | {
    f"AF{a}{b}": 8 * a + 2 * b for a in range(1, 5) for b in range(1, 4)
}  # fmt: skip


def _dscp(option: Option, _family: Family) -> Test:
    text = option.arguments[0]
    number = numbers.whole(text, 63, 0) if option.name == "--dscp" else DSCP[text.upper()]
    return Bits("tos", 0xFC, number << 2)


def _tos(option: Option, _family: Family) -> Test:
    text = option.arguments[0]
    if text in TOS:
        return Bits("tos", 0x3F, TOS[text])
    value, mask = numbers.masked(text, 255)
    return Bits("tos", mask, value)


def _mac(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the tests of ``-m mac``, which looks at frames of Ethernet only (xt_mac.c)."""
    (option,) = options
    parts = option.arguments[0].lower().split(":")
    if len(parts) != 6:
        raise ValueError(option.text)
    test = OneOf("mac_src", frozenset([":".join(f"{numbers.whole(part, 255, 16):02x}" for part in parts)]))
    return [(Interface("iif", "lo"), True, "what -m mac needs"), (test, option.negated, option.full)]


def _pkttype(option: Option, _family: Family) -> Test:
    words = {"unicast": "host", "host": "host", "broadcast": "broadcast", "multicast": "multicast"}
    return OneOf("pkttype", frozenset([words[option.arguments[0]]]))


def _addrtype(options: Sequence[Option], _family: Family) -> list[Asked]:
    limited = " ".join(option.name for option in options if option.name.startswith("--limit-iface"))
    asked: list[Asked] = []
    for option in options:
        if option.name.startswith("--limit-iface"):
            continue
        kinds = frozenset(option.arguments[0].upper().split(","))
        test: Test = AddressType("src" if option.name == "--src-type" else "dst", kinds, option.text)
        if limited:
            test = Oracle("addrtype", f"addrtype {option.text} {limited}")
        asked.append((test, option.negated, option.full))
    return asked


def _comment(options: Sequence[Option], _family: Family) -> list[Asked]:
    return [(Constant(value=True), False, option.text) for option in options]


_BUILDERS: dict[str, Builder] = {
    **match_headers.BUILDERS,
    **match_oracles.BUILDERS,
    **dict.fromkeys(("tcp", "udp", "udplite"), _each(match_headers.transport)),
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
    "mac": _mac,
    "pkttype": _each(_pkttype),
    "addrtype": _addrtype,
    "recent": rates.recent,
    "limit": rates.limit,
    "hashlimit": rates.hashlimit,
    "connlimit": rates.connlimit,
    "comment": _comment,
}
