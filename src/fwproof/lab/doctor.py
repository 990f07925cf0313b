"""Tries each thing that the lab needs of this machine, in namespaces made for the purpose and gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fwproof.errors import LabError
from fwproof.lab import kernel, netfilter_try
from fwproof.lab.neighbours import rooms
from fwproof.lab.pid1 import run_ip_batch
from fwproof.lab.topology import Topology, default_topology
from fwproof.lab.topology_file import load_topology
from fwproof.lab.userns import fork_inside, id_map, user_namespace_advice

_PROGRAMS = {"ip": "iproute2", "nsenter": "util-linux", "tar": "tar", "mmdebstrap": "mmdebstrap"}
_USER_PROGRAMS = {"newuidmap": "uidmap", "newgidmap": "uidmap"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of trying one thing; ``advice`` says what to do where it is missing."""

    feature: str
    ok: bool
    detail: str = ""
    advice: str = ""
    optional: bool = False

    @property
    def stops(self) -> bool:
        """Whether the lab cannot run because of it."""
        return not self.ok and not self.optional

    def as_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return asdict(self)

    def __str__(self) -> str:
        word = "OK" if self.ok else "MISSING (optional)" if self.optional else "MISSING"
        more = "" if self.ok else "".join(f": {part}" for part in (self.detail, self.advice) if part)
        return f"{self.feature:38} {word}{more}"


def examine(topology: Path | None = None) -> list[Finding]:
    """Try everything and return what was found, in the order in which the lab needs it.

    ``topology`` is the file of the lab in question, by default the embedded one. Raises InputError for one that cannot
    be used.
    """
    found = [*_programs(), _ids()]
    if found[-1].ok:
        found += _inside()
    return [*found, *_room(load_topology(topology or default_topology()))]


def _room(topology: Topology) -> Iterator[Finding]:
    for room in rooms(topology):
        yield Finding(f"room for neighbours (IPv{room.family})", room.enough, str(room), room.advice, optional=True)


def _programs() -> Iterator[Finding]:
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    wanted = _PROGRAMS | ({} if os.geteuid() == 0 else _USER_PROGRAMS)
    for program, package in wanted.items():
        here = shutil.which(program, path=search)
        yield Finding(f"program {program}", here is not None, here or "", f"run `apt-get install {package}`")


def _ids() -> Finding:
    try:
        ids = id_map()
    except LabError as error:
        return Finding("user ids for the lab", ok=False, detail=str(error))
    return Finding("user ids for the lab", ok=True, detail=f"root inside is {ids.owner} outside")


def _inside() -> list[Finding]:
    """Try the kernel's features in a process of their own, which reports one JSON object a line."""
    done = subprocess.run(
        [sys.executable, "-m", "fwproof.lab.doctor"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
    )
    found = [Finding(**json.loads(line)) for line in done.stdout.splitlines()]
    if done.returncode or not found:
        found.append(Finding("user namespace", ok=False, detail=done.stderr.strip(), advice=user_namespace_advice()))
    return found


def _module(name: str) -> str:
    return f"as root, run `modprobe {name}`; a kernel without it cannot run the lab"


def _tries(scratch: Path) -> Iterator[tuple[str, Callable[[], None], str, bool]]:
    """Yield feature, trial, advice and whether the lab can do without."""
    container = "in a container, run it with its own /proc and /sys unmasked (`--privileged`)"
    yield "tmpfs", lambda: kernel.mount("tmpfs", str(scratch), "tmpfs"), container, False
    yield "overlay file system", lambda: _overlay(scratch), _module("overlay"), False
    yield "proc file system", lambda: _mount_on(scratch / "proc", "proc"), container, False
    yield "sys file system", lambda: _mount_on(scratch / "sys", "sysfs"), container, False
    yield "terminals (devpts)", lambda: _mount_on(scratch / "pts", "devpts", "newinstance"), container, False
    yield "bridge", lambda: run_ip_batch(["link add lab-br0 type bridge"]), _module("bridge"), False
    yield "veth", lambda: run_ip_batch(["link add lab-v0 type veth peer name lab-v1"]), _module("veth"), False
    yield "IPv6", lambda: run_ip_batch(["link set lo up", "addr add fd00::1/128 dev lo"]), "turn IPv6 on", False
    yield "raw sockets", _raw_sockets, container, False
    yield "nf_tables", netfilter_try.nf_tables, _module("nf_tables"), False
    for names, is_target in ((netfilter_try.MATCHES, False), (netfilter_try.TARGETS, True)):
        for name, family in names:
            label = f"{'target' if is_target else 'match'} {name} (IPv{4 if family == socket.AF_INET else 6})"
            trial = _extension(name, family, target=is_target)
            yield label, trial, _module(f"xt_{name}"), False
    yield "packet log (NFLOG)", netfilter_try.log_group, _module("nfnetlink_log"), False
    yield "connection events", netfilter_try.conntrack_events, _module("nf_conntrack_netlink"), False
    yield "iptables-legacy", netfilter_try.legacy_tables, _module("iptable_filter"), True


def _extension(name: str, family: int, *, target: bool) -> Callable[[], None]:
    return lambda: netfilter_try.extension(name, family, target=target)


def _mount_on(folder: Path, kind: str, options: str = "") -> None:
    folder.mkdir()
    kernel.mount(kind, str(folder), kind, 0, options)


def _overlay(scratch: Path) -> None:
    lower, upper, work, root = (scratch / name for name in ("lower", "upper", "work", "root"))
    for folder in (lower, upper, work, root):
        folder.mkdir()
    (lower / "file").write_text("old")
    kernel.mount("overlay", str(root), "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work},userxattr")
    (root / "file").unlink()
    (root / "new").write_text("new")


def _raw_sockets() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW).close()


def _report(finding: Finding) -> None:
    print(json.dumps(finding.as_json()), flush=True)  # noqa: T201 - the channel to the process that asked


def _try_all(scratch: Path) -> int:
    for feature, flag in (
        ("mount namespace", kernel.CLONE_NEWNS),
        ("network namespace", kernel.CLONE_NEWNET),
        ("host name namespace", kernel.CLONE_NEWUTS),
        ("ipc namespace", kernel.CLONE_NEWIPC),
        ("process id namespace", kernel.CLONE_NEWPID),
    ):
        try:
            kernel.unshare(flag)
        except OSError as error:
            _report(Finding(feature, ok=False, detail=str(error), advice=user_namespace_advice()))
            return 0
        _report(Finding(feature, ok=True))
    child = os.fork()  # a /proc of one's own belongs to the first process of a pid namespace
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    for feature, trial, advice, optional in _tries(scratch):
        try:
            trial()
        except (OSError, LabError) as error:
            _report(Finding(feature, ok=False, detail=str(error), advice=advice, optional=optional))
        else:
            _report(Finding(feature, ok=True, optional=optional))
    os._exit(0)


def main() -> int:
    """Try the kernel's features and print one JSON object a line."""
    with tempfile.TemporaryDirectory(prefix="fwproof-doctor-") as folder:
        Path(folder).chmod(0o755)
        try:
            child = fork_inside(id_map(), lambda: _try_all(Path(folder)))
        except LabError as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 1
        _report(Finding("user namespace", ok=True))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
