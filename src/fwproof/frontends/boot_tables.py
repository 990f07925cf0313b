"""What the next boot loads into the tables of one family, from the files that its loaders read.

Every loader that is enabled has a part: units of distributions by name, and whatever else was found to write rules at
boot. What of it cannot be known is a gap, never nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from fwproof.errors import CommandRefused, HostError
from fwproof.evidence.boot import NFT_FILES, RULE_FILES, Loader, enabled_loaders
from fwproof.evidence.boot_units import BootUnits, RuleLine, parse_boot_units
from fwproof.flow import Family
from fwproof.frontends.recognise import setting, ufw_closes_ipv6, ufw_enabled
from fwproof.frontends.restored import POLICIES, NotUnderstood, ufw_boots, ufw_shut
from fwproof.snapshot import Snapshot

_FILES = {path: name for name, path in RULE_FILES.items()} | {
    "/etc/iptables/rules.v4": "rules.v4", "/etc/iptables/rules.v6": "rules.v6",
}  # fmt: skip
_NFT = {path: name for name, path in NFT_FILES.items()}
_RESTORE = re.compile(r"\b(ip6?tables)(?:-nft|-legacy)?-(?:restore|apply)\b([^;|&]*)")
_LOAD = re.compile(r"\bnft\s+(?:-\w+\s+)*-f\s+([^\s'\";|&]+)")
_TYPED = re.compile(r"\b(ip6?tables)(?:-nft|-legacy)?\s+-|\bnft\s+(?:-\w+\s+)*(?:add|insert|flush)\b")
_PATH = re.compile(r"(?:<\s*|\s)(/[^\s'\"<>]+)")
_NFT_SAYS = re.compile(r"^(?:\S+?:\d+:\d+(?:-\d+)?: )?Error: (.*)$", re.MULTILINE)
_SURE = re.compile(r"syntax error|unknown identifier|Could not open file|No symbol type|datatype mismatch|unexpected")
"""Complaints that the same file meets in any network namespace; others may be about what is only there at boot."""


@dataclass(slots=True)
class BootTables:
    """What boots, of one family: a text of iptables-save, nft's list in JSON, who loads each, what is wrong or unknown.

    ``loads`` says who loads what, in words; ``nothing``: no rules at all are loaded at boot; ``path`` is the file that
    the rules are kept in, for a remedy; ``writers`` are those that fill the tables of iptables.
    """

    text: str = ""
    nft_json: str | None = None
    loads: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    writers: list[str] = field(default_factory=list)
    path: str = ""

    @property
    def nothing(self) -> bool:
        """Whether nothing is loaded at boot, as far as can be told."""
        return not (self.text or self.nft_json is not None or self.gaps)


def units_of(snapshot: Snapshot) -> BootUnits:
    """Return how the host boots; raises HostError where that was not read."""
    shown = snapshot.captures.get("systemctl-show")
    there = shown.stdout if shown is not None and "systemctl-show" not in snapshot.faults else None
    return parse_boot_units(snapshot.text("boot-units"), there)


def loaders_of(snapshot: Snapshot) -> tuple[Loader, ...]:
    """Return the enabled units that load rules; ufw's only where ufw itself is enabled. Raises HostError."""
    found = enabled_loaders(snapshot.text("boot-links").splitlines())
    if any(loader.name == "ufw" for loader in found):
        snapshot.text("ufw.conf")
    return tuple(loader for loader in found if loader.name != "ufw" or ufw_enabled(snapshot))


def boot_tables(snapshot: Snapshot, family: Family) -> BootTables:
    """Return what boots in a family; raises HostError where a file of an enabled loader could not be looked at."""
    found, units = BootTables(), units_of(snapshot)
    six = "6" if family is Family.IPV6 else ""
    for loader in loaders_of(snapshot):
        found.names.append(loader.name)
        said = len(found.loads)
        if loader.name == "netfilter-persistent":
            _file(found, snapshot, loader.name, f"/etc/iptables/rules.v{six or 4}")
        elif loader.name == f"ip{six}tables":
            _file(found, snapshot, loader.name, f"/etc/sysconfig/ip{six}tables")
        elif loader.name == "ufw":
            _ufw(found, snapshot, family)
        elif loader.name == "nftables":
            _nft(found, snapshot, loader.name, _nft_path(units))
        if len(found.loads) > said:
            found.loads[-1] += f" ({loader.link})"
    for line in units.lines:
        _line(found, snapshot, line, six)
    if len(found.writers) > 1:
        found.problems.append(f"{' and '.join(found.writers)} fill the same tables at boot: the last one wins")
    return found


def saved_text(snapshot: Snapshot, name: str) -> str | None:
    """Return the saved rules; None when the host says that there is no such file. Any other fault is raised."""
    fault = snapshot.faults.get(name)
    if isinstance(fault, HostError) and not (isinstance(fault, CommandRefused) and "No such file" in fault.message):
        raise fault
    if fault is not None:
        return None
    text = snapshot.text(name)
    return text if text.strip() else None


