r"""fail2ban as it is configured and as it runs: what a jail watches, what it counts, whom it bans.

Sources: ``fail2ban-client -d`` prints the start-up commands as Python literals, one a line (fail2ban
``client/configparserinc.py`` and ``jailreader.py``); ``fail2ban-client status JAIL`` prints a tree of
``|-`` and ``\`-`` lines. A jail that is listed may still watch nothing: a failregex without a host group
ends the configuration stream before the log files are added.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_HOST_GROUP = re.compile(
    r"<(?:HOST|ADDR|SUBNET|CIDR|DNS|IP4|IP6|ip4|ip6|F-ID|F-MLFID)[/>]"
    r"|\(\?P<(?:host|ip4|ip6|dns|addr|subnet|cidr|fid|mlfid|ip_host|ip_dns)>"
)
"""What makes fail2ban able to tell whom a line is about (``server/failregex.py``, ``_resolveHostTag``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JailConfig:
    """What the configuration files say of one jail; a number that is not set is None. Times in seconds."""

    name: str
    failregexes: tuple[str, ...] = ()
    log_paths: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    maxretry: int | None = None
    findtime: int | None = None
    bantime: int | None = None

    @property
    def without_host(self) -> tuple[tuple[int, str], ...]:
        """The failregexes, counted from 1, that name no host: fail2ban refuses them, and all that follows."""
        return tuple((n, regex) for n, regex in enumerate(self.failregexes, 1) if not _HOST_GROUP.search(regex))


@dataclass(frozen=True, slots=True, kw_only=True)
class JailStatus:
    """What the running server says of one jail."""

    name: str
    files: tuple[str, ...]
    journal: str
    banned: tuple[str, ...]
    failed: int

    @property
    def watches_something(self) -> bool:
        """Whether the jail has any log to read."""
        return bool(self.files or self.journal)


def _seconds(value: object) -> int | None:
    """Return a time of the configuration in seconds; fail2ban's ``10m`` style is resolved by the client."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    if isinstance(value, int):
        return value
    found = re.fullmatch(r"(-?\d+)\s*([smhdw]?)", str(value).strip())
    return int(found[1]) * units[found[2] or "s"] if found else None


def parse_dump(text: str) -> dict[str, JailConfig]:
    """Return every enabled jail of ``fail2ban-client -d``.

    Lines that are no Python list (warnings, say) are passed over; a jail appears as soon as it is added.
    """
    jails: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        try:
            command = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(command, list):
            _take([*command], jails)
    return {name: _config(name, seen) for name, seen in jails.items()}


def _take(command: list[object], jails: dict[str, dict[str, list[str]]]) -> None:
    match command:
        case ["add", str(name), *_]:
            jails.setdefault(name, {})
        case ["set" | "multi-set", str(name), str(key), *values] if name in jails:
            flat = values[0] if command[0] == "multi-set" and values and isinstance(values[0], list) else values[:1]
            jails[name].setdefault(key, []).extend(str(v) for v in flat)
        case _:
            return


def _config(name: str, seen: dict[str, list[str]]) -> JailConfig:
    def last(key: str) -> int | None:
        return _seconds(seen[key][-1]) if seen.get(key) else None

    return JailConfig(
        name=name,
        failregexes=tuple(seen.get("addfailregex", ())),
        log_paths=tuple(seen.get("addlogpath", ())),
        actions=tuple(seen.get("addaction", ())),
        maxretry=last("maxretry"),
        findtime=last("findtime"),
        bantime=last("bantime"),
    )


def parse_jails(text: str) -> tuple[str, ...]:
    """Return the jails that ``fail2ban-client status`` lists."""
    found = re.search(r"Jail list:\s*(.*)", text)
    return tuple(name.strip() for name in found[1].split(",") if name.strip()) if found else ()


def parse_status(name: str, text: str) -> JailStatus | None:
    """Return what ``fail2ban-client status NAME`` says, None when this is not such an answer."""

    def field(label: str) -> str | None:
        found = re.search(rf"{label}:[ \t]*(.*)", text)
        return found[1].strip() if found else None

    total, files = field("Currently failed"), field("File list")
    if total is None and files is None:
        return None
    return JailStatus(
        name=name,
        files=tuple((files or "").split()),
        journal=field("Journal matches") or "",
        banned=tuple((field("Banned IP list") or "").split()),
        failed=int(total) if total and total.isdigit() else 0,
    )


def complaints(log: str, jail: str) -> tuple[str, ...]:
    """Return the errors and warnings of the newest server start in fail2ban's own log, for a jail.

    Lines that name another jail are left out; the last few are what explains a jail that watches nothing.
    """
    start = max(log.rfind("Starting Fail2ban"), 0)
    lines = [line for line in log[start:].splitlines() if re.search(r"\b(ERROR|WARNING|CRITICAL)\b", line)]
    return tuple(line for line in lines if "[" not in line.split("]", 1)[-1] or f"[{jail}]" in line)[-6:]
