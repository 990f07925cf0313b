"""Gate: the one place that every packet of an audit passes before it is sent; it refuses what was not agreed to.

Only addresses of the inventory are sent to, only inside the authorised window, no faster than each host's cap over all
vantages together, and nothing once the audit is stopped or the way to a host is lost. What goes through is counted.

The cap holds over any second: a packet's permit is taken before the agent is asked to send it and comes back a second
after the agent has said that it did, so that no delay on the way to the agent can bunch packets.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from fwproof.errors import AgentRefused, Stopped
from fwproof.flow import TCP, Address
from fwproof.inventory import Host, Inventory

A_SECOND = 1.05
"""Seconds that a permit is out after its packet was sent: packets may come closer together on the way."""
_USED = 0.95
"""The part of a cap that agents use: the rest is for what kernels send by themselves, such as neighbour discovery."""
_LOOK = 0.05
"""Seconds between two looks whether the audit was stopped. A signal's handler may take no lock, so nothing wakes us."""
IN_TIME = 0.25
"""Seconds that what has its time may come late at most; a limit that is measured would not be what was asked."""
CONNECT, HOLD = 6, 4
"""Packets that a host gets of an ordinary connection: SYN, ACK, data, FIN and their acknowledgements; or SYN, ACK, FIN,
RST."""
_SENDING = {"send", "sweep_send", "connect", "hold"}


class Budget:
    """Permits for packets to one host: at most ``limit`` are out at any time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._out = 0
        self._back: deque[tuple[float, int]] = deque()

    def take(self, count: int) -> float:
        """Take permits; return 0, or else for how many seconds to wait before the next try."""
        now = time.monotonic()
        with self._lock:
            while self._back and self._back[0][0] <= now:
                self._out -= self._back.popleft()[1]
            if self._out + count <= self.limit:
                self._out += count
                return 0.0
            return max(0.001, self._back[0][0] - now) if self._back else _LOOK

    def give(self, count: int) -> None:
        """Give permits back, a second from now."""
        with self._lock:
            self._back.append((time.monotonic() + A_SECOND, count))


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a host's budget that is set aside for packets which have their time."""

    host: str
    budget: Budget


@dataclass(frozen=True, slots=True)
class Load:
    """What one request to an agent sends: packets by the name of the host that gets them."""

    packets: Mapping[str, int]
    counted: Mapping[str, int]


