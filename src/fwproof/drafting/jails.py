"""The jails of fail2ban as a policy says them: their numbers and choices, and the service that each protects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fwproof.errors import HostError
from fwproof.evidence.ban_action import ports_of
from fwproof.evidence.ban_state import bans_of
from fwproof.evidence.fail2ban import parse_jails
from fwproof.evidence.fail2ban_config import JailConfig
from fwproof.evidence.sockets import Sockets
from fwproof.judging.jails import configured
from fwproof.snapshot import Snapshot

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,58}")
"""Names that the check of a jail can have: ``bans-`` goes before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """A jail: ``entry`` as a policy has it, or ``why`` there is none; ``notes`` are what was seen of it."""

    name: str
    entry: Mapping[str, Any]
    notes: tuple[str, ...]
    why: str = ""


def jails_of(snapshot: Snapshot, sockets: Sockets) -> tuple[Jail, ...]:
    """Return the jails that run; empty where fail2ban does not run, or could not be asked."""
    capture = snapshot.captures.get("fail2ban-status")
    running = parse_jails(capture.stdout) if capture is not None else ()
    if not running:
        return ()
    try:
        known = configured(snapshot).jails
    except HostError as error:
        why = f"its configuration could not be read: {error.message}"
        return tuple(Jail(name=name, entry={}, notes=(), why=why) for name in running)
    return tuple(_jail(name, known.get(name), sockets, snapshot) for name in running)


def _jail(name: str, config: JailConfig | None, sockets: Sockets, snapshot: Snapshot) -> Jail:
    if config is None:
        return Jail(name=name, entry={}, notes=(), why="it runs, and the configuration has no such jail")
    notes = [*_notes(config)]
    if f"fail2ban-status-{name}" in snapshot.faults:
        notes.append(f"its state may be asked with the lines of `fwproof agent sudoers --jail {name}`")
    services = _services(config)
    listening = {(each.proto, each.port) for each in sockets.listed if not each.local}
    chosen = [each for each in services if each in listening] if len(services) > 1 else services
    if not chosen:
        notes.append(f"listens: {', '.join(f'{proto}/{port}' for proto, port in sorted(listening)) or 'nothing'}")
    whole = all(ban.everything for _, ban in bans_of(config))
    entry: dict[str, Any] = {"jail": name}
    if len(chosen) == 1:
        entry["service"] = f"{chosen[0][0]}/{chosen[0][1]}"
    entry |= {"maxretry": config.maxretry, "findtime": config.findtime, "bantime": config.bantime}
    entry |= {"blocks": "everything"} if whole else {}
    entry |= {"usedns": config.usedns} if config.usedns in {"yes", "warn", "no", "raw"} else {}
    entry |= {"increment": config.increment}
    return Jail(name=name, entry=entry, notes=tuple(notes), why="; ".join(_unsaid(name, config, chosen, services)))


def _unsaid(
    name: str, config: JailConfig, chosen: list[tuple[str, int]], services: list[tuple[str, int]]
) -> Iterator[str]:
    """Yield what a policy cannot say of a jail as it is."""
    if not _ID.fullmatch(name):
        yield "a policy names jails in small letters, digits and '-' only"
    if len(chosen) != 1:
        several = ", ".join(f"{proto}/{port}" for proto, port in services[:6])
        yield f"which service does it protect{f': {several}' if several else '? Its action names no port'}"
    for word, value in (("maxretry", config.maxretry), ("findtime", config.findtime), ("bantime", config.bantime)):
        if word == "bantime" and value == -1:
            yield "it bans for good (bantime -1), which a policy cannot say"
        elif value is None or value < 1:
            yield f"its {word} is not told"


def _services(config: JailConfig) -> list[tuple[str, int]]:
    """Return the ports that a jail is given, by the settings of its actions.

    The actions that ship with fail2ban have ``ssh`` where a jail gives none, and those for all ports never look at it.
    """
    every = all(ban.ports is None for _, ban in bans_of(config))
    found: dict[tuple[str, int], None] = {}
    for action in config.actions:
        ports = action.settings.get("port", "")
        if every and ports == "ssh" and "ssh" not in config.name:
            continue
        protocols = re.split(r"[\s,]+", action.settings.get("protocol", "tcp").strip().lower())
        for proto in protocols if set(protocols) <= {"tcp", "udp"} else ["tcp"]:
            found |= dict.fromkeys((proto, port) for port in ports_of(ports))
    return list(found)


def _notes(config: JailConfig) -> Iterator[str]:
    logs = " ".join([*config.log_paths, *config.journal]) or "nothing"
    yield f"watches {logs}; {len(config.failregexes)} failregexes; backend {config.backend}"
    for family, ban in bans_of(config):
        yield f"bans in {family} by {ban.action}: {ban.fault or ban} ({ban.place})"
    if config.ignored or config.ignore_command:
        yield f"never banned: {' '.join([*config.ignored, config.ignore_command]).strip()}"
