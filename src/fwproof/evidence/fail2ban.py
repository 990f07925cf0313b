r"""fail2ban as it runs: what a jail watches, and whom it bans.

Sources: ``fail2ban-client status JAIL`` prints a tree of ``|-`` and ``\`-`` lines, ``fail2ban-client banned`` a Python
literal. A jail that is listed may still watch nothing: a failregex without a host group ends the configuration
stream before the log files are added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fwproof.digits import digits
from fwproof.evidence.literal import literal


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
        failed=digits(total or "") or 0,
    )


def parse_banned(text: str) -> Mapping[str, tuple[str, ...]]:
    """Return whom each jail bans, as ``fail2ban-client banned`` tells it; empty for what is no such answer."""
    listed = literal(text)
    found: dict[str, tuple[str, ...]] = {}
    for each in listed if isinstance(listed, list) else ():
        for name, addresses in each.items() if isinstance(each, dict) else ():
            if isinstance(name, str) and isinstance(addresses, list):
                found[name] = tuple(str(address) for address in addresses)
    return found


def watched(log: str) -> Mapping[str, tuple[str, ...]] | None:
    """Return what each jail was given to watch since the newest start, by fail2ban's own log.

    None where the log does not go back to that start, or where jails were reloaded since, which it tells in part. The
    server sets up one jail after another, so that what a line does not name belongs to the jail before it
    (``server/filter.py``, ``server/filtersystemd.py``).
    """
    start = log.rfind("Starting Fail2ban")
    if start < 0 or re.search(r"Reload |reloaded|Removed logfile", log[start:]):
        return None
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in log[start:].splitlines():
        if made := re.search(r"Creating new jail '([^']+)'", line):
            current = found.setdefault(made[1], [])
        elif added := re.search(r"(?:Added logfile: '?|Added journal match for: ')([^']*?)'?(?: \(|$)", line):
            current.append(added[1])
    return {name: tuple(each) for name, each in found.items()}


def complaints(log: str, jail: str) -> tuple[str, ...]:
    """Return the errors and warnings of the newest server start in fail2ban's own log, for a jail.

    Lines that name another jail are left out; the last few are what explains a jail that watches nothing.
    """
    start = max(log.rfind("Starting Fail2ban"), 0)
    lines = [line for line in log[start:].splitlines() if re.search(r"\b(ERROR|WARNING|CRITICAL)\b", line)]
    return tuple(line for line in lines if "[" not in line.split("]", 1)[-1] or f"[{jail}]" in line)[-6:]
