import os
import pickle
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future
from ipaddress import ip_address, ip_network

import pytest

from fwproof import errors
from fwproof.audit.bounds import Bounds, in_zones, make_room
from fwproof.audit.engine import TRIES, Local, WorkerLost, read_all
from fwproof.audit.engine_dask import Dask
from fwproof.errors import HostError, HostUnreachable, JumpLost, UsageError
from fwproof.inventory import Host, Inventory, SshAddress, Zone, ZoneLimits


def estate(path, count=12, at_once=5, **limits):
    """Return hosts that alternate between two zones; every address is one that refuses connections."""
    hosts = {}
    for n in range(count):
        address = ip_address(f"10.{n % 2}.0.{n + 1}")
        ssh = SshAddress(address="127.0.0.1", port=1, known_hosts=path / "known")
        hosts[f"h{n}"] = Host(name=f"h{n}", addresses=(address,), ssh=ssh)
    (path / "known").write_text("")
    zones = {z: Zone(name=z, networks=(ip_network(f"10.{n}.0.0/16"),)) for n, z in enumerate(("even", "odd"))}
    wanted = {name: ZoneLimits(at_once=most) for name, most in limits.items()}
    return Inventory(path=path, sha256="", hosts=hosts, zones=zones, at_once=at_once, limits=wanted)


def test_no_zone_has_more_under_way_than_its_limit(tmp_path):
    inventory = estate(tmp_path, even=1, odd=3)
    lock, busy, most = threading.Lock(), {"even": 0, "odd": 0}, {"even": 0, "odd": 0}

    def work(host):
        (zone,) = inventory.zones_of(host)
        with lock:
            busy[zone] += 1
            most[zone] = max(most[zone], busy[zone])
        time.sleep(0.02)
        with lock:
            busy[zone] -= 1

    in_zones(inventory, inventory.hosts.values(), work)
    assert most == {"even": 1, "odd": 3}


def test_no_more_is_handed_out_than_may_be_under_way(tmp_path):
    inventory = estate(tmp_path, 4, at_once=2)
    bounds = Bounds(inventory, inventory.hosts.values())
    first, second = bounds.next(), bounds.next()
    assert (first.name, second.name, bounds.next()) == ("h0", "h1", None)
    bounds.done(second)
    assert (bounds.next().name, bounds.next()) == ("h2", None)


def test_all_together_are_bounded_and_an_exception_gets_out(tmp_path):
    inventory = estate(tmp_path, at_once=2)
    most, busy, lock = [0], [0], threading.Lock()

    def work(host):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.01)
        with lock:
            busy[0] -= 1

    in_zones(inventory, inventory.hosts.values(), work)
    assert most == [2]
    with pytest.raises(ZeroDivisionError):
        in_zones(inventory, inventory.hosts.values(), lambda _host: 1 // 0)


def test_many_hosts_get_as_many_descriptors_as_they_take(monkeypatch):
    limits = [1024, 4096]
    monkeypatch.setattr("resource.getrlimit", lambda _what: tuple(limits))
    monkeypatch.setattr("resource.setrlimit", lambda _what, pair: limits.__setitem__(slice(None), pair))
    make_room(50)
    assert limits == [1024, 4096]
    make_room(200)
    assert limits == [256 + 8 * 200, 4096]
    with pytest.raises(UsageError, match="500 hosts take up to 4256 file descriptors, and this process may have 4096"):
        make_room(500)


class Breaking(Executor):
    """Does the work here; loses the worker of a host as often as it is told."""

    def __init__(self, lost):
        self.lost, self.begun, self.renewed = lost, [], 0

    def submit(self, fn, host, *args):
        future = Future()
        self.begun.append(host.name)
        if self.lost.get(host.name, 0) > 0:
            self.lost[host.name] -= 1
            future.set_exception(BrokenExecutor("killed"))
        else:
            future.set_result(fn(host, *args))
        return future


class OneEngine(Local):
    def __init__(self, executor):
        self.pool = executor

    def executor(self, host):
        return self.pool

    def renew(self):
        self.pool.renewed += 1


def test_only_the_shards_that_were_lost_are_read_again(tmp_path):
    inventory = estate(tmp_path, 4)
    pool = Breaking({"h1": 1, "h2": 99})
    said = []
    shards = read_all(inventory, inventory.hosts.values(), OneEngine(pool), (), said.append)
    assert list(shards) == ["h0", "h1", "h2", "h3"]
    assert [shard.tries for shard in shards.values()] == [1, 2, TRIES, 1]
    assert [type(shard.found) for shard in shards.values()] == [
        HostUnreachable,
        HostUnreachable,
        WorkerLost,
        HostUnreachable,
    ]
    assert sorted(pool.begun) == sorted(["h0", "h1", "h1", "h2", "h2", "h2", "h3"])
    assert pool.renewed == TRIES - 1
    assert "h1: its worker was lost; reading it again" in said


def suicide(host, _jails):
    os._exit(1)


def test_processes_that_end_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("fwproof.audit.engine.read_shard", suicide)
    inventory = estate(tmp_path, 1, at_once=1)
    engine = Local(1, processes=True)
    try:
        (shard,) = read_all(inventory, inventory.hosts.values(), engine).values()
    finally:
        engine.close()
    assert isinstance(shard.found, WorkerLost)
    assert shard.tries == TRIES


KINDS = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, HostError)]


@pytest.mark.parametrize("kind", [*KINDS, WorkerLost])
def test_what_stands_in_the_way_comes_back_from_a_worker(kind):
    there = kind("h", "message", "advice")
    back = pickle.loads(pickle.dumps(there))
    assert (type(back), back.host, back.message, back.advice, str(back)) == (kind, "h", "message", "advice", str(there))


def test_hosts_behind_one_jump_host_have_one_cause():
    assert {JumpLost(name, "no way there through the jump host j: x").cause for name in ("a", "b")} == {
        "no way there through the jump host j: x"
    }
    assert len({HostUnreachable(name, "x").cause for name in ("a", "b")}) == 2


def test_a_scheduler_without_tls_is_refused(tmp_path):
    with pytest.raises(UsageError, match="tls://HOST:PORT"):
        Dask(estate(tmp_path), "tcp://127.0.0.1:8786")
