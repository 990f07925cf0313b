"""Gathering: connect, collect, ask the model, send the waves, exercise; once, and before anything is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as member
from pathlib import Path

from fwproof.audit.asking import Asking
from fwproof.audit.evidence import evidence_of, host_record
from fwproof.audit.field import Field
from fwproof.audit.lock import Lock
from fwproof.errors import FwproofError, HostError, InputError, NotThere
from fwproof.facts import BaselineFacts, EvasionFacts, Facts, FlowFacts
from fwproof.flow import Family
from fwproof.frontends.front_end import FrontEnd, front_end_of
from fwproof.hosts import replay
from fwproof.inventory import Inventory
from fwproof.observation import Observation
from fwproof.plan import Check, Kind
from fwproof.policy.model import Bans, Baseline
from fwproof.results import HostRecord
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Snapshot

_BOTH = (Kind.PARITY, Kind.MANAGERS)
"""Kinds of checks that are about the tables of both families at once."""
_SAVES = {Family.IPV4: "iptables-save", Family.IPV6: "ip6tables-save"}


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

    def host_records(self) -> list[HostRecord]:
        """Return how each audited host was looked at, for the report."""
        return [host_record(self.facts, name) for name in self.audited]

    def artefacts_of(self, check: Check) -> list[str]:
        """Return the files of the run's folder that a check's answers come from."""
        known = self.facts.flows.get(check.id)
        probed = isinstance(known, FlowFacts) and isinstance(known.observation, Observation)
        probed |= isinstance(self.facts.exercised.get(check.id), EvasionFacts) and check.vantage is not None
        wanted = [f"evidence/probes/{check.host}.pcap"] if probed else []
        families = tuple(Family) if check.kind in _BOTH else filter(None, (check.family,))
        wanted += [f"evidence/{check.host}/{_SAVES[family]}.txt" for family in families]
        return [path for path in wanted if path in self.evidence]


def gather(
    checks: Sequence[Check], inventory: Inventory, progress: Callable[[str], None], *, exercise: bool
) -> Gathered:
    """Look at every host that the checks are about, and do what they need; raises LabError and UsageError."""
    audited = tuple(dict.fromkeys(check.host for check in checks))
    lock = Lock([inventory.hosts[name] for name in audited], lab=inventory.lab is not None)
    found = Gathered(facts=_empty(inventory), field=Field(inventory), audited=audited, lock=lock)
    try:
        found.field.enter_lab(progress)
        _look(found, checks, audited, progress)
        with found.field.prober as prober:
            flows, exercised = Asking(found.field, found.facts, checks, prober, progress, exercise=exercise).all()
        found.facts = replace(found.facts, flows=flows, exercised=exercised)
        found.evidence |= evidence_of(found.facts)
    except BaseException:
        found.close()
        raise
    return found


def _empty(inventory: Inventory) -> Facts:
    return Facts(inventory=inventory, snapshots={}, models={}, agents={})


def _look(found: Gathered, checks: Sequence[Check], audited: Sequence[str], progress: Callable[[str], None]) -> None:
    """Connect to every host, read the audited ones, and build their models."""
    jails: dict[str, tuple[str, ...]] = dict.fromkeys(audited, ())
    families: dict[str, set[Family]] = {name: set() for name in audited}
    for check in checks:
        if isinstance(check.expectation, Bans):
            jails[check.host] = tuple(dict.fromkeys((*jails[check.host], check.expectation.jail)))
        families[check.host] |= set(Family) if check.kind in _BOTH else set(filter(None, (check.family,)))
    others = [check.vantage for check in checks if check.vantage]
    if any(check.kind in {Kind.BAN_EXERCISE, Kind.MEASURE, Kind.CONNECTIONS} for check in checks):
        # one of them shows that others are not banned; all that are peers lend their spare addresses
        others += [host.name for host in found.field.inventory.vantages]
    names = list(dict.fromkeys([*audited, *others]))
    progress(f"connecting to {len(names)} hosts, reading {len(audited)}")
    field_ = found.field
    field_.open(names, jails)
    snapshots = {name: field_.snapshots[name] for name in audited}
    agents = {name: agent if isinstance(agent, HostError) else None for name, agent in field_.agents.items()}
    models = {name: model_of(snapshot, families[name]) for name, snapshot in snapshots.items()}
    found.facts = replace(
        found.facts, inventory=field_.inventory, snapshots=snapshots, agents=agents,
        models=models, baselines=_baselines(checks), front_ends=dict(_front_ends(snapshots, models)),
    )  # fmt: skip


def _front_ends(
    snapshots: Mapping[str, Snapshot | HostError], models: Mapping[str, HostModel | HostError]
) -> Iterator[tuple[str, FrontEnd]]:
    for name, snapshot in snapshots.items():
        model = models[name]
        if not isinstance(snapshot, HostError) and not isinstance(model, HostError):
            yield name, front_end_of(snapshot, model.rulesets)


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
    return BaselineFacts(folder=shown, snapshot=snapshot, model=model)


def _printed(snapshot: Snapshot, name: str) -> str:
    """Return what a command printed, with the warning of legacy tables that iptables-save gives as an error message."""
    text = snapshot.text(name)
    warnings = [line for line in snapshot.captures[name].stderr.splitlines() if line.startswith("# Warning: ip")]
    return "\n".join([text.rstrip("\n"), *warnings, ""]) if warnings else text


def model_of(snapshot: Snapshot | HostError, families: set[Family]) -> HostModel | HostError:
    """Return a host's model, or why there is none: the tables of each of ``families`` must have been read.

    A family that no check is about may be missing: a host without IPv6 need not have ip6tables.
    """
    if isinstance(snapshot, HostError):
        return snapshot
    names = {
        "iptables_save": "iptables-save", "ip6tables_save": "ip6tables-save", "nft_json": "nft",
        "ipset_save": "ipset-save",
        "iptables_legacy_save": "iptables-legacy-save", "ip6tables_legacy_save": "ip6tables-legacy-save",
        "addresses": "ip-addr", "routes": "ip-route", "routes6": "ip6-route", "sysctls": "sysctl",
        "routing_rules": "ip-rule", "routing_rules6": "ip6-rule",
    }  # fmt: skip
    for needed in (*(_SAVES[family] for family in sorted(families)), "ip-addr"):
        fault = snapshot.faults.get(needed)
        # a host of nftables alone need not have iptables: nft lists what that would show
        spared = isinstance(fault, NotThere) and needed != "ip-addr" and "nft" in snapshot.captures
        if fault is not None and not spared:
            return fault
    beside = ("nft", *(f"{_SAVES[family].removesuffix('-save')}-legacy-save" for family in sorted(families)))
    for unread in filter(None, map(snapshot.faults.get, beside)):
        if not isinstance(unread, NotThere):
            return unread  # tables beside those of iptables decide as well, and nothing else tells of them
    texts = {key: _printed(snapshot, name) for key, name in names.items() if name not in snapshot.faults}
    for key in ("iptables_legacy_save", "ip6tables_legacy_save"):
        if not texts.get(key, "").strip():
            texts.pop(key, None)  # prints nothing where the kernel has no legacy tables
    try:
        return HostModel.build(**texts, sources=names)
    except FwproofError as error:
        return HostError(snapshot.host, f"what the host printed cannot be read: {error}")
