"""Gathering: connect, collect, ask the model, send the waves, exercise; once, and before anything is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as member
from datetime import datetime
from pathlib import Path

from fwproof.audit.allowed import check_allowed, ended_by_signal
from fwproof.audit.asking import Asking
from fwproof.audit.evidence import bursts, evidence_of, exercise_pcaps, host_record, observations
from fwproof.audit.field import Field
from fwproof.audit.lock import Lock
from fwproof.audit.modelling import BOTH, SAVES, families_of, front_ends_of, model_of
from fwproof.audit.stored import files_of
from fwproof.audit.watchdog import watched
from fwproof.errors import HostError, InputError
from fwproof.facts import BaselineFacts, EvasionFacts, Facts, FlowFacts
from fwproof.flow import Family
from fwproof.hosts import replay
from fwproof.inventory import Inventory
from fwproof.observation import Observation
from fwproof.plan import Check, Kind
from fwproof.policy.accepted import NAME, load_accepted
from fwproof.policy.model import Bans, Passing
from fwproof.policy.table_model import Baseline
from fwproof.run_record import HostRecord, Sent, VantageRecord

_FROM_ALL = frozenset({Kind.BAN_EXERCISE, Kind.MEASURE, Kind.CONNECTIONS, Kind.COVERAGE, Kind.LISTENERS})
"""What asks every vantage: one shows that others are not banned, all lend spare addresses, reach rules or sockets."""


@dataclass
class Gathered:
    """What gathering found, the raw evidence by path, and the open field, until ``close``."""

    facts: Facts
    field: Field
    evidence: dict[str, bytes] = member(default_factory=dict)
    audited: tuple[str, ...] = ()
    lock: Lock | None = None

    def close(self) -> None:
        """Close every connection, and take down the lab if this run brought it up; safe to call again."""
        try:
            self.field.close()
        finally:
            if self.lock is not None:
                self.lock.release()

    def sent(self) -> list[Sent]:
        """Return what the run sent, by sender and host."""
        return [Sent(kind=k, sender=s, host=h, count=n) for k, s, h, n in self.field.gate.sent()]

    def stopped(self) -> list[str]:
        """Return why sending ended before its time: everywhere, or to single hosts."""
        gate = self.field.gate
        return [*filter(None, (gate.closed_early,)), *(f"{host}: {why}" for host, why in gate.lost.items())]

    def vantages(self) -> list[VantageRecord]:
        """Return the hosts that sent probes, with the source addresses that these really had."""
        used: dict[str, dict[str, None]] = {}
        for seen in (each for each in self.field.record.seen if not each.probe.form.spoofed):
            used.setdefault(seen.probe.sender, {})[str(seen.probe.flow.src)] = None
        hosts = self.facts.inventory.hosts
        return [
            VantageRecord(name=name, access=hosts[name].access.value, sources=sorted(sources),
                          addresses=[str(address) for address in hosts[name].addresses])
            for name, sources in sorted(used.items()) if name in hosts
        ]  # fmt: skip

    def stored(
        self, checks: Sequence[Check], unjudged: Sequence[str], clean: Callable[[str], str]
    ) -> dict[str, bytes]:  # fmt: skip
        """Return the files that hold the facts of checks, and all observations; see :mod:`fwproof.audit.stored`.

        ``checks`` are all that was gathered for, ``unjudged`` the ids of those of which an audit that was ended says
        nothing. ``clean`` takes secrets out of every text.
        """
        burst = list(bursts(self.facts))
        own = {id(seen) for seen in (*observations(self.facts), *burst)}
        rest = [seen for seen in self.field.record.seen if id(seen) not in own]
        pcaps = exercise_pcaps(self.facts, [*burst, *rest])
        return pcaps | files_of(
            self.facts, checks, extra=rest, cut=self.field.record.cut, clean=clean, unjudged=unjudged
        )

    def host_records(self) -> list[HostRecord]:
        """Return how each audited host was looked at, for the report."""
        return [host_record(self.facts, name) for name in self.audited]

    def artefacts_of(self, check: Check) -> list[str]:
        """Return the files of the run's folder that a check's answers come from."""
        known = self.facts.flows.get(check.id)
        probed = isinstance(known, FlowFacts) and isinstance(known.observation, Observation)
        probed |= isinstance(self.facts.exercised.get(check.id), EvasionFacts) and check.vantage is not None
        wanted = [f"evidence/probes/{check.host}.pcap"] if probed else []
        families = tuple(Family) if check.kind in BOTH else filter(None, (check.family,))
        wanted += [f"evidence/{check.host}/{SAVES[family]}.txt" for family in families]
        return [path for path in wanted if path in self.evidence]


def gather(
    checks: Sequence[Check], inventory: Inventory, progress: Callable[[str], None], *, exercise: bool,
    trace: bool = False,
) -> Gathered:  # fmt: skip
    """Look at every host that the checks are about, and do what they need; raises LabError and UsageError.

    With ``trace``, the kernels of audited hosts tell which rules the probes meet, where that is allowed.
    """
    audited = tuple(dict.fromkeys(check.host for check in checks))
    check_allowed(inventory, audited)
    lock = Lock([inventory.hosts[name] for name in audited], lab=inventory.lab is not None)
    found = Gathered(facts=_empty(inventory), field=Field(inventory), audited=audited, lock=lock)
    try:
        with ended_by_signal(found.field.gate.stop):
            found.field.enter_lab(progress)
            _look(found, checks, audited, progress, trace=trace)
            models = found.facts.models
            with found.field.prober as prober, watched(found.field, audited, models.get, progress):
                flows, exercised = Asking(found.field, found.facts, checks, prober, progress, exercise=exercise).all()
        found.facts = replace(found.facts, flows=flows, exercised=exercised, untraced=found.field.untraced)
        found.evidence |= evidence_of(found.facts)
    except BaseException:
        found.close()
        raise
    return found


def places(checks: Sequence[Check], inventory: Inventory) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return the hosts that checks need a connection to, and of those that are read the jails to ask about."""
    jails: dict[str, tuple[str, ...]] = {check.host: () for check in checks}
    for check in checks:
        if isinstance(check.expectation, Bans):
            jails[check.host] = tuple(dict.fromkeys((*jails[check.host], check.expectation.jail)))
    others = [name for check in checks for name in (check.vantage, check.to) if name]
    # where a published port leads is known once the tables are read
    published = [c.expectation.to for c in checks if isinstance(c.expectation, Passing) and c.vantage and not c.to]
    others += [
        host.name for host in inventory.hosts.values() if any(a in to for to in published for a in host.addresses)
    ]
    if any(check.kind in _FROM_ALL for check in checks):
        others += [host.name for host in inventory.vantages]
    return list(dict.fromkeys([*jails, *others])), jails


