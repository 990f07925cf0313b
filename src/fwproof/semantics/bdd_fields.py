"""Which fields the packets of a question have, and where each is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from fwproof.flow import Family
from fwproof.ruleset.asks import Bits, Fragment, OneOf, Ranges, Within, atoms
from fwproof.ruleset.model import Rule
from fwproof.ruleset.numbers import bits
from fwproof.semantics import kinds, reverse
from fwproof.semantics.atoms import cuts_of
from fwproof.semantics.bdd_layout import Field, fields_of
from fwproof.semantics.nat import MOST
from fwproof.semantics.packet import SECURED
from fwproof.semantics.routing import Router

PKTTYPES = ("host", "broadcast", "multicast")
"""The kinds of link-layer address that IP tables see."""


def _translated(rules: Iterable[Rule]) -> Iterator[tuple[str, Ranges]]:
    """Yield every single value that nat may write, and the ranges of ports that it leaves alone."""
    for change in (rule.target.nat for rule in rules if rule.target.nat is not None):
        for side in (change.side,) if change.side else ("src", "dst"):
            for field, span in ((side, change.addresses), (f"{side[0]}port", change.ports)):
                if span is not None:
                    yield field, (span,)
                    yield from (
                        (field, ((value, value),)) for value in range(span[0], min(span[1], span[0] + MOST) + 1)
                    )


def fields_for(
    family: Family,
    rules: Sequence[Rule],
    extra: Iterable[tuple[str, Ranges]],
    interfaces: Iterable[str],
    routers: Iterable[Router],
) -> dict[str, Field]:
    """Return the fields that the rules, the question and the hosts' addresses and routes cut."""
    tests = [atom for rule in rules for match in rule.matches for atom in atoms(match.test)]
    known = list(_translated(rules))
    if any(getattr(test, "field", "") == "spi" for test in tests):
        known.append(("proto", tuple((number, number) for number in sorted(SECURED))))
    for router in routers:
        known += reverse.cuts(tests, router)
        addresses = router.addresses
        if addresses is None:
            continue
        known += kinds.cuts(tests, addresses, family)
        if any(rule.target.nat is not None for rule in rules):
            single = (*addresses.of(family), ip_address("127.0.0.1" if family is Family.IPV4 else "::1"))
            known += [("dst", kinds.own(addresses, family)), *(("dst", ((int(a), int(a)),)) for a in single)]
    cuts = cuts_of(family, rules, [*extra, *known, ("ttl", ((2, 255),))], interfaces)
    numbers: dict[str, tuple[Sequence[int], int]] = {f: (cut, cuts.largest(f)) for f, cut in cuts.starts.items()}
    masked = {test.field for test in tests if isinstance(test, Bits)}
    for field in masked & {"src", "dst"}:
        numbers[field] = ((), (1 << bits(family)) - 1)
    wide = any(isinstance(test, Bits) and test.field == "flags" and test.mask > 63 for test in tests)
    exact = any(isinstance(test, Within) and test.field == "flags" for test in tests)
    numbers["flags"] = ((), 255 if wide or exact else 63)
    if "tos" in masked or any(field == "tos" for rule in rules for field, _, _ in rule.target.rewrites):
        numbers["tos"] = ((), 255)
    words: dict[str, Sequence[str]] = {name: cuts.names[name] for name in ("iif", "oif")}
    if any(isinstance(test, OneOf) and test.field == "pkttype" for test in tests):
        words["pkttype"] = PKTTYPES
    macs = [w for test in tests if isinstance(test, OneOf) and test.field == "mac_src" for w in sorted(test.words)]
    if macs:
        words["mac"] = (*dict.fromkeys(macs), "")
    if any(isinstance(test, Fragment) for test in tests):
        words["fragment"] = ("no", "yes")
    return fields_of(numbers, words)
