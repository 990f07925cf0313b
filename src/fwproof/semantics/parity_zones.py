"""The address space as the zones of both families divide it: one part for each way of being in zones or in none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from fwproof.flow import Address, Family, Network
from fwproof.inventory import Inventory
from fwproof.ruleset.asks import Ranges
from fwproof.ruleset.numbers import bits

ELSEWHERE = "elsewhere"
Key = frozenset[str]
"""The groups that the addresses of a part are in; those of no group are elsewhere."""

_ODD = {
    Family.IPV4: ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    Family.IPV6: ("::/8", "fe80::/10", "ff00::/8"),
}
"""Unspecified, loopback, link-local, multicast and reserved: a family has these for itself."""


@dataclass(frozen=True, slots=True)
class Group:
    """Addresses with a name: a zone, or a host of the inventory (``single``), which only refines the zones."""

    name: str
    networks: tuple[Network, ...]
    single: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Both families' addresses, divided alike. ``alone`` and ``unmatched`` are in words.

    ``spans`` has the addresses of each part that is there in both families; ``edges`` are the first addresses of
    networks, which no ordinary packet comes from. ``alone`` says which groups have
    addresses of one family only, so that there is nothing to compare them with; ``unmatched`` which overlap in one
    family and not in the other, so that nothing can be said of them.
    """

    spans: Mapping[Family, Mapping[Key, Ranges]]
    edges: Mapping[Family, Ranges]
    alone: tuple[str, ...]
    unmatched: tuple[str, ...]

    @property
    def keys(self) -> tuple[Key, ...]:
        """The parts, the largest groups first."""
        return tuple(self.spans[Family.IPV4])


def odd(family: Family) -> Ranges:
    """Return the addresses that a family has for itself."""
    networks = map(ip_network, _ODD[family])
    return tuple((int(n.network_address), int(n.broadcast_address)) for n in networks)


def singles(addresses: Iterable[Address]) -> Ranges:
    """Return addresses as intervals of one each."""
    return tuple((int(address), int(address)) for address in sorted(addresses, key=int))


def groups_of(inventory: Inventory) -> tuple[Group, ...]:
    """Return the zones of an inventory, and its hosts where they refine the zones alike in both families."""
    zones = [Group(zone.name, zone.networks) for zone in inventory.zones.values()]
    found = list(zones)
    for host in inventory.hosts.values():
        name = f"host {host.name}" if host.name in inventory.zones else host.name
        inside = {family: {_within(a, zones) for a in host.addresses if Family.of(a) is family} for family in Family}
        if inside[Family.IPV4] == inside[Family.IPV6] != set():
            found.append(Group(name, tuple(ip_network(address) for address in host.addresses), single=True))
    return tuple(found)


def _within(address: Address, zones: Iterable[Group]) -> Key:
    return frozenset(zone.name for zone in zones if any(address in network for network in zone.networks))


def parts_of(groups: Sequence[Group], own: Mapping[Family, Sequence[Address]]) -> Parts:
    """Divide the ordinary addresses of both families, the host's ``own`` left out."""
    has = {family: {g.name for g in groups if any(Family.of(n) is family for n in g.networks)} for family in Family}
    single = has[Family.IPV4] ^ has[Family.IPV6]
    merged: dict[Family, dict[Key, list[tuple[int, int]]]] = {}
    for family in Family:
        merged[family] = {}
        for key, spans in _divided(groups, family, own.get(family, ())).items():
            # what is in a group of this family only, and in no other, has no counterpart
            if not key or key - single:
                merged[family].setdefault(key - single, []).extend(spans)
    both = [key for key in merged[Family.IPV4] if key in merged[Family.IPV6]]
    both.sort(key=lambda key: (len(key), sorted(key)))
    other = {Family.IPV4: Family.IPV6.display, Family.IPV6: Family.IPV4.display}
    alone = [f"{group.name} has no {other[family]} address" for family in Family for group in groups
             if group.name in single & has[family]]  # fmt: skip
    unmatched = [f"some {family.display} addresses are in {_listed(key)}, and no"
                 f" {other[family]} address is"
                 for family in Family for key in merged[family] if key not in both]  # fmt: skip
    return Parts(
        spans={family: {key: tuple(sorted(merged[family][key])) for key in both} for family in Family},
        edges={family: _edges(groups, family) for family in Family}, alone=tuple(alone), unmatched=tuple(unmatched),
    )  # fmt: skip


