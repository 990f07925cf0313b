"""What a nat target makes of the first packet of a connection (nf_nat_core.c, nf_nat_redirect.c, nf_nat_masquerade.c).

The kernel keeps what already fits: a port inside the range stays. Where it draws, every value that it can draw is
one :class:`Outcome`; where those are too many, the value is not known any more. That a port has to give way to a
connection that already uses it is not followed: no rule table shows which connections there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import product
from typing import TypeVar

from fwproof.decision import RuleRef
from fwproof.flow import Family, Hook
from fwproof.ruleset.model import Target
from fwproof.ruleset.translation import Pair, Translation
from fwproof.semantics.context import TURNED, Question
from fwproof.semantics.stages import Way

S = TypeVar("S")

MOST = 16
"""Outcomes of one target that are followed one by one."""
UNKNOWN = -1
"""In an outcome: a value that is not known."""

BASE = {f"orig_{field}": field for field in TURNED} | {f"repl_{field}": turned for field, turned in TURNED.items()}
"""The packet's own field in which a first packet has a part of its connection's two tuples.

Until the far end answers, the reply's tuple is the packet's own, turned round (nf_ct_invert_tuple).
"""
PORTS = frozenset(field for field in BASE if field.endswith("port"))

Own = Callable[[str], Sequence[int] | None]
"""The host's addresses for a side of a packet: REDIRECT's choice for ``dst``, MASQUERADE's for ``src``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The new address and port of one side of a packet; a port of None is a protocol without ports.

    ``own``: the address is one of the host's, even where it is not known which.
    """

    address: int
    port: int | None
    own: bool = False


def cuts(change: Translation) -> Iterator[tuple[str, tuple[Pair, ...]]]:
    """Yield the intervals, by field, at which packets begin to be translated differently."""
    for side in (change.side,) if change.side else ("src", "dst"):
        if change.addresses is not None and change.addresses[0] == change.addresses[1]:
            yield side, (change.addresses,)
        if change.ports is not None:
            yield f"{side[0]}port", (change.ports,)


def side_of(target: Target, hook: Hook) -> str | None:
    """Return the side that a target writes at a hook; None where no kernel would load it there."""
    assert target.nat is not None
    here = "dst" if hook in {Hook.PREROUTING, Hook.OUTPUT} else "src" if hook is not Hook.FORWARD else ""
    return here if here and target.nat.side in {here, ""} else None


def outcomes(nat: Translation, side: str, address: int, port: int | None, own: Own) -> list[Outcome]:
    """Return everything that the target may make of one side; none where it finds no address and drops."""
    addresses, mine = _addresses(nat, side, address, own)
    ports = _ports(nat, side, port)
    if len(addresses) * len(ports) > MOST:
        ports = [UNKNOWN]
    if len(addresses) > MOST:
        addresses = [UNKNOWN]
    return [Outcome(a, p, mine) for a, p in product(addresses, ports)]


def ways(
    found: Sequence[Outcome], target: Target, rule: RuleRef, family: Family, written: Callable[[Outcome], S]
) -> list[Way[S]]:
    """Return a way for each outcome; several hang on questions, of which at most one is answered with yes."""
    if not found:
        return [Way(written(Outcome(UNKNOWN, UNKNOWN)), dropped=f"{target.name} finds no address of its own and drops")]
    words = [shown(outcome, family) for outcome in found]
    asked = [Question(f"{rule} picks {word}", f"whether {target.name} picks {word}") for word in words[:-1]]
    made = []
    for at, (outcome, word) in enumerate(zip(found, words, strict=True)):
        given = [(question, False) for question in asked[:at]] + [(question, True) for question in asked[at : at + 1]]
        made.append(Way(written(outcome), given=tuple(given), note=f"{target.name} makes it {word}"))
    return made


def shown(outcome: Outcome, family: Family) -> str:
    """Return an outcome in words: ``172.17.0.2:80``."""
    make = IPv4Address if family is Family.IPV4 else IPv6Address
    own = "one of the host's own addresses" if outcome.own else "an address not known"
    address = own if outcome.address == UNKNOWN else str(make(outcome.address))
    if outcome.port is None:
        return address
    port = "a port not known" if outcome.port == UNKNOWN else str(outcome.port)
    return f"[{address}]:{port}" if family is Family.IPV6 else f"{address}:{port}"


def _addresses(nat: Translation, side: str, address: int, own: Own) -> tuple[Sequence[int], bool]:
    if nat.own:
        found = own(side)
        return ([UNKNOWN] if found is None else found), True
    if nat.addresses is None:
        return [address], False
    low, high = nat.addresses
    if nat.keep:
        return [UNKNOWN if address == UNKNOWN else (address & nat.keep) | low], False
    return ([UNKNOWN] if high - low >= MOST else range(low, high + 1)), False


def _ports(nat: Translation, side: str, port: int | None) -> Sequence[int | None]:
    """Follow nf_nat_l4proto_unique_tuple(): only a range, or a drawn source port, changes anything."""
    if port is None:
        return [None]
    if nat.ports is None:
        return [UNKNOWN if nat.any_port and side == "src" else port]
    low, high = nat.ports
    size = high - low + 1
    if size == 1:
        return [low]
    if nat.base is not None:
        return [UNKNOWN if port == UNKNOWN else low + ((port - nat.base) & 0xFFFF) % size]
    if low <= port <= high and not nat.any_port:
        return [port]
    return [UNKNOWN] if size > MOST else range(low, high + 1)
