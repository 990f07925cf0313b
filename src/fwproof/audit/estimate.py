"""How fast and how long what is planned would be sent, from the audit's own paces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fwproof.audit.asking import SINGLE
from fwproof.audit.bounds import Bounds
from fwproof.audit.coverage import most_packets
from fwproof.audit.exercises import GAP
from fwproof.audit.planned import PHASES, Packet, Planned, Visit
from fwproof.audit.probes import BRISK
from fwproof.flow import TCP
from fwproof.inventory import Host, Inventory
from fwproof.plan import Check, Kind
from fwproof.probing.gate import A_SECOND, CONNECT, usable
from fwproof.probing.shot import Timing
from fwproof.semantics.bdd import SECONDS

_LOG_IN, _READ = 0.6, 1.5
"""Seconds for a log-in with its agent, and for reading a host."""
_JUDGING = 0.03
"""Processor seconds that an audit spends on a check, of all kinds alike: 0.014 with many hosts, 0.045 with one."""
_COVERING = 2.0
"""Seconds that rule coverage of a small host takes; a large one's takes as long as the search for packets may."""
_TURN = 0.2
"""Seconds around a wave in which counters are read."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one host gets, of at most ``max_pps`` a second; ``busiest`` is how many fall into one second as planned.

    ``held`` is for how many seconds probes are held back so that it gets no more than it may, about; ``refused`` are
    the checks whose packets have their time and need more than it may get: they are not sent, and are errors.
    """

    host: Host
    frames: int
    connections: int
    busiest: int
    held: float = 0.0
    refused: tuple[str, ...] = ()


def targets(plan: Planned, inventory: Inventory) -> tuple[Target, ...]:
    """Return what each host gets, from all vantages together."""
    found = []
    for name in dict.fromkeys(packet.receiver for packet in plan.packets):
        mine = [packet for packet in plan.packets if packet.receiver == name]
        busiest = max(_busiest([packet for packet in mine if packet.phase == phase]) for phase in PHASES)
        host = inventory.hosts[name]
        frames, made = sum(packet.frames for packet in mine), sum(packet.connections for packet in mine)
        most = usable(host)
        found.append(Target(
            host, frames, made, min(busiest, host.max_pps),
            held=sum(_held([p for p in mine if p.phase == phase], most) for phase in _WAITING),
            refused=tuple(dict.fromkeys(packet.check for packet in mine if packet.together > most)),
        ))  # fmt: skip
    return tuple(found)


_WAITING = ("flows", "forms")
"""The parts in which many packets go to a host at once, and wait where it may not get them."""


def _held(packets: Sequence[Packet], most: int) -> float:
    """Return how much longer packets to one host take, of which it may get ``most`` a second (see ``probing/gate``)."""
    permits = sum(_permits(packet) for packet in packets)
    return max(0.0, (-(-permits // most) - 1) * A_SECOND - _slowest(packets, _gap(packets)))


def _permits(packet: Packet) -> int:
    """Return how much of a cap a packet takes: a SYN that is answered is followed by a reset."""
    tcp = packet.flow is not None and packet.flow.proto == TCP
    return packet.frames * (2 if tcp else 1) + packet.connections * CONNECT


def _gap(packets: Sequence[Packet]) -> float:
    return (_PACE.get(packets[0].phase) if packets else None) or Timing().gap


_PACE = {"forms": BRISK.gap, "bursts": GAP}


def _busiest(packets: Sequence[Packet]) -> int:
    """Return how many packets of one phase come within a second, as each sender spaces them."""
    gap = _gap(packets)
    by_sender = Counter[str]()
    for packet in packets:
        by_sender[packet.sender] += packet.frames
    return sum(min(count, int(1 / gap)) for count in by_sender.values())


def duration(
    plan: Planned, checks: Sequence[Check], inventory: Inventory, gets: Sequence[Target]
) -> tuple[float, float]:
    """Return about how many seconds it takes, at least and at most.

    At most is when each expectation is decided by a rule of its own, and everything is sent as often as is allowed.
    ``gets`` are the plan's :func:`targets`.
    """
    opening = _opening(plan.visits, inventory) + _JUDGING * len(checks)
    timing, sent = Timing(), {p: [x for x in plan.packets if x.phase == p] for p in PHASES}
    lanes: Counter[tuple[str, str]] = Counter()
    for check in checks:
        if check.kind in SINGLE and check.vantage is not None:
            lanes[check.host, f"{check.family}"] += 1
    waves = 1 if lanes else 0
    rules = len({(c.expectation.id, c.service and str(c.service)) for c in checks if c.kind in SINGLE and c.vantage})
    least = opening + waves * (timing.settle + _TURN) + _slowest(sent["flows"], timing.gap)
    most = opening + min(rules, max(lanes.values(), default=0)) * (timing.settle + _TURN) + 3 * timing.window * waves
    forms = _slowest(sent["forms"], BRISK.gap or timing.gap) + (timing.settle + _TURN if sent["forms"] else 0.0)
    least, most = least + forms, most + forms + (timing.window if sent["forms"] else 0.0)
    for phase in ("essential", "drop-log", "bans", "bursts", "measures"):
        once = _longest(sent[phase], checks)
        least, most = least + once, most + 3 * once + (timing.window if sent[phase] else 0.0)
    held = max((target.held for target in gets), default=0.0)
    least, most = least + held, most + 3 * held
    if any(check.kind is Kind.COVERAGE for check in checks):
        least, most = least + _COVERING, most + SECONDS + most_packets() * timing.gap
    return least, most


def _opening(visits: Sequence[Visit], inventory: Inventory) -> float:
    """Return how long it takes to log in to hosts and to read them, as many at once as the inventory allows."""
    audited = {visit.host.name for visit in visits if visit.audited}
    bounds, seconds = Bounds(inventory, [visit.host for visit in visits]), 0.0
    while together := list(iter(bounds.next, None)):
        seconds += _LOG_IN + (_READ if any(host.name in audited for host in together) else 0.0)
        for host in together:
            bounds.done(host)
    return seconds


def _slowest(packets: Sequence[Packet], gap: float) -> float:
    counts = Counter[str]()
    for packet in packets:
        counts[packet.sender] += packet.frames
    return max(counts.values(), default=0) * gap


def _longest(packets: Sequence[Packet], checks: Sequence[Check]) -> float:
    """Return how long a phase takes: the checks of one host and family come one after another."""
    lane = {check.id: (check.host, check.family) for check in checks}
    each: dict[str, float] = {}
    for packet in packets:
        each[packet.check] = max(each.get(packet.check, 0.0), packet.seconds)
    total: dict[object, float] = {}
    for id_, seconds in each.items():
        total[lane[id_]] = total.get(lane[id_], 0.0) + seconds
    return max(total.values(), default=0.0)
