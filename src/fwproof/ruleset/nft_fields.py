"""From the JSON of what nft loads (``payload``, ``meta``, ``ct``, ``fib`` …) to keys.

A ValueError, KeyError or TypeError means "not understood", and makes the match opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Family
from fwproof.ruleset import nft_words as words
from fwproof.ruleset.asks import Bits, Conntrack, Constant, Interface, Literal, Ranges, Within
from fwproof.ruleset.nft import Json
from fwproof.ruleset.nft_hidden import (
    PORTED,
    TRACKED,
    Direction,
    Hidden,
    IpSec,
    Kind,
    NextHeader,
    Port,
    Status,
    Tuple,
    WayBack,
    extension_header,
)  # fmt: skip
from fwproof.ruleset.nft_keys import AddressKey, Device, Fixed, FlagKey, Joined, Key, Masked, Number, Words, bits_of
from fwproof.ruleset.nft_text import expression
from fwproof.ruleset.numbers import EXTENSION_HEADERS, SERVICES, bits, transport

_STATES: Mapping[str | int, str] = {name.lower(): name for name in
                                    ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")}  # fmt: skip
_HIDDEN = {
    "skuid": "owner", "skgid": "owner", "cpu": "cpu", "time": "time", "day": "time", "hour": "time",
    "cgroup": "cgroup", "rtclassid": "routing", "iifgroup": "interface", "oifgroup": "interface",
    "iiftype": "interface", "oiftype": "interface", "iifkind": "interface", "oifkind": "interface",
    "sdif": "interface", "sdifname": "interface", "ibrname": "interface", "obrname": "interface",
    "ibriport": "interface", "obriport": "interface", "priority": "priority", "secpath": "ipsec", "ipsec": "ipsec",
    "nftrace": "trace", "random": "random", "prandom": "random",
}  # fmt: skip
"""Keys of ``meta`` that no header shows, by the kind of oracle that they are."""
_PORTS = {"tcp": TCP, "udp": UDP, "sctp": 132, "dccp": 33, "udplite": 136}
_TRANSPORTS = {**_PORTS, "icmp": ICMP, "icmpv6": ICMPV6, "igmp": 2, "ah": 51, "esp": 50, "comp": 108, "gre": 47}
_PORTED: Ranges = tuple((number, number) for number in sorted(PORTED))
_ANNOUNCED: Literal = (
    Conntrack(frozenset({"ESTABLISHED", "RELATED"}), states_negated=False, direction=None, rest=""), False
)  # fmt: skip
"""The connection may have been announced by another one; a new one has no helper's master (nft_ct_get_eval)."""
NEVER: Literal = (Constant(value=False), False)
ALWAYS: Literal = (Constant(value=True), False)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a rule stands: the packets' family that it is read for, and the family of its table."""

    family: Family
    table: str

    def only(self, family: Family) -> Literal:
        """Return the test that nft adds where a table sees both families."""
        return ALWAYS if family is self.family else NEVER

    def only_four(self) -> Literal:
        """Return the test that a packet is IPv4."""
        return self.only(Family.IPV4)


def key_of(left: Json, scope: Scope) -> Key:
    """Return the key of an expression."""
    if not isinstance(left, dict) or len(left) != 1:
        raise ValueError(left)
    ((kind, body),) = left.items()
    if kind == "concat":
        return Joined(tuple(key_of(part, scope) for part in body))
    if kind == "&":
        return _masked(body, scope)
    if kind in _HIDDEN_KINDS:
        name, each = _HIDDEN_KINDS[kind]
        return Hidden(name, expression(left), each)
    return _KINDS[kind](body, scope)


def _masked(body: Json, scope: Scope) -> Key:
    first, mask = body
    key = key_of(first, scope)
    if isinstance(key, FlagKey):
        return Masked(key.number, bits_of(key.number, mask), key.needs)
    if isinstance(key, Number):
        if key.field not in {"src", "dst", "mark", "connmark"}:
            raise ValueError(body)
        return Masked(key, bits_of(key, mask), key.needs)
    if isinstance(key, Masked):
        return Masked(key.number, key.mask & bits_of(key.number, mask), key.needs)
    if isinstance(key, Hidden):
        return replace(key, text=expression({"&": body}))
    raise ValueError(body)


