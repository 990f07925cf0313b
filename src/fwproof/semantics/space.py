"""Questions about the whole packet space: what is let in that nobody claims.

The tables are walked by boxes (:mod:`fwproof.semantics.boxes`), which is exact: every packet is in exactly one
of the boxes that come out, up to the oracles, of which every consistent combination is walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from fwproof.decision import Decision, RuleRef
from fwproof.flow import CtState, Family, Flow, Hook, Network
from fwproof.ruleset.asks import Ranges
from fwproof.semantics import order, route, spaces_turn
from fwproof.semantics.boxes import Box, Space, space_of
from fwproof.semantics.model import HostModel
from fwproof.semantics.plausible import Chooser
from fwproof.semantics.space_words import Cells, addresses, detail, interfaces, onto, services
from fwproof.semantics.walk import Leaf, TooLarge, Walker

MOST_BOXES = 100_000
MOST_STEPS = 400_000
_PATHS = {Hook.INPUT: route.INBOUND, Hook.FORWARD: route.THROUGH, Hook.OUTPUT: route.OUTBOUND}


class SpaceTooLarge(Exception):
    """The tables are too entangled for this engine; the question stays inconclusive. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A set of packets that an expectation allows; None stands for every value of a field.

    ``ports`` are destination ports, ``icmp_types`` types with every code.
    """

    proto: int | None = None
    ports: Ranges | None = None
    icmp_types: tuple[int, ...] | None = None
    sources: tuple[Network, ...] | None = None
    destinations: tuple[Network, ...] | None = None

    def ranges(self, family: Family) -> dict[str, Ranges]:
        """Return the fields that the claim restricts; networks of the other family hold nothing."""
        found: dict[str, Ranges] = {}
        if self.proto is not None:
            found["proto"] = ((self.proto, self.proto),)
        if self.ports is not None:
            found["dport"] = self.ports
        if self.icmp_types is not None:
            found["icmp"] = tuple((kind * 256, kind * 256 + 255) for kind in self.icmp_types)
        for field, networks in (("src", self.sources), ("dst", self.destinations)):
            if networks is not None:
                mine = [n for n in networks if Family.of(n) is family]
                found[field] = tuple((int(n.network_address), int(n.broadcast_address)) for n in mine)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Packets that are let in although nobody claims them, by one rule.

    ``certainty``: ``accept``, ``depends`` (on the oracles of ``depends_on``) or ``unknown`` (a rule on the way
    could not be read). ``witness`` is one such packet. ``translated``: where nat sends them, empty where it does not.
    """

    by: RuleRef | None
    certainty: str
    source: str
    destination: str
    service: str
    interface: str
    witness: Flow
    depends_on: tuple[str, ...] = ()
    translated: str = ""

    def __str__(self) -> str:
        parts = [f"{self.service} from {self.source}"]
        parts += [f"to {self.destination}"] if self.destination != "anywhere" else []
        parts += [f"through {self.interface}"] if self.interface else []
        parts += [f"(sent on to {self.translated} by nat)"] if self.translated else []
        parts += [f"({self.certainty}: {', '.join(self.depends_on)})"] if self.certainty != "accept" else []
        return f"{' '.join(parts)}, let in by {self.by or 'no rule at all'}; for example {self.witness}"


def accepted_outside(  # noqa: PLR0913 - a question has these parts, all but three by name
    model: HostModel, hook: str, family: Family, *, claimed: Iterable[Claim] = (),
    states: Sequence[CtState] = (CtState.NEW,), loopback: bool = False,
) -> list[Leak]:  # fmt: skip
    """Return what a path (``input``, ``forward``, ``output``) accepts outside of all claims.

    ``states`` are the conntrack states asked about; without ``loopback`` packets on ``lo`` are left out.
    Marks start as 0. Raises SpaceTooLarge.
    """
    claims = [claim.ranges(family) for claim in claimed]
    space = space_for(model, family, claims)
    products = [product_of(space, claim) for claim in claims]
    found: list[tuple[Leaf[Box], list[Box]]] = []
    for state in states:
        start = start_of(space, state, Hook(hook), loopback=loopback)
        for leaf in walk_boxes(model, Hook(hook), family, start):
            if leaf.decision in {Decision.ACCEPT, Decision.UNKNOWN}:
                rest = outside(leaf.subject, products)
                if rest:
                    found.append((leaf, rest))
    return [leak for group in by_rule(found) for leak in leaks_of(model, Hook(hook), group)]


def space_for(model: HostModel, family: Family, claims: Iterable[dict[str, Ranges]]) -> Space:
    """Return the packet space of a host's tables, cut by the claims of a question as well."""
    known = model.addresses.interfaces if model.addresses else ()
    extra = [item for claim in claims for item in claim.items()]
    interfaces = (*(n for n in known if n != "lo"), "lo")
    return space_of(family, model.rules(family), extra, interfaces, model.router(family))


