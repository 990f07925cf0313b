"""A post: what stands on a worker and carries an auditor's connections to the hosts of its zone.

It moves bytes and sees none of what they mean: SSH begins and ends with the auditor, who keeps the keys and checks
those of the hosts. It is an actor of dask.distributed; all of its methods are coroutines of the worker's own loop, so
that none of them waits for another.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from fwproof.errors import HostError, HostUnreachable
from fwproof.hosts import login
from fwproof.inventory import Host

Pieces = list[tuple[int, bytes | None]]
"""Bytes by the number of their stream, in order; None is the end of a stream."""

LEASE = 90.0
"""Seconds after which everything is closed where the auditor asked for nothing."""
_PIECE = 256 * 1024
_MOST = 4 * 1024 * 1024
"""Bytes from hosts that wait for the auditor at most, and bytes for one host that wait for it."""
_DIALS = 256
"""Connections that are begun at once, which is as many hosts as an auditor may work on (``limits.at_once``): one that
nobody answers takes as long as its time limit, and no other may wait for it."""
_NAMES = 5.0
"""Seconds more than its time limit that a connection may take: for names, and names with several addresses."""


class Post:
    """Streams by the numbers that the auditor gives them; all end with the post, also where the auditor vanishes."""

    def __init__(self) -> None:
        self._held: _Held | None = None

    def _streams(self) -> _Held:
        if self._held is None:  # by the first call: dask makes the post itself outside of its loop
            self._held = _Held(asyncio.get_running_loop())
        return self._held

    async def open(self, stream: int, host: Host) -> tuple[str, str] | HostError:
        """Connect to a host's SSH server; return the addresses of both ends, or what stood in the way."""
        return await self._streams().open(stream, host)

    async def give(self, pieces: Pieces) -> None:
        """Send bytes to hosts, and end streams; what is for a stream that is over goes nowhere."""
        self._streams().give(pieces)

    async def take(self, seconds: float) -> Pieces:
        """Return what came from hosts, for the first of which it waits so long; raises ConnectionError in the end."""
        return await self._streams().take(seconds)

    def __del__(self) -> None:
        """Close everything: dask drops a post as soon as the auditor's connection to the scheduler has ended."""
        held = getattr(self, "_held", None)
        if held is not None:
            with suppress(RuntimeError):  # the loop has ended, and with it the process
                held.loop.call_soon_threadsafe(held.close)


class _Held:
    """The streams of a post. Its tasks keep it alive, so that it is another object than the post, which ends it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._came: Pieces = []
        self._size = 0
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._asked, self._over = time.monotonic(), False
        self._dials = ThreadPoolExecutor(_DIALS, "fwproof-dial")
        self._expire()

    async def open(self, stream: int, host: Host) -> tuple[str, str] | HostError:
        dialled, limit = self._dials.submit(login.connect, host), host.ssh.timeout + _NAMES
        try:
            async with asyncio.timeout(limit):
                sock = await asyncio.wrap_future(dialled)
        except HostError as error:
            return error
        except TimeoutError:
            dialled.add_done_callback(_hung_up)
            return HostUnreachable(host.name, f"no connection to {host.ssh.address} within {limit:g} s")
        try:
            ends = sock.getsockname()[0], sock.getpeername()[0]
            reader, writer = await asyncio.open_connection(sock=sock)
        except OSError as error:  # the host has ended it meanwhile
            sock.close()
            return HostUnreachable(host.name, f"the connection ended as it began: {error.strerror or error}")
        if self._over:
            writer.transport.abort()
            return HostUnreachable(host.name, "the post was closed")
        self._writers[stream] = writer
        task = self.loop.create_task(self._read(stream, reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ends

    async def _read(self, stream: int, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):  # a connection that was lost has ended
            while data := await reader.read(_PIECE):
                self._came.append((stream, data))
                self._size += len(data)
                self._news.set()
                while self._size > _MOST:
                    await self._room.wait()
        self._writers.pop(stream).close()
        self._came.append((stream, None))
        self._news.set()

    def give(self, pieces: Iterable[tuple[int, bytes | None]]) -> None:
        for stream, data in pieces:
            writer = self._writers.get(stream)
            if writer is None or writer.is_closing():
                continue
            if data is None:
                writer.close()  # after what is still to be sent: until then the stream is one that close() ends
            else:
                writer.write(data)
                if writer.transport.get_write_buffer_size() > _MOST:  # the host takes nothing in
                    writer.transport.abort()

    async def take(self, seconds: float) -> Pieces:
        if self._over:
            raise ConnectionError("the post has closed its connections")
        self._asked = time.monotonic()
        if not self._came:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        self._news.clear()
        came, self._came, self._size = self._came, [], 0
        self._room.set()  # wakes those who wait now
        self._room.clear()
        return came

    def _expire(self) -> None:
        left = self._asked + LEASE - time.monotonic()
        if left <= 0:
            self.close()
        elif not self._over:
            self.loop.call_later(left, self._expire)

    def close(self) -> None:
        self._over = True
        for writer in self._writers.values():
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        self._dials.shutdown(wait=False)


def _hung_up(dialled: Future[socket.socket]) -> None:
    """Close a connection that nobody waits for any more."""
    if not dialled.cancelled() and dialled.exception() is None:
        dialled.result().close()
