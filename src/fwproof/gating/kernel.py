"""The kernel twin: the candidate in a real kernel, asked with real packets what an audit asks of a host."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fwproof.audit.asking import Asking
from fwproof.audit.modelling import model_of
from fwproof.errors import Fault, HostError
from fwproof.facts import Facts
from fwproof.gating.candidate import Candidate, shape_of
from fwproof.gating.loading import listed, load
from fwproof.gating.twin_field import TwinField
from fwproof.hosts.collect import recapture
from fwproof.inventory import Inventory
from fwproof.lab.twin import Twin
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.probing.local import ProcessChannel
from fwproof.semantics.diff import compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import SpaceTooLarge

WIRE = frozenset({
    Kind.INBOUND, Kind.OUTBOUND, Kind.EVASION, Kind.RATE, Kind.MEASURE, Kind.CONNECTIONS, Kind.LOOPBACK,
    Kind.ESTABLISHED, Kind.NEIGHBOUR, Kind.COVERAGE, Kind.FORWARD,
})  # fmt: skip
"""Checks that packets of the twin answer; so do samples of a default."""
_CAPTURES = (
    "uname", "ip-addr", "ip-route", "ip6-route", "ip-rule", "ip6-rule", "sysctl", "sockets", "iptables-save",
    "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft", "ipset-save",
)  # fmt: skip
_SERVE = """
import select, socket, sys
socks = []
for word in sys.argv[1:]:
    kind, port = word.split("/")
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", int(port)))
    if kind == "tcp": sock.listen(128)
    socks.append(sock)
print("ready", flush=True)
while True:
    for sock in select.select([*socks, sys.stdin], [], [])[0]:
        if sock is sys.stdin: sys.exit(0)
        try:
            if sock.type == socket.SOCK_STREAM: sock.accept()[0].close()
            else: sock.sendto(b"fwproof", sock.recvfrom(4096)[1])
        except OSError: pass
"""
"""Listens on ports for as long as its standard input stays open, and answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twinned:
    """What the kernel said: what it would not take, where it reads tables otherwise, and the facts of its packets.

    ``facts`` is None where nothing was sent. ``absent`` are hosts that have no place in the twin, ``gaps`` says what of
    the tables could not be compared.
    """

    refused: tuple[Fault, ...] = ()
    otherwise: tuple[str, ...] = ()
    facts: Facts | None = None
    absent: tuple[str, ...] = ()
    evidence: dict[str, bytes] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()


def on_the_wire(check: Check) -> bool:
    """Whether packets in a twin have a part in a check's answer."""
    sample = check.vantage is not None and check.kind.value.endswith("-default")
    return check.kind in WIRE or sample


def placed(check: Check, here: Collection[str]) -> bool:
    """Whether those who send and receive for a check have a place in the twin."""
    return (check.vantage is None or check.vantage in here) and (not check.to or check.to in here)


def twinned(
    candidate: Candidate, policy: Policy, inventory: Inventory, checks: Sequence[Check], progress: Callable[[str], None]
) -> Twinned:
    """Load a candidate into a twin of the host of ``checks`` and send what they ask; raises LabError.

    ``inventory`` is that of the twin (:func:`~fwproof.gating.twin_field.as_twins`).
    """
    name = policy.hosts[0]
    host, others = inventory.hosts[name], [h for h in inventory.hosts.values() if h.name != name]
    shape, absent = shape_of(candidate.model, host, others)
    with Twin(shape) as twin:
        progress(f"loading the candidate into a kernel of its own, with {len(shape.others)} hosts around it")
        refused = load(twin, candidate)
        if refused:
            return Twinned(refused=refused, absent=absent)
        texts = listed(twin)
        differs, gaps = otherwise(candidate, texts)
        facts = _asked(twin, policy, inventory, checks, progress)
        evidence = {
            f"evidence/{name}/kernel-{key}.txt": text.encode("utf-8", "surrogateescape") for key, text in texts.items()
        }
        return Twinned(
            otherwise=tuple(differs), facts=facts, absent=absent, evidence=evidence, gaps=tuple(gaps)
        )  # fmt: skip


