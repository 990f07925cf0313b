"""Runs a program of this machine in the network of a lab host: its files are this machine's, its world the lab's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fwproof.errors import LabError, UsageError
from fwproof.lab import kernel
from fwproof.lab.handle import Lab


def visit(lab: Lab, host: str, argv: Sequence[str]) -> int:
    """Run ``argv`` in a host's network and return its exit status (128 + signal, as a shell would).

    The program gets the lab's /etc/hosts and no name server, ends with the lab, and leaves no mount behind.
    Raises LabError when the host is not running, UsageError when there is no such program.
    """
    if shutil.which(argv[0]) is None:
        raise UsageError(f"`{argv[0]}` is not a program of this machine: `fwproof lab exec` runs the host's own")
    pid = lab.host_pid(host)
    first = lab.status()["pid"]
    try:
        if os.geteuid() != 0:
            _enter(pid, "user", kernel.CLONE_NEWUSER)
        _enter(pid, "net", kernel.CLONE_NEWNET)
        _enter(first, "pid", kernel.CLONE_NEWPID)  # for children: the kernel ends them with the lab
        kernel.unshare(kernel.CLONE_NEWNS)
        _mask_files(lab)
    except OSError as error:
        raise LabError(f"this process cannot enter the network of {host}: {error}") from None
    child = os.fork()
    if child == 0:
        _become(argv)
    # Ctrl-C is for the program; this process stays to pass its status on
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _enter(pid: int, kind: str, flag: int) -> None:
    descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.setns(descriptor, flag)
    finally:
        os.close(descriptor)


def _mask_files(lab: Lab) -> None:
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount(str(lab.state / "hosts"), "/etc/hosts", "", kernel.MS_BIND)
    resolver = Path("/etc/resolv.conf")
    if resolver.exists():
        kernel.mount("/dev/null", str(resolver.resolve()), "", kernel.MS_BIND)
    with contextlib.suppress(OSError):  # refused where /sys is masked (containers); only /sys/class/net would differ
        kernel.mount("sysfs", "/sys", "sysfs", kernel.MS_RDONLY)


def _become(argv: Sequence[str]) -> None:
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
    finally:
        os._exit(126)
