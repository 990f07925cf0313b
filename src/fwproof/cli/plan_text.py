"""What an audit would do, in words and as JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from fwproof.audit.allowed import recorded
from fwproof.audit.estimate import Target
from fwproof.audit.planned import PHASES, Packet, Planned, Visit
from fwproof.cli.tables import packet_json
from fwproof.flow import protocol_name
from fwproof.inventory import Authorisation, Host
from fwproof.probing.gate import usable

SCHEMA = "fwproof-plan-1"
UNDONE = (
    "connections that are kept open, and half-open ones, are reset",
    "a ban that was provoked is lifted, by the host's agent where the auditor is gone",
    "sources of bursts are taken off xt_recent's lists, where the kernel lets root do so",
    "agents end with their connection, within a second, and leave no file behind",
)
"""What is taken back, whatever ends an audit."""
BOUNDS = (
    "a packet that does not arrive is sent again, at most twice, from another port; one whose answer is lost, once",
    "a reset that may be the kernel's or a rule's is asked for once more",
    "where nothing arrives from a vantage, three control packets are sent to the host",
    "while a ban is awaited, its effect is probed 5 times a second, for 8 s at most",
    "a limit is measured by the tables' own numbers where they have one: at most 2,500 packets",
    "a SYN that is answered is followed by a reset, which the sender's kernel sends or else its agent",
    "connections are made only where a probe found the way open",
    "each audited host is logged in to again while packets are sent, every 2 s at most, unless its tables limit it",
    "an earlier audit's burst may have to be waited for first, as long as its limit counts it",
)
"""What the counts leave out, with its bound."""
_SHOWN = 8
_CUT = 110
"""Columns of a command."""
_TOLD = 0.5
"""Seconds from which on it is told that probes are held back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What ``fwproof plan`` says; ``seconds`` at least and at most."""

    inventory: str
    policies: tuple[str, ...]
    checks: int
    authorisation: Authorisation | None
    plan: Planned
    targets: tuple[Target, ...]
    seconds: tuple[float, float]


# ---- JSON


def document(answer: Answer) -> dict[str, Any]:
    """Return the answer as the contract :data:`SCHEMA` has it."""
    given = recorded(answer.authorisation)
    plan = answer.plan
    return {
        "schema": SCHEMA, "inventory": answer.inventory, "policies": list(answer.policies), "checks": answer.checks,
        "authorisation": asdict(given) if given else None,
        "hosts": [_visit(visit) for visit in plan.visits], "sends": [_packet(packet) for packet in plan.packets],
        "bounds": [asdict(bound) for bound in plan.bounds],
        "left_out": [{"check": check, "why": why} for check, why in plan.left_out],
        "targets": [
            {"host": t.host.name, "packets": t.frames, "connections": t.connections, "busiest_second": t.busiest,
             "max_pps": t.host.max_pps, "held_back_seconds": round(t.held, 1), "refused": list(t.refused)}
            for t in answer.targets
        ],
        "totals": {
            "logins": len(plan.visits), "commands": sum(len(each.commands) + len(each.agent) for each in plan.visits),
            "packets": sum(packet.frames for packet in plan.packets),
            "connections": sum(packet.connections for packet in plan.packets),
        },
        "seconds": {"least": round(answer.seconds[0], 1), "most": round(answer.seconds[1], 1)},
        "beyond": list(BOUNDS), "undone": list(UNDONE),
    }  # fmt: skip


def _visit(visit: Visit) -> dict[str, Any]:
    host = visit.host
    commands = [{"name": c.name, "argv": list(c.argv(host.ssh.user))} for c in visit.commands]
    return {
        "name": host.name, "address": host.ssh.address, "port": host.ssh.port, "user": host.ssh.user,
        "access": host.access.value, "audited": visit.audited, "commands": commands,
        "agent": [list(argv) for argv in visit.agent], "during": [list(argv) for argv in visit.during],
    }  # fmt: skip


def _packet(packet: Packet) -> dict[str, Any]:
    return {
        "phase": packet.phase, "check": packet.check, "from": packet.sender, "to": packet.receiver,
        "packet": packet_json(packet.flow) if packet.flow else None, "form": packet.form, "packets": packet.frames,
        "connections": packet.connections, "seconds": round(packet.seconds, 3),
    }  # fmt: skip


# ---- text


def text(answer: Answer) -> Iterator[str]:
    """Yield the answer as lines for people."""
    plan, total = answer.plan, document(answer)["totals"]
    counts = [
        _count(total[f"{what}s".replace("-", "")], what) for what in ("log-in", "command", "packet", "connection")
    ]
    least, most = answer.seconds
    yield f"{_count(answer.checks, 'check')}: {', '.join(counts)}, in about {least:.0f} s, at most {most:.0f} s"
    yield f"authorised: {_authorised(answer.authorisation)}"
    yield ""
    yield from _table(
        ("log in to", "at", "as", "access", "commands", "agent"),
        [(v.host.name, _place(v.host), v.host.ssh.user, v.host.access.value, len(v.commands) or "-", _program(v))
         for v in plan.visits],
    )  # fmt: skip
    yield ""
    yield from _commands(plan.visits)
    for phase in PHASES:
        yield from _phase(phase, [packet for packet in plan.packets if packet.phase == phase])
    yield from _table(
        ("in all to", "packets", "connections", "busiest second", "cap a second"),
        [(t.host.name, t.frames, t.connections, t.busiest, t.host.max_pps) for t in answer.targets],
    )
    yield from (line for target in answer.targets for line in _capped(target))
    yield ""
    kinds = Counter[tuple[str, str]]()
    for bound in plan.bounds:
        kinds[bound.kind, bound.what] += bound.packets
    depends = [f"{kind}: {what}, at most {most:,} packets" for (kind, what), most in kinds.items()]
    for title, lines in (
        ("what live tables and earlier answers decide", depends),
        ("beyond these counts", BOUNDS),
        ("taken back, whatever ends it", UNDONE),
    ):
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)
    for why, count in Counter(why for _, why in plan.left_out).items():
        yield f"nothing is sent for {count} checks: {why}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _place(host: Host) -> str:
    address = host.ssh.address
    return f"[{address}]:{host.ssh.port}" if ":" in address else f"{address}:{host.ssh.port}"


def _program(visit: Visit) -> str:
    """Return what an agent is started by, without its path; the whole command is listed with the others."""
    words = visit.agent[-1] if visit.agent else ()
    names = (word.rpartition("/")[2] for word in words if word.startswith("/"))
    return next((name for name in names if name != "sudo"), "-")


def _first_line(command: str) -> str:
    """Return the beginning of a command, and whether that is all of it."""
    first = command.splitlines()[0][:_CUT]
    return first if first == command else f"{first} …"


def _capped(target: Target) -> Iterator[str]:
    """Yield what a host's cap does to what is planned."""
    name, most = target.host.name, usable(target.host)
    if target.held >= _TOLD:
        yield f"probes to {name} are held back to {most:,} a second by its max_pps: about {target.held:.0f} s more"
    if target.refused:
        checks = [check.partition("[")[0] for check in target.refused]
        yield f"{len(checks)} bursts need more than the {most:,} packets a second that {name} may get by its max_pps:"
        yield f"  {', '.join(dict.fromkeys(checks))}: not sent, and errors; raise max_pps, if the host bears it"


