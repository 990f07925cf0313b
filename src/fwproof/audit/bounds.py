"""How much is done at once: over all hosts, and in single zones, whatever does the work."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from fwproof.inventory import Host, Inventory

T = TypeVar("T")


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


def in_zones(inventory: Inventory, hosts: Iterable[Host], work: Callable[[Host], object]) -> None:
    """Do ``work`` for every host in threads, within the inventory's bounds; the first exception is raised."""
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