class Gate:
    """Lets requests to agents through, or raises the HostError that says why not; threads may share it.

    Without an inventory nothing is known that could be refused, and everything but a stop is let through.
    """

    def __init__(self, inventory: Inventory | None = None, *, now: Callable[[], datetime] | None = None) -> None:
        hosts = inventory.hosts if inventory else {}
        given = inventory.authorisation if inventory else None
        self._closes = given.closes if given else None
        self._names = {address: host.name for host in hosts.values() for address in host.addresses} if hosts else None
        self._budgets = {name: Budget(usable(host)) for name, host in hosts.items()}
        self._now = now or (lambda: datetime.now(UTC))
        self._why = ""
        self._lost: dict[str, str] = {}
        self._lock = threading.Lock()
        self._sent: Counter[tuple[str, str, str]] = Counter()
        self._word = ""

    # ---- whether

    def stop(self, why: str) -> None:
        """Let nothing through any more; takes no lock, so that a signal's handler may call it."""
        self._why = self._why or why

    def lose(self, host: str, why: str) -> None:
        """Let nothing through any more that goes to a host, or comes from it."""
        self._lost.setdefault(host, why)

    def regain(self, host: str) -> None:
        """Let through again what goes to a host, or comes from it: it was lost before anything was sent."""
        self._lost.pop(host, None)

    @property
    def lost(self) -> Mapping[str, str]:
        """Why nothing more is sent to hosts, by name."""
        return dict(self._lost)

    @property
    def closed(self) -> str:
        """Why nothing is let through at all; empty as long as something is."""
        if not self._why and self._closes is not None and self._now() >= self._closes:
            self._why = f"the authorised window closed at {self._closes.isoformat(timespec='minutes')}"
        return self._why

    @property
    def closed_early(self) -> str:
        """Why something was not let through at all, as far as somebody asked; empty where all was."""
        return self._why

    def check(self, *hosts: str) -> None:
        """Raise Stopped where nothing may be sent to or from hosts."""
        for host in hosts or ("",):
            why = self.closed or self._lost.get(host, "")
            if why:
                raise Stopped(
                    host or "the audit", f"nothing more is sent: {why}", "run the audit again once that is settled"
                )

    def pause(self, seconds: float, *hosts: str) -> None:
        """Wait; raises Stopped as soon as nothing may be sent to or from hosts."""
        end = time.monotonic() + seconds
        while True:
            self.check(*hosts)
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _LOOK))

    # ---- how fast

    def limit(self, host: str) -> int | None:
        """Return how many packets a second a host may get from agents; None where there is no bound."""
        budget = self._budgets.get(host)
        return None if budget is None else budget.limit

    @contextmanager
    def share(self, host: str, packets: int) -> Iterator[Share | None]:
        """Set permits aside for what has its time, once they are there; AgentRefused where they never are."""
        budget = self._budgets.get(host)
        if budget is None:
            yield None
            return
        if packets > budget.limit:
            raise AgentRefused(
                host, f"{packets} packets within a second are needed, and its max_pps lets {budget.limit} through",
                "raise max_pps in the inventory, if the host bears it",
            )  # fmt: skip
        self._wait(budget, packets, (host,), None)
        try:
            yield Share(host, Budget(packets))
        finally:
            budget.give(packets)

    @contextmanager
    def counted_as(self, word: str) -> Iterator[None]:
        """Count what is sent meanwhile under one name of its own, whatever its kind is."""
        self._word = word
        try:
            yield
        finally:
            self._word = ""

    @contextmanager
    def passing(
        self, agent: str, op: str, arguments: Mapping[str, Any], share: Share | None, kind: str
    ) -> Iterator[None]:
        """Let a request to an agent through once it may be made; raises Stopped or AgentRefused."""
        load = self._load(agent, op, arguments) if op in _SENDING else None
        if load is None or kind == "undo":  # what takes back is small, and its packet's permit covered it
            yield
            return
        self.check(agent, *load.packets)
        taken: list[tuple[Budget, int]] = []
        try:
            for host, count in sorted(load.packets.items()):
                budget = share.budget if share is not None and share.host == host else self._budgets[host]
                self._wait(budget, count, (agent, host), None if share is None else IN_TIME)
                taken.append((budget, count))
            with self._lock:
                word = self._word or ("connections" if op in {"connect", "hold"} else kind)
                self._sent.update({(word, agent, host): count for host, count in load.counted.items()})
            yield
        finally:
            for budget, count in taken:
                budget.give(count)

    def _wait(self, budget: Budget, count: int, hosts: tuple[str, ...], within: float | None) -> None:
        if count > budget.limit:
            raise AgentRefused(
                hosts[-1], f"{count} packets go out together, and its max_pps lets {budget.limit} a second through",
                "raise max_pps in the inventory, if the host bears it",
            )  # fmt: skip
        begun = time.monotonic()
        while (wait := budget.take(count)) > 0:
            if within is not None and time.monotonic() - begun > within:
                raise AgentRefused(hosts[-1], "its max_pps left no room for packets that have their time", "run again")
            self.check(*hosts)
            time.sleep(min(wait, _LOOK))

    # ---- what

    def _load(self, agent: str, op: str, arguments: Mapping[str, Any]) -> Load:
        if self._names is None:
            return Load({}, {})
        if op == "send":
            packets: Counter[str] = Counter()
            counted: Counter[str] = Counter()
            for frame in arguments["frames"]:
                host, count = self._frame(agent, bytes.fromhex(frame))
                packets[host] += count
                counted[host] += 1
            return Load(packets, counted)
        if op == "sweep_send":
            host, _ = self._frame(agent, bytes.fromhex(arguments["frame"]))
            return Load({host: arguments["count"]}, {host: arguments["count"]})
        address = ip_address(arguments["address"])
        number = arguments.get("count", 1)
        if address.is_loopback:
            return Load({}, {agent: number})
        host = self._host(agent, address)
        return Load({host: number * (CONNECT if op == "connect" else HOLD)}, {host: number})

    def _frame(self, agent: str, frame: bytes) -> tuple[str, int]:
        """Return who gets a packet, and how many with it: a SYN that is answered is followed by a reset."""
        four = frame[0] >> 4 == 4
        dst = ip_address(frame[16:20] if four else frame[24:40])
        if dst.is_multicast:  # a neighbour solicitation: it is its target that answers
            dst = ip_address(frame[48:64])
        return self._host(agent, dst), 2 if frame[9 if four else 6] == TCP else 1

    def _host(self, agent: str, address: Address) -> str:
        assert self._names is not None
        host = self._names.get(address)
        if host is None:
            raise AgentRefused(agent, f"{address} is no address of the inventory, so nothing is sent to it")
        return host

    # ---- account

    def sent(self) -> list[tuple[str, str, str, int]]:
        """Return what went through: kind, sender, host, and how many packets or connections."""
        with self._lock:
            return [(*key, count) for key, count in sorted(self._sent.items())]


def usable(host: Host) -> int:
    """Return how many packets a second agents send to a host at most: its cap, less what kernels add by themselves."""
    return max(1, int(host.max_pps * _USED))
