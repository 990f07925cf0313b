"""The lab's first process: makes the switches, boots the hosts, answers the control socket.

It is process 1 of the pid namespace that every host lives in. When it ends, even by SIGKILL, the kernel ends every
process of the lab, and with them every network, mount and file of it (pid_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fwproof.errors import LabError
from fwproof.lab import host as lab_host
from fwproof.lab import kernel
from fwproof.lab.disk import DiskFile
from fwproof.lab.ready import boot_failed, what_is_missing
from fwproof.lab.topology import Topology

BOOT_SECONDS = 60.0
_DISK_SIZE = "1g"
_SWITCH_SYSCTLS = {
    "net/ipv4/ip_forward": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
_BRIDGE_SYSCTLS = ("iptables", "ip6tables", "arptables")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that the first process needs, composed outside by the starter.

    ``life`` is a pipe from whoever started the lab: its end without the byte ``c`` ends the lab.
    """

    topology: Topology
    disks: Mapping[str, tuple[DiskFile, ...]]
    image: Path
    scratch: Path
    life: int
    control: socket.socket


class FirstProcess:
    """The running lab, seen from its process 1."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        self.names = list(blueprint.topology.hosts)
        self.watch_life = True

    def run(self, started: int) -> None:
        """Bring everything up, write one byte to ``started``, then serve until the end of the lab."""
        self._private_mounts()
        self._make_switches()
        self._boot(self.names, first=True)
        os.write(started, b"1")
        os.close(started)
        self._serve()

    def _private_mounts(self) -> None:
        # slave: what the machine unmounts goes away here too, what is mounted here never reaches the machine
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if " - nsfs " in line:  # a copy of another namespace's handle would keep that namespace alive
                with contextlib.suppress(OSError):  # locked: inherited from the machine and unmounted by it alone
                    kernel.umount(line.split()[4], kernel.MNT_DETACH)
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        kernel.mount("tmpfs", str(self.blueprint.scratch), "tmpfs", 0, f"mode=755,size={_DISK_SIZE}")

    def _make_switches(self) -> None:
        devices = json.loads(run_ip(["-j", "link"]))
        strangers = [device["ifname"] for device in devices if device.get("link_type") == "ether"]
        if strangers:
            raise LabError(f"the new network namespace is not empty but has {', '.join(strangers)}: nothing was done")
        for key, value in _SWITCH_SYSCTLS.items():
            Path("/proc/sys", key).write_text(value)
        for kind in _BRIDGE_SYSCTLS:
            with contextlib.suppress(FileNotFoundError):  # absent where br_netfilter is not loaded
                Path(f"/proc/sys/net/bridge/bridge-nf-call-{kind}").write_text("0")
        lines = ["link set lo up"]
        for number in range(len(self.blueprint.topology.networks)):
            lines.append(f"link add {switch(number)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
            lines.append(f"link set {switch(number)} up")
        run_ip_batch(lines)

    def _boot(self, names: Sequence[str], *, first: bool) -> None:
        """Boot hosts, all at once, and wait until they are ready; raises LabError naming those that are not."""
        report_r, report_w = os.pipe()
        gates: dict[str, int] = {}
        pids: dict[str, int] = {}
        for name in names:
            gate_r, gate_w = os.pipe()
            pid = os.fork()
            if pid == 0:
                self._become_host(name, report_w, gate_r, [report_r, gate_w, *gates.values()], first=first)
            os.close(gate_r)
            gates[name], pids[name] = gate_w, pid
        os.close(report_w)
        for _ in names:
            if len(_read_exactly(report_r, 8)) < 8:
                raise LabError("a host could not make its namespaces; the log says why")
        os.close(report_r)
        run_ip_batch([line for name in names for line in self._cables(name, pids[name])])
        for name in names:
            os.write(gates[name], b"g")
            os.close(gates[name])
        failed = [name for name in names if os.waitpid(pids[name], 0)[1]]
        if failed:
            raise LabError(f"could not boot: {', '.join(failed)}; the lines above say why")
        self._wait_ready(names)

    def _become_host(self, name: str, report: int, go: int, others: Iterable[int], *, first: bool) -> None:
        try:
            for descriptor in others:
                os.close(descriptor)
            machine = lab_host.Machine(
                host=self.blueprint.topology.hosts[name],
                number=self.names.index(name),
                image=self.blueprint.image,
                disk=self.blueprint.scratch / name,
                files=self.blueprint.disks[name],
            )
            lab_host.boot(machine, report, go, first=first)
        except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
            print(f"{name} could not boot:", flush=True)  # noqa: T201
            traceback.print_exc()
        finally:
            os._exit(1)

    def _cables(self, name: str, pid: int) -> list[str]:
        """Return the ``ip`` lines that plug a host into its switches.

        The MAC addresses are fixed, so that neighbours know a host again after its reboot.
        """
        number = self.names.index(name)
        networks = self.blueprint.topology.networks
        lines = []
        for index, link in enumerate(self.blueprint.topology.hosts[name].links):
            plug = f"lab-v{number}-{index}"
            mac = mac_of(number, index)
            lines.append(f"link add {plug} type veth peer name eth{index} address {mac} netns {pid}")
            lines.append(f"link set {plug} master {switch(networks.index(link.network))} up")
        return lines

    def _wait_ready(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            self._reap()
            running = host_pids(os.getpid())
            hosts = self.blueprint.topology.hosts
            for name in names:
                if name in running and (failure := boot_failed(running[name])):
                    raise LabError(f"{name}: {failure}")
            missing = {name: what_is_missing(hosts[name], running) for name in names}
            missing = {name: reason for name, reason in missing.items() if reason}
            if not missing:
                return
            if time.monotonic() > deadline:
                text = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
                raise LabError(f"not ready after {BOOT_SECONDS:.0f} s: {text}")
            self._check_life(0.02)

    def _check_life(self, seconds: float) -> None:
        """Wait a moment; end the lab when whoever started it is gone."""
        if not self.watch_life:
            time.sleep(seconds)
            return
        readable, _, _ = select.select([self.blueprint.life], [], [], seconds)
        if readable:
            self._hear_life()

    def _hear_life(self) -> None:
        if os.read(self.blueprint.life, 1) != b"c":
            os._exit(0)
        self.watch_life = False
        os.close(self.blueprint.life)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _serve(self) -> None:
        self.blueprint.control.settimeout(5)
        while True:
            watched: list[int] = [self.blueprint.control.fileno()]
            if self.watch_life:
                watched.append(self.blueprint.life)
            readable, _, _ = select.select(watched, [], [], 0.5)
            self._reap()
            if self.watch_life and self.blueprint.life in readable:
                self._hear_life()
            if self.blueprint.control.fileno() in readable:
                self._answer()

    def _answer(self) -> None:
        """Carry out one request of the control socket; whatever goes wrong is the answer, never the lab's end."""
        try:
            client, _ = self.blueprint.control.accept()
        except OSError:
            return
        with client:
            client.settimeout(5)
            try:
                request = json.loads(client.recv(4096))
                begun = time.monotonic()
                self._power(str(request["host"]), reboot=request["op"] == "reboot")
                answer: dict[str, object] = {"seconds": round(time.monotonic() - begun, 3)}
            except Exception as error:  # noqa: BLE001 - see above
                traceback.print_exc()
                answer = {"error": str(error)}
            with contextlib.suppress(OSError):
                client.sendall(json.dumps(answer).encode())

    def _power(self, name: str, *, reboot: bool) -> None:
        if name not in self.names:
            raise LabError(f"no host named {name!r}; there are {', '.join(self.names)}")
        pid = host_pids(os.getpid()).get(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        # the kernel takes a network namespace apart in its own time; only then are its cables' names free again
        deadline = time.monotonic() + 20
        while name in host_pids(os.getpid()) or f"lab-v{self.names.index(name)}-" in run_ip(["-o", "link"]):
            self._reap()
            if time.monotonic() > deadline:
                raise LabError(f"{name} did not go down in 20 s")
            time.sleep(0.01)
        if reboot:
            self._boot([name], first=False)


def mac_of(number: int, index: int) -> str:
    """Return the MAC address of interface ``index`` of the host that is the topology's ``number``-th, from 0."""
    return f"02:1a:b0:{number >> 8:02x}:{number & 255:02x}:{index:02x}"


def switch(number: int) -> str:
    """Return the name of the bridge that is a network (`br` alone would be read as a keyword by ip)."""
    return f"lab-br{number}"


def host_pids(first: int) -> dict[str, int]:
    """Return the process 1 of every running host by name, as pids of the caller's own pid namespace.

    ``first`` is the lab's first process in that same namespace.
    """
    found = {}
    with contextlib.suppress(OSError):
        for pid in Path(f"/proc/{first}/task/{first}/children").read_text().split():
            with contextlib.suppress(OSError):
                word = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                if word.startswith(lab_host.ARGV0):
                    found[word.removeprefix(lab_host.ARGV0)] = int(pid)
    return found


def run_ip(words: list[str]) -> str:
    """Run ip(8) and return what it prints; raises LabError with its complaint."""
    return _ip(words, None)


def run_ip_batch(lines: Sequence[str]) -> None:
    """Run many ip(8) commands in one process; raises LabError with its complaint."""
    _ip(["-batch", "-"], "".join(f"{line}\n" for line in lines))


def _ip(words: list[str], text: str | None) -> str:
    done = subprocess.run(["ip", *words], input=text, capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _read_exactly(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count and (part := os.read(descriptor, count - len(data))):
        data += part
    return data
