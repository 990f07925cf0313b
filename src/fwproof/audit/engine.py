"""Who does the reading: threads of this process, processes of this machine, or workers elsewhere by dask.distributed.

All of them are :class:`concurrent.futures.Executor`; how much is done at once is bounded before anything is handed to
one (:mod:`fwproof.audit.bounds`). A shard is one host: it is read whole or not at all, from its description alone, so
that it can be read again wherever it was lost.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Protocol

from fwproof.audit.bounds import bounded
from fwproof.errors import HostError, HostUnreachable, UsageError
from fwproof.hosts.collect import collect
from fwproof.hosts.ssh import SshTransport
from fwproof.inventory import Host, Inventory
from fwproof.snapshot import Snapshot

TRIES = 3
"""Times that a shard is begun at most: a host whose reading ends its worker each time must not end them all."""


THREADS = "threads"
"""The engine of this process."""

_Found = Snapshot | HostError | BrokenExecutor | CancelledError


def check_engine(name: str) -> None:
    """Raise UsageError for an engine that no audit can have."""
    if name == "processes":
        raise UsageError(
            "an audit's hosts keep one connection each from first to last, which processes cannot share: the engine is"
            " threads, or tls://HOST:PORT for the workers of a dask.distributed scheduler"
        )
    if name != THREADS and "://" not in name:
        raise UsageError(f"the engine of an audit is threads or tls://HOST:PORT, not {name!r}")


class WorkerLost(HostUnreachable):
    """The worker that read a host ended, and so did those that it was given to afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One host as it was read; ``tries`` counts how often that was begun."""

    host: str
    found: Snapshot | HostError
    tries: int = 1


class Engine(Protocol):
    """Where shards are read."""

    def executor(self, host: Host) -> Executor:
        """Return what takes a host's shard; raises HostError where nobody stands where it could be read from."""

    def renew(self) -> None:
        """Make good for executors that broke, after a BrokenExecutor."""

    def begun(self) -> Mapping[str, int]:
        """Return how often each host was begun by workers, as far as they tell; empty where they do not."""

    def close(self) -> None:
        """End what was started; safe to call again."""


class Local:
    """An engine of this machine: ``processes`` of them, or threads of this process."""

    def __init__(self, at_once: int, *, processes: bool = False) -> None:
        self._at_once, self._processes = at_once, processes
        self._pool = self._new()

    def _new(self) -> Executor:
        if self._processes:
            # not forked: this process has threads
            return ProcessPoolExecutor(min(self._at_once, 2 * (os.cpu_count() or 1)), mp_context=get_context("spawn"))
        return ThreadPoolExecutor(self._at_once, "fwproof-host")

    def executor(self, _host: Host) -> Executor:
        """Return the pool."""
        return self._pool

    def renew(self) -> None:
        """Start a pool in place of the one that broke."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._new()

    def begun(self) -> Mapping[str, int]:
        """Nothing: the caller counts."""
        return {}

    def close(self) -> None:
        """End the pool."""
        self._pool.shutdown(cancel_futures=True)


def read_shard(host: Host, jails: tuple[str, ...]) -> Snapshot | HostError:
    """Read one host over a connection of its own; what stands in the way is the answer."""
    transport = SshTransport(host)
    try:
        return collect(transport, jails)
    except HostError as error:
        return error
    finally:
        transport.close()


def read_all(
    inventory: Inventory, hosts: Iterable[Host], engine: Engine, jails: tuple[str, ...] = (),
    progress: Callable[[str], None] = lambda _line: None,
) -> dict[str, Shard]:  # fmt: skip
    """Read hosts by an engine; a shard whose worker is lost is read again, and no other is.

    With processes, a worker that ends takes those beside it along: all that were under way are read again.
    """
    left = list(hosts)
    order = [host.name for host in left]
    tries: Counter[str] = Counter()
    shards: dict[str, Shard] = {}
    while left:
        again: list[Host] = []
        for host, found in _round(inventory, left, engine, jails, tries):
            if isinstance(found, BrokenExecutor | CancelledError) and tries[host.name] < TRIES:
                progress(f"{host.name}: its worker was lost; reading it again")
                again.append(host)
                continue
            shards[host.name] = Shard(host=host.name, found=_settled(host, found), tries=tries[host.name])
        if again:
            engine.renew()
        left = again
    begun = engine.begun()
    return {name: _counted(shards[name], begun) for name in order}


def _settled(host: Host, found: _Found) -> Snapshot | HostError:
    if isinstance(found, BrokenExecutor | CancelledError):
        return WorkerLost(host.name, f"the worker that read it was lost, {TRIES} times", "see its own log")
    return found


def _counted(shard: Shard, begun: Mapping[str, int]) -> Shard:
    tries = max(shard.tries, begun.get(shard.host, 0))
    return Shard(host=shard.host, found=shard.found, tries=tries)


def _round(
    inventory: Inventory, hosts: list[Host], engine: Engine, jails: tuple[str, ...], tries: Counter[str]
) -> Iterator[tuple[Host, _Found]]:
    def submit(host: Host) -> Future[Snapshot | HostError]:
        tries[host.name] += 1
        try:
            return engine.executor(host).submit(read_shard, host, jails)
        except (HostError, BrokenExecutor) as error:
            failed: Future[Snapshot | HostError] = Future()
            failed.set_exception(error)
            return failed

    for host, future in bounded(inventory, hosts, submit):
        try:
            yield host, future.result()
        except (HostError, BrokenExecutor, CancelledError) as error:
            yield host, error
