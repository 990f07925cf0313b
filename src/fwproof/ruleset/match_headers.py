"""The match modules that look at headers, routes and interfaces (``iptables-extensions(8)``, net/*/netfilter/).

As in :mod:`fwproof.ruleset.matches`, a ValueError or KeyError means "not understood".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fwproof.flow import AH, Family
from fwproof.ruleset import numbers
from fwproof.ruleset.asks import BRIDGED, EXTENDED, AnyOf, Bits, Fragment, Literal, Oracle, ReversePath, Test, Within
from fwproof.ruleset.rates import Asked
from fwproof.ruleset.words import Option

Builder = Callable[[Sequence[Option], Family], list[Asked]]
_FULL = 0xFFFFFFFF
_TCP, _DCCP, _COMP, _MH, _SCTP = (numbers.PROTOCOL_NAMES[name] for name in ("tcp", "dccp", "comp", "mh", "sctp"))


def of_protocol(number: int) -> Test:
    """Return the test of a protocol."""
    return Within("proto", ((number, number),))


def spi(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the tests of ``-m esp`` and of IPv4's ``-m ah`` (xt_esp.c, ipt_ah.c); without options any SPI fits."""
    if not options:
        return [(Within("spi", ((0, _FULL),)), False, "a header with an SPI")]
    return [(Within("spi", _numbers(option)), option.negated, option.full) for option in options]


def _numbers(option: Option) -> tuple[tuple[int, int], ...]:
    """Return the interval of ``5`` and ``5:10``; like the kernel's own, a reversed one holds nothing."""
    low, colon, high = option.arguments[0].partition(":")
    first = numbers.whole(low or "0", _FULL, 0)
    last = (numbers.whole(high, _FULL, 0) if high else _FULL) if colon else first
    return ((first, last),) if first <= last else ()


