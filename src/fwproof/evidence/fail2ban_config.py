r"""What fail2ban's configuration says: its jails, what each bans with, and where bans are kept.

Source: ``fail2ban-client -d`` prints the start-up commands as Python literals, one a line (fail2ban
``client/configparserinc.py`` and ``jailreader.py``); jail.conf(5). A setting that is not printed has the default of
the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fwproof.evidence.literal import literal

_HOST_GROUP = re.compile(
    r"<(?:HOST|ADDR|SUBNET|CIDR|DNS|IP4|IP6|ip4|ip6|F-ID|F-MLFID)[/>]"
    r"|\(\?P<(?:host|ip4|ip6|dns|addr|subnet|cidr|fid|mlfid|ip_host|ip_dns)>"
)
"""What makes fail2ban able to tell whom a line is about (``server/failregex.py``, ``_resolveHostTag``)."""
_UNITS = (
    (r"y(?:ears?|y)?", 31557600), (r"mo(?:nths?|n)?", 2629800), (r"w(?:eeks?|w)?", 604800), (r"d(?:ays?|d)?", 86400),
    (r"h(?:ours?|h)?", 3600), (r"m(?:in(?:utes?|s)?|m)?", 60), (r"s(?:ec(?:onds?|s)?|s)?|", 1),
)  # fmt: skip
"""The units of a time (``server/mytime.py``, ``str2seconds``)."""
NOWHERE = frozenset({"none", ":memory:"})
"""Names of a database that is gone when the server ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a jail does with whom it bans: the name of the action, and its settings as the files give them."""

    name: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JailConfig:
    """What the configuration files say of one jail; a number that is not set is None. Times in seconds.

    ``bantime`` -1 is for good. ``journal`` are the words of its journal matches. ``increment``: each ban of an address
    is longer than the one before.
    """

    name: str
    backend: str = "auto"
    failregexes: tuple[str, ...] = ()
    ignoreregexes: tuple[str, ...] = ()
    prefregex: str | None = None
    maxlines: int | None = None
    datepattern: str | None = None
    encoding: str = "auto"
    log_paths: tuple[str, ...] = ()
    journal: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    maxretry: int | None = None
    findtime: int | None = None
    bantime: int | None = None
    increment: bool = False
    usedns: str = "warn"
    ignore_self: bool = True
    ignored: tuple[str, ...] = ()
    ignore_command: str = ""

    @property
    def without_host(self) -> tuple[tuple[int, str], ...]:
        """The failregexes, counted from 1, that name no host: fail2ban refuses them, and all that follows.

        None where the prefregex names one, for all of them (``server/failregex.py``, ``FailRegex``).
        """
        if self.prefregex is not None and _HOST_GROUP.search(self.prefregex):
            return ()
        return tuple((n, regex) for n, regex in enumerate(self.failregexes, 1) if not _HOST_GROUP.search(regex))


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What ``fail2ban-client -d`` printed: the enabled jails, in order, and the database of bans.

    ``purge_age`` is in seconds, None where it is not told; ``database`` is empty where it is not told.
    """

    jails: Mapping[str, JailConfig]
    database: str = ""
    purge_age: int | None = None

    @property
    def forgets(self) -> bool:
        """Whether bans are kept nowhere that outlives the server."""
        return self.database.lower() in NOWHERE


@dataclass(slots=True)
class _Seen:
    backend: str = "auto"
    settings: dict[str, list[str]] = field(default_factory=dict)
    actions: dict[str, dict[str, str]] = field(default_factory=dict)


def parse_config(text: str) -> Configured:
    """Return what a dump says; lines that are no Python list (warnings, say) are passed over.

    A jail appears as soon as it is added.
    """
    seen: dict[str, _Seen] = {}
    server: dict[str, str] = {}
    for line in text.splitlines():
        command = literal(line)
        if isinstance(command, list):
            _take([*command], seen, server)
    return Configured(
        jails={name: _config(name, each) for name, each in seen.items()},
        database=server.get("dbfile", ""), purge_age=seconds(server.get("dbpurgeage")),
    )  # fmt: skip


def _take(command: list[object], seen: dict[str, _Seen], server: dict[str, str]) -> None:
    match command:
        case ["add", str(name), *rest]:
            seen.setdefault(name, _Seen(backend=str(rest[0]) if rest else "auto"))
        case ["set", ("dbfile" | "dbpurgeage") as key, value]:
            server[key] = str(value)
        case ["multi-set", str(name), "action", str(action), list(pairs)] if name in seen:
            settings = seen[name].actions.setdefault(action, {})
            settings.update((str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2)
        case ["set" | "multi-set", str(name), "addaction", str(action), *_] if name in seen:
            seen[name].actions.setdefault(action, {})
        case ["set", str(name), ("addignoreip" | "addjournalmatch") as key, *values] if name in seen:
            seen[name].settings.setdefault(key, []).extend(str(value) for value in values)
        case ["set" | "multi-set", str(name), str(key), *values] if name in seen:
            flat = values[0] if command[0] == "multi-set" and values and isinstance(values[0], list) else values[:1]
            seen[name].settings.setdefault(key, []).extend(str(value) for value in flat)
        case _:
            return


def _config(name: str, seen: _Seen) -> JailConfig:
    settings = seen.settings

    def last(key: str) -> str | None:
        return settings[key][-1] if settings.get(key) else None

    return JailConfig(
        name=name, backend=seen.backend,
        failregexes=tuple(settings.get("addfailregex", ())), ignoreregexes=tuple(settings.get("addignoreregex", ())),
        prefregex=last("prefregex") or None, maxlines=seconds(last("maxlines")),
        datepattern=last("datepattern") or None,
        encoding=last("logencoding") or "auto", log_paths=tuple(settings.get("addlogpath", ())),
        journal=tuple(settings.get("addjournalmatch", ())),
        actions=tuple(Action(name=action, settings=found) for action, found in seen.actions.items()),
        maxretry=seconds(last("maxretry")), findtime=seconds(last("findtime")), bantime=seconds(last("bantime")),
        increment=_true(last("bantime.increment"), default=False), usedns=(last("usedns") or "warn").lower(),
        ignore_self=_true(last("ignoreself"), default=True), ignored=tuple(settings.get("addignoreip", ())),
        ignore_command=last("ignorecommand") or "",
    )  # fmt: skip


def _true(value: str | None, *, default: bool) -> bool:
    """Return a switch as fail2ban reads it (``server/jail.py``: ``value in ("1", "on", "yes", "true")``)."""
    return default if value is None else value.strip().lower() in {"1", "on", "yes", "true"}


_LONGEST = 60
"""Letters of a time at most: what is longer is none, and may be more than a number can be."""


def seconds(value: object) -> int | None:
    """Return a time such as ``600``, ``10m`` or ``1d 12h`` in seconds; None for what is no time."""
    text = str(value).strip().lower()
    if len(text) > _LONGEST:
        return None
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    total, rest = 0.0, text
    while rest and (found := re.match(r"(\d+(?:\.\d+)?)\s*([a-z]*)[\s+,]*", rest)):
        size = next((size for unit, size in _UNITS if re.fullmatch(unit, found[2])), None)
        if size is None:
            return None
        total, rest = total + float(found[1]) * size, rest[found.end() :]
    return int(total) if text and not rest else None
