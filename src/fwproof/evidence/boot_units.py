"""The order in which a host's boot loads rules and brings up its network, and the hand-made places that write rules.

Read from ``systemctl show`` where systemd runs, else from unit files with their drop-ins (systemd.unit(5)): lists of
dependencies only grow, and no empty assignment clears them, as one does commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

NETWORKS = ("networking", "systemd-networkd", "NetworkManager", "wicked", "dhcpcd")
"""Units that bring interfaces up."""
BEFORE_NETWORK = "network-pre.target"
"""What every unit that brings up interfaces comes after, and a firewall has to come before (systemd.special(7))."""
_LISTS = ("Before", "After", "Wants")
_ASSIGNED = re.compile(r"(Before|After|Wants|Requires|ExecStart)=(.*)")
_FILE_LINE = re.compile(r"(/[^:]*):([0-9]+):(.*)")
_EXEC = re.compile(r"argv\[\]=(.*?) ;")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A service as systemd would order it; ``runs`` are its commands, ``file`` where that stands."""

    name: str
    file: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A line that writes rules while the host boots: in a program or file of ``unit``, or in a place of its own."""

    file: str
    line: int
    text: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" + (f" (run by {self.unit})" if self.unit else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootUnits:
    """Units by name without ``.service``, the names that are enabled, and lines elsewhere; ``unread``: no leave."""

    units: Mapping[str, Unit] = field(default_factory=dict)
    enabled: tuple[str, ...] = ()
    lines: tuple[RuleLine, ...] = ()
    unread: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()


def parse_boot_units(text: str, shown: str | None = None) -> BootUnits:
    """Return what the collecting script printed; ``shown`` is what systemd itself says, which counts before files."""
    units: dict[str, Unit] = {}
    enabled: dict[str, None] = {}
    lines: list[RuleLine] = []
    unread: list[str] = []
    strange: list[str] = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        owner, _, place = rest.partition(" ") if word == "by" else ("", "", rest)
        found = _FILE_LINE.fullmatch(place)
        if word == "unit" and ": " in rest:
            _assign(units, *rest.split(": ", 1))
        elif word == "enabled":
            enabled[_name(rest)] = None
        elif place.startswith("unread "):
            unread.append(place.removeprefix("unread "))
        elif word == "unread":
            unread.append(rest)
        elif word in {"by", "line"} and found:
            lines.append(RuleLine(found[1], int(found[2]), found[3].strip(), _name(owner)))
        elif word != "masked":
            strange.append(line[:200])
    return BootUnits(
        units=units | (_shown(shown) if shown else {}), enabled=tuple(enabled), lines=tuple(lines),
        unread=tuple(unread), strange=tuple(strange),
    )  # fmt: skip


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".service")


def _assign(units: dict[str, Unit], file: str, text: str) -> None:
    folder = file.rsplit("/", 2)[-2]
    name = _name(folder.removesuffix(".d")) if file.endswith(".conf") else _name(file)
    unit = units.setdefault(name, Unit(name=name, file=file))
    found = _ASSIGNED.match(text.strip())
    if found is None:
        return
    key, value = "Wants" if found[1] == "Requires" else found[1], found[2].strip()
    if key == "ExecStart":
        units[name] = replace(unit, runs=(*unit.runs, value.lstrip("-@:+!")) if value else ())
        return
    known: tuple[str, ...] = getattr(unit, key.lower())
    units[name] = replace(unit, **{key.lower(): (*known, *value.split())})  # type: ignore[arg-type]  # the three lists alone


def _shown(text: str) -> dict[str, Unit]:
    found = {}
    for block in text.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        if values.get("LoadState") == "loaded":
            name = _name(values.get("Id", ""))
            runs = tuple(each.strip() for each in _EXEC.findall(values.get("ExecStart", "")))
            lists = {key.lower(): tuple(values.get(key, "").split()) for key in _LISTS}
            lists["wants"] += tuple(values.get("Requires", "").split())
            found[name] = Unit(name=name, file="systemctl show", runs=runs, **lists)
    return found


def comes_before(units: Mapping[str, Unit], first: str, then: str, most: int = 8) -> bool:
    """Whether the order says that ``first`` is done when ``then`` starts, directly or by way of other units.

    Names as in unit files (``nftables.service``, ``network-pre.target``).
    """
    known = {f"{name}.service": unit for name, unit in units.items()}
    reached = {first}
    for _ in range(most):
        later = {word for name in reached for word in _before(known, name)}
        later |= {name for name, unit in known.items() if not reached.isdisjoint(unit.after)}
        if then in later:
            return True
        if later <= reached:
            break
        reached |= later
    return False


def _before(known: Mapping[str, Unit], name: str) -> Iterable[str]:
    return known[name].before if name in known else ()