def ah(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the tests of ``-m ah``: of IPv6, where it is an extension header, ip6t_ah.c."""
    if family is Family.IPV6:
        return extension("ah", "authentication")(options, family)
    if any(option.name != "--ahspi" for option in options):
        raise ValueError(AH)
    return spi(options, family)


def extension(module: str, header: str) -> Builder:
    """Make a builder of a module that looks at an IPv6 extension header; without it nothing matches, negated or not."""

    def build(options: Sequence[Option], family: Family) -> list[Asked]:
        if family is Family.IPV4:
            raise ValueError(module)
        name = f"IPv6 {header} header"
        present: Test = Oracle("extension", name)
        if module == "frag":  # a later fragment has one, and no transport header
            present = AnyOf((((Fragment(), False),), ((present, False),)), name)
        asked: list[Asked] = [(present, False, f"-m {module}")]
        if options:
            asked.append(_packet(module, options))
        return asked

    return build


def _packet(module: str, options: Sequence[Option]) -> Asked:
    """Return one oracle for options that are asked together."""
    text = " ".join(option.full for option in options)
    if len(options) == 1:
        return Oracle("packet", f"{module} {options[0].text}"), options[0].negated, text
    return Oracle("packet", f"{module} {text}"), False, text


def header(module: str, protocol: int) -> Builder:
    """Make a builder of a module that looks into a transport header further than a flow goes, option by option."""

    def build(options: Sequence[Option], family: Family) -> list[Asked]:
        asked: list[Asked] = [(of_protocol(protocol), False, f"what -m {module} needs")]
        return asked + [(transport(option, family, module), option.negated, option.full) for option in options]

    return build


def transport(option: Option, _family: Family, module: str = "tcp") -> Test:
    """Return the test of one option of tcp, udp, sctp, dccp and others."""
    if option.name in {"--sport", "--source-port"}:
        return Within("sport", numbers.ports(single(option.arguments[0])))
    if option.name in {"--dport", "--destination-port"}:
        return Within("dport", numbers.ports(single(option.arguments[0])))
    if option.name == "--syn":
        return Bits("flags", numbers.flag_bits("FIN,SYN,RST,ACK"), numbers.flag_bits("SYN"))
    if option.name == "--tcp-flags":
        mask, value = (numbers.flag_bits(argument) for argument in option.arguments)
        return Bits("flags", mask, value)
    if option.name in {"--tcp-option", "--dccp-option"}:
        return Oracle("packet", f"{module} option {numbers.whole(option.arguments[0], 255)} present")
    return Oracle("packet", f"{module} {option.text}")


def single(text: str) -> str:
    """Return a text that names one port or range."""
    if "," in text:
        raise ValueError(text)
    return text


def ports_and(module: str) -> Builder:
    """Make a builder of sctp and dccp: ports, and what else their header says."""
    protocol = {"sctp": _SCTP, "dccp": _DCCP}[module]

    def build(options: Sequence[Option], family: Family) -> list[Asked]:
        plain = all("port" in option.name for option in options)
        asked = header(module, protocol)(options, family)
        return asked[1:] if plain and options else asked

    return build


def ecn(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the tests of ``-m ecn`` (xt_ecn.c)."""

    def test(option: Option) -> Test:
        if option.name == "--ecn-ip-ect":
            return Bits("tos", 3, numbers.whole(option.arguments[0], 3))
        bit = numbers.FLAGS["CWR" if option.name == "--ecn-tcp-cwr" else "ECE"]
        return Bits("flags", bit, bit)

    if not options:
        raise ValueError("ecn")
    return [(test(option), option.negated, option.full) for option in options]


_CHAIN = {
    "hop": 1, "hop-by-hop": 1, "route": 2, "ipv6-route": 2, "frag": 4, "ipv6-frag": 4, "auth": 8, "ah": 8, "esp": 16,
    "none": 32, "ipv6-nonxt": 32, "dst": 64, "ipv6-opts": 64, "prot": 128, "protocol": 128, "0": 1, "43": 2, "44": 4,
    "51": 8, "50": 16, "59": 32, "60": 64, "255": 128,
}  # fmt: skip
_NONE, _ESP = 59, 50


def ipv6header(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the test of ``-m ipv6header``: a packet without extension headers has its protocol only, or none."""
    found = {option.name: option for option in options}
    wanted = found["--header"]
    if family is Family.IPV4 or len(found) != len(options):
        raise ValueError(wanted.text)
    mask = 0
    for name in wanted.arguments[0].split(","):
        mask |= _CHAIN[name.lower()]

    def fits(here: int) -> bool:
        if "--soft" in found:  # of several headers, all (not negated) or none (negated)
            return here & mask == (0 if wanted.negated else mask)
        return (here == mask) != wanted.negated

    alone = [(_NONE, _NONE)] if fits(32) else []
    alone += [(_ESP, _ESP)] if fits(16) else []
    alone += [(0, 49), (51, 58), (60, 255)] if fits(128) else []
    text = " ".join(option.full for option in options)
    products: tuple[tuple[Literal, ...], ...] = (
        ((EXTENDED, True), (Within("proto", tuple(sorted(alone))), False)),
        ((EXTENDED, False), (Oracle("packet", f"ipv6header {text}"), False)),
    )
    return [(AnyOf(products, f"ipv6header {text}"), False, text)]


def osf(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the tests of ``-m osf``, which looks at TCP packets with SYN only (nfnetlink_osf.c)."""
    text = " ".join(option.full for option in options)
    syn = numbers.FLAGS["SYN"]
    return [(Bits("flags", syn, syn), False, "what -m osf needs"), (Oracle("packet", f"osf {text}"), False, text)]


def rpfilter(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the test of ``-m rpfilter``; ``--validmark`` matters only where routing looks at marks."""
    names = {option.name for option in options}
    if any(option.negated for option in options):
        raise ValueError("rpfilter")
    text = " ".join(option.full for option in options if option.name != "--invert")
    test = ReversePath("--loose" in names, "--accept-local" in names, native=False, text=f"rpfilter {text}".strip())
    return [(test, "--invert" in names, " ".join(["-m rpfilter", *(option.full for option in options)]))]


def physdev(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the tests of ``-m physdev`` (xt_physdev.c).

    A packet that no bridge carries fits the negated options and no other. Of a bridged one, a port that is not known
    fits ``--physdev-in`` and its negation alike, so those are two questions.
    """
    asked: list[Asked] = []
    for option in options:
        bridged = Oracle("packet", f"physdev {option.full}")
        products: tuple[tuple[Literal, ...], ...] = (((BRIDGED, False), (bridged, False)),)
        if option.negated:
            products = (((BRIDGED, True),), *products)
        asked.append((AnyOf(products, f"physdev {option.full}"), False, option.full))
    if not asked:
        raise ValueError("physdev")
    return asked


BUILDERS: dict[str, Builder] = {
    "ah": ah,
    "dst": extension("dst", "destination options"),
    "ecn": ecn,
    "esp": spi,
    "eui64": lambda _options, _family: [
        (Oracle("packet", "eui64: the source address is made of the source MAC"), False, "-m eui64")
    ],
    "dccp": ports_and("dccp"),
    "frag": extension("frag", "fragment"),
    "hbh": extension("hbh", "hop-by-hop options"),
    "ipcomp": header("ipcomp", _COMP),
    "ipv6header": ipv6header,
    "mh": header("mh", _MH),
    "osf": osf,
    "physdev": physdev,
    "rpfilter": rpfilter,
    "rt": extension("rt", "routing"),
    "sctp": ports_and("sctp"),
    "srh": extension("srh", "routing"),
    "tcpmss": header("tcpmss", _TCP),
}
