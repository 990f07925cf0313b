"""The user namespace that owns everything a lab makes.

As root the map is shifted (id 0 inside is an id outside that owns nothing), so that not even the lab's root can
change a sysctl or a file of this machine. As an ordinary user the map is the one that /etc/subuid grants, written
by newuidmap(1). See user_namespaces(7) and subuid(5).
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fwproof.errors import LabError
from fwproof.lab import kernel

# Above the range that systemd-nspawn hands out (524288 to 1879048191), so that no container shares these ids.
SHIFTED_BASE = 0x70000000
ID_COUNT = 65536


@dataclass(frozen=True, slots=True)
class IdMap:
    """Ids inside the namespace, from 0 up, as ids outside: ``(inside, outside, count)`` ranges."""

    users: tuple[tuple[int, int, int], ...]
    groups: tuple[tuple[int, int, int], ...]

    @property
    def owner(self) -> int:
        """The id outside that root inside has."""
        return self.users[0][1]

    @property
    def alone(self) -> bool:
        """Whether there is no id but the caller's own."""
        return len(self.users) == 1 and self.users[0][2] == 1


def id_map() -> IdMap:
    """Return the map for the calling user; raises LabError when the user has too few subordinate ids."""
    if os.geteuid() == 0:
        _require_all_ids()
        shifted = ((0, SHIFTED_BASE, ID_COUNT),)
        return IdMap(users=shifted, groups=shifted)
    return IdMap(
        users=_own_map("/etc/subuid", os.getuid()),
        groups=_own_map("/etc/subgid", os.getgid()),
    )


def _require_all_ids() -> None:
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        inside, _, count = (int(word) for word in line.split())
        if inside <= SHIFTED_BASE and inside + count >= SHIFTED_BASE + ID_COUNT:
            return
    raise LabError(
        f"root is confined to too few user ids here (ids {SHIFTED_BASE} to {SHIFTED_BASE + ID_COUNT - 1} are needed): "
        "run the lab on the machine itself or in a container without user-id remapping"
    )


def _own_map(file: str, own: int) -> tuple[tuple[int, int, int], ...]:
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    start, count = subordinate_range(_read(file), name, os.getuid())
    if count < ID_COUNT - 1:
        raise LabError(
            f"{file}: user {name} has {count} subordinate ids, {ID_COUNT} are needed: as root, run "
            f"`usermod --add-subuids 200000-265535 --add-subgids 200000-265535 {name}`"
        )
    return ((0, own, 1), (1, start, ID_COUNT - 1))


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def subordinate_range(text: str, name: str, uid: int) -> tuple[int, int]:
    """Return the largest ``(start, count)`` that /etc/subuid text grants a user; ``(0, 0)`` for none."""
    best = (0, 0)
    for line in text.splitlines():
        owner, _, rest = line.strip().partition(":")
        start, _, count = rest.partition(":")
        if owner in (name, str(uid)) and start.isdigit() and count.isdigit() and int(count) > best[1]:
            best = (int(start), int(count))
    return best


def write_map(pid: int, ids: IdMap) -> None:
    """Give the fresh user namespace of process ``pid`` its ids; raises LabError with the reason."""
    if ids.alone:  # which an ordinary user may write by itself (user_namespaces(7))
        Path(f"/proc/{pid}/setgroups").write_text("deny")
    for kind, ranges in (("uid", ids.users), ("gid", ids.groups)):
        if os.geteuid() == 0 or ids.alone:
            text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)
            Path(f"/proc/{pid}/{kind}_map").write_text(text)
            continue
        words = [str(number) for entry in ranges for number in entry]
        done = subprocess.run([f"/usr/bin/new{kind}map", str(pid), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"new{kind}map refused the map: {done.stderr.strip()} (see `fwproof doctor`)")


def fork_inside(ids: IdMap, body: Callable[[], int]) -> int:
    """Fork a child that is root in a new user namespace and runs ``body``; return its pid.

    The child ends with the number that ``body`` returns. Raises LabError when the kernel refuses.
    """
    made_r, made_w = os.pipe()
    mapped_r, mapped_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(body, ids, made_w, mapped_r, (made_r, mapped_w))
    os.close(made_w)
    os.close(mapped_r)
    try:
        answer = os.read(made_r, 512)
        if answer != b"ok":
            os.waitpid(pid, 0)
            raise LabError(
                f"this machine allows no user namespace ({answer.decode(errors='replace')}): {user_namespace_advice()}"
            )
        write_map(pid, ids)
        os.write(mapped_w, b"g")
    finally:
        os.close(made_r)
        os.close(mapped_w)
    return pid


def _child(body: Callable[[], int], ids: IdMap, made: int, mapped: int, others: tuple[int, int]) -> None:
    status = 1
    try:
        for descriptor in others:
            os.close(descriptor)
        if os.geteuid() == 0 and not ids.alone:
            os.setgroups([])  # the machine's groups must not follow into the lab
        try:
            kernel.unshare(kernel.CLONE_NEWUSER)
            kernel.make_dumpable()  # for a parent that is root of a user namespace only: it writes the map
        except OSError as error:
            os.write(made, str(error).encode())
            os._exit(1)
        os.write(made, b"ok")
        if os.read(mapped, 1) != b"g":
            os._exit(1)
        os.close(made)
        os.close(mapped)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        if not ids.alone:  # else the kernel lets nobody leave a group
            os.setgroups([])
        status = body()
    except BaseException as error:  # noqa: BLE001 - a forked child must never return into its parent's code
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        os._exit(status)


def require_namespaces() -> None:
    """Try the namespaces that a lab is made of; raises LabError with the command that allows them.

    A kernel may grant a user namespace and then no power in it, as AppArmor does on Ubuntu 23.10 and later.
    """
    child = fork_inside(id_map(), _try_namespaces)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        reason = os.strerror(status) if status > 0 else f"signal {-status}"
        raise LabError(f"this machine allows no namespaces ({reason}): {user_namespace_advice()}")


def _try_namespaces() -> int:
    try:
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWPID)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    except OSError as error:
        return error.errno or 1
    return 0


def user_namespace_advice(root: Path = Path("/proc/sys")) -> str:
    """Return the command that allows user namespaces on this machine, as far as its settings tell."""
    settings = {
        "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),  # Ubuntu 23.10 and later
        "kernel/unprivileged_userns_clone": ("0", "1"),  # older Debian kernels
        "user/max_user_namespaces": ("0", "10000"),
    }
    for key, (bad, good) in settings.items():
        try:
            value = (root / key).read_text().strip()
        except OSError:
            continue
        if value == bad:
            setting = f"{key.replace('/', '.')}={good}"
            return f"run `sudo sysctl -w {setting}` (it lasts until the next boot), or run the lab as root"
    return "run the lab as root, and in a container allow it user namespaces (a seccomp profile may refuse them)"


def command_inside(argv: list[str]) -> list[str]:
    """Return the command line that runs ``argv`` as root of a new user, mount and pid namespace."""
    return [sys.executable, "-m", "fwproof.lab.enter", *argv]
