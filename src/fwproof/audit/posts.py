"""The auditor's side of workers that connections to hosts go through: one post a worker, one stream a connection.

A stream is only bytes. SSH, its keys, the agents and every time limit of theirs are the auditor's own, as without
workers; what is added here is who connects to which host, and what becomes of the hosts of a worker that is lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from itertools import count
from typing import Any, TypeVar

from fwproof.audit.engine import WorkerLost
from fwproof.audit.engine_dask import Worker, client_of, unmanned, workers_of
from fwproof.audit.post import Pieces, Post
from fwproof.errors import HostError, HostUnreachable
from fwproof.hosts.carried import Carried
from fwproof.inventory import Host, Inventory

T = TypeVar("T")
Told = Callable[[str, str], None]
"""Is told of a host that was lost with its worker, and why."""

PARKED = 2.0
"""Seconds that a post keeps a question for news while there are none: its answer is the worker's sign of life."""
GRACE = 15.0
"""Seconds more than it should take until an answer of a worker counts as missing: it may be busy, or the network."""
_LOOK = 0.2
"""Seconds between two looks whether the scheduler still has the worker."""


class Posts:
    """Connects to hosts through the workers of their zones; ``told`` hears of hosts that were lost with a worker.

    A host stays with one worker, that with the fewest hosts of the first of its zones that is manned. Raises UsageError
    where the scheduler cannot be reached.
    """

    def __init__(self, inventory: Inventory, address: str, told: Told) -> None:
        self._inventory, self._told = inventory, told
        self._client = client_of(address)
        self._lock = threading.Lock()
        self._outposts: dict[str, Outpost] = {}
        self._of: dict[str, Outpost] = {}

    @property
    def stands(self) -> dict[str, str]:
        """The worker that each host is reached by, by their names."""
        with self._lock:
            return {host: outpost.worker.name for host, outpost in self._of.items()}

    def dial(self, host: Host) -> Carried:
        """Return a stream to a host's SSH server; raises HostUnreachable, or WorkerLost for want of a worker."""
        while True:
            outpost = self._outpost(host)
            outpost.start(self._client)
            if not outpost.lost:
                return outpost.dial(host)

    def _outpost(self, host: Host) -> Outpost:
        known = self._of.get(host.name)
        if known is not None and not known.lost:
            return known
        workers = workers_of(self._client, host)
        with self._lock:
            zones = self._zones(host)
            for zone in zones:
                there = [self._at(worker) for worker in workers if zone in worker.zones]
                free = [outpost for outpost in there if not outpost.lost]
                if free:
                    held = list(self._of.values())
                    self._of[host.name] = min(free, key=lambda each: (held.count(each), each.worker.name))
                    return self._of[host.name]
        if known is not None:
            raise WorkerLost(host.name, known.lost, "no other worker stands in its zone: run again once one does")
        raise unmanned(host, zones)

    def _zones(self, host: Host) -> tuple[str, ...]:
        """Return the zones of a host; a jump host that the inventory does not have stands where its address is."""
        if host.addresses:
            return self._inventory.zones_of(host)
        with suppress(ValueError):
            address = ip_address(host.ssh.address)
            return tuple(name for name, zone in self._inventory.zones.items() if address in zone)
        return ()

    def _at(self, worker: Worker) -> Outpost:
        if worker.address not in self._outposts:
            self._outposts[worker.address] = Outpost(worker, self._told)
        return self._outposts[worker.address]

    def close(self) -> None:
        """End all streams and leave the scheduler; safe to call again."""
        with self._lock:
            outposts = list(self._outposts.values())
        for outpost in outposts:
            outpost.close()
        with suppress(OSError, TimeoutError, RuntimeError):
            self._client.close()


