"""Where on the path a probe was stopped that never arrived: the same packet again, with a TTL that ends it on the way.

A router answers a packet whose TTL it has used up (RFC 792, RFC 4443) before its own FORWARD rules see it: the last one
that answers has the filter, or stands right before it. Many routers do not answer, which says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fwproof.errors import HostError
from fwproof.facts import FlowFacts
from fwproof.flow import Address, Family
from fwproof.observation import Observation, PortState, Probe
from fwproof.probing.packets import dissect

if TYPE_CHECKING:
    from fwproof.probing.observe import Prober

HOPS = 8
"""The longest way that is looked along, in routers."""
MOST = 12
"""Ways and services that are looked along in one run, HOPS packets each."""
_LOST = {PortState.NEVER_ARRIVED, PortState.UNREACHABLE}
_EXCEEDED = {(1, 11), (58, 3)}
"""Time exceeded, by protocol and type."""


def locate(
    prober: Prober, known: Mapping[str, FlowFacts], hopeless: Callable[[str, Family], bool]
) -> dict[str, str]:  # fmt: skip
    """Return where probes were stopped that never arrived, in words, by check id; only what some router told.

    Nothing is sent to a ``hopeless`` host: its own tables keep all packets of the family from arriving.
    """
    asked: dict[tuple[object, ...], Probe] = {}
    lost: dict[str, tuple[object, ...]] = {}
    for id_, facts in known.items():
        seen = facts.observation
        if not isinstance(seen, Observation) or seen.answer is not None or seen.state not in _LOST:
            continue
        key = _key(seen.probe)
        if not hopeless(seen.probe.receiver, seen.probe.flow.family) and (key in asked or len(asked) < MOST):
            asked.setdefault(key, seen.probe)
            lost[id_] = key
    probes = [
        replace(probe, ref=f"{number} {ttl}", flow=replace(probe.flow, ttl=ttl))
        for number, probe in enumerate(asked.values()) for ttl in range(1, HOPS + 1)
    ]  # fmt: skip
    answers = prober.observe(probes, retries=0) if probes else {}
    words = {
        key: _words([answers[f"{number} {ttl}"] for ttl in range(1, HOPS + 1)]) for number, key in enumerate(asked)
    }
    return {id_: words[key] for id_, key in lost.items() if words[key]}


def _key(probe: Probe) -> tuple[object, ...]:
    """Return what probes share that are stopped at the same place."""
    return probe.sender, probe.receiver, probe.flow.family, probe.flow.proto, probe.flow.dport


def _words(answers: Sequence[Observation | HostError]) -> str:
    """Return how far packets came whose TTLs were 1, 2, 3 …; empty where no router told, or where one arrived now."""
    told = ""
    for ttl, seen in enumerate(answers, 1):
        if not isinstance(seen, Observation) or seen.arrived:
            return ""
        router = _router(seen)
        if router is not None:
            told = f"{router}, hop {ttl} of the way, still answers for it, and nobody behind"
    return told


def _router(seen: Observation) -> Address | None:
    """Return the router that said that a packet's TTL was used up."""
    back = (dissect(packet.raw) for packet in seen.packets if packet.direction == "in")
    return next((p.src for p in back if p is not None and (p.proto, p.icmp_type) in _EXCEEDED), None)
