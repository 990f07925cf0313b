"""What a nat target makes of sets of packets: parts that stay, parts that are written, and the kernel's choices.

As :mod:`fwproof.semantics.nat` for one packet. What is written is kept in the :class:`Config`; the variables go on
to stand for the packet as it came in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address

from fwproof.flow import Family
from fwproof.ruleset.model import Rule, Target
from fwproof.ruleset.translation import Translation
from fwproof.semantics import nat
from fwproof.semantics.bdd import Set
from fwproof.semantics.bdd_config import Config, Nat
from fwproof.semantics.bdd_tests import Asker
from fwproof.semantics.context import Context, Question
from fwproof.semantics.routing import own_for

_PEERS = {Family.IPV4: ("192.0.2.1",), Family.IPV6: ("2001:db8::1", "fe80::1")}
"""A peer of each scope."""


def translated(asker: Asker, rule: Rule, context: Context, config: Config) -> Iterator[tuple[Config, Set]]:
    """Yield what is known of packets after a nat target, as disjoint sets; what is in none of them is dropped."""
    target = rule.target
    side = nat.side_of(target, context.hook)
    assert side is not None and target.nat is not None  # noqa: PT018 - the caller asked
    if side not in asker.written:
        yield config, asker.sets.all
        return
    for part, mine in _by_interface(asker, target, side, context, config):
        for inner, change in _by_port(asker, target.nat, side, config):
            outcomes = nat.outcomes(change, side, _address(config, side), _port(config, side), lambda _, own=mine: own)  # type: ignore[misc]
            for way in nat.ways(outcomes, target, rule.ref, asker.router.family, lambda outcome: outcome):
                if way.dropped:
                    continue
                here = part & inner & given(asker, way.given)
                yield from _really(asker, here, config, _written(config, rule, side, change, way.subject), side)


def given(asker: Asker, answers: Sequence[tuple[Question, bool]]) -> Set:
    """Return the packets for which questions are answered as given."""
    found = asker.sets.all
    for question, value in answers:
        asked = asker.sets.oracle(question.key, question.name)
        found &= asked if value else ~asked
    return found


def _by_interface(
    asker: Asker, target: Target, side: str, context: Context, config: Config
) -> Iterator[tuple[Set, Sequence[int] | None]]:
    """Divide by the interface whose address REDIRECT or MASQUERADE would take; None stands for one that is not known.

    An interface without addresses has none to give, and the packet is dropped.
    """
    router, sets = asker.router, asker.sets
    own = target.nat is not None and target.nat.own
    field = "iif" if side == "dst" else "oif"
    if not own or router.addresses is None or (side == "src" and config.nat.value("oif") is not None):
        yield sets.all, None
        return
    peers = [ip_address(text) for text in _PEERS[router.family]]
    if side == "dst" and not context.has_iif:
        yield sets.all, own_for(router, side, None, None, peers[0])
        return
    for at, word in enumerate(sets.fields[field].words):
        name = config.nat.leaving if side == "src" and config.nat.leaving else word
        known = [own_for(router, side, name if side == "dst" else None, name, peer) for peer in peers]
        here = sets.within(field, ((at, at),))
        if all(each == [] for each in known):
            yield here, []
        elif [] in known:
            # an address of this link only serves peers of this link only
            has = sets.oracle(f"{name} has an address", f"whether {name} has an address of the peer's scope")
            yield here & has, None
            yield here & ~has, []
        else:
            yield here, known[0] if side == "dst" and router.family is Family.IPV4 and known[0] else None


def _by_port(asker: Asker, change: Translation, side: str, config: Config) -> Iterator[tuple[Set, Translation]]:
    """Divide by whether a range of ports holds the old one, which then stays."""
    port = f"{side[0]}port"
    moved = config.nat.value(port)
    if moved is not None or change.ports is None or change.base is not None or change.any_port or (
        change.ports[0] == change.ports[1]):  # fmt: skip
        yield asker.sets.all, change
        return
    holds = asker.sets.within(port, (change.ports,))
    yield holds, replace(change, ports=None)
    yield ~holds, change


def _address(config: Config, side: str) -> int:
    value = config.nat.value(side)
    return value if isinstance(value, int) else nat.UNKNOWN


def _port(config: Config, side: str) -> int:
    value = config.nat.value(f"{side[0]}port")
    return value if isinstance(value, int) else nat.UNKNOWN


def _written(config: Config, rule: Rule, side: str, change: Translation, outcome: nat.Outcome) -> Config:
    port = f"{side[0]}port"
    keep_address = change.addresses is None and not change.own
    keep_port = change.ports is None and not (change.any_port and side == "src")
    moved = dict(config.nat.moved)
    for name, value, keep in ((side, outcome.address, keep_address), (port, outcome.port, keep_port)):
        if not keep:
            unknown = value is None or value == nat.UNKNOWN
            moved[name] = f"{name} that {rule.ref} picks" if value is None or unknown else value
    before = config.nat
    after = Nat(
        frozenset(moved.items()), before.settled | {side}, before.translated | {side},
        own=outcome.own if side == "dst" else before.own,
    )  # fmt: skip
    return config._replace(nat=after)


def _really(asker: Asker, some: Set, before: Config, after: Config, side: str) -> Iterator[tuple[Config, Set]]:
    """Divide by whether the target writes what was there already, which is no translation (ct->status)."""
    new = {field: value for field, value in after.nat.moved if field in {side, f"{side[0]}port"}}
    if before.nat.moved or not new:
        yield after, some
        return
    same = some
    for field, value in new.items():
        if isinstance(value, str):
            label = f"whether nat writes the {field} that was there already"
            fits = asker.sets.oracle(f"the {value} was there", label, vague=True)
        else:
            fits = asker.sets.within(field, ((value, value),))
        same &= fits | ~asker.ported if field.endswith("port") else fits
    same_nat = before.nat._replace(settled=after.nat.settled, own=after.nat.own)
    yield before._replace(nat=same_nat), same
    yield after, some & ~same