def _file(found: BootTables, snapshot: Snapshot, who: str, path: str) -> None:
    found.path = found.path or path
    text = saved_text(snapshot, _FILES[path])
    if text is None:
        found.problems.append(f"{path} does not exist")
        return
    found.writers.append(who)
    found.loads.append(f"{who} loads {path}")
    found.text = text


def _ufw(found: BootTables, snapshot: Snapshot, family: Family) -> None:
    found.writers.append("ufw")
    found.path = found.path or "/etc/ufw"
    defaults = snapshot.text("ufw-defaults")
    six = "6" if family is Family.IPV6 else ""
    if six and ufw_closes_ipv6(snapshot):
        found.text = ufw_shut()
        found.loads.append("ufw closes IPv6 (IPV6=no)")
        return
    before, after, user = (snapshot.text(f"ufw-{part}{six}") for part in ("before", "after", "rules"))
    words = {"input": "INPUT", "output": "OUTPUT", "forward": "FORWARD"}
    policies = {way: setting(defaults, f"DEFAULT_{word}_POLICY") for way, word in words.items()}
    found.loads.append(f"ufw loads before{six}.rules, user{six}.rules and after{six}.rules of /etc/ufw")
    if not set(policies.values()) <= set(POLICIES):
        found.gaps.append(f"/etc/default/ufw has defaults that are not understood: {', '.join(policies.values())}")
        return
    try:
        found.text = ufw_boots(family, policies, before, after, user)
    except NotUnderstood as line:
        found.gaps.append(f"what ufw loads is not understood: {line}")


def _nft_path(units: BootUnits) -> str:
    runs = units.units["nftables"].runs if "nftables" in units.units else ()
    return next((found[1] for each in runs if (found := _LOAD.search(each))), NFT_FILES["nft-boot"])


def _nft(found: BootTables, snapshot: Snapshot, who: str, path: str) -> None:
    """Note what nft itself made of a file; where it would not load it, why."""
    name = _NFT.get(path)
    found.path = found.path or path
    if name is None:
        found.gaps.append(f"{who} loads {path}, which is not read")
        return
    if name not in snapshot.faults:
        found.nft_json = snapshot.text(name)
        found.loads.append(f"{who} loads {path}")
        return
    capture = snapshot.captures.get(name)
    said = _NFT_SAYS.search(capture.stderr) if capture is not None and capture.status else None
    if said is None:
        raise snapshot.faults[name]
    if _SURE.search(said[1]):
        found.problems.append(f"nft does not load {path}: {said[1][:200]}")
    else:
        found.gaps.append(f"nft does not load {path} where there is no interface yet ({said[1][:200]})")


def _line(found: BootTables, snapshot: Snapshot, line: RuleLine, six: str) -> None:
    """Note what a line that writes rules at boot means for a family, where it can be told."""
    restores = [each for each in _RESTORE.finditer(line.text) if each[1] == f"ip{six}tables"]
    loads = list(_LOAD.finditer(line.text))
    for each in restores:
        path = _PATH.search(each[2])
        if path is not None and path[1] in _FILES:
            _file(found, snapshot, line.unit or line.file, path[1])
        else:
            found.gaps.append(f"{line} loads rules from what is not read")
        found.names.append(line.unit or line.file)
    for each in loads:
        _nft(found, snapshot, line.unit or line.file, each[1])
        found.names.append(line.unit or line.file)
    typed = [each for each in _TYPED.finditer(line.text) if each[1] in {None, f"ip{six}tables"}]
    by_command = f"{line.unit or line.file} changes rules at boot by command"
    if not restores and not loads and (typed or line.file.startswith("/etc/ufw/")):
        if not any(gap.startswith(by_command) for gap in found.gaps):
            found.gaps.append(f"{by_command} ({line})")
        found.names.append(line.unit or line.file)


def conflicts(snapshot: Snapshot) -> Iterator[str]:
    """Yield which enabled loaders overwrite one another, in words; raises HostError."""
    names = [loader.name for loader in loaders_of(snapshot)]
    flushing = [name for name in names if name in {"firewalld", "ufw", "netfilter-persistent", "iptables"}]
    if len(flushing) > 1:
        yield f"{' and '.join(flushing)} are enabled together, and each fills tables as if it were alone"
    if "nftables" in names and len(names) > 1 and _flushes(saved_text(snapshot, "nftables.conf") or ""):
        others = " and ".join(name for name in names if name != "nftables")
        yield f"nftables flushes the whole ruleset when it loads /etc/nftables.conf, and with it what {others} loaded"


def _flushes(text: str) -> bool:
    return re.search(r"^\s*flush\s+ruleset\b", text, re.MULTILINE) is not None