def walk_boxes(model: HostModel, hook: Hook, family: Family, start: Box) -> Iterator[Leaf[Box]]:
    """Yield every end of a box's walk on the path that leads through a hook; raises SpaceTooLarge.

    What nat sends elsewhere is followed: the path of ``input`` is that of everything that is addressed to the host,
    also where nat sends it on, and that of ``forward`` leads through forward, whatever the packets were addressed to.
    """
    decide = partial(spaces_turn.of, model.router(family), hook)
    away = hook is Hook.OUTPUT
    tried = model.orders(family, _PATHS[hook])
    try:
        for number, chosen in enumerate(tried):
            make = model.chains(family, _PATHS[hook], chosen)
            stages = route.leaving(make, decide) if away else route.arriving(make, decide)
            walker = Walker[Box](stages, traced=False, leaves=MOST_BOXES, steps=MOST_STEPS)
            yield from walker.walk(start, order.given(number, len(tried)))
    except TooLarge as limit:
        raise SpaceTooLarge(f"the tables are too entangled to be looked at as a whole: {limit}") from limit


def start_of(space: Space, state: CtState, hook: Hook, *, loopback: bool) -> Box:
    """Return all packets of a conntrack state, without those of the loopback interface unless asked for."""
    box = Box(space, space.everything(), state, connmark=0 if state is CtState.NEW else None)
    if not loopback:
        field = "oif" if hook is Hook.OUTPUT else "iif"
        without = box.only(field, ~(1 << space.names[field].index("lo")))
        assert without is not None
        return without
    return box


def product_of(space: Space, claim: dict[str, Ranges]) -> tuple[int, ...]:
    """Return the masks of a claim; a field that it does not restrict is whole."""
    return tuple(
        space.mask(field, claim[field]) if field in claim else whole
        for field, whole in zip(space.fields, space.everything(), strict=True)
    )


def outside(box: Box, products: Sequence[tuple[int, ...]]) -> list[Box]:
    """Return the part of a box that is in none of the products; raises SpaceTooLarge."""
    rest = [box]
    for product in products:
        rest = [part for each in rest for part in each.minus(product)]
        if len(rest) > MOST_BOXES:
            raise SpaceTooLarge(f"more than {MOST_BOXES} boxes are left over")
    return rest


Group = list[tuple[Leaf[Box], list[Box]]]


def by_rule(found: Group) -> list[Group]:
    """Group the ends of walks by the rule that decides, its decision, and whether an oracle has a part in it."""
    groups: dict[tuple[RuleRef | None, Decision, bool, str], Group] = {}
    for leaf, rest in found:
        groups.setdefault((leaf.by, leaf.decision, bool(leaf.choices), onto(leaf.subject)), []).append((leaf, rest))
    return list(groups.values())


def leaks_of(model: HostModel, hook: Hook, group: Group) -> Iterator[Leak]:
    """Yield one leak for each set of services of a rule that are open to the same addresses and interfaces."""
    leaf = group[0][0]
    boxes = [box for _, rest in group for box in rest]
    asked = tuple(dict.fromkeys(q.name for each, _ in group for q, _ in each.choices))
    unknown = leaf.decision is Decision.UNKNOWN
    certainty = "unknown" if unknown else "depends" if asked else "accept"
    space = boxes[0].space
    field = "oif" if hook is Hook.OUTPUT else "iif"
    chooser = Chooser(model.router(space.family), hook)
    for reach, cells, sample in _same_reach(boxes, field, chooser):
        yield Leak(
            by=leaf.by, certainty=certainty, source=addresses(space, "src", reach[0]),
            destination=addresses(space, "dst", reach[1]), service=services(space, cells),
            interface=interfaces(space, field, reach[2]), witness=chooser.flow(sample),
            depends_on=(leaf.reason,) if unknown else asked, translated=onto(leaf.subject),
        )  # fmt: skip


_Reach = tuple[int, int, int]


def _same_reach(boxes: Sequence[Box], field: str, chooser: Chooser) -> list[tuple[_Reach, Cells, Box]]:
    space = boxes[0].space
    reach: dict[tuple[int, int], list[int]] = {}
    sample: dict[tuple[int, int], tuple[int, Box]] = {}
    for box in boxes:
        rank = chooser.rank(box)
        proto_mask = box.get("proto")
        here = (box.get("src"), box.get("dst"), box.get(field))
        for proto in _atoms(proto_mask):
            own = detail(space, proto)
            for atom in _atoms(box.get(own)) if own else (0,):
                known = reach.setdefault((proto, atom), [0, 0, 0])
                known[:] = [old | new for old, new in zip(known, here, strict=True)]
                if (proto, atom) not in sample or sample[proto, atom][0] < rank:
                    part = box.only("proto", 1 << proto)
                    part = part.only(own, 1 << atom) if part and own else part
                    assert part is not None
                    sample[proto, atom] = (rank, part)
    groups: dict[_Reach, Cells] = {}
    for (proto, atom), (src, dst, name) in reach.items():
        cells = groups.setdefault((src, dst, name), {})
        cells[proto] = cells.get(proto, 0) | 1 << atom
    return [(key, cells, sample[_showcase(space, cells)][1]) for key, cells in groups.items()]


def _showcase(space: Space, cells: Cells) -> tuple[int, int]:
    """Choose the service that a witness shows: TCP where it can be."""
    proto = min(cells, key=lambda atom: (space.cuts["proto"][atom] != 6, space.cuts["proto"][atom] != 17, atom))
    return proto, max(_atoms(cells[proto])) if detail(space, proto) else 0


def _atoms(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
