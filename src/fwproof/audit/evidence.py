"""The raw evidence of a run, and how each host was looked at."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from fwproof.covered import CoverageFacts
from fwproof.errors import HostError, NotThere
from fwproof.facts import BurstFacts, EvasionFacts, Facts, FlowFacts, SocketFacts
from fwproof.frontends.front_end import FrontEnd
from fwproof.observation import Observation, Seen
from fwproof.probing.pcap import pcap_bytes
from fwproof.run_record import HostRecord, Inexact, Understood
from fwproof.semantics.model import HostModel
from fwproof.semantics.understood import Reading, source_of, total, understood
from fwproof.snapshot import Snapshot

_NOT_EVERYWHERE = ("ufw", "firewalld", "ip_tables_names", "ip6_tables_names")
"""What is read of front ends and of the kernel's legacy tables: a host without them lacks nothing."""


def evidence_of(facts: Facts) -> dict[str, bytes]:
    """Return every captured text and the packets seen, by their path in the run's folder."""
    found: dict[str, bytes] = {}
    for host, snapshot in facts.snapshots.items():
        if isinstance(snapshot, HostError):
            continue
        for name, capture in snapshot.captures.items():
            found[f"evidence/{host}/{name}.txt"] = capture.stdout.encode("utf-8", "surrogateescape")
    packets: dict[str, list[Seen]] = {}
    for seen_ in observations(facts):
        packets.setdefault(_host_of(facts, seen_), []).extend(seen_.packets)
    for host, seen in packets.items():
        if seen:
            found[f"evidence/probes/{host}.pcap"] = _pcap(seen)
    return found


def observations(facts: Facts) -> Iterator[Observation]:
    """Yield what became of every single probe that was sent."""
    every = [known for known in facts.flows.values() if isinstance(known, FlowFacts)]
    for exercised in facts.exercised.values():
        every += [each.known for each in exercised.forms] if isinstance(exercised, EvasionFacts) else []
        yield from exercised.seen if isinstance(exercised, CoverageFacts) else ()
        every += exercised.probed if isinstance(exercised, SocketFacts) else ()
    yield from (known.observation for known in every if isinstance(known.observation, Observation))


def exercise_pcaps(facts: Facts, seen: Iterable[Observation]) -> dict[str, bytes]:
    """Return the packets of what was provoked (bursts, bans, measurements, neighbours, drop logs), a file each host."""
    packets: dict[str, list[Seen]] = {}
    for one in seen:
        packets.setdefault(_host_of(facts, one), []).extend(one.packets)
    return {f"evidence/probes/{host}-exercises.pcap": _pcap(each) for host, each in packets.items() if each}


def _pcap(packets: Iterable[Seen]) -> bytes:
    """Return packets as a file, in an order that the packets alone decide."""
    return pcap_bytes(sorted(packets, key=lambda each: (each.time, each.host, each.direction, each.raw)))


def bursts(facts: Facts) -> Iterator[Observation]:
    """Yield what became of each packet of the bursts, which are no single probes."""
    for exercised in facts.exercised.values():
        yield from exercised.seen if isinstance(exercised, BurstFacts) else ()


def _host_of(facts: Facts, seen: Observation) -> str:
    """Return the audited end of a probe."""
    return seen.probe.receiver if seen.probe.receiver in facts.snapshots else seen.probe.sender


def host_record(facts: Facts, name: str) -> HostRecord:
    """Return what is known of one host: tier, kernel, tables, how much of the rules is understood, and gaps."""
    host, snapshot, model = facts.inventory.hosts[name], facts.snapshots[name], facts.models[name]
    readings = () if isinstance(model, HostError) else understood(model)
    limits, agent = [], facts.agents.get(name)
    if agent is not None:
        limits.append(f"no agent: {agent.message}")
    kernel = ""
    if not isinstance(snapshot, HostError):
        kernel = snapshot.captures["uname"].stdout.strip() if "uname" in snapshot.captures else ""
        limits += [f"{what} was not read: {fault.message}" for what, fault in snapshot.faults.items()
                   if not (isinstance(fault, NotThere) and what.startswith(_NOT_EVERYWHERE))]  # fmt: skip
    untraced = facts.untraced.get(name)
    if untraced is not None:
        limits.append(f"not traced: {untraced.message}")
    limits += [limit for reading in readings if (limit := _not_understood(reading))]
    return HostRecord(
        name=name, addresses=[str(a) for a in host.addresses], access=host.access.value, kernel=kernel,
        firewall=_firewall(model, facts.front_ends.get(name)), rules=_sums(readings), limits=limits,
        error=str(snapshot) if isinstance(snapshot, HostError) else "", understood=[_recorded(r) for r in readings],
        machine_id=_machine(snapshot), backends=_backends(snapshot),
    )  # fmt: skip


def _identity(snapshot: Snapshot | HostError) -> list[str]:
    if isinstance(snapshot, HostError) or "identity" in snapshot.faults or "identity" not in snapshot.captures:
        return []
    return snapshot.captures["identity"].stdout.splitlines()


def _machine(snapshot: Snapshot | HostError) -> str:
    found = (line.removeprefix("machine-id ") for line in _identity(snapshot) if line.startswith("machine-id "))
    return next((each for each in found if re.fullmatch("[0-9a-f]{64}", each)), "")


def _backends(snapshot: Snapshot | HostError) -> list[str]:
    return [line[:120] for line in _identity(snapshot) if line.strip() and not line.startswith("machine-id ")][:10]


def _firewall(model: HostModel | HostError, front: FrontEnd | None) -> str:
    if isinstance(model, HostError):
        return "could not be read"
    kinds = {source_of(ruleset) for sets in model.rulesets.values() for ruleset in sets if ruleset.tables}
    told = ", ".join(sorted(kinds)) or "no rules"
    who = [each.manager.value for each in (front.managers if front else ()) if each.places]
    return f"{' and '.join(who)}: {told}" if who and who != ["iptables"] and told not in who else told


def _sums(readings: Collection[Reading]) -> dict[str, int]:
    """Return the sums in the words that results.json has always had for them."""
    if not readings:
        return {}
    sums = total(readings)
    return {"exact": sums["exact"], "oracle": sums["bounded"], "opaque": sums["unknown"], "unparsed": sums["unparsed"]}


def _not_understood(reading: Reading) -> str:
    number = reading.counts["unknown"] + reading.counts["unparsed"]
    lines = "1 line" if number == 1 else f"{number} lines"
    return f"{reading.family} {reading.source}: {lines} not understood, listed under Rules" if number else ""


def _recorded(reading: Reading) -> Understood:
    inexact = [Inexact(**each.as_json()) for each in reading.inexact]
    return Understood(**reading.as_json(), inexact=inexact, notes=list(reading.notes))