def _payload(body: Json, scope: Scope) -> Key:
    if "protocol" not in body:
        return _raw(body)
    protocol, name = body["protocol"], body["field"]
    if protocol in {"ip", "ip6"}:
        return _network(protocol, name, scope)
    if protocol == "th":
        return _any_port(name)
    if protocol == "ether" and name == "saddr":
        return Words("mac_src", needs=((Interface("iif", "lo"), True),))
    if protocol in {"ether", "vlan", "arp"}:
        return Hidden("link", f"{protocol} {name}")
    return _transport(protocol, name, scope)


def _raw(body: Json) -> Key:
    """Read ``@th,16,16`` as the port that it is; other bytes are an oracle."""
    place = (body["base"], body["offset"], body["len"])
    ports = {("th", 0, 16): "sport", ("th", 16, 16): "dport"}
    return _any_port(ports[place]) if place in ports else Hidden("packet", expression({"payload": body}))


def _any_port(name: str) -> Key:
    if name not in {"sport", "dport"}:
        raise ValueError(name)
    return Port(name, Number(name, 16, SERVICES), Within("proto", _PORTED))


def _every(offset: int, step: int, size: int) -> Callable[[int, int], Ranges]:
    def spread(low: int, high: int) -> Ranges:
        return ((low * step + offset, min(high, size) * step + step - 1 + offset),)

    return spread


def _same(low: int, high: int) -> Ranges:
    return ((low, high),)


def _transports(low: int, high: int) -> Ranges:
    """Return the numbers without those of IPv6 extension headers, which are no packet's transport protocol."""
    found, start = [], low
    for gone in EXTENSION_HEADERS:
        if start <= gone <= high:
            found.append((start, gone - 1))
            start = gone + 1
    return tuple((first, last) for first, last in (*found, (start, high)) if first <= last)


def _low_bits(low: int, high: int) -> Ranges:
    """Return the values of type * 256 + code for codes."""
    return tuple((kind * 256 + low, kind * 256 + high) for kind in range(256))


def _network(protocol: str, name: str, scope: Scope) -> Key:  # noqa: PLR0911 - one return for each field
    four = protocol == "ip"
    family = Family.IPV4 if four else Family.IPV6
    needs = (scope.only(family),)
    if name in {"saddr", "daddr"}:
        return AddressKey("src" if name == "saddr" else "dst", bits(family), needs=needs)
    if name == ("protocol" if four else "nexthdr"):
        number = Number("proto", 8, words.PROTOCOL, needs, _same if four else _transports)
        return number if four else NextHeader(number, needs)
    if name == ("ttl" if four else "hoplimit"):
        return Number("ttl", 8, needs=needs)
    if name == "length":
        return Number("length", 16, needs=needs, spread=_every(0 if four else 40, 1, 65535))
    if name == "dscp":
        return Number("tos", 6, words.DSCP, needs, _every(0, 4, 63))
    if name == "ecn":
        return Masked(Number("tos", 8, words.ECN), 3, needs)
    if name == "version":
        return Fixed(frozenset({4 if family is scope.family else -1}))
    return Hidden("packet", f"{protocol} {name}", needs=needs, certain=True)


def _transport(protocol: str, name: str, scope: Scope) -> Key:
    number = _TRANSPORTS[protocol]
    needs: tuple[Literal, ...] = ((Within("proto", transport(number, scope.family)), False),)
    if protocol in {"icmp", "icmpv6"} and scope.table not in {"ip", "ip6"}:
        needs = (scope.only(Family.IPV4 if protocol == "icmp" else Family.IPV6), *needs)
    if protocol in _PORTS and name in {"sport", "dport"}:
        return Number(name, 16, SERVICES, needs)
    if (protocol, name) == ("tcp", "flags"):
        return FlagKey(Number("flags", 8, words.FLAGS), 0xFF, needs)
    if protocol in {"icmp", "icmpv6"} and name in {"type", "code"}:
        six = protocol == "icmpv6"
        if name == "type":
            return Number("icmp", 8, words.ICMPV6_TYPE if six else words.ICMP_TYPE, needs, _every(0, 256, 255))
        return Number("icmp", 8, words.ICMPV6_CODE if six else words.ICMP_CODE, needs, _low_bits)
    if protocol in {"ah", "esp"} and name == "spi":
        return Number("spi", 32, needs=needs)
    return Hidden("packet", f"{protocol} {name}", needs=needs)


