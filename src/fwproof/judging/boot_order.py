"""Judging the order of a boot: rules are there before the first packet can be, and loaders do not undo one another.

A firewall comes before ``network-pre.target``, wants it, and everything that brings up interfaces comes after it
(systemd.special(7)). Where that does not hold there is a window in which the kernel decides by empty tables: it lets in
everything to whatever listens by then, and forwards where forwarding is on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fwproof.errors import HostError
from fwproof.evidence.boot_units import BEFORE_NETWORK, NETWORKS, BootUnits, RuleLine, Unit, comes_before
from fwproof.evidence.sockets import parse_sockets
from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.frontends.boot_tables import conflicts, loaders_of, units_of
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict
from fwproof.semantics.routing import Router
from fwproof.snapshot import Snapshot

_SHOWN = 8
_BEFORE_LINKS = ("/etc/network/if-pre-up.d/", "/etc/NetworkManager/dispatcher.d/pre-up.d/")
_NO_LOADERS = ("/etc/ufw/", "/usr/share/netfilter-persistent/")
"""Parts of loaders that have units of their own."""
_NOTHING = "nothing that is enabled loads rules: after a boot the tables stay empty"


@dataclass(slots=True)
class _Order:
    late: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    timely: list[str] = field(default_factory=list)


def judge_boot_order(check: Check, facts: Facts) -> Outcome:
    """Judge one host: who loads rules at boot, when, and what is open until then. Raises HostError."""
    snapshot = facts.snapshot(check.host)
    units, names = units_of(snapshot), [loader.name for loader in loaders_of(snapshot)]
    order = _order(units, names)
    clashes = list(conflicts(snapshot))
    nothing = not (order.late or order.unknown or order.timely)
    problems = [*clashes, *order.late.values(), *([_NOTHING] if nothing else [])]
    window = _window(snapshot, facts, check.host) if order.late or nothing else ""
    gaps = [*order.unknown, *(f"{path} is run at boot and cannot be read" for path in units.unread if nothing)]
    if nothing and gaps:
        problems = clashes
    verdict = Verdict.FAIL if problems else Verdict.INCONCLUSIVE if gaps else Verdict.PASS
    cause = "loaders overwrite one another" if clashes else "nothing survives a reboot" if nothing else (
        "the network is up before the rules are")  # fmt: skip
    return Outcome(
        verdict=verdict, reason="; ".join([*(problems or gaps or order.timely), *([window] if problems else [])]),
        cause={Verdict.FAIL: cause, Verdict.INCONCLUSIVE: "the order is not known"}.get(verdict, ""),
        fix=_fix(order, clashes, nothing=nothing) if problems else "",
        observed=f"enabled at boot: {', '.join(dict.fromkeys((*names, *order.late))) or 'no rule loader'}",
        attributed="; ".join(f"{name}: {units.units[name].file}" for name in names if name in units.units),
        evidence=(*problems, *gaps, *order.timely, *([window] if window else [])),
    )  # fmt: skip


def _order(units: BootUnits, names: list[str]) -> _Order:
    order = _Order()
    for name in dict.fromkeys((*names, *(line.unit for line in units.lines if line.unit))):
        _place(order, units, name)
    for line in units.lines:
        if not line.unit and not line.file.startswith(_NO_LOADERS):
            _place_of_line(order, line)
    return order


def _place(order: _Order, units: BootUnits, name: str) -> None:
    unit = f"{name}.service"
    if name not in units.units:
        order.unknown.append(f"{name} has no unit of systemd, so when it loads its rules is not known")
        return
    networks = [each for each in NETWORKS if each in units.enabled]
    aimed = comes_before(units.units, unit, BEFORE_NETWORK)
    started = {*units.enabled, name}
    wanted = any(BEFORE_NETWORK in one.wants for each, one in units.units.items() if each in started)
    known = units.units if wanted else {each: _without_target(one) for each, one in units.units.items()}
    free = [each for each in networks if not comes_before(known, unit, f"{each}.service")]
    if not free and (networks or (aimed and wanted)):
        order.timely.append(f"{unit} loads its rules before {', '.join(networks) or BEFORE_NETWORK}")
    elif aimed and not wanted:
        order.late[name] = f"{unit} comes before {BEFORE_NETWORK}, but nothing wants that target, so it orders nothing"
    elif aimed:
        order.late[name] = f"{', '.join(free)} brings up interfaces and does not wait for {unit}"
    else:
        after = [word for word in units.units[name].after if word.startswith("network")]
        order.late[name] = f"{unit} does not come before {BEFORE_NETWORK}" + (
            f" but after {', '.join(after)}" if after else ""
        )


def _without_target(unit: Unit) -> Unit:
    """Return a unit without its place around a target that nothing wants, which is in no boot."""
    before, after = ([word for word in words if word != BEFORE_NETWORK] for words in (unit.before, unit.after))
    return replace(unit, before=tuple(before), after=tuple(after))


def _place_of_line(order: _Order, line: RuleLine) -> None:
    early = line.file.startswith(_BEFORE_LINKS) or line.text.startswith("pre-up ")
    if early:
        order.timely.append(f"{line.file} loads its rules before its interface comes up")
    else:
        order.late.setdefault(line.file, f"{line.file} writes rules once the network is up (line {line.line})")


def _window(snapshot: Snapshot, facts: Facts, host: str) -> str:
    """Return what is open while the tables are empty, in words."""
    listed = snapshot.captures.get("socket-owners") or snapshot.captures.get("sockets")
    if listed is None or listed.status:
        return "until then everything that listens is open to everybody; what listens was not read"
    sockets = [each for each in parse_sockets(listed.stdout).listed if not each.local]
    names = list(dict.fromkeys(f"{each.service}" + (f" ({each.process})" if each.process else "") for each in sockets))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    open_ = f"is open to everybody as soon as it listens: {', '.join(names[:_SHOWN])}{more}" if names else (
        "would be open to everybody that listens; nothing does now")  # fmt: skip
    forwards = " and ".join(_forwarding(facts, host))
    return f"until then {open_}" + (f"; and {forwards} is forwarded without a rule" if forwards else "")


def _forwarding(facts: Facts, host: str) -> Iterator[str]:
    try:
        settings = facts.model(host).settings
    except HostError:
        return
    yield from (family.display for family in Family if Router(family=family, settings=settings).forwards())


def _fix(order: _Order, clashes: list[str], *, nothing: bool) -> str:
    steps = ["keep one of them enabled, and `systemctl disable` the other"] if clashes else []
    steps += [
        f"put what {name} does where it comes before the network, such as /etc/nftables.conf" if name.startswith("/")
        else f"`systemctl edit --full {name}.service`: DefaultDependencies=no, Before={BEFORE_NETWORK},"
        f" Wants={BEFORE_NETWORK}, and no After= of the network"
        for name in order.late
    ]  # fmt: skip
    if nothing:
        steps.append("enable what loads the rules, such as `systemctl enable nftables` or netfilter-persistent")
    return "; ".join(steps)
