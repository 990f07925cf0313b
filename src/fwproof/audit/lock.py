"""Keeping two audits off one target: their probes and bursts would count against each other."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fwproof.errors import UsageError
from fwproof.inventory import Host
from fwproof.lab.state import lab_name


class Lock:
    """One lock a host, held until ``release`` or the end of the process, however that ends (flock(2)).

    ``lab`` tells hosts of a lab from those of another lab, or of the world, that have the same addresses.
    Raises UsageError when another audit of this machine holds one of them.
    """

    def __init__(self, hosts: Iterable[Host], *, lab: bool) -> None:
        self._handles: list[tuple[int, Path]] = []
        where = f"lab {lab_name()}" if lab else "world"
        try:
            for host in sorted(hosts, key=lambda host: host.name):
                self._handles.append(_locked(host, where))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others audit these hosts; safe to call again."""
        while self._handles:
            handle, path = self._handles.pop()
            with suppress(OSError):  # in a folder for everybody, another account's file stays
                path.unlink()
            os.close(handle)


def _locked(host: Host, where: str) -> tuple[int, Path]:
    words = " ".join([where, *sorted(map(str, host.addresses))])
    path = Path(tempfile.gettempdir()) / f"fwproof-{hashlib.sha256(words.encode()).hexdigest()[:16]}.lock"
    while True:
        try:
            handle = _opened(path)
        except FileNotFoundError:  # taken away by whoever held it, after it was found
            continue
        except OSError as error:
            raise UsageError(
                f"{path}, which keeps two audits off {host.name}, cannot be opened: {error.strerror}"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _holder(os.fstat(handle).st_ino)
            os.close(handle)
            raise UsageError(f"another audit of {host.name} is running{who}; wait for it to end") from None
        if os.fstat(handle).st_nlink:
            return handle, path
        os.close(handle)  # locked a file that its holder has taken away: others lock the one in its place


def _holder(inode: int) -> str:
    """Return who holds a lock, in words; empty where the kernel does not tell (proc_locks(5))."""
    with suppress(OSError, ValueError, KeyError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                owner = pwd.getpwuid(Path(f"/proc/{fields[4]}").stat().st_uid).pw_name
                return f" (process {fields[4]} of {owner})"
    return ""


def _opened(path: Path) -> int:
    """Return a handle of the file, made where it is missing: the folder is everybody's, so no link is followed.

    Reading is enough for a lock, and a file that another account has made can be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileExistsError):
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    return os.open(path, flags)