class Outpost:
    """One worker's post as the auditor has it; tasks of the client's own loop give to it and take from it."""

    def __init__(self, worker: Worker, told: Told) -> None:
        self.worker, self.lost = worker, ""
        self._told, self._over = told, False
        self._starting, self._lock = threading.Lock(), threading.Lock()
        self._streams: dict[int, tuple[str, Carried]] = {}
        self._numbers = count(1)
        self._out: Pieces = []
        self._work, self._giving = asyncio.Event(), asyncio.Lock()
        self._future: Any = None
        self._post: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # ---- from any thread

    def start(self, client: Any) -> None:
        """Have the worker make the post, once; what stands in the way counts as the loss of the worker."""
        with self._starting:
            if self._post is not None or self.lost:
                return
            try:
                # a key of its own: dask would take equal calls for one
                self._future = client.submit(
                    Post, actor=True, pure=False, workers=[self.worker.address], allow_other_workers=False
                )
                with client.as_current():  # whose the actor's proxy is
                    self._post = self._future.result(timeout=GRACE)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no post
                self._lose(error)
                return
            self._loop = client.loop.asyncio_loop
            self._wait(self._begin(), GRACE)

    def dial(self, host: Host) -> Carried:
        """Return a stream to a host; raises HostUnreachable, or WorkerLost."""
        number = next(self._numbers)
        stream = Carried(("", ""), partial(self._send, number))
        with self._lock:
            if self.lost or self._over:
                raise WorkerLost(host.name, self.lost or "the connections were closed")
            self._streams[number] = host.name, stream  # before the host's first word can come
        within = host.ssh.timeout + GRACE
        answer = self._wait(self._ask("open", number, host, within=within), within + GRACE)
        if isinstance(answer, tuple):
            stream.ends = answer
            return stream
        stream.close()
        if isinstance(answer, HostError):
            raise HostUnreachable(host.name, f"{answer.message}, from the worker {self.worker.name}", answer.advice)
        raise WorkerLost(host.name, self.lost or "the connections were closed")

    def _wait(self, work: Coroutine[Any, Any, T], seconds: float) -> T | None:
        """Have the client's loop do something; None where it did not, which it does unless it has ended."""
        assert self._loop is not None
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)
        except (TimeoutError, CancelledError):
            return None
        except RuntimeError:
            work.close()
            return None

    def _send(self, number: int, data: bytes | None) -> None:
        with self._lock:
            if data is None:
                self._streams.pop(number, None)
            self._out.append((number, data))
        with suppress(RuntimeError):  # a loop that has ended sends nothing
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._work.set)

    def close(self) -> None:
        """End all streams, and the post; safe to call again."""
        with self._lock:
            streams, over = list(self._streams.values()), self._over or self._loop is None
        for _, stream in streams:
            stream.close()
        if not over:
            self._wait(self._end(), 2 * GRACE)
        self._over = True
        if self._future is not None:
            self._future.release()

    # ---- in the client's loop

    async def _begin(self) -> None:
        self._tasks = [asyncio.create_task(work) for work in (self._take(), self._give(), self._watch())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Without one of its tasks nothing comes of the worker any more: what it sent made no sense."""
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._lose(error)

    async def _end(self) -> None:
        if not self.lost:
            await self._flush()  # the last words of SSH, and the ends of the streams
        self._over = True
        for task in self._tasks:
            task.cancel()

    async def _ask(self, method: str, *words: Any, within: float = GRACE) -> Any:
        """Return what a method of the post answers; None where the worker is lost by then."""
        try:
            async with asyncio.timeout(within):
                return await getattr(self._post, method)(*words)
        except Exception as error:  # noqa: BLE001 - whatever stands between us, nothing goes through any more
            self._lose(error)
            return None

    async def _take(self) -> None:
        while not self.lost:
            for number, data in await self._ask("take", PARKED, within=PARKED + GRACE) or ():
                _, stream = self._streams.get(number, ("", None))
                if stream is None:
                    continue
                if data is None:
                    self._streams.pop(number, None)
                    stream.end()
                else:
                    stream.feed(data)

    async def _give(self) -> None:
        while not self.lost:
            await self._work.wait()
            await self._flush()

    async def _flush(self) -> None:
        async with self._giving:  # one after the other: bytes keep their order
            self._work.clear()
            with self._lock:
                out, self._out = self._out, []
            if out:
                await self._ask("give", out)

    async def _watch(self) -> None:
        """Look whether the scheduler still has the post: it knows at once of a worker whose connection ended."""
        while not self.lost:
            if self._future.status != "finished":
                self._lose(RuntimeError(self._future.status))
            await asyncio.sleep(_LOOK)

    # ---- from anywhere

    def _lose(self, error: Exception) -> None:
        """Note that the worker is lost, tell of the hosts that it held, and only then end their streams."""
        with self._lock:
            if self.lost or self._over:
                return
            self.lost = f"the worker {self.worker.name} that it was reached by was lost{_why(error)}"
            streams = list(self._streams.values())
            self._streams.clear()
        for host in dict.fromkeys(host for host, _ in streams):
            self._told(host, self.lost)
        for _, stream in streams:
            stream.end(self.lost)


def _why(error: Exception) -> str:
    """Return what is to be said of a worker's end, where it is more than that its connection ended."""
    if isinstance(error, TimeoutError):
        return " (it did not answer in time)"
    return "" if isinstance(error, OSError | RuntimeError) else f" ({type(error).__name__}: {str(error)[:200]})"
