"""The optional engine: shards are read by workers of dask.distributed, which stand in the zones of the hosts.

A worker says where it stands by a resource of its own: ``--resources "zone:dmz=1000"``. Scheduler and workers carry
code to each other, so that only TLS with certificates of both sides is accepted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, ClassVar

from fwproof.audit.engine import WorkerLost
from fwproof.errors import HostError, UsageError
from fwproof.inventory import Host, Inventory
from fwproof.snapshot import Snapshot

_TOPIC = "fwproof-shard"
_PREFIX = "zone:"
_CONNECT = 15.0


def client_of(address: str) -> Any:
    """Return a client of the scheduler at ``tls://host:port``; raises UsageError where that cannot be had."""
    if not address.startswith("tls://"):
        raise UsageError(f"the scheduler's address is tls://HOST:PORT, not {address!r}: workers run what they are sent")
    try:
        from distributed import Client
        from distributed.security import Security
    except ImportError:
        raise UsageError("the engine dask needs dask.distributed: pip install 'fwproof[distributed]'") from None
    try:
        return Client(address, security=Security(require_encryption=True), timeout=_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise UsageError(
            f"no connection to the scheduler {address}: {error}; dask's configuration"
            " (distributed.comm.tls) names ca-file, and key and cert of client"
        ) from None


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a scheduler, with the zones that it says it stands in."""

    name: str
    address: str
    zones: tuple[str, ...]


def workers_of(client: Any, host: Host) -> list[Worker]:
    """Return the workers that the scheduler has now; raises WorkerLost, which names ``host``, where it does not say."""
    try:  # not scheduler_info(), which waits for ever, or tells of workers that were there once
        found = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_CONNECT)["workers"]
    except (OSError, TimeoutError, RuntimeError, AttributeError) as error:  # the last where the client was closed
        raise WorkerLost(
            host.name, f"the scheduler does not say which workers there are ({type(error).__name__})",
            "see that it runs, then run again",
        ) from error  # fmt: skip
    return [
        Worker(str(each.get("name", address)), address,
               tuple(name.removeprefix(_PREFIX) for name in each.get("resources", {}) if name.startswith(_PREFIX)))
        for address, each in found.items()
    ]  # fmt: skip


def unmanned(host: Host, zones: Iterable[str]) -> WorkerLost:
    """Return the error of a host that nobody stands near."""
    names = ", ".join(zones) or "none of the inventory"
    return WorkerLost(
        host.name, f"no worker stands in its zone ({names})", f'start one with --resources "{_PREFIX}NAME=1000"'
    )


class Dask:
    """Workers of a scheduler at ``address`` (``tls://host:port``), with the client's TLS files as dask has them."""

    def __init__(self, inventory: Inventory, address: str) -> None:
        self._client = client_of(address)
        self._inventory = inventory
        self._executors: dict[str, Executor] = {}

    def executor(self, host: Host) -> Executor:
        """Return what hands a shard to the workers of a zone that the host stands in, the first that has any."""
        manned = {zone for worker in workers_of(self._client, host) for zone in worker.zones}
        for zone in self._inventory.zones_of(host):
            if zone in manned:
                if zone not in self._executors:
                    self._executors[zone] = _ZoneExecutor(self._client, zone)
                return self._executors[zone]
        raise unmanned(host, self._inventory.zones_of(host))

    def renew(self) -> None:
        """Nothing is to be done: the scheduler goes on without the worker."""

    def begun(self) -> Mapping[str, int]:
        """Return how often workers have begun to read each host: more than once after one was lost."""
        return Counter(
            event["host"] for _, event in self._client.get_events(_TOPIC) or () if event["run"] == _ZoneExecutor.run
        )

    def close(self) -> None:
        """Leave the scheduler."""
        self._client.close()


class _ZoneExecutor(Executor):
    """An executor whose work is done by the workers of one zone."""

    run: ClassVar[str] = f"{time.time_ns():x}"

    def __init__(self, client: Any, zone: str) -> None:
        self._pool = client.get_executor(resources={f"{_PREFIX}{zone}": 1}, pure=False, retries=0)
        self._zone = zone

    def submit(self, fn: Any, /, host: Host, *args: Any, **kwargs: Any) -> Future[Snapshot | HostError]:  # type: ignore[override]
        """Submit a shard; where its workers were lost more often than allowed, the answer is a WorkerLost."""
        result: Future[Snapshot | HostError] = Future()
        inner = self._pool.submit(told, self.run, fn, host, *args, **kwargs)

        def done(finished: Future[Snapshot | HostError]) -> None:
            error = finished.exception()
            if error is None:
                result.set_result(finished.result())
            elif type(error).__name__ in {"KilledWorker", "NoValidWorkerError", "CancelledError"}:
                result.set_result(
                    WorkerLost(host.name, f"the workers that read it were lost: {error}", "see their logs")
                )
            else:
                result.set_exception(error)

        inner.add_done_callback(done)
        return result


def told(run: str, fn: Any, host: Host, *args: Any) -> Snapshot | HostError:
    """Do a shard's work on a worker, after saying so over the stream that the worker keeps to the scheduler."""
    from distributed import get_worker

    get_worker().log_event(_TOPIC, {"run": run, "host": host.name})
    answer: Snapshot | HostError = fn(host, *args)
    return answer
