"""How much is done at once: over all hosts, and in single zones, whatever does the work."""

from __future__ import annotations

import resource
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from fwproof.errors import UsageError
from fwproof.inventory import Host, Inventory

T = TypeVar("T")
_DESCRIPTORS = 8
"""File descriptors that a host takes at most: its connection, agent, a command, and one more log-in meanwhile."""
_OURS = 256


class Bounds:
    """Hands out hosts so that no zone has more under way than its limit, and all together no more than ``at_once``.

    A host in several zones counts in each. What waits for a zone does not hold up other zones.
    """

    def __init__(self, inventory: Inventory, hosts: Iterable[Host]) -> None:
        self._inventory = inventory
        self._waiting = deque(hosts)
        self._busy: Counter[str] = Counter()
        self.under_way = 0

    def next(self) -> Host | None:
        """Return a host to begin with, None where all that is left has to wait."""
        if self.under_way >= self._inventory.at_once:
            return None
        for _ in range(len(self._waiting)):
            host = self._waiting.popleft()
            if all(self._busy[zone] < most for zone, most in self._limits(host)):
                self.under_way += 1
                self._busy.update(self._inventory.zones_of(host))
                return host
            self._waiting.append(host)
        return None

    def done(self, host: Host) -> None:
        """Say that the work on a host has ended."""
        self.under_way -= 1
        self._busy.subtract(self._inventory.zones_of(host))

    def _limits(self, host: Host) -> Iterator[tuple[str, int]]:
        for zone in self._inventory.zones_of(host):
            limit = self._inventory.limits.get(zone)
            if limit is not None and limit.at_once is not None:
                yield zone, limit.at_once


def make_room(hosts: int) -> None:
    """See that this process may have a connection to so many hosts at once; raises UsageError where it may not.

    The soft limit, which is 1,024 on most machines, is raised as far as it takes (getrlimit(2), RLIMIT_NOFILE).
    """
    wanted = _OURS + _DESCRIPTORS * hosts
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UsageError(
            f"{hosts} hosts take up to {wanted} file descriptors, and this process may have {hard}: raise the hard"
            " limit (ulimit -Hn), or audit fewer hosts in one run"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def in_zones(inventory: Inventory, hosts: Iterable[Host], work: Callable[[Host], object]) -> None:
    """Do ``work`` for every host in threads, within the inventory's bounds; the first exception is raised."""
    hosts = list(hosts)
    make_room(len(hosts))
    with ThreadPoolExecutor(inventory.at_once, "fwproof-host") as pool:
        for _, future in bounded(inventory, hosts, lambda host: pool.submit(work, host)):
            future.result()


def bounded(
    inventory: Inventory, hosts: Iterable[Host], submit: Callable[[Host], Future[T]]
) -> Iterator[tuple[Host, Future[T]]]:
    """Submit work for every host within the inventory's bounds; yield each host with its future once that is done.

    No more is submitted than may be under way, so that the bounds hold for any executor, a distributed one included.
    """
    bounds, running = Bounds(inventory, hosts), dict["Future[T]", Host]()
    while True:
        while (host := bounds.next()) is not None:
            running[submit(host)] = host
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            host = running.pop(future)
            bounds.done(host)
            yield host, future
