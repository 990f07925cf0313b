"""``python -m fwproof.lab.alone NAME…``: holds networks in which rules of a stranger's making can be loaded and run.

A user, mount, process, host name and IPC namespace with one network namespace for each name, under /run/netns. There
is no way out of the networks; every mount of the machine is read-only for good, and /tmp, /run and /dev/shm are empty
ones that end with it. All of it, whoever runs inside, ends with this process, which ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fwproof.errors import LabError
from fwproof.lab import kernel
from fwproof.lab.userns import IdMap, fork_inside, id_map

NETWORKS = "/run/netns"
_OWN = ("/run", "/tmp", "/dev/shm", "/var/tmp")  # noqa: S108 - to be hidden, not to be used
"""Folders that hold sockets of the machine, or that programs write to."""


def ids() -> IdMap:
    """Return ids that own nothing of the machine where root calls, else those of the caller, alone if need be."""
    try:
        return id_map()
    except LabError:
        if os.geteuid() == 0:
            raise
        return IdMap(users=((0, os.getuid(), 1),), groups=((0, os.getgid(), 1),))


def _close_off() -> None:
    """Give the folders that programs write to, and /proc, to this namespace; nothing else can be written."""
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    for folder in _OWN:
        if Path(folder).is_dir() and not Path(folder).is_symlink():
            kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    Path(NETWORKS).mkdir()


def _network(name: str) -> None:
    """Make a network namespace and keep it by its name."""
    place = Path(NETWORKS, name)
    place.touch()
    ready_r, ready_w = os.pipe()
    done_r, done_w = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            kernel.make_dumpable()
            os.write(ready_w, b"y")
            os.close(done_w)
            os.read(done_r, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(ready_w)
    os.close(done_r)
    made = os.read(ready_r, 1)
    if made:
        kernel.mount(f"/proc/{child}/ns/net", str(place), "", kernel.MS_BIND)
    os.close(done_w)
    os.close(ready_r)
    os.waitpid(child, 0)
    if not made:
        raise OSError("no network namespace can be made")


def _hold(names: list[str], word: int) -> int:
    """Make everything, say so, and stay until the standard input ends."""
    kernel.die_with_parent()
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID)
    first = os.fork()
    if first:
        os.write(word, json.dumps({"pid": first}).encode() + b"\n")
        os.close(word)
        return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    kernel.die_with_parent()
    try:
        _close_off()
        for name in names:
            _network(name)
    except OSError as error:
        os.write(word, json.dumps({"error": str(error)}).encode() + b"\n")
        os._exit(1)
    os.write(word, json.dumps({"ready": True}).encode() + b"\n")
    while os.read(0, 4096):
        pass
    os._exit(0)


def _read_only(names: list[str], ids_: IdMap) -> int:
    """Make every mount read-only, and go on in a user namespace below, which has no power to undo that.

    A mount that a less privileged mount namespace gets keeps its flags for good (mount_namespaces(7)).
    """
    kernel.die_with_parent()
    kernel.unshare(kernel.CLONE_NEWNS)
    users, groups = (((0, 0, sum(count for _, _, count in part)),) for part in (ids_.users, ids_.groups))
    wait, go = os.pipe()

    def below() -> int:
        os.close(go)
        return _hold(names, 1) if os.read(wait, 1) else 1

    child = fork_inside(IdMap(users=users, groups=groups), below)  # which writes to /proc
    os.close(wait)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.read_only("/")
    kernel.writable("/proc")  # else the kernel lets nobody mount one of one's own (mnt_already_visible())
    os.write(go, b"g")
    os.close(go)
    return abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def main(names: list[str]) -> int:
    """Hold the namespaces; prints ``{"pid": …}`` as the caller counts processes and ``{"ready": true}``, or why not."""
    kernel.die_with_parent()
    try:
        mine = ids()
        child = fork_inside(mine, lambda: _read_only(names, mine))
    except LabError as error:
        print(json.dumps({"error": str(error)}), flush=True)  # noqa: T201 - the channel to whoever asked
        return 1
    return abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
