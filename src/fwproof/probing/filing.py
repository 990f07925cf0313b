"""Files: where what an agent captured is put, by the probe that it belongs to.

What has a source port is in the file of the probe that has it, so that several observations can go on at once;
neighbour discovery, which has no ports, is given to all who listen for its target.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any

from fwproof.flow import Address, Family
from fwproof.observation import RuleEvent, Seen
from fwproof.probing.packets import Packet, dissect
from fwproof.probing.trace import event_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """One captured packet: its role is ``probe``, ``answer``, ``error`` (ICMP about a probe) or ``neighbour``."""

    role: str
    interface: str
    seen: Seen
    packet: Packet | None


@dataclass(slots=True)
class File:
    """What one agent told of one packet; when its source port is used again, that has another file.

    ``confirmed`` is whether conntrack reported a new connection, ``events`` what the host told of the rules it met.
    """

    caught: list[Caught] = field(default_factory=list)
    confirmed: bool = False
    events: list[RuleEvent] = field(default_factory=list)


class Files:
    """The files of one agent's captures; threads may share them.

    Whoever fetches captures holds ``lock`` until they are filed: what any thread has fetched is filed by then, in the
    order of capture.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.lock = threading.Lock()
        self.lost, self.untold = 0, 0
        """How many packets or events, and how many events of traced rules, the host could not hand over so far."""
        self._files: dict[int, File] = {}
        self._listening: dict[Address, list[list[Caught]]] = {}
        self._tracking: Mapping[str, bool] = {}

    def add(self, answer: Mapping[str, Any]) -> None:
        """File what the agent has fetched; the caller holds ``lock``."""
        for when, direction, interface, role, _, port, data in answer["packets"]:
            raw = bytes.fromhex(data)
            packet = dissect(raw)
            words = f"{packet or 'unreadable'} ({printable(str(interface).encode())})"
            side = "out" if direction == "out" else "in"
            seen = Seen(host=self.host, direction=side, time=when / 1e9, summary=words, raw=raw)
            caught = Caught(role=role, interface=str(interface), seen=seen, packet=packet)
            if role != "neighbour":
                self._of(port).caught.append(caught)
            elif packet is not None and packet.target is not None:
                for heard in self._listening.get(packet.target, ()):
                    heard.append(caught)
        for _, src, port, dst, _ in answer["confirmed"]:
            self._of(port).confirmed = bool(ip_address(src) and ip_address(dst))
        self._tracking = dict(answer["tracking"])
        self.lost += int(answer["lost"])
        for row in answer.get("traced", ()):
            self._of(row[0]).events.append(event_of(self.host, row))
        self.untold += int(answer.get("untold", 0))

    def _of(self, port: Any) -> File:
        """Return the file of a source port; one that is thrown away where nobody has opened any."""
        return self._files.get(int(port)) or File()

    def open(self, port: int) -> File:
        """Return a new file for what is captured from now on of the packet with a source port, in order of capture."""
        with self.lock:
            file = self._files[port] = File()
        return file

    @contextmanager
    def listening(self, target: IPv6Address) -> Iterator[Sequence[Caught]]:
        """Give what is filed from now on of neighbour discovery about ``target``; each listener has its own list."""
        heard: list[Caught] = []
        with self.lock:
            self._listening.setdefault(target, []).append(heard)
        try:
            yield heard
        finally:
            with self.lock:
                left = [each for each in self._listening.pop(target) if each is not heard]
                if left:
                    self._listening[target] = left

    def tracks(self, family: Family) -> bool:
        """Whether conntrack is at work in a family, so that a missing event means something."""
        return bool(self._tracking.get(family.value))


def printable(line: bytes) -> str:
    """Return the beginning of a line off the wire in printable ASCII."""
    words = line[:200].decode("ascii", "backslashreplace").strip()
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in words) or "nothing"
