"""The raw evidence of a run, and how each host was looked at."""

from __future__ import annotations

from fwproof.errors import HostError
from fwproof.facts import Facts, FlowFacts
from fwproof.observation import Observation, Seen
from fwproof.probing.pcap import pcap_bytes
from fwproof.results import HostRecord
from fwproof.semantics.model import HostModel


def evidence_of(facts: Facts) -> dict[str, bytes]:
    """Return every captured text and the packets seen, by their path in the run's folder."""
    found: dict[str, bytes] = {}
    for host, snapshot in facts.snapshots.items():
        if isinstance(snapshot, HostError):
            continue
        for name, capture in snapshot.captures.items():
            found[f"evidence/{host}/{name}.txt"] = capture.stdout.encode("utf-8", "surrogateescape")
    packets: dict[str, list[Seen]] = {}
    for id_, known in facts.flows.items():
        if isinstance(known, FlowFacts) and isinstance(known.observation, Observation):
            packets.setdefault(_host_of(facts, id_, known.observation), []).extend(known.observation.packets)
    for host, seen in packets.items():
        if seen:
            found[f"evidence/probes/{host}.pcap"] = pcap_bytes(sorted(seen, key=lambda packet: packet.time))
    return found


def _host_of(facts: Facts, id_: str, seen: Observation) -> str:
    """Return the audited end of a probe."""
    del id_
    return seen.probe.receiver if seen.probe.receiver in facts.snapshots else seen.probe.sender


def host_record(facts: Facts, name: str) -> HostRecord:
    """Return what is known of one host: tier, kernel, tables, how much of the rules is understood, and gaps."""
    host, snapshot, model = facts.inventory.hosts[name], facts.snapshots[name], facts.models[name]
    limits, agent = [], facts.agents.get(name)
    if agent is not None:
        limits.append(f"no agent: {agent.message}")
    kernel = ""
    if not isinstance(snapshot, HostError):
        kernel = snapshot.captures["uname"].stdout.strip() if "uname" in snapshot.captures else ""
        limits += [f"{what} was not read: {fault.message}" for what, fault in snapshot.faults.items()]
    return HostRecord(
        name=name, addresses=[str(a) for a in host.addresses], access=host.access.value, kernel=kernel,
        firewall=_firewall(model), rules=_honesty(model), limits=limits,
        error=str(snapshot) if isinstance(snapshot, HostError) else "",
    )  # fmt: skip


def _firewall(model: HostModel | HostError) -> str:
    if isinstance(model, HostError):
        return "could not be read"
    kinds = {
        f"iptables-{ruleset.backend or 'save'}"
        for sets in model.rulesets.values()
        for ruleset in sets
        if ruleset.tables
    }
    return ", ".join(sorted(kinds)) or "no rules"


def _honesty(model: HostModel | HostError) -> dict[str, int]:
    if isinstance(model, HostError):
        return {}
    counts: dict[str, int] = {"exact": 0, "oracle": 0, "opaque": 0, "unparsed": 0}
    for sets in model.rulesets.values():
        for ruleset in sets:
            for rule in ruleset.rules():
                counts[rule.sort.value] = counts.get(rule.sort.value, 0) + 1
            counts["unparsed"] += len(ruleset.unparsed)
    return counts
