"""``fwproof explain --why`` and ``fwproof explain CHECK-ID``: from the user's words to a question, and its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from fwproof.audit import reading
from fwproof.cli.tables import Given, live, read_tables
from fwproof.errors import CommandRefused, HostError, NotThere, UsageError
from fwproof.evidence.sockets import Socket, parse_sockets
from fwproof.explaining.changes import Asked, way_of
from fwproof.explaining.sentences import answer
from fwproof.flow import PROTOCOLS, Address, Family, Flow
from fwproof.flows import request
from fwproof.frontends.front_end import FrontEnd, front_end_of
from fwproof.hosts import replay
from fwproof.hosts.access import PLAIN_COMMANDS, ROOT_COMMANDS
from fwproof.inventory import Inventory
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.model import Service
from fwproof.policy.nearest import suggest
from fwproof.report.document import read_results
from fwproof.results import CheckResult, Results
from fwproof.run_record import HostRecord
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

_WORDS = re.compile(r"\s*(?P<src>\S+)\s*->\s*(?P<dst>\S+?)[\s:]\s*(?P<service>[a-z]+/[A-Za-z0-9-]+)\s*")
_EXPECTED = "expected 'SENDER -> TARGET:tcp/8080', ends being addresses or hosts of the inventory"
_FLOW = re.compile(r"(?P<proto>tcp|udp) (?P<src>\[[0-9a-f:.]+\]|[0-9.]+):(?P<sport>\d+) -> "
                   r"(?P<dst>\[[0-9a-f:.]+\]|[0-9.]+):(?P<dport>\d+)")  # fmt: skip
"""A packet as reports show it (:meth:`fwproof.flow.Flow.__str__`)."""


@dataclass(frozen=True, slots=True)
class Question:
    """Who reaches what: the ends as they were written, and the service."""

    src: str
    dst: str
    service: Service


@dataclass(frozen=True, slots=True)
class Looked:
    """What is known of a host: its tables, its front ends, and its sockets where they were read."""

    name: str
    model: HostModel
    front: FrontEnd
    sockets: tuple[Socket, ...] | None = None


def question(text: str) -> Question:
    """Return what was asked; raises UsageError."""
    from pydantic_core import PydanticCustomError

    from fwproof.policy.references import read_service

    found = _WORDS.fullmatch(text)
    if found is None:
        raise UsageError(f"--why {text!r}: {_EXPECTED}")
    try:
        return Question(found["src"], found["dst"], read_service(found["service"]))
    except PydanticCustomError as error:
        raise UsageError(f"--why {text!r}: {error.message()}") from error


def why(text: str, tables: Given) -> Iterator[str]:
    """Yield the answer to a question, in every family that it can be asked in."""
    asked = question(text)
    given = {key: value for key, value in tables.items() if value is not None}
    known = _inventory(given)
    given = _with_host(asked, given, known)
    looked: Looked | None = None
    for number, (src, dst) in enumerate(_ends(asked, given, known)):
        looked = looked or _look(given, {Family.of(each) for each in (src, dst)})
        yield from ["", "", f"In {Family.of(dst)}:"] if number else []
        yield from _answer(looked, request(asked.service, src, dst))


def _inventory(given: Mapping[str, Path | str]) -> Inventory | None:
    """Return the inventory that names are looked up in: the one that was given, or the usual one if it is there."""
    path = Path(given.get("inventory", reading.INVENTORY))
    return load_inventory(path) if "inventory" in given or path.is_file() else None


def _with_host(asked: Question, given: dict[str, Path | str], known: Inventory | None) -> dict[str, Path | str]:
    """Ask the host that is named, where no tables are: the target, else the sender."""
    if given.keys() - {"inventory"} or known is None:
        return given
    named = next((each for each in (asked.dst, asked.src) if each in known.hosts), None)
    return {**given, "host": named} if named else given


def _ends(asked: Question, given: Mapping[str, Path | str], known: Inventory | None) -> list[tuple[Address, Address]]:
    """Return the ends in each family that both have an address of; raises UsageError."""
    own: dict[str, tuple[Address, ...]] = {} if known is None else {n: h.addresses for n, h in known.hosts.items()}
    if "snapshot" in given:
        read = replay.load(Path(given["snapshot"]))
        own = {**own, **_of_snapshot(read, own)}
    sources, targets = (_addresses(text, own) for text in (asked.src, asked.dst))
    found: dict[Family, tuple[Address, Address]] = {}
    for src in sources:
        for dst in targets:
            if src.version == dst.version:
                found.setdefault(Family.of(dst), (src, dst))
    if not found:
        raise UsageError(f"{asked.src} and {asked.dst} have no address of the same family")
    return list(found.values())


def _of_snapshot(read: Snapshot, own: Mapping[str, tuple[Address, ...]]) -> dict[str, tuple[Address, ...]]:
    from fwproof.drafting.subject import audited_addresses

    if read.host in own:
        return {}
    return {read.host: tuple(audited_addresses(reading.model_from(read, ())).values())}


def _addresses(text: str, known: Mapping[str, tuple[Address, ...]]) -> tuple[Address, ...]:
    if text in known:
        return known[text]
    try:
        return (ip_address(text.removeprefix("[").removesuffix("]")),)
    except ValueError:
        near = suggest(text, known) or f"; hosts known here: {', '.join(known) or 'none'}"
        raise UsageError(f"--why: {text!r} is no address and no host{near}") from None


def _look(given: dict[str, Path | str], families: set[Family]) -> Looked:
    if "host" in given:
        name = str(given["host"])
        found = live([name], given.get("inventory"))[name]
        if isinstance(found, HostError):
            raise found
        return _of(found, families)
    if "snapshot" in given:
        return _of(replay.load(Path(given["snapshot"])), families)
    model, _ = read_tables(given, None, sorted(families))
    return Looked("the host", model, FrontEnd())


def _of(snapshot: Snapshot, families: Iterable[Family]) -> Looked:
    model = reading.model_from(snapshot, list(families))
    captured = next((snapshot.captures[n] for n in ("socket-owners", "sockets") if n in snapshot.captures), None)
    sockets = None if captured is None else parse_sockets(captured.stdout).listed
    return Looked(snapshot.host, model, front_end_of(snapshot, model.rulesets), sockets)


def _answer(looked: Looked, flow: Flow) -> Iterator[str]:
    model = looked.model
    own = model.addresses
    if own is not None and not own.is_local(flow.src):
        flow = replace(flow, iif=model.interface_for(flow.src))
    way = way_of(model, flow)
    yield from answer(
        Asked(model=model, front=looked.front, flow=flow, found=converse(model, flow), way=way), looked.sockets
    )


def why_of_check(check_id: str, run: Path) -> Iterator[str]:
    """Yield what a run found about a check, and why, from the tables that the run kept."""
    results = read_results(run)
    folder = run if run.is_dir() else run.parent
    check = _check(results, check_id)
    yield f"{check.id}: {check.verdict}: {check.reason}"
    yield f"expected: {check.expected} ({check.title}; {check.file}:{check.line})"
    for label in ("proved", "observed", "attributed", "fix"):
        if getattr(check, label):
            yield f"{label}: {getattr(check, label)}"
    flow = _flow(check)
    if flow is None:
        yield "This check is about no single packet, so there is no path to follow."
        return
    record = next((host for host in results.run.hosts if host.name == check.host), None)
    yield ""
    yield from _answer(_of(_kept(check.host, folder, record), [flow.family]), flow)


def _check(results: Results, check_id: str) -> CheckResult:
    """Return a check of a run, by its whole id or, where that is clear, by the part before the brackets."""
    wanted = check_id.rpartition("::")[2]
    found = [check for check in results.checks if check.id == wanted]
    found = found or [check for check in results.checks if check.id.partition("[")[0] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(check.id for check in found[:6]) + (" …" if len(found) > 6 else "")
        raise UsageError(f"{check_id}: several checks are called so: {some}")
    near = suggest(wanted, [check.id for check in results.checks])
    near = near or suggest(wanted.partition("[")[0], [check.id.partition("[")[0] for check in results.checks])
    raise UsageError(f"no check {check_id!r} in this run{near}")


def _flow(check: CheckResult) -> Flow | None:
    """Return the packet that a check's words are about; the one that was observed before the one of a proof."""
    for text in (check.observed, check.reason, check.proved, *check.evidence):
        found = _FLOW.search(text)
        if found:
            src, dst = (ip_address(found[end].strip("[]")) for end in ("src", "dst"))
            service = Service(found["proto"], int(found["dport"]), "")
            return replace(request(service, src, dst, int(found["sport"])), proto=PROTOCOLS[found["proto"]])
    return None


def _kept(host: str, folder: Path, record: HostRecord | None) -> Snapshot:
    """Return a host's snapshot from the evidence of a run; what is not there was not read, for the reason it told."""
    here = folder / "evidence" / host
    if not here.is_dir():
        raise UsageError(f"{here}: the run kept no evidence of the host, so its tables cannot be asked")
    texts = {path.stem: path.read_bytes().decode("utf-8", "surrogateescape") for path in sorted(here.glob("*.txt"))}
    captures = {
        name: Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="", seconds=0.0)
        for name, text in texts.items()
    }
    unread = {limit.partition(" was not read: ")[0]: limit for limit in (record.limits if record else ())}
    faults: dict[str, HostError] = {}
    for command in (*PLAIN_COMMANDS, *ROOT_COMMANDS):
        if command.name not in captures:
            told = unread.get(command.name, "")
            kind = NotThere if not told or "not there" in told or "not installed" in told else CommandRefused
            faults[command.name] = kind(host, told or f"{command.name} is not in the evidence")
    return Snapshot(host=host, captures=captures, faults=faults)
