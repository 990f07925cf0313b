"""Exercises: what is provoked on purpose, where a policy says so, and put back afterwards.

Bursts against a rate limit, wrong keys against fail2ban, a packet dropped for the log. Each returns facts for
judging; a HostError in place of facts says why it could not be done.
"""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING

from fwproof.audit.counting import moved, read_counters
from fwproof.decision import Decision
from fwproof.errors import HostError
from fwproof.evidence.droplog import DropLine, parse_log
from fwproof.facts import BurstFacts, Connected, FlowFacts, LogFacts, NeighbourFacts
from fwproof.flow import Address, Family, Flow
from fwproof.flows import request
from fwproof.judging.wire import observed_words
from fwproof.observation import PortState, Probe
from fwproof.plan import Check, burst_size
from fwproof.policy.model import Allow, DropLog
from fwproof.semantics.model import HostModel

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

_GAP = 0.01
"""Seconds between two packets of a burst: far below any rate that a policy would name."""
_LOG_WAIT = 2.5
"""Seconds in which a log line must appear; a log rule's own limit refills within one."""


def ends_of(field: Field, check: Check) -> tuple[str, Address, Address]:
    """Return the vantage's name, its address and the host's; HostError where the inventory has no vantage."""
    assert check.family is not None
    own = field.inventory.hosts[check.host].address(check.family)
    if check.vantage is None or check.peer is None or own is None:
        raise HostError(check.host, "no vantage of the inventory stands where this has to be tried from",
                        "add a host with `vantage: true` there")  # fmt: skip
    for name in (check.vantage, check.host):
        field.agent(name)  # raises what stood in its way
    return check.vantage, check.peer, own


def burst(field: Field, prober: Prober, check: Check, model: HostModel) -> BurstFacts:
    """Send a burst of new connections from one source and count how many the host's tables let in."""
    assert isinstance(check.expectation, Allow)
    assert check.expectation.rate is not None
    assert check.family is not None
    assert check.service is not None
    vantage, peer, own = ends_of(field, check)
    count, flow = burst_size(check.expectation.rate), request(check.service, peer, own)
    predicted = tuple(d is Decision.ACCEPT for d in model.simulate_burst(flow, count, _GAP))
    note = forget(field, check, flow)
    field.memory.note(own, peer, check.expectation.rate.per)
    before = read_counters(field, check.host, (check.family,))
    seen = prober.burst(vantage, check.host, flow, count, gap=_GAP)
    after = read_counters(field, check.host, (check.family,))
    forget(field, check, flow, sent=True)
    let_in = [o.confirmed or o.state in {PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST} for o in seen]
    arrived = sum(bool(o.arrived) for o in seen)
    refused = next((n for n, (o, good) in enumerate(zip(seen, let_in, strict=True), 1) if o.arrived and not good), None)
    rules = [rule for rule in before if (moved(before, after, rule) or 0) >= 1 and _about(rule.text, check)]
    return BurstFacts(
        sent=count, arrived=arrived, admitted=sum(map(bool, let_in)),
        answered=sum(o.state in {PortState.OPEN, PortState.CLOSED} for o in seen), first_refused=refused,
        predicted=predicted, limiter="; ".join(str(limiter.rule) for limiter in model.limiters(flow)),
        note=note or next((o.note for o in seen if not o.arrived), ""),
        counters=tuple(f"{rule} counted {moved(before, after, rule)}" for rule in rules),
    )  # fmt: skip


def _about(text: str, check: Check) -> bool:
    """Whether a rule names the service's port or keeps the list that limits it."""
    port = check.service.port if check.service else None
    return f"port {port} " in f"{text} " or "-m recent" in text or "limit" in text


def forget(field: Field, check: Check, flow: Flow, *, sent: bool = False) -> str:
    """Take the source off the host's xt_recent lists, so that what was sent before does not count; a note if not.

    The agent does so only for a source whose probes it saw; the first burst of a vantage may be that.
    """
    agent = field.agent(check.host)
    try:
        agent.call("forget", address=str(flow.src))
    except HostError as error:
        if not sent and "no probe of this run has arrived" in str(error):
            return ""
        return f"earlier connections could not be forgotten: {error.message}"
    return ""


