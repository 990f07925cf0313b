"""Address translation: what DNAT, SNAT, MASQUERADE, REDIRECT and NETMAP do, from their options to values.

``iptables-extensions(8)``; the meaning against a packet is in :mod:`fwproof.semantics.nat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from fwproof.flow import Family
from fwproof.ruleset import numbers

Pair = tuple[int, int]
"""First and last value of a closed range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What a nat target writes over one side of a connection's first packet.

    ``side`` is ``dst`` or ``src``, empty where the hook decides (NETMAP). ``addresses`` is the range that the new
    address comes from, None where it stays; ``own``: an address of the interface that the packet comes in by or
    leaves through (REDIRECT, MASQUERADE). ``keep`` are the bits of the old address that stay (NETMAP). ``ports``
    is the range of the new port; ``base`` the old port that becomes its first; ``any_port``: the kernel draws one.
    """

    side: str
    addresses: Pair | None = None
    own: bool = False
    keep: int = 0
    ports: Pair | None = None
    base: int | None = None
    any_port: bool = False


def translation_of(name: str, found: Mapping[str, str], family: Family) -> Translation:
    """Return the translation of a nat target; raises ValueError or KeyError for what is not understood."""
    known = {"--to-destination", "--to-source", "--to-ports", "--to", "--random", "--random-fully", "--persistent"}
    if not found.keys() <= known:
        raise ValueError(name)
    drawn = bool({"--random", "--random-fully"} & found.keys())
    if name == "NETMAP":
        network = ip_network(found["--to"], strict=False)
        if Family.of(network) is not family:
            raise ValueError(name)
        first = int(network.network_address)
        return Translation(side="", addresses=(first, first), keep=int(network.hostmask))
    if name in {"MASQUERADE", "REDIRECT"}:
        ports, base = _ports(found.get("--to-ports", ""))
        return Translation(
            side="src" if name == "MASQUERADE" else "dst", own=True, ports=ports, base=base, any_port=drawn
        )
    side, option = ("dst", "--to-destination") if name == "DNAT" else ("src", "--to-source")
    addresses, text = _addresses(found[option], family)
    ports, base = _ports(text)
    return Translation(side=side, addresses=addresses, ports=ports, base=base, any_port=drawn)


def _addresses(text: str, family: Family) -> tuple[Pair | None, str]:
    """Divide ``first-last:ports`` (IPv6 with ports: ``[first]-[last]:ports``) into addresses and ports."""
    if family is Family.IPV4:
        head, _, ports = text.partition(":")
    elif text.startswith("["):
        head, _, ports = text.partition("]:")
        head = head.replace("[", "").replace("]", "")
    elif text.startswith(":") and not text.startswith("::"):
        head, ports = "", text[1:]
    else:
        head, ports = text, ""
    if not head:
        return None, ports
    first, _, last = head.partition("-")
    low, high = ip_address(first), ip_address(last or first)
    if {Family.of(low), Family.of(high)} != {family} or int(low) > int(high):
        raise ValueError(text)
    return (int(low), int(high)), ports


def _ports(text: str) -> tuple[Pair | None, int | None]:
    """Return the range of ``first-last/base`` and the base; None where nothing is said."""
    if not text:
        return None, None
    span, slash, base = text.partition("/")
    first, _, last = span.partition("-")
    low, high = numbers.whole(first, 65535), numbers.whole(last or first, 65535)
    if low > high:
        raise ValueError(text)
    return (low, high), numbers.whole(base, 65535) if slash else None
