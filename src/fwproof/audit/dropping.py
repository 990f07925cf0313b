"""Drop logs end to end: a packet that must be dropped is sent, and its own line is looked for in the host's log.

A rule that logs has mostly a limit of its own, which other packets may have used up: those of others, or those of this
audit's own waves. Then a packet without a line says nothing, so more are sent when the limit must have let one through.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fwproof.audit.counting import moved, read_counters
from fwproof.audit.exercises import ANYBODY, DISCARD, ends_of, own_in, settled
from fwproof.decision import RuleRef, Ruling
from fwproof.errors import HostError
from fwproof.evidence.droplog import DropLine, parse_log
from fwproof.facts import FlowFacts, LogFacts, Untried
from fwproof.flow import Address, Family, Flow
from fwproof.flows import request
from fwproof.hosts.access import LOG_LINES
from fwproof.inventory import Access, Inventory
from fwproof.judging.wire import observed_words
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check
from fwproof.policy.table_model import DropLog
from fwproof.redact import redacted
from fwproof.semantics.model import HostModel

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

_LOG_WAIT = 2.5
"""Seconds in which a line must appear in the log after its packet was dropped."""
PATIENCE = 5.0
"""Seconds that a limit may take to let one more packet through, for another try to be worth the wait."""
_ROUNDS, _MORE = 3, 4
"""Tries after the first, and packets of each: any of them that leaves its line will do."""

_Counters = dict[RuleRef, int] | None


def drop_log(field: Field, prober: Prober, check: Check, model: HostModel, *, exercise: bool = True) -> LogFacts:
    """Send a packet that must be dropped, and look for its line in the host's drop log."""
    assert isinstance(check.expectation, DropLog)
    found = replace(foreseen(field.inventory, check, model), untried=untried(field.inventory, check, exercise=exercise))
    if found.untried:
        return replace(found, observed=f"no packet was sent: {found.untried}")
    flow, ruling = _dropped(field.inventory, check, model)
    return _Dropping(field, prober, check, FlowFacts(flow=flow, ruling=ruling)).run(found)


def foreseen(inventory: Inventory, check: Check, model: HostModel) -> LogFacts:
    """Return what the tables say of a drop log's packet before it is sent."""
    flow, ruling = _dropped(inventory, check, model)
    return LogFacts(
        refused=ruling.refused, decided=str(ruling.by or ruling.decision.value), observed="", line=None, lines_read=0,
        rules=settled(check, lambda: model.logs(flow)), log_file=inventory.hosts[check.host].drop_log or "no log file",
    )  # fmt: skip


def _dropped(inventory: Inventory, check: Check, model: HostModel) -> tuple[Flow, Ruling]:
    """Return the packet with what becomes of it; where no far end is named, of one that the routing lets come."""
    own = own_in(inventory, check)
    peers = [check.peer or ANYBODY[check.family]] if check.family else []
    if check.peer is None:
        others = (host for host in inventory.hosts.values() if host.name != check.host)
        peers += [address for host in others if (address := host.address(check.family or Family.IPV4)) is not None]
    tried = [(flow, model.evaluate(flow)) for flow in (logged_flow(replace(check, peer=peer), own) for peer in peers)]
    by_rules = (each for each in tried if each[1].refused and each[1].by is not None and each[1].by.table != "routing")
    return next(by_rules, tried[0])


def logged_flow(check: Check, own: Address) -> Flow:
    """Return the packet of a drop log's check; ``own`` is the audited host's address."""
    assert check.family is not None
    peer, service = check.peer or ANYBODY[check.family], check.service or DISCARD
    return request(service, own, peer) if check.direction == "outbound" else request(service, peer, own)


def untried(inventory: Inventory, check: Check, *, exercise: bool) -> Untried | None:
    """Return why no packet can or may be sent for a drop log, if so."""
    assert isinstance(check.expectation, DropLog)
    if not check.expectation.exercise:
        return Untried.POLICY
    if not exercise:
        return Untried.OFF
    if check.vantage is None:
        return Untried.NO_VANTAGE
    unable = check.direction == "outbound" and inventory.hosts[check.host].access is Access.READ
    return Untried.TIER if unable else None


