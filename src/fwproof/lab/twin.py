"""The kernel's own twin of a host: networks of one machine in which tables are loaded and packets are real.

Every host is a network namespace; all stand on one link for each interface of the twin. Those on one link reach each
other without a router; from one link to another the way is through the twin. What runs inside sees this machine's
programs, read-only, and no network but these (:mod:`fwproof.lab.alone`).
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from typing import Self

from fwproof.errors import LabError
from fwproof.flow import Address, Network
from fwproof.lab.alone import NETWORKS

SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SWITCH = "switch"
_START = 20.0
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,14}")
"""Names that ip(8) takes for nothing else; the kernel's own limit is 15 characters (IFNAMSIZ)."""
_QUIET = (
    "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.mldv1_unsolicited_report_interval=1",
    "net.ipv6.conf.default.mldv2_unsolicited_report_interval=1",
)  # fmt: skip
"""Addresses can be used at once, and no report of multicast comes late into what is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An interface of the twin: its name, its addresses, and the networks that it leads to."""

    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    routes: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a twin is made like: its interfaces, its sysctls by path below net, and the other hosts.

    ``others`` are by name: the interface of the twin at whose link one stands, and its addresses.
    """

    name: str
    ports: tuple[Port, ...]
    others: Mapping[str, tuple[str, tuple[Address, ...]]]
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What a command inside said: its exit status and both outputs."""

    status: int
    out: str
    err: str


class Twin:
    """The networks, while they stand; use it as a context manager. Nothing stays of it, however this process ends."""

    def __init__(self, shape: Shape) -> None:
        odd = [port.name for port in shape.ports if not _INTERFACE.fullmatch(port.name)]
        if odd:
            raise LabError(f"the kernel twin: {odd[0]!r} is no name that an interface can have")
        self.shape = shape
        self._names = {name: f"h{n}" for n, name in enumerate((shape.name, *shape.others))}
        self._names[_SWITCH] = _SWITCH
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "fwproof.lab.alone", *self._names.values()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(python=True),
        )  # fmt: skip
        try:
            self._pid = int(str(self._word()["pid"]))
            self._word()
            self._wire()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything inside; safe to call again."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(5)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper.stdout.close()

    def argv(self, host: str, words: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs ``words`` as root of a host's network and of nothing else."""
        # the groups of an ordinary user stay: the kernel lets it leave none (user_namespaces(7))
        keep = ("--preserve-credentials",) if os.geteuid() != 0 else ()
        place = f"/proc/{self._pid}/root{NETWORKS}/{self._names[host]}"
        # entering the mounts sets root and working folder to theirs, so none of the writable ones stays open (setns(2))
        return ("nsenter", "-t", str(self._pid), "-U", "-m", "-u", "-i", "-p", f"--net={place}", *keep, *words)

    def run(self, host: str, *words: str, stdin: bytes = b"", timeout: float = 60.0) -> Done:
        """Run a command inside to its end; raises LabError when it takes longer than ``timeout`` seconds."""
        try:
            done = subprocess.run(
                self.argv(host, words), input=stdin, capture_output=True, check=False, timeout=timeout,
                env=_environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LabError(f"the kernel twin: {words[0]} did not end within {timeout:g} s") from None
        except OSError as error:
            raise LabError(f"the kernel twin: nsenter cannot be run: {error.strerror}") from None
        out, err = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
        return Done(done.returncode, out, err)

    def _word(self) -> Mapping[str, object]:
        assert self._keeper.stdout is not None
        end = time.monotonic() + _START
        if not select.select([self._keeper.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            raise LabError(f"the kernel twin did not come up within {_START:g} s")
        line = self._keeper.stdout.readline()
        try:
            said = json.loads(line)
        except ValueError:
            raise LabError("the kernel twin could not be made: `fwproof doctor` tries what it needs") from None
        if "error" in said:
            raise LabError(f"the kernel twin could not be made: {said['error']} (`fwproof doctor` tries what it needs)")
        found: dict[str, object] = said
        return found

    # ---- links, addresses, routes

    def _wire(self) -> None:
        lines = [f"link add br{n} type bridge" for n, _ in enumerate(self.shape.ports)]
        for n, port in enumerate(self.shape.ports):
            lines += self._cable(f"t{n}", f"br{n}", self.shape.name, port.name)
        places = {port.name: n for n, port in enumerate(self.shape.ports)}
        for n, (name, (link, _)) in enumerate(self.shape.others.items()):
            lines += self._cable(f"o{n}", f"br{places[link]}", name, "eth0")
        lines += [f"link set br{n} up" for n, _ in enumerate(self.shape.ports)]
        for host in self._names:
            self._must(host, "sysctl", "-qw", *_QUIET)
        self._batch(_SWITCH, lines)
        for name, (_, addresses) in self.shape.others.items():
            own = [f"addr add {address}/{address.max_prefixlen} dev eth0" for address in addresses]
            self._batch(name, ["link set lo up", "link set eth0 up", *own, *self._ways(self.shape.others[name][0])])
        self._target()

    def _ways(self, link: str) -> list[str]:
        """Return the routes of a host on a link: others are reached by the twin, where it stands on more than one."""
        port = next(port for port in self.shape.ports if port.name == link)
        ways = []
        for version, six in ((4, ""), (6, "-6 ")):
            own = [each for each in port.addresses if each.version == version]
            ways += [f"{six}route replace {each.network} dev eth0" for each in own]
            hop = f"via {own[0].ip} " if own and len(self.shape.ports) > 1 else ""
            ways.append(f"{six}route add default {hop}dev eth0")
        return ways

    def _cable(self, end: str, bridge: str, host: str, interface: str) -> list[str]:
        place = f"{NETWORKS}/{self._names[host]}"
        return [
            f"link add {end} type veth peer name {interface} netns {place}",
            f"link set {end} master {bridge} up",
        ]

    def _target(self) -> None:
        lines = ["link set lo up"]
        for port in self.shape.ports:
            lines.append(f"link set {port.name} up")
            lines += [f"addr add {address} dev {port.name}" for address in port.addresses]
            for network in port.routes:
                six = "-6 " if network.version == 6 else ""
                lines.append(f"{six}route replace {network} dev {port.name}")
        if self.shape.sysctls:
            text = "".join(f"net/{path} = {value}\n" for path, value in self.shape.sysctls.items())
            self.run(self.shape.name, "sysctl", "-eqp", "-", stdin=text.encode())
        self._batch(self.shape.name, lines)

    def _batch(self, host: str, lines: Sequence[str]) -> None:
        """Run lines of ip, those with -6 in a batch of their own."""
        six = [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ")]
        for words, some in ((("ip",), [line for line in lines if not line.startswith("-6 ")]), (("ip", "-6"), six)):
            if some:
                self._must(host, *words, "-batch", "-", stdin="\n".join([*some, ""]).encode())

    def _must(self, host: str, *words: str, stdin: bytes = b"") -> None:
        done = self.run(host, *words, stdin=stdin)
        if done.status != 0:
            raise LabError(f"the kernel twin could not be wired: {' '.join(words)}: {done.err.strip()[:500]}")


def _environment(*, python: bool = False) -> dict[str, str]:
    """Return an environment without anything of the caller's but what Python needs to find this package."""
    kept = {key: value for key, value in os.environ.items() if python and key.startswith("PYTHON")}
    return {**kept, "PATH": SEARCH, "LC_ALL": "C.UTF-8", "HOME": "/tmp"}  # noqa: S108 - the twin's own