def _meta(body: Json, scope: Scope) -> Key:  # noqa: PLR0911 - one return for each key
    name = body["key"]
    four = scope.family is Family.IPV4
    if name == "l4proto":
        return Number("proto", 8, words.PROTOCOL, spread=_same if four else _transports)
    if name == "nfproto":
        return Fixed(frozenset({"ipv4", 2} if four else {"ipv6", 10}))
    if name == "protocol":
        return Fixed(frozenset({"ip", 0x0800} if four else {"ip6", 0x86DD}))
    if name in {"iif", "iifname", "oif", "oifname"}:
        return Device(name[:3])
    if name in {"mark", "length"}:
        return Number(name, 32)
    if name == "pkttype":
        return Words("pkttype", words.PKTTYPE)
    if name in {"secpath", "ipsec"}:
        return IpSec("in")
    return Hidden(_HIDDEN[name], expression({"meta": body}), each=name in {"random", "prandom", "priority"})


def _ct(body: Json, scope: Scope) -> Key:  # noqa: PLR0911 - one return for each key
    name, way = body["key"], body.get("dir")
    if way is not None:
        return _tuple(name, {"original": "orig", "reply": "repl"}[way], body, scope)
    if name == "state":
        return Words("ctstate", _STATES)
    if name == "direction":
        return Direction()
    if name == "status":
        return Status()
    if name == "mark":
        return Number("connmark", 32, needs=(TRACKED,))
    if name == "protocol":
        return Tuple("proto", Number("", 8, words.PROTOCOL))
    if name not in {"expiration", "helper", "zone", "label", "bytes", "packets", "avgpkt", "id", "l3proto", "event",
                    "secmark", "count"}:  # fmt: skip
        raise ValueError(name)
    needs = (TRACKED, _ANNOUNCED) if name == "helper" else (TRACKED,)
    return Hidden("conntrack", expression({"ct": body}), each=name == "label", needs=needs)


def _tuple(name: str, way: str, body: Mapping[str, Json], scope: Scope) -> Key:
    four = scope.family is Family.IPV4
    head, _, tail = name.partition(" ")
    if tail and head in {"ip", "ip6"}:
        name = tail
        if (head == "ip") is not four:
            # nft asks conntrack for the other family's address, and the rule breaks off (nft_ct_get_eval)
            return Hidden("conntrack", expression({"ct": body}), needs=(NEVER,))
    if name in {"saddr", "daddr"}:
        end = "src" if name == "saddr" else "dst"
        return Tuple(f"{way}_{end}", AddressKey("", bits(scope.family)), blurred=not tail)
    if name == "protocol":
        return Tuple("proto", Number("", 8, words.PROTOCOL))
    if name in {"proto-src", "proto-dst"}:
        return Tuple(f"{way}_{'sport' if name == 'proto-src' else 'dport'}", Number("", 16, SERVICES))
    return Hidden("conntrack", expression({"ct": body}), needs=(TRACKED,))


def _fib(body: Json, scope: Scope) -> Key:
    flags = body["flags"] if isinstance(body["flags"], list) else [body["flags"]]
    if body["result"] == "type" and flags in (["saddr"], ["daddr"]):
        return Kind("src" if flags == ["saddr"] else "dst", scope.family)
    hidden = Hidden("fib", expression({"fib": body}))
    if body["result"] in {"oif", "oifname"} and {"saddr"} <= set(flags) <= {"saddr", "iif", "mark"}:
        return WayBack(hidden, loose="iif" not in flags)
    return hidden


def _extension(body: Json, scope: Scope) -> Key:
    return extension_header(body, (scope.only(Family.IPV6),))


def _routing(body: Json, _scope: Scope) -> Key:
    return IpSec("out") if body["key"] == "ipsec" else Hidden("routing", expression({"rt": body}))


def _osf(body: Json, _scope: Scope) -> Key:
    syn = words.FLAGS["syn"]
    needs: tuple[Literal, ...] = ((Within("proto", ((TCP, TCP),)), False), (Bits("flags", syn, syn), False))
    return Hidden("packet", expression({"osf": body}), needs=needs)


_HIDDEN_KINDS = {
    "tcp option": ("packet", False), "ip option": ("packet", False),
    "sctp chunk": ("packet", False), "dccp option": ("packet", False), "socket": ("socket", False),
    "ipsec": ("packet", False), "numgen": ("numgen", True), "jhash": ("hash", True), "symhash": ("hash", True),
}  # fmt: skip
"""Expressions that are oracles as a whole, with whether each visit has a value of its own."""
_KINDS: dict[str, Callable[[Json, Scope], Key]] = {
    "payload": _payload, "meta": _meta, "ct": _ct, "fib": _fib, "exthdr": _extension, "rt": _routing, "osf": _osf,
}  # fmt: skip

__all__ = ["ALWAYS", "NEVER", "Scope", "key_of"]