class _Dropping:
    """One drop log in one direction and family; ``run`` does the whole of it."""

    def __init__(self, field: Field, prober: Prober, check: Check, asked: FlowFacts) -> None:
        self.field, self.prober, self.check, self.asked = field, prober, check, asked
        vantage, _, _ = ends_of(field, check)
        outbound = check.direction == "outbound"
        self.ends = (check.host, vantage) if outbound else (vantage, check.host)
        self.seen: list[Observation] = []
        self.old: Counter[str] = Counter()
        self.lines_read = 0

    def run(self, found: LogFacts) -> LogFacts:
        """Send one packet, and more where a limit may have kept the line of the first; raises HostError."""
        if not found.rules:
            self._send(1)
            return self._told(found, None, ())
        self.old = Counter(line.text for line in self._log())
        before, begun = self._counters(), time.monotonic()
        found = self._try(found, before, 1)
        for _ in range(_ROUNDS if _worth_waiting(found) else 0):
            if found.line is not None or (found.counted[0] and not found.others):
                break  # here it is, or the rule logged packets and none of them came
            self.field.gate.pause(max(act.refill for act in found.rules), self.ends[0])
            found = self._try(found, before, _MORE)
        return replace(found, seconds=time.monotonic() - begun)

    def _try(self, found: LogFacts, before: _Counters, number: int) -> LogFacts:
        """Send packets, look for the line of any, and return what is known so far."""
        self._send(number)
        after = self._counters()  # before the wait: what is counted here has the time to leave its line
        line, new = self._look()
        return replace(self._told(found, line, new), counted=self._counted(found, before, after))

    def _send(self, number: int) -> None:
        """Send packets, each from its own source port, none of them twice."""
        known = len(self.seen)
        probes = [
            Probe(ref=f"{self.check.id} {known + n}", sender=self.ends[0], receiver=self.ends[1], flow=self.asked.flow)
            for n in range(number)
        ]
        for seen in self.prober.observe(probes, retries=0, extra=known > 0).values():
            if isinstance(seen, HostError):
                raise seen
            self.seen.append(seen)

    def _look(self) -> tuple[DropLine | None, list[DropLine]]:
        """Return the line of any packet that was sent, and all new lines, as soon as there is one or the wait ends."""
        flows = [replace(seen.probe.flow, iif=None, oif=None) for seen in self.seen]
        deadline = time.monotonic() + _LOG_WAIT
        while True:
            left, new = self.old.copy(), []
            for line in self._log():
                if left[line.text] > 0:
                    left[line.text] -= 1  # it was there before anything was sent, maybe of an earlier audit
                else:
                    new.append(line)
            mine = next((line for line in new if any(map(line.is_of, flows))), None)
            if mine is not None or time.monotonic() > deadline:
                return mine, new
            self.field.gate.pause(0.25)

    def _log(self) -> list[DropLine]:
        log_file = self.field.inventory.hosts[self.check.host].drop_log
        if log_file is None:
            raise HostError(self.check.host, "the inventory names no drop_log file", "add `drop_log: FILE` to the host")
        lines = list(parse_log(read_log(self.field, self.check.host, log_file)))
        self.lines_read = len(lines)
        return lines

    def _told(self, found: LogFacts, line: DropLine | None, new: Sequence[DropLine]) -> LogFacts:
        prefixes = [act.prefix.strip() for act in found.rules]
        flows = [seen.probe.flow for seen in self.seen]
        others = [each for each in new if any(map(each.prefix.endswith, prefixes)) and not any(map(each.is_of, flows))]
        return replace(
            found, line=line, lines_read=self.lines_read, sent=len(self.seen), others=len(others), met=self._met(),
            observed=observed_words(replace(self.asked, observation=self.seen[0])),
        )  # fmt: skip

    def _met(self) -> bool:
        """Whether a packet came to the host's tables, as far as anybody watched."""
        if self.check.direction == "outbound":
            return any(seen.state is not PortState.UNREACHABLE for seen in self.seen)
        return any(seen.arrived is not False for seen in self.seen)

    def _counters(self) -> _Counters:
        """Return the rules' counters; None where they cannot be read, which leaves the log itself."""
        assert self.check.family is not None
        try:
            return read_counters(self.field, self.check.host, (self.check.family,))
        except HostError:
            return None

    def _counted(self, found: LogFacts, before: _Counters, after: _Counters) -> tuple[int | None, int | None]:
        """Return how many packets the rules logged and how many the deciding rule dropped, by their counters."""
        if before is None or after is None:
            return None, None
        logged = [moved(before, after, act.rule) for act in found.rules]
        by = self.asked.ruling.by
        dropped = moved(before, after, by) if by is not None else None
        return None if None in logged else sum(number or 0 for number in logged), dropped


def _worth_waiting(found: LogFacts) -> bool:
    """Whether a limit may have kept a packet's line, and lets another through before long."""
    return any(act.buckets for act in found.rules) and max(act.refill for act in found.rules) <= PATIENCE


def log_argv(log_file: str) -> tuple[str, ...]:
    """Return what reads the newest lines of a drop log."""
    return ("/usr/bin/tail", "-n", LOG_LINES, "--", log_file)


def read_log(field: Field, host: str, log_file: str) -> str:
    """Return the newest lines of a host's drop log; raises HostError when they cannot be read."""
    capture = field.transports[host].run(log_argv(log_file), name="drop-log")
    if capture.status != 0:
        raise HostError(host, f"{log_file} cannot be read: {capture.stderr.strip()}",
                        "let the auditor's account read it, for instance through group adm")  # fmt: skip
    return redacted(capture.stdout)
