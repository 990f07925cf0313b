"""The few Linux system calls that the lab needs and Python 3.11 does not have.

Numbers and semantics: unshare(2), setns(2), mount(2), umount2(2), pivot_root(2), prctl(2). Every function
raises OSError with the failing call in its message.
"""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4

# pivot_root has no libc wrapper; numbers from asm/unistd_64.h and asm-generic/unistd.h
_PIVOT_ROOT = {"x86_64": 155}
_PIVOT_ROOT_GENERIC = 41

_MOUNT_SETATTR = 442  # the same on every architecture; Linux 5.12
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling process namespaces of its own (``CLONE_NEW…`` flags)."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace behind an open ``/proc/PID/ns/…`` file."""
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), f"setns({kind:#x})")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system, or change the propagation of one when ``flags`` says so."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        os.fsencode(data) or None,
    )
    _check(result, f"mount {kind or 'bind'} {source} on {target}")


def read_only(target: str) -> None:
    """Make every mount at and below ``target`` read-only, in this mount namespace (mount_setattr(2), Linux 5.12)."""
    _set_mounts(target, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY, 0)


def writable(target: str) -> None:
    """Take back what :func:`read_only` did to one mount."""
    _set_mounts(target, 0, 0, _MOUNT_ATTR_RDONLY)


def _set_mounts(target: str, flags: int, attributes: int, cleared: int) -> None:
    wanted = (ctypes.c_uint64 * 4)(attributes, cleared, 0, 0)  # struct mount_attr: set, clear, propagation, user
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD), os.fsencode(target), ctypes.c_uint(flags),
        wanted, ctypes.c_size_t(ctypes.sizeof(wanted)),
    )  # fmt: skip
    _check(result, f"mount_setattr {target}")


def umount(target: str, flags: int = 0) -> None:
    """Take a mount away from this mount namespace."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), f"umount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Make ``new_root`` the root directory of this mount namespace."""
    number = _PIVOT_ROOT.get(os.uname().machine, _PIVOT_ROOT_GENERIC)
    _check(
        _libc.syscall(ctypes.c_long(number), os.fsencode(new_root), os.fsencode(put_old)),
        f"pivot_root {new_root}",
    )


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that made it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def make_dumpable() -> None:
    """Let the owner of the lab open this process's /proc files again.

    Changing identity clears the flag, and without an exec nothing sets it back (proc(5), ``/proc/pid``).
    """
    _check(_libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(1), 0, 0, 0), "prctl(PR_SET_DUMPABLE)")
