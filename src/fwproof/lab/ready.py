"""When a lab host counts as up: its init has finished and every port that the topology declares is listening."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fwproof.lab.topology import LabHost

_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_BOUND = "07"  # an unconnected UDP socket is TCP_CLOSE there
_SSH = 22


def what_is_missing(host: LabHost, running: Mapping[str, int]) -> str | None:
    """Say what a host still lacks, None when it is ready; ``running`` has each host's process 1 by name."""
    pid = running.get(host.name)
    if pid is None:
        return "is not running"
    if not Path(f"/proc/{pid}/root/run/lab-ready").exists():
        return "is still booting"
    tcp = {_SSH} | {service.port for service in host.services if service.is_tcp}
    udp = {service.port for service in host.services if not service.is_tcp}
    for family in ("", "6"):
        closed = sorted(tcp - ports(_table(pid, f"tcp{family}"), _LISTEN))
        closed += sorted(udp - ports(_table(pid, f"udp{family}"), _BOUND))
        if closed:
            return f"does not listen on {', '.join(map(str, closed))} (IPv{family or 4})"
    if host.call_home:
        called = running.get(host.call_home.to)
        if called is None or host.call_home.port not in ports(_table(called, "tcp"), _LISTEN):
            return f"has not called {host.call_home.to} yet"
    return None


def boot_failed(pid: int) -> str | None:
    """Return the end of the boot log of a host one of whose boot steps failed, None where none did."""
    root = Path(f"/proc/{pid}/root")
    if not (root / "run/lab-failed").exists():
        return None
    lines = (root / "var/log/lab-boot.log").read_text(errors="replace").splitlines()
    return "a boot step failed; /var/log/lab-boot.log ends with: " + " | ".join(lines[-4:])


def _table(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/net/{name}").read_text()
    except OSError:
        return ""


def ports(table: str, state: str) -> set[int]:
    """Return the local ports that /proc/net/tcp and the like list in a state (proc(5))."""
    found = set()
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) > 3 and words[3] == state:
            found.add(int(words[1].rpartition(":")[2], 16))
    return found