def neighbour(field: Field, prober: Prober, check: Check) -> NeighbourFacts:
    """Ask from a vantage on the host's own link who has the host's address."""
    vantage, _, own = ends_of(field, check)
    assert isinstance(own, IPv6Address)
    seen = prober.neighbour(vantage, check.host, own)
    words = {PortState.OPEN: "was answered", PortState.SILENT: "arrived, and no advertisement left the host"}
    detail = f"a solicitation from {vantage} for {own} {words.get(seen.state, seen.state.value)}"
    return NeighbourFacts(answered=seen.state is PortState.OPEN, detail=f"{detail}. {seen.note}".strip(". "))


def loopback(field: Field, prober: Prober, check: Check) -> Connected | None:
    """Connect from the host to one of its own services over loopback; None where nothing listens there."""
    assert check.family is not None
    field.agent(check.host)
    snapshot = field.snapshots[check.host]
    if isinstance(snapshot, HostError):
        raise snapshot
    port = _listening(snapshot.text("sockets"), check.family)
    if port is None:
        return None
    address = ip_network("127.0.0.0/8").network_address + 1 if check.family is Family.IPV4 else IPv6Address("::1")
    made = prober.connect(check.host, address, port, timeout=2.0)
    return Connected(ok=made.ok, detail=f"tcp to [{address}]:{port} from the host itself: {made.result}")


def _listening(sockets: str, family: Family) -> int | None:
    """Return the lowest TCP port that ``ss -Hltun`` shows listening on loopback or on every address."""
    wild = {"0.0.0.0", "*", "127.0.0.1"} if family is Family.IPV4 else {"[::]", "*", "[::1]"}  # noqa: S104
    ports = []
    for line in sockets.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[0] == "tcp" and fields[1] == "LISTEN":
            address, _, port = fields[4].rpartition(":")
            if address.partition("%")[0] in wild and port.isdigit():
                ports.append(int(port))
    return min(ports, default=None)


def drop_log(field: Field, prober: Prober, check: Check, model: HostModel) -> LogFacts:
    """Send a packet that must be dropped, and look for its line in the host's drop log."""
    assert isinstance(check.expectation, DropLog)
    assert check.service is not None
    vantage, peer, own = ends_of(field, check)
    outbound = check.direction == "outbound"
    flow = request(check.service, own, peer) if outbound else request(check.service, peer, own)
    ruling, rules = model.evaluate(flow), model.logs(flow)
    ends = (check.host, vantage) if outbound else (vantage, check.host)
    probe = Probe(ref=check.id, sender=ends[0], receiver=ends[1], flow=flow)
    log_file = field.inventory.hosts[check.host].drop_log
    seen = prober.observe([probe], retries=0)[check.id]
    if isinstance(seen, HostError):
        raise seen
    line, lines = None, 0
    if rules:
        if log_file is None:
            raise HostError(check.host, "the inventory names no drop_log file", "add `drop_log: FILE` to the host")
        line, lines = _find_line(field, check.host, log_file, replace(seen.probe.flow, iif=None, oif=None))
    return LogFacts(
        refused=ruling.refused, decided=str(ruling.by or ruling.decision.value), rules=rules,
        observed=observed_words(FlowFacts(flow=flow, ruling=ruling, observation=seen)), line=line,
        log_file=log_file or "no log file", lines_read=lines,
    )  # fmt: skip


def _find_line(field: Field, host: str, log_file: str, flow: Flow) -> tuple[DropLine | None, int]:
    deadline = time.monotonic() + _LOG_WAIT
    while True:
        lines = list(parse_log(read_log(field, host, log_file)))
        found = next((line for line in reversed(lines) if line.is_of(flow)), None)
        if found is not None or time.monotonic() > deadline:
            return found, len(lines)
        time.sleep(0.25)


def read_log(field: Field, host: str, log_file: str) -> str:
    """Return the newest lines of a host's drop log; raises HostError when they cannot be read."""
    capture = field.transports[host].run(("/usr/bin/tail", "-n", "2000", "--", log_file), name="drop-log")
    if capture.status != 0:
        raise HostError(host, f"{log_file} cannot be read: {capture.stderr.strip()}",
                        "let the auditor's account read it, for instance through group adm")  # fmt: skip
    return capture.stdout
