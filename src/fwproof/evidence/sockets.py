"""Listening sockets, as ``ss -Hltun`` lists them (iproute2's ``misc/ss.c``), with or without the processes of ``-p``.

``tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=16,fd=4))``: protocol, state, two queues, local address and
port, peer, owners. A process chooses its own name (15 bytes, any but NUL), quotes and line ends among them; too few
to look like a socket of its own, so that a name can spoil its own line's end and no other line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address

from fwproof.flow import PROTOCOLS, Address, Family, Flow

_STATES = {"tcp": "LISTEN", "udp": "UNCONN"}
_OWNER = re.compile(r'\("(.*?)",pid=[0-9]+,fd=[0-9]+\)')
_PEER = re.compile(r"\S+:\*")
_FIELDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """One listening socket: ``address`` None is every address of its ``families``, ``interface`` empty is any.

    ``process`` names its owners, empty where ss told none: the kernel itself, or a reading without root.
    """

    proto: str
    port: int
    address: Address | None
    families: tuple[Family, ...]
    interface: str = ""
    process: str = ""

    def __str__(self) -> str:
        where = "every address" if self.address is None else str(self.address)
        where += f"%{self.interface}" if self.interface else ""
        return f"{self.service} on {where} ({self.process or 'process not told'})"

    @property
    def service(self) -> str:
        """Protocol and port, as a policy writes them."""
        return f"{self.proto}/{self.port}"

    @property
    def local(self) -> bool:
        """Whether only the host itself can reach it."""
        return self.interface == "lo" or (self.address is not None and self.address.is_loopback)

    def takes(self, flow: Flow) -> bool:
        """Whether it is what a packet to the host would reach, by protocol, port and destination."""
        return (
            PROTOCOLS[self.proto] == flow.proto and self.port == flow.dport and flow.family in self.families
            and self.address in {None, flow.dst}
        )  # fmt: skip

    def same(self, other: Socket) -> bool:
        """Whether another reading lists this socket too; its owner may have changed."""
        return replace(self, process="") == replace(other, process="")


@dataclass(frozen=True, slots=True)
class Sockets:
    """One reading: the sockets, each once, and the lines that are none, or not understood."""

    listed: tuple[Socket, ...]
    strange: tuple[str, ...] = ()

    def of(self, family: Family) -> tuple[Socket, ...]:
        """Return the sockets that packets of a family can reach."""
        return tuple(socket for socket in self.listed if family in socket.families)


def parse_sockets(text: str) -> Sockets:
    """Return what ss listed. Nothing is passed over: a line that is no socket is in ``strange``."""
    found: dict[Socket, list[str]] = {}
    strange: list[str] = []
    for line in text.split("\n"):  # str.splitlines would also split at bytes that are common in names
        if not line.strip():
            continue
        socket = _socket(line)
        if socket is None:
            strange.append(line)
        else:
            # SO_REUSEPORT: one line for each of the processes that share a port
            found.setdefault(replace(socket, process=""), []).append(socket.process)
    return Sockets(tuple(replace(one, process=_joined(names)) for one, names in found.items()), tuple(strange))


def _joined(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, names)))


def _socket(line: str) -> Socket | None:
    fields = line.split(None, _FIELDS)
    if len(fields) < _FIELDS or _STATES.get(fields[0]) != fields[1] or not _PEER.fullmatch(fields[5]):
        return None
    end = _end(fields[4])
    if end is None:
        return None
    address, families, interface, port = end
    owners = _OWNER.findall(fields[6]) if len(fields) > _FIELDS else ()
    return Socket(
        proto=fields[0], port=port, address=address, families=families, interface=interface,
        process=_joined(f"“{name}”" if re.search(r"[^\w.:/@+-]", name) else name for name in owners),
    )  # fmt: skip


def _end(text: str) -> tuple[Address | None, tuple[Family, ...], str, int] | None:
    """Return address, families, interface and port of ``*:80``, ``[fe80::1]%eth0:546`` or ``127.0.0.53%lo:53``."""
    head, _, number = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", number) or not 0 < int(number) < 1 << 16:
        return None
    host, _, interface = head.partition("%")
    if host == "*":  # one socket of IPv6 that takes IPv4 as well (IPV6_V6ONLY off)
        return None, tuple(Family), interface, int(number)
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address.is_unspecified else address, (Family.of(address),), interface, int(number)