def otherwise(candidate: Candidate, texts: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return where the tables that the kernel lists mean something else than the candidate, and what was not compared.

    The candidate is taken as it was read.
    """
    found, gaps = list[str](), list[str]()
    model = candidate.model
    if any("legacy" in key for key in (*candidate.texts, *candidate.under)):
        return found, ["whether the kernel lists the tables as they were read: those of iptables-legacy are not listed"]
    kernel = HostModel.build(**texts)  # type: ignore[arg-type]
    kernel = replace(kernel, addresses=model.addresses, routes=model.routes, settings=model.settings, sets=model.sets)
    for family in candidate.given:
        try:
            compared = compare(model, kernel, family, most=3)
        except SpaceTooLarge as limit:
            gaps.append(f"{family}: whether the kernel lists the tables as they were read: {limit}")
            continue
        gaps += [f"{family}: whether the kernel lists the tables as they were read: {why}" for why in compared.blind]
        for change in compared.changes:
            rule = change.after[1] or change.before[1]
            found.append(
                f"{family} {change.hook}: {change.witness}: as read {change.before[0]}, as the kernel lists it"
                f" {change.after[0]}" + (f" by {rule}" if rule else "")
            )
    return found, gaps


def _asked(
    twin: Twin, policy: Policy, inventory: Inventory, checks: Sequence[Check], progress: Callable[[str], None]
) -> Facts:
    name = twin.shape.name
    here = {name, *twin.shape.others}
    with tempfile.TemporaryDirectory(prefix="fwproof-gate-") as scratch, serving(twin, policy, checks):
        hosts = {key: each for key, each in inventory.hosts.items() if key in here}
        field_ = TwinField(replace(inventory, hosts=hosts), twin, Path(scratch))
        wanted = [c for c in checks if on_the_wire(c) and placed(c, here)]
        far = {c.vantage for c in wanted if c.vantage} | {v.name for v in field_.inventory.vantages}
        try:
            field_.enter([name, *sorted(far - {name})])
            snapshot = recapture(field_.transports[name], _CAPTURES)
            field_.snapshots[name] = snapshot
            model = model_of(snapshot, {c.family for c in wanted if c.family})
            agents = {key: agent if isinstance(agent, HostError) else None for key, agent in field_.agents.items()}
            facts = Facts(inventory=field_.inventory, snapshots={name: snapshot}, models={name: model}, agents=agents)
            if isinstance(model, HostError):
                return facts
            with field_.prober as prober:
                flows, exercised = Asking(field_, facts, wanted, prober, progress, exercise=True).all()
            return replace(facts, flows=flows, exercised=exercised)
        finally:
            field_.close()


@contextmanager
def serving(twin: Twin, policy: Policy, checks: Sequence[Check]) -> Iterator[None]:
    """Listen on the twin's host for what the policy lets in, and on the others for what it lets out.

    Else an open port would answer by a reset, which a rule may send as well.
    """
    wanted = {twin.shape.name: {str(a.service) for a in policy.inbound if a.service.port is not None}}
    for check in checks:
        far, service = check.vantage or "", check.service
        if check.direction == "outbound" and far in twin.shape.others and service is not None and service.port:
            wanted.setdefault(far, set()).add(str(service))
    for passing in policy.forward:
        for end, (_, addresses) in twin.shape.others.items():
            if passing.service.port is not None and any(address in passing.to for address in addresses):
                wanted.setdefault(end, set()).add(str(passing.service))
    open_: list[ProcessChannel] = []
    try:
        for host, services in wanted.items():
            if services:
                words = ("/usr/bin/python3", "-IS", "-c", _SERVE, *sorted(services))
                channel = ProcessChannel(host, twin.argv(host, words))
                open_.append(channel)
                channel.readline(10.0)
        yield
    finally:
        for channel in open_:
            channel.close()
