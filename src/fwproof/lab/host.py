"""One lab host: from a fresh child of the lab's first process to a booted machine.

Runs inside the lab's user namespace. Everything that it does ends with its process: network, mounts, processes.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fwproof.lab import kernel
from fwproof.lab.disk import AUDITOR_ID, CALLER_ID, DiskFile
from fwproof.lab.topology import LabHost

ARGV0 = "fwproof-lab-host:"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

# A new network namespace copies the machine's present IPv4 settings, which differ from machine to machine
# (Docker turns forwarding on), so that each one that matters is set.
_SYSCTLS = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.icmp_echo_ignore_all": "0",
    "net.ipv4.icmp_echo_ignore_broadcasts": "1",
    "net.ipv4.tcp_syncookies": "1",
    # a connection whose peer's answers are dropped would keep the network of a host that was switched off for minutes
    "net.ipv4.tcp_orphan_retries": "1",
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.all.forwarding": "0",
    "net.ipv6.conf.default.accept_ra": "0",
}
# An address is usable at once only where duplicate detection is off on the very interface, before it comes up.
_INTERFACE_SYSCTLS = {
    "ipv4/conf/{}/rp_filter": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv6/conf/{}/disable_ipv6": "0",
    "ipv6/conf/{}/accept_dad": "0",
    "ipv6/conf/{}/dad_transmits": "0",
    "ipv6/conf/{}/accept_ra": "0",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What a host is booted from: its place in the topology, its image, its disk's folder and files."""

    host: LabHost
    number: int
    image: Path
    disk: Path
    files: tuple[DiskFile, ...]


def boot(machine: Machine, report: int, go: int, *, first: bool) -> None:
    """Become the host; returns only by raising OSError.

    Writes ``(number, pid)`` to ``report`` once the namespaces exist, and waits on ``go`` for one byte, by which
    time the caller has put the host's interfaces into its network namespace.
    """
    # The pid namespace comes last: its first child is its process 1, and nothing else may be forked before.
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    os.write(report, struct.pack("ii", machine.number, os.getpid()))
    os.close(report)
    if os.read(go, 1) != b"g":
        os._exit(1)
    os.close(go)
    _set_sysctls(machine.host)
    root = _mount_disk(machine)
    if first:
        _write_files(root, machine.files)
    kernel.unshare(kernel.CLONE_NEWPID)
    if os.fork():
        os._exit(0)
    os.setsid()
    _mount_kernel_files(root)
    os.chdir(root)
    kernel.pivot_root(".", ".")
    kernel.umount(".", kernel.MNT_DETACH)
    os.chdir("/")
    socket.sethostname(machine.host.name)
    for folder in ("/run/sshd", "/run/lock", "/run/fail2ban"):
        Path(folder).mkdir(mode=0o755, exist_ok=True)
    os.umask(0o022)
    environment = {"PATH": SEARCH_PATH, "HOME": "/root", "LANG": "C.UTF-8"}
    os.execve("/bin/sh", [ARGV0 + machine.host.name, "/usr/local/sbin/lab-init"], environment)  # noqa: S606


def _set_sysctls(host: LabHost) -> None:
    for key, value in {**_SYSCTLS, **host.sysctls}.items():
        _set(key.replace(".", "/"), value)
    for number in range(len(host.links)):
        for key, value in _INTERFACE_SYSCTLS.items():
            _set("net/" + key.format(f"eth{number}"), value)


def _set(key: str, value: str) -> None:
    descriptor = os.open(f"/proc/sys/{key}", os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _mount_disk(machine: Machine) -> str:
    upper, work, root = (machine.disk / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir(parents=True, exist_ok=True)
    # userxattr: overlayfs of a user namespace may not write trusted.* attributes
    options = f"lowerdir={machine.image},upperdir={upper},workdir={work},userxattr"
    kernel.mount("overlay", str(root), "overlay", 0, options)
    return str(root)


def _write_files(root: str, files: Iterable[DiskFile]) -> None:
    for file in files:
        path = Path(root + file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if file.link is not None:
            path.symlink_to(file.link)
            continue
        path.touch(mode=0o600)
        path.write_bytes(file.data)
        os.chown(path, file.owner, file.owner)
        path.chmod(file.mode)
    for name, number in (("auditor", AUDITOR_ID), ("callhome", CALLER_ID)):
        for folder in (Path(root, "home", name), Path(root, "home", name, ".ssh")):
            if folder.is_dir():
                os.chown(folder, number, number)
                folder.chmod(0o700)


def _mount_kernel_files(root: str) -> None:
    nosuid, nodev, noexec = kernel.MS_NOSUID, kernel.MS_NODEV, kernel.MS_NOEXEC
    kernel.mount("tmpfs", f"{root}/run", "tmpfs", nosuid | nodev, "mode=755,size=16m")
    kernel.mount("tmpfs", f"{root}/tmp", "tmpfs", nosuid | nodev, "mode=1777,size=64m")  # noqa: S108 - the host's own
    kernel.mount("proc", f"{root}/proc", "proc", nosuid | nodev | noexec)
    kernel.mount("sysfs", f"{root}/sys", "sysfs", nosuid | nodev | noexec | kernel.MS_RDONLY)
    kernel.mount("tmpfs", f"{root}/dev", "tmpfs", nosuid, "mode=755,size=64k")
    for name in _DEVICES:
        Path(f"{root}/dev/{name}").touch()
        kernel.mount(f"/dev/{name}", f"{root}/dev/{name}", "", kernel.MS_BIND)
    for name in ("pts", "shm"):
        Path(f"{root}/dev/{name}").mkdir()
    kernel.mount("tmpfs", f"{root}/dev/shm", "tmpfs", nosuid | nodev, "mode=1777,size=16m")  # noqa: S108
    options = "newinstance,ptmxmode=0666,mode=620,gid=5"
    kernel.mount("devpts", f"{root}/dev/pts", "devpts", nosuid | noexec, options)
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}
    links |= {name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))}
    for name, target in links.items():
        Path(f"{root}/dev/{name}").symlink_to(target)
