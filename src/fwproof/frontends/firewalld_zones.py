"""firewalld's zones as ``firewall-cmd --list-all-zones`` prints them (firewall-cmd(1)), running or permanent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LISTS = ("sources", "services", "ports", "protocols", "source-ports", "forward-ports", "icmp-blocks")
_WORDS = ("target", "masquerade", "forward", "icmp-block-inversion")
_KEY = re.compile(r"  ([a-z-]+): ?(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One zone. ``words`` are its single settings, ``items`` its lists, ``rich`` its rich rules."""

    name: str
    words: Mapping[str, str] = field(default_factory=dict)
    items: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rich: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[str, ...]:
        """Return one of its lists, empty where it is not printed."""
        return self.items.get(kind, ())


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """Something that only one of the two configurations has: ``option`` and ``value`` are firewall-cmd's own words.

    ``family`` is ``ipv4`` or ``ipv6`` where it is about one of them. ``running``: it runs and is not permanent.
    """

    zone: str
    option: str
    value: str
    family: str
    running: bool

    def __str__(self) -> str:
        where = f"zone {self.zone}: " if self.zone else ""
        side = "runs, and is not permanent" if self.running else "is permanent, and does not run"
        return f"{where}{self.option} {self.value} {side}"


def read_zones(text: str) -> dict[str, Zone]:
    """Return the zones by name; lines that are none of a zone's are passed over."""
    found: dict[str, Zone] = {}
    name, words, items, rich = "", {}, {}, []  # type: ignore[var-annotated]
    for line in [*text.splitlines(), "end"]:
        if line and not line[0].isspace():
            if name:
                found[name] = Zone(name=name, words=words, items=items, rich=tuple(rich))
            name, words, items, rich = line.split()[0], {}, {}, []
        elif line.startswith("\t") and line.strip().startswith("rule"):
            rich.append(line.strip())
        elif (key := _KEY.fullmatch(line)) is not None:
            if key[1] in _LISTS:
                items[key[1]] = tuple(key[2].split())
            elif key[1] in _WORDS:
                words[key[1]] = key[2].strip()
    return found


_OPTIONS = {"sources": "source", "services": "service", "ports": "port", "protocols": "protocol",
            "source-ports": "source-port", "forward-ports": "forward-port", "icmp-blocks": "icmp-block"}  # fmt: skip


def differences(running: Mapping[str, Zone], permanent: Mapping[str, Zone]) -> list[Difference]:
    """Return what one configuration has and the other has not, but for interfaces, which others assign at run time."""
    found = []
    empty = Zone(name="")
    for name in dict.fromkeys([*running, *permanent]):
        for one, other, runs in ((running, permanent, True), (permanent, running, False)):
            mine, theirs = one.get(name, empty), other.get(name, empty)
            for kind, option in _OPTIONS.items():
                gone = [value for value in mine.of(kind) if value not in theirs.of(kind)]
                found += [Difference(name, option, value, _family_of(value), runs) for value in gone]
            gone = [rule for rule in mine.rich if rule not in theirs.rich]
            found += [Difference(name, "rich-rule", rule, _family_of(rule), runs) for rule in gone]
        for key in _WORDS:
            before, after = (side.get(name, empty).words.get(key, "") for side in (permanent, running))
            if before != after:
                found.append(
                    Difference(name, key, f"{after or 'unset'} (permanent: {before or 'unset'})", "", running=True)
                )
    return found


def _family_of(value: str) -> str:
    rich = re.search(r'\bfamily="(ipv[46])"', value)
    if rich is not None:
        return rich[1]
    return "ipv6" if value.count(":") > 1 and "port=" not in value else ""
