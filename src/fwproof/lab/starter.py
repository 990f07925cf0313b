"""The program that starts a lab and ends: composes keys and disks, then forks the lab's first process.

``python -m fwproof.lab.starter NAME TOPOLOGY IMAGE LIFE``, started by :meth:`fwproof.lab.Lab.up`; a process of its
own, because only a single-threaded program that has loaded all it needs may fork into new namespaces.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
import traceback
from pathlib import Path

from fwproof.errors import FwproofError, LabError
from fwproof.lab import kernel
from fwproof.lab.disk import Accounts, DiskFile, LabKeys, compose_disk
from fwproof.lab.image import hold_image
from fwproof.lab.keys import hosts_file, known_hosts_line, make_key, names_of, ssh_config
from fwproof.lab.pid1 import Blueprint, FirstProcess
from fwproof.lab.state import StateDir
from fwproof.lab.topology import Topology
from fwproof.lab.topology_file import load_topology
from fwproof.lab.userns import fork_inside, id_map


def start(name: str, topology_path: Path, image: Path, life: int) -> None:
    """Start a lab; returns once every host is ready, raises LabError otherwise."""
    begun = time.time()
    topology = load_topology(topology_path)
    state = StateDir(name)
    _require_asked_for(life)  # or the name would look taken while a lab that nobody wants begins and ends
    state.create()
    lock = state.take_lock()
    if lock is None:
        raise LabError(f"the lab {name!r} is already up: `fwproof lab down --name {name}` ends it")
    state.wipe()
    state.sweep()
    hold_image(image)
    blueprint = Blueprint(
        topology=topology,
        disks=_compose(state, topology, image),
        image=image,
        scratch=state.file("fs"),
        life=life,
        control=_control(state),
    )
    blueprint.scratch.mkdir()
    _launch(state, blueprint)
    state.write_state(
        {
            "name": name,
            "topology": str(topology.path),
            "started": begun,
            "seconds": round(time.time() - begun, 3),
            "hosts": {host.name: list(host.addresses) for host in topology.hosts.values()},
        }
    )


def _require_asked_for(life: int) -> None:
    """Raise LabError where whoever asked for the lab has ended meanwhile: nobody holds the pipe's other end."""
    waiting = select.poll()
    waiting.register(life, 0)  # POLLHUP is told unasked, poll(2)
    if waiting.poll(0):
        raise LabError("whoever asked for this lab has ended")


def _compose(state: StateDir, topology: Topology, image: Path) -> dict[str, tuple[DiskFile, ...]]:
    hosts = topology.hosts
    keys = LabKeys(
        auditor=make_key("auditor"),
        hosts={name: make_key(name) for name in hosts},
        callers={name: make_key(f"callhome-{name}") for name, host in hosts.items() if host.call_home},
    )
    hosts_text = hosts_file(topology)
    state.write("id_ed25519", keys.auditor.private, 0o600)
    state.write("id_ed25519.pub", keys.auditor.public)
    state.write("known_hosts", "".join(known_hosts_line(names_of(hosts[n]), keys.hosts[n]) for n in hosts))
    state.write("hosts", hosts_text)
    state.write("ssh_config", ssh_config(topology, state.path))
    accounts = Accounts(*((image / "etc" / file).read_text() for file in ("passwd", "group", "shadow")))
    return {name: compose_disk(topology, host, keys, accounts, hosts_text) for name, host in hosts.items()}


def _control(state: StateDir) -> socket.socket:
    control = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        control.bind(str(state.file("control")))
    except OSError as error:
        raise LabError(f"{state.file('control')}: {error}: choose a shorter state folder or lab name") from None
    finally:
        os.umask(before)
    control.listen(8)
    return control


def _launch(state: StateDir, blueprint: Blueprint) -> None:
    """Fork the first process into its namespaces, record it, and wait until it reports that all is up."""
    log = os.open(state.file("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pid_r, pid_w = os.pipe()
    started_r, started_w = os.pipe()

    def body() -> int:
        os.close(pid_r)
        os.close(started_r)
        flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
        kernel.unshare(flags | kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            os.close(pid_w)
            _first_process(blueprint, started_w, log)
        os.write(pid_w, str(pid).encode())
        return 0

    child = fork_inside(id_map(), body)
    os.close(pid_w)
    os.close(started_w)
    pid = os.read(pid_r, 32)
    os.waitpid(child, 0)
    if not pid:
        raise LabError("the kernel refused the lab's namespaces: `fwproof doctor` says which and what to do")
    state.write("pid", f"{pid.decode()}\n")
    if os.read(started_r, 1) != b"1":
        tail = "".join(state.file("log").read_text(errors="replace").splitlines(keepends=True)[-15:])
        raise LabError(f"the lab did not come up; its log ({state.file('log')}) ends with:\n{tail}".rstrip())


def _first_process(blueprint: Blueprint, started: int, log: int) -> None:
    try:
        os.setsid()
        kernel.make_dumpable()
        nothing = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        FirstProcess(blueprint).run(started)
    except FwproofError as error:
        print(error, flush=True)  # noqa: T201 - standard output is the lab's log
    except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(1)


def main(words: list[str]) -> int:
    """Run the starter; failures go to standard error as one message."""
    name, topology, image, life = words
    # whoever started this program may be gone: only the pipe says so, and the hosts must not inherit it
    os.set_inheritable(int(life), False)
    try:
        start(name, Path(topology), Path(image), int(life))
    except FwproofError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
