"""The lab as its users hold it: bring it up, run things in it, join its networks, take it down."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fwproof.errors import LabError
from fwproof.lab import kernel
from fwproof.lab.host import SEARCH_PATH
from fwproof.lab.image import ensure_image, image_folder
from fwproof.lab.neighbours import rooms
from fwproof.lab.pid1 import host_pids
from fwproof.lab.state import StateDir, lab_name, not_up
from fwproof.lab.topology import default_topology
from fwproof.lab.topology_file import load_topology
from fwproof.lab.userns import require_namespaces
from fwproof.policy.nearest import suggest

_START_SECONDS = 120.0
_NEEDED = {"ip": "iproute2", "nsenter": "util-linux"}
_NEEDED_BY_USERS = {"newuidmap": "uidmap", "newgidmap": "uidmap"}


def _quiet(_line: str) -> None:
    pass


class Lab:
    """One lab, by name; several may be up at once.

    ``topology`` is the file that says what is in it, by default the embedded one. As a context manager the lab
    comes up with the block, ends with it, and ends with this process however that ends.
    """

    def __init__(self, name: str | None = None, topology: Path | None = None) -> None:
        self.name = lab_name(name)
        self.topology = topology or default_topology()
        self._dir = StateDir(self.name)
        self._life: int | None = None

    @property
    def state(self) -> Path:
        """The folder of this lab's state files."""
        return self._dir.path

    @property
    def ssh_identity(self) -> Path:
        """The auditor's private key, accepted by every host for the user ``auditor``."""
        return self._dir.file("id_ed25519")

    @property
    def known_hosts(self) -> Path:
        """Every host's key under its name and its addresses."""
        return self._dir.file("known_hosts")

    def is_up(self) -> bool:
        """Tell whether the lab is alive and all of its hosts were ready once."""
        return self._dir.is_locked() and self._dir.file("state.json").exists()

    def up(self, progress: Callable[[str], None] = _quiet, *, with_parent: bool = False) -> None:
        """Bring the lab up and wait until every host is ready; the image is built first where there is none.

        ``with_parent`` ties it to this process: the lab ends when this process does, even by SIGKILL.
        Raises InputError for a topology that cannot be used and LabError when the lab did not come up.
        """
        topology = load_topology(self.topology)
        kind = topology.image
        _require_programs(kind)
        if self._dir.is_locked():
            raise LabError(f"the lab {self.name!r} is already up: `fwproof lab down --name {self.name}` ends it")
        require_namespaces()
        for room in rooms(topology):
            if not room.enough:
                progress(f"{room}. Packets to hosts without one are not sent: {room.advice}")
        image = ensure_image(progress, kind=kind)
        life_r, life_w = os.pipe()
        words = [self.name, str(self.topology.resolve()), str(image), str(life_r)]
        try:
            done = _started(words, life_r)
        except BaseException as error:
            os.close(life_w)  # the first process sees it and ends
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(
                    f"the lab did not come up in {_START_SECONDS:.0f} s, see {self._dir.file('log')}"
                ) from None
            raise
        finally:
            os.close(life_r)
        if done.returncode:
            os.close(life_w)
            raise LabError(done.stderr.strip() or f"the lab's starter ended with status {done.returncode}")
        if with_parent:
            self._life = life_w
        else:
            os.write(life_w, b"c")
            os.close(life_w)

    def down(self) -> None:
        """End the lab and remove its state; nothing else of it can be left. A lab that is not up is no error."""
        if self._dir.is_locked():
            deadline = time.monotonic() + 30
            with contextlib.suppress(ProcessLookupError, LabError):
                handle = os.pidfd_open(self._dir.pid())
                try:
                    if self._dir.is_locked():  # not a stranger that got the number since
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                    select.select([handle], [], [], 30)
                finally:
                    os.close(handle)
            while self._dir.is_locked():
                if time.monotonic() > deadline:
                    raise LabError(f"the lab {self.name!r} did not end in 30 s: end process {self._dir.pid()} by hand")
                time.sleep(0.005)
        if self._life is not None:
            os.close(self._life)
            self._life = None
        shutil.rmtree(self.state, ignore_errors=True)

    def status(self) -> dict[str, Any]:
        """Return what there is to know: ``name, up, state`` and, when up, ``pid, topology, seconds, hosts``.

        ``hosts`` has each host's ``running``, ``pid`` (of its process 1, as seen here) and ``addresses``.
        """
        status: dict[str, Any] = {"name": self.name, "up": self.is_up(), "state": str(self.state)}
        if status["up"]:
            state = self._dir.read_state()
            running = host_pids(self._dir.pid())
            status |= {"pid": self._dir.pid()} | {key: state[key] for key in ("topology", "started", "seconds")}
            status["hosts"] = {
                name: {"running": name in running, "pid": running.get(name), "addresses": addresses}
                for name, addresses in state["hosts"].items()
            }
        return status

    def host_pid(self, host: str) -> int:
        """Return the pid of a host's process 1; raises LabError for a host that is unknown or not running."""
        self._named(host)
        pid = host_pids(self._dir.pid()).get(host)
        if pid is None:
            raise LabError(f"{host} is not running: start it with `fwproof lab reboot {host}`")
        return pid

    def exec_command(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs ``argv`` as root inside a host."""
        pid = str(self.host_pid(host))
        return ["nsenter", "-t", pid, "-U", "-m", "-n", "-u", "-i", "-p", "-r", "-w", "--", *argv]

    def run(
        self,
        host: str,
        argv: Sequence[str],
        input: str | None = None,  # noqa: A002 - named as in subprocess.run
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root inside a host and return its status and output.

        Raises LabError when the host is not running or the command does not end in ``timeout`` seconds.
        """
        process = subprocess.Popen(
            self.exec_command(host, argv),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            env=guest_environment(),
            cwd="/",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(input, timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # nsenter's child is inside, in the same process group
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(f"{host}: `{' '.join(argv)}` did not end in {timeout:g} s") from None
            raise
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def join_network(self, host: str) -> None:
        """Move this process into a host's network for good; its files stay this machine's.

        Only a process of one thread can do that: raises LabError for any other.
        """
        pid = self.host_pid(host)
        threads = len(list(Path("/proc/self/task").iterdir()))
        if threads != 1:
            raise LabError(f"this process has {threads} threads; only one that has a single thread can join {host}")
        try:
            network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.geteuid() != 0:
                    users = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        kernel.setns(users, kernel.CLONE_NEWUSER)
                    finally:
                        os.close(users)
                kernel.setns(network, kernel.CLONE_NEWNET)
            finally:
                os.close(network)
        except OSError as error:
            raise LabError(f"this process cannot join the network of {host}: {error}") from None

    def reboot(self, host: str) -> float:
        """Switch a host off and on again: its disk stays, everything in memory is gone; return the seconds it took."""
        self._named(host)
        return float(self._ask("reboot", host)["seconds"])

    def power_off(self, host: str) -> None:
        """Switch a host off, as a failed machine is; :meth:`reboot` brings it back."""
        self._named(host)
        self._ask("off", host)

    def _named(self, host: str) -> None:
        """Raise LabError where the lab is not up, or has no host of that name."""
        if not self.is_up():
            raise not_up(self.name)
        known = self._dir.read_state()["hosts"]
        if host not in known:
            near = suggest(host, known) or f"; there are {', '.join(known)}"
            raise LabError(f"no host named {host!r} in the lab {self.name!r}{near}")

    def _ask(self, operation: str, host: str) -> dict[str, Any]:
        if not self.is_up():
            raise not_up(self.name)
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(90)
                control.connect(str(self._dir.file("control")))
                control.sendall(json.dumps({"op": operation, "host": host}).encode())
                answer: dict[str, Any] = json.loads(control.recv(65536))
        except (OSError, ValueError) as error:
            raise LabError(f"the lab {self.name!r} does not answer: {error}") from None
        if "error" in answer:
            raise LabError(str(answer["error"]))
        return answer

    def __enter__(self) -> Self:
        self.up(with_parent=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


def guest_environment() -> dict[str, str]:
    """Return the environment of a command inside a host: nothing of this machine's but the terminal's kind."""
    return {"PATH": SEARCH_PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb")}


def _require_programs(kind: str) -> None:
    needed = _NEEDED | ({} if os.geteuid() == 0 else _NEEDED_BY_USERS)
    if not image_folder(kind).is_dir():
        needed |= {"mmdebstrap": "mmdebstrap"}
    found = {program: shutil.which(program, path=_search_path()) for program in needed}
    packages = sorted({package for program, package in needed.items() if found[program] is None})
    if packages:
        raise LabError(
            f"the lab needs programs of {', '.join(packages)}: run `sudo apt-get install {' '.join(packages)}`"
        )


def _started(words: list[str], life: int) -> subprocess.CompletedProcess[str]:
    """Run the lab's starter, which has ``life``, until the lab is up or has failed."""
    return subprocess.run(
        [sys.executable, "-m", "fwproof.lab.starter", *words],
        pass_fds=[life],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "PATH": _search_path()},
        timeout=_START_SECONDS,
    )


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # an ordinary user's PATH has no sbin on Debian
