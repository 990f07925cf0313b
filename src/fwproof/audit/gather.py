"""Gathering: connect, collect, ask the model, send the waves, exercise; once, and before anything is judged."""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from dataclasses import field as member
from pathlib import Path
from typing import IO

from fwproof.audit import exercises
from fwproof.audit.ban import Exercise
from fwproof.audit.evidence import evidence_of, host_record
from fwproof.audit.field import Field
from fwproof.audit.probes import ask, connect_all, send_all
from fwproof.errors import FwproofError, HostError, UsageError
from fwproof.evidence.droplog import DropLine, parse_log
from fwproof.facts import BanFacts, BurstFacts, Connected, Facts, FlowFacts, LogFacts, NeighbourFacts
from fwproof.flow import Address, Family
from fwproof.inventory import Access, Inventory
from fwproof.observation import Observation, PortState
from fwproof.plan import Check, Kind
from fwproof.policy.model import Bans
from fwproof.probing.observe import Prober
from fwproof.results import HostRecord
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Snapshot

_Exercised = BurstFacts | BanFacts | LogFacts | NeighbourFacts | Connected | HostError
_SINGLE = {Kind.INBOUND, Kind.OUTBOUND, Kind.INBOUND_DEFAULT, Kind.OUTBOUND_DEFAULT}


@dataclass
class Gathered:
    """What gathering found, the raw evidence by path, and the open field, until ``close``."""

    facts: Facts
    field: Field
    evidence: dict[str, bytes] = member(default_factory=dict)
    audited: tuple[str, ...] = ()
    lock: IO[str] | None = None

    def close(self) -> None:
        """Close every connection, and take down the lab if this run brought it up; safe to call again."""
        self.field.close()
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    def host_records(self) -> list[HostRecord]:
        """Return how each audited host was looked at, for the report."""
        return [host_record(self.facts, name) for name in self.audited]

    def artefacts_of(self, check: Check) -> list[str]:
        """Return the files of the run's folder that a check's answers come from."""
        known = self.facts.flows.get(check.id)
        probed = isinstance(known, FlowFacts) and isinstance(known.observation, Observation)
        wanted = [f"evidence/probes/{check.host}.pcap"] if probed else []
        tables = {"ipv4": "iptables-save.txt", "ipv6": "ip6tables-save.txt"}
        if check.family is not None:
            wanted.append(f"evidence/{check.host}/{tables[check.family.value]}")
        return [path for path in wanted if path in self.evidence]


def gather(
    checks: Sequence[Check], inventory: Inventory, progress: Callable[[str], None], *, exercise: bool
) -> Gathered:
    """Look at every host that the checks are about, and do what they need; raises LabError and UsageError."""
    audited = tuple(dict.fromkeys(check.host for check in checks))
    lock = _lock(inventory, audited)
    found = Gathered(facts=_empty(inventory), field=Field(inventory), audited=audited, lock=lock)
    try:
        found.field.enter_lab(progress)
        _look(found, checks, audited, progress)
        with found.field.prober as prober:
            _Asking(found, checks, prober, progress, exercise=exercise).all()
        found.evidence |= evidence_of(found.facts)
    except BaseException:
        found.close()
        raise
    return found


def _empty(inventory: Inventory) -> Facts:
    return Facts(inventory=inventory, snapshots={}, models={}, agents={})