def _edges(groups: Iterable[Group], family: Family) -> Ranges:
    networks = (n for g in groups for n in g.networks if Family.of(n) is family and n.num_addresses > 1)
    return singles({network.network_address for network in networks})


def _listed(key: Key) -> str:
    return " and in ".join(sorted(key)) if key else "none of the zones"


def _divided(groups: Sequence[Group], family: Family, own: Iterable[Address]) -> dict[Key, list[tuple[int, int]]]:
    """Sweep over the ends of all networks, so that many networks cost no more than sorting them."""
    odd = "\0"
    marks: dict[int, Counter[str]] = {0: Counter()}
    named = [(odd, ip_network(text)) for text in _ODD[family]] + [(odd, ip_network(address)) for address in own]
    named += [(group.name, network) for group in groups for network in group.networks]
    for name, network in named:
        if Family.of(network) is family:
            marks.setdefault(int(network.network_address), Counter())[name] += 1
            marks.setdefault(int(network.broadcast_address) + 1, Counter())[name] -= 1
    inside: Counter[str] = Counter()
    found: dict[Key, list[tuple[int, int]]] = {}
    starts = sorted(marks)
    for start, after in zip(starts, [*starts[1:], 1 << bits(family)], strict=True):
        inside.update(marks[start])
        key = frozenset(name for name, count in inside.items() if count > 0)
        if odd not in key and start < after:
            found.setdefault(key, []).append((start, after - 1))
    return found


def words(some: Collection[Key], every: Sequence[Key]) -> tuple[str, ...]:
    """Return parts by the names of their groups: as few names as say exactly which they are."""
    wanted = set(some)
    if wanted == set(every):
        return ("anywhere",)
    names, others = _names(wanted, every), _names(set(every) - wanted, every)
    plain = not any(" " in other.removeprefix("host ") for other in others)
    return (f"anywhere except {', '.join(others)}",) if plain and len(others) < len(names) else tuple(names)


def _names(wanted: set[Key], every: Sequence[Key]) -> list[str]:
    """Take the group that says most of what is left, without the groups that are not meant, until all is said."""
    whole = {name: {key for key in every if name in key} for key in every for name in key}
    choices = [(*_without(name, keys, wanted, whole), name) for name, keys in sorted(whole.items())]
    texts, rest = [], set(wanted)
    while rest:
        covered, without, name = max(choices, key=lambda c: (len(c[0] & rest), -len(c[1])), default=(set(), [], ""))
        if covered & rest:
            texts.append(f"{name} except {', '.join(without)}" if without else name)
            rest -= covered
            continue
        # a part that no group stands for
        key = min(rest, key=lambda each: (len(each), sorted(each)))
        texts.append(f"{' and '.join(sorted(key))} alone" if key else ELSEWHERE)
        rest -= {key}
    return texts


def _without(
    name: str, keys: set[Key], wanted: set[Key], whole: Mapping[str, set[Key]]
) -> tuple[set[Key], list[str]]:  # fmt: skip
    """Return what a group stands for when it is said together with groups that are not meant; nothing if in vain."""
    outside = {other: each & keys for other, each in whole.items() if other != name and not each & keys & wanted}
    without = _largest({other: each for other, each in outside.items() if each})
    covered = keys - {key for other in without for key in whole[other]}
    return (covered, without) if covered <= wanted else (set(), without)


def _largest(groups: Mapping[str, set[Key]]) -> list[str]:
    """Return the groups that are in no other, in the order of their names; of equal ones the first."""
    found: list[str] = []
    for name in sorted(groups, key=lambda each: (-len(groups[each]), each)):
        if not any(groups[name] <= groups[other] for other in found):
            found.append(name)
    return sorted(found)