def _authorised(given: Authorisation | None) -> str:
    if given is None:
        return "the inventory gives no authorisation"
    known = recorded(given)
    assert known is not None
    parts = [f"by {known.by}", known.reference, f"hosts {', '.join(known.hosts)}"]
    parts += [f"from {known.opens}" if known.opens else "", f"to {known.closes}" if known.closes else ""]
    parts += ["that is over: nothing would be sent" if given.closes and given.closes <= datetime.now(UTC) else ""]
    return "; ".join(filter(None, parts))


def _commands(visits: Sequence[Visit]) -> Iterator[str]:
    """Yield every command once, with the hosts that it is run on."""
    for title, lines in (
        ("read on", [(shlex.join(c.argv(v.host.ssh.user)), v.host.name) for v in visits for c in v.commands]),
        ("to start agents on", [(shlex.join(argv), v.host.name) for v in visits for argv in v.agent]),
        ("while packets are sent, on", [(shlex.join(argv), v.host.name) for v in visits for argv in v.during]),
    ):
        found: dict[str, list[str]] = {}
        for command, name in lines:
            found.setdefault(command, []).append(name)
        groups: dict[tuple[str, ...], list[str]] = {}
        for command, names in found.items():
            groups.setdefault(tuple(names), []).append(command)
        for where, commands in groups.items():
            yield f"{title} {', '.join(where)}:"
            yield from (f"  {_first_line(command)}" for command in commands)
    yield ""


def _phase(phase: str, packets: Sequence[Packet]) -> Iterator[str]:
    rows: dict[tuple[str, str, str], list[Packet]] = {}
    for packet in packets:
        family = packet.flow.family.value if packet.flow else "ipv6" if packet.frames else ""
        rows.setdefault((packet.sender, packet.receiver, family), []).append(packet)
    if not rows:
        return
    yield from _table(
        (phase, "to", "family", "packets", "connections", "what"),
        [(*ends, sum(p.frames for p in mine), sum(p.connections for p in mine), _what(mine))
         for ends, mine in rows.items()],
    )  # fmt: skip
    yield ""


def _what(packets: Iterable[Packet]) -> str:
    words = list(dict.fromkeys(_words(packet) for packet in packets))
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def _words(packet: Packet) -> str:
    flow = packet.flow
    if flow is None:
        return packet.form
    number = flow.dport if flow.dport is not None else flow.icmp_type
    return f"{protocol_name(flow.proto)}{'' if number is None else f'/{number}'}" + (
        f" {packet.form}" if packet.form else ""
    )


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    numbers = {column for row in rows for column, cell in enumerate(row) if isinstance(cell, int)}
    for row in cells:
        shown = [c.rjust(w) if n in numbers else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(shown).rstrip()