def _lock(inventory: Inventory, audited: Sequence[str]) -> IO[str]:
    """Keep two audits off one target: their probes and bursts would count against each other."""
    addresses = ",".join(sorted(str(a) for name in audited for a in inventory.hosts[name].addresses))
    name = hashlib.sha256(addresses.encode()).hexdigest()[:16]
    handle = (Path(tempfile.gettempdir()) / f"fwproof-{name}.lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise UsageError("another audit of these hosts is running; wait for it to end") from None
    return handle


def _look(found: Gathered, checks: Sequence[Check], audited: Sequence[str], progress: Callable[[str], None]) -> None:
    """Connect to every host, read the audited ones, and build their models."""
    jails: dict[str, tuple[str, ...]] = dict.fromkeys(audited, ())
    for check in checks:
        if isinstance(check.expectation, Bans):
            jails[check.host] = tuple(dict.fromkeys((*jails[check.host], check.expectation.jail)))
    others = [check.vantage for check in checks if check.vantage]
    names = list(dict.fromkeys([*audited, *others]))
    progress(f"connecting to {len(names)} hosts, reading {len(audited)}")
    field_ = found.field
    field_.open(names, jails)
    snapshots = {name: field_.snapshots[name] for name in audited}
    agents = {name: agent if isinstance(agent, HostError) else None for name, agent in field_.agents.items()}
    found.facts = replace(
        found.facts, inventory=field_.inventory, snapshots=snapshots, agents=agents,
        models={name: _model(snapshot) for name, snapshot in snapshots.items()},
    )  # fmt: skip


def _model(snapshot: Snapshot | HostError) -> HostModel | HostError:
    """Build a host's model; what could not be read leaves a family blind, which the model says itself."""
    if isinstance(snapshot, HostError):
        return snapshot
    names = {
        "iptables_save": "iptables-save", "ip6tables_save": "ip6tables-save", "nft_json": "nft",
        "iptables_legacy_save": "iptables-legacy-save", "ip6tables_legacy_save": "ip6tables-legacy-save",
        "addresses": "ip-addr", "routes": "ip-route", "routes6": "ip6-route",
    }  # fmt: skip
    for needed in ("iptables-save", "ip6tables-save", "ip-addr"):
        if needed in snapshot.faults:
            return snapshot.faults[needed]
    texts = {key: snapshot.text(name) for key, name in names.items() if name not in snapshot.faults}
    for key in ("iptables_legacy_save", "ip6tables_legacy_save"):
        if not texts.get(key, "").strip():
            texts.pop(key, None)  # prints nothing where the kernel has no legacy tables
    try:
        return HostModel.build(**texts, sources=names)
    except FwproofError as error:
        return HostError(snapshot.host, f"what the host printed cannot be read: {error}")


class _Asking:
    """Asks everything that needs the wire, and leaves the answers in the facts."""

    def __init__(
        self,
        found: Gathered,
        checks: Sequence[Check],
        prober: Prober,
        progress: Callable[[str], None],
        *,
        exercise: bool,
    ) -> None:
        self.found, self.checks, self.prober, self.progress, self.exercise = found, checks, prober, progress, exercise
        self.field = found.field
        self.done: dict[str, _Exercised] = {}

    def all(self) -> None:
        """Send the probes, then exercise; each failure belongs to its own checks."""
        if self.exercise:
            self._await_windows()
        flows = self._probes()
        neighbours = [check for check in self.checks if check.kind is Kind.NEIGHBOUR and check.vantage is not None]
        self._side_by_side(neighbours, exercises.neighbour)
        self._side_by_side([check for check in self.checks if check.kind is Kind.LOOPBACK], exercises.loopback)
        if self.exercise:
            self._exercise()
        self.found.facts = replace(self.found.facts, flows=flows, exercised=self.done)

    def _await_windows(self) -> None:
        """Wait until what an earlier audit's bursts used up is free again: no probe could tell it from a fault."""
        memory = self.field.memory
        bursts = [check for check in self.checks if check.kind is Kind.RATE]
        left = [memory.left(self._own(check), check.peer) for check in bursts if check.peer is not None]
        if max(left, default=0.0) > 0.0:
            self.progress(f"waiting {max(left):.0f} s: an earlier burst still counts against the limit")
            time.sleep(max(left))

    def _probes(self) -> dict[str, FlowFacts | HostError]:
        single = [check for check in self.checks if check.kind in _SINGLE and check.vantage is not None]
        asked, flows = [], dict[str, FlowFacts | HostError]()
        for check in single:
            try:
                self._both_ends(check)
                asked.append(ask(check, self.found.facts.model(check.host), self._own(check)))
            except HostError as error:
                flows[check.id] = error
        known = send_all(self.field, self.prober, asked, self.progress)
        connected = connect_all(self.prober, single, known)
        lines = self._drop_lines({check.host for check in single})
        for check in single:
            if check.id in known:
                facts = replace(known[check.id], connected=connected.get(check.id))
                flows[check.id] = replace(facts, logged=_line_of(facts, lines.get(check.host, ())))
        return flows

    def _both_ends(self, check: Check) -> None:
        """Raise what keeps an end from being watched, unless the host's tier does not provide for it."""
        for name in filter(None, (check.vantage, check.host)):
            fault = self.field.agents.get(name)
            sends = name == (check.host if check.direction == "outbound" else check.vantage)
            granted = self.field.inventory.hosts[name].access is not Access.READ
            if isinstance(fault, HostError) and (granted or sends):
                raise fault

    def _own(self, check: Check) -> Address:
        assert check.family is not None
        own = self.field.inventory.hosts[check.host].address(check.family)
        assert own is not None
        return own

    def _drop_lines(self, hosts: set[str]) -> Mapping[str, Sequence[DropLine]]:
        """Read the drop logs once; a log that cannot be read only leaves the probes without that evidence."""
        lines = {}
        for name in hosts:
            log_file = self.field.inventory.hosts[name].drop_log
            if log_file is None or name not in self.field.transports:
                continue
            try:
                lines[name] = tuple(parse_log(exercises.read_log(self.field, name, log_file)))
            except HostError:
                continue
        return lines

    def _exercise(self) -> None:
        # bursts come last: they use up limits that the others meet as well
        kinds = {Kind.DROP_LOG: "drop logs", Kind.BAN_EXERCISE: "bans", Kind.RATE: "bursts"}
        for kind, words in kinds.items():
            chosen = [check for check in self.checks if check.kind is kind]
            if chosen:
                self.progress(f"exercising {words}: {len(chosen)} checks")
            self._side_by_side(chosen, self._one)

    def _side_by_side(self, chosen: Sequence[Check], do: Callable[[Field, Prober, Check], _Exercised | None]) -> None:
        """Try checks one after another on each host and family, and those at the same time."""
        lanes = dict.fromkeys((check.host, check.family) for check in chosen)

        def one_lane(lane: tuple[str, Family | None]) -> None:
            for check in chosen:
                if (check.host, check.family) == lane:
                    self._try(check, do)

        with ThreadPoolExecutor(max(len(lanes), 1)) as pool:
            list(pool.map(one_lane, lanes))

    def _one(self, field_: Field, prober: Prober, check: Check) -> _Exercised:
        model = self.found.facts.model(check.host)
        if check.kind is Kind.RATE:
            return exercises.burst(field_, prober, check, model)
        if check.kind is Kind.DROP_LOG:
            return exercises.drop_log(field_, prober, check, model)
        return Exercise(field_, prober, check).run()

    def _try(self, check: Check, do: Callable[[Field, Prober, Check], _Exercised | None]) -> None:
        try:
            answer = do(self.field, self.prober, check)
        except HostError as error:
            answer = error
        if answer is not None:
            self.done[check.id] = answer


def _line_of(facts: FlowFacts, lines: Sequence[DropLine]) -> DropLine | None:
    seen = facts.observation
    if not isinstance(seen, Observation) or seen.state in {PortState.OPEN, PortState.CLOSED}:
        return None
    return next((line for line in reversed(lines) if line.is_of(facts.flow)), None)