def _empty(inventory: Inventory) -> Facts:
    return Facts(inventory=inventory, snapshots={}, models={}, agents={})


def _look(
    found: Gathered, checks: Sequence[Check], audited: Sequence[str], progress: Callable[[str], None], *, trace: bool
) -> None:
    """Connect to every host, read the audited ones, and build their models."""
    families = families_of(checks)
    names, jails = places(checks, found.field.inventory)
    progress(f"connecting to {len(names)} hosts, reading {len(audited)}")
    field_ = found.field
    field_.open(names, jails, trace=trace)
    snapshots = {name: field_.snapshots[name] for name in audited}
    agents = {name: agent if isinstance(agent, HostError) else None for name, agent in field_.agents.items()}
    models = {name: model_of(snapshot, families[name]) for name, snapshot in snapshots.items()}
    found.facts = replace(
        found.facts, inventory=field_.inventory, snapshots=snapshots, agents=agents,
        models=models, baselines=_baselines(checks), front_ends=front_ends_of(snapshots, models),
    )  # fmt: skip


def _baselines(checks: Sequence[Check]) -> dict[tuple[str, Path], BaselineFacts | HostError]:
    wanted: dict[tuple[str, Path], set[Family]] = {}
    for check in checks:
        if isinstance(check.expectation, Baseline) and check.family is not None:
            wanted.setdefault((check.host, check.expectation.folder(check.host)), set()).add(check.family)
    return {key: read_baseline(*key, families) for key, families in wanted.items()}


def read_baseline(host: str, folder: Path, families: set[Family]) -> BaselineFacts | HostError:
    """Return what a host's tables of some families were, or why that cannot be told."""
    resolved, here = folder.resolve(), Path.cwd()
    shown = str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)
    advice = f"take one while the host is as it should be: fwproof collect {host} -o {Path(shown).parent}"
    try:
        snapshot = replay.load(Path(shown))
    except InputError as error:
        return HostError(host, f"the baseline cannot be used: {error}", advice)
    if snapshot.host != host:
        return HostError(host, f"the baseline in {shown} is that of {snapshot.host}, another host", advice)
    try:
        model = model_of(snapshot, families)
    except HostError as error:  # an entry that this version reads, and that was not collected then
        model = error
    if isinstance(model, HostError):
        return HostError(host, f"the baseline in {shown} cannot be used: {model.message}", advice)
    changes = Path(shown) / NAME
    try:
        accepted = load_accepted(changes) if changes.exists() else ()
    except InputError as error:
        return HostError(host, f"the accepted changes cannot be used: {error}", f"mend {changes}")
    return BaselineFacts(
        folder=shown, snapshot=snapshot, model=model, accepted=accepted, day=datetime.now().astimezone().date()
    )
