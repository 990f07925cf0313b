"""Connections that workers carry, with workers that are objects of this process; tests/lab has real ones."""

import asyncio
import socket
import threading
import time
from concurrent.futures import Future as Future_
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from fwproof.audit import engine_dask
from fwproof.audit import post as far
from fwproof.audit import posts as near
from fwproof.audit.engine import WorkerLost, check_engine
from fwproof.audit.field import Field
from fwproof.audit.losses import Losses
from fwproof.audit.posts import Posts
from fwproof.errors import HostUnreachable, UsageError
from fwproof.hosts import carried
from fwproof.hosts.ssh import Ways
from fwproof.inventory import Host, Inventory, Jump, SshAddress, Zone
from fwproof.policy.inventory_shapes import LimitsShape
from fwproof.probing.gate import Gate


class Actor:
    """What dask makes of a post: its methods are awaited, and fail once the worker is gone."""

    def __init__(self, post):
        self.post, self.stuck = post, False

    def __getattr__(self, name):
        async def method(*words):
            if self.stuck:
                await asyncio.sleep(60)
            if self.post is None:
                raise OSError("Unable to contact Actor's worker")
            return await getattr(self.post, name)(*words)

        return method


class Future:
    def __init__(self, actor):
        self.actor, self.status = actor, "finished"

    def result(self, timeout):
        if isinstance(self.actor, Exception):
            raise self.actor
        return self.actor

    def release(self):
        """Is no test's business: the client closes the posts."""


class Client:
    """Workers by name, with their zones; ``futures`` are those of their posts."""

    def __init__(self, **zones):
        self.loop = SimpleNamespace(asyncio_loop=asyncio.new_event_loop())
        self.thread = threading.Thread(target=self.loop.asyncio_loop.run_forever)
        self.thread.start()
        self.zones, self.futures, self.broken, self.posts = zones, {}, {}, []
        self.frozen = False

    @property
    def scheduler(self):
        return SimpleNamespace(identity=self.identity)

    def sync(self, asked, *, callback_timeout, **words):
        return asyncio.run_coroutine_threadsafe(asked(**words), self.loop.asyncio_loop).result(callback_timeout)

    async def identity(self, n_workers):
        assert n_workers == -1
        if self.frozen:
            await asyncio.sleep(60)
        resources = {name: {f"zone:{zone}": 1000.0 for zone in zones} for name, zones in self.zones.items()}
        return {"workers": {f"tls://{name}": {"name": name, "resources": each} for name, each in resources.items()}}

    def submit(self, kind, *, actor, pure, workers, allow_other_workers):
        assert (actor, pure, allow_other_workers) == (True, False, False)
        name = workers[0].removeprefix("tls://")
        self.posts.append(kind())
        self.futures[name] = Future(self.broken.get(name) or Actor(self.posts[-1]))
        return self.futures[name]

    @contextmanager
    def as_current(self):
        yield

    def kill(self, name):
        self.zones.pop(name)
        self.futures[name].status = "error"
        self.futures[name].actor.post = None

    def close(self):
        if self.loop.asyncio_loop.is_closed():
            return

        async def end():
            rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            for post in self.posts:
                post._streams().close()
            await asyncio.sleep(0.02)  # what was aborted is closed in the next round

        loop = self.loop.asyncio_loop
        asyncio.run_coroutine_threadsafe(end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        self.thread.join()
        loop.close()


@pytest.fixture
def server():
    """Return a server's port; it sends back what it gets, in capitals, until it gets a full stop."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(sock):
        with sock, suppress(OSError):
            sock.sendall(b"hello\n")
            while data := sock.recv(1 << 16):
                sock.sendall(data.upper())
                if b"." in data:
                    return

    def accept():
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def host(name, address, port, **ssh):
    return Host(
        name=name, addresses=(ip_address(address),), ssh=SshAddress(address="127.0.0.1", port=port, timeout=2, **ssh)
    )


@pytest.fixture
def posts(monkeypatch, tmp_path, server):
    """Return a function that makes posts on workers; ``told`` is what was told of losses."""
    made = []

    def make(**zones):
        client = Client(**zones)
        monkeypatch.setattr(near, "client_of", lambda _address: client)
        hosts = {name: host(name, address, server) for name, address in HOSTS.items()}
        nets = {name: Zone(name=name, networks=(ip_network(net),)) for name, net in ZONES.items()}
        told = []
        inventory = Inventory(path=tmp_path, sha256="", hosts=hosts, zones=nets)
        found = Posts(inventory, "tls://x:1", lambda *words: told.append(words))
        made.append(found)
        return SimpleNamespace(posts=found, hosts=hosts, told=told, client=client)

    yield make
    for each in made:
        each.close()


ZONES = {"east": "10.1.0.0/16", "west": "10.2.0.0/16", "far": "10.3.0.0/16", "home": "127.0.0.0/8"}
HOSTS = {"e1": "10.1.0.1", "e2": "10.1.0.2", "w1": "10.2.0.1", "f1": "10.3.0.1"}


def read(stream, count):
    stream.settimeout(5)
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


def test_a_stream_carries_bytes_in_order_until_one_side_ends_it(posts, server):
    made = posts(a=["east"])
    stream = made.posts.dial(made.hosts["e1"])
    assert read(stream, 6) == b"hello\n"
    assert stream.ends == ("127.0.0.1", "127.0.0.1")
    words = [b"%d " % n for n in range(2000)]
    for word in words:
        assert stream.send(word) == len(word)
    assert read(stream, len(b"".join(words))) == b"".join(words)
    stream.settimeout(0.01)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    stream.send(b"x.")
    assert read(stream, 9) == b"X."
    assert not stream.lost
    with pytest.raises(OSError, match="has ended"):
        stream.send(b"more")
    stream.close()
    again = made.posts.dial(made.hosts["e1"])
    again.close()
    again.close()
    assert read(again, 100) in {b"", b"hello\n"}


def test_hosts_are_shared_out_among_the_workers_of_their_zone(posts):
    made = posts(a=["east"], b=["east", "west"])
    for name in ("e1", "e2", "w1", "e1"):
        made.posts.dial(made.hosts[name])
    assert made.posts.stands == {"e1": "a", "e2": "b", "w1": "b"}
    with pytest.raises(WorkerLost, match=r"f1: no worker stands in its zone \(far\) .*zone:NAME=1000"):
        made.posts.dial(made.hosts["f1"])


def test_a_jump_host_is_connected_to_by_a_worker_near_itself_and_what_it_carries_is_not(posts, tmp_path):
    (known := tmp_path / "known").touch()
    made = posts(a=["east"], b=["home"])
    address = SshAddress(address="127.0.0.1", port=1, timeout=2, known_hosts=known)
    behind = Host(
        name="e9",
        addresses=(ip_address("10.1.9.9"),),
        ssh=SshAddress(address="x", known_hosts=known, jumps=(Jump(name="j", ssh=address),)),
    )
    with pytest.raises(HostUnreachable, match=r"jump host j: .*refused, from the worker b"):
        Ways({}, made.posts.dial).to(behind).connect()
    assert made.posts.stands == {"j": "b"}


def test_what_stands_in_the_way_of_a_worker_is_told_with_its_name(posts):
    made = posts(a=["east"])
    closed = host("e1", "10.1.0.1", 1)
    with pytest.raises(
        HostUnreachable, match=r"no connection to 127.0.0.1 port 1: .*refused, from the worker a"
    ) as got:
        made.posts.dial(closed)
    assert type(got.value) is HostUnreachable
    assert not made.told


def test_the_hosts_of_a_worker_that_ends_are_told_once_and_go_to_another(posts):
    made = posts(a=["east"], b=["east"])
    one, visit, other = (made.posts.dial(made.hosts[name]) for name in ("e1", "e1", "e2"))
    assert made.posts.stands == {"e1": "a", "e2": "b"}
    for stream in (one, visit):  # what came before is read nevertheless
        with stream._news:
            assert stream._news.wait_for(lambda came=stream._came: bytes(came) == b"hello\n", 5)
    made.client.kill("a")
    assert read(one, 100) == b"hello\n"
    assert read(visit, 100) == b"hello\n"
    why = "the worker a that it was reached by was lost"
    assert (one.lost, other.lost, made.told) == (why, "", [("e1", why)])
    other.send(b"on.")
    assert read(other, 9) == b"hello\nON."
    assert read(made.posts.dial(made.hosts["e1"]), 6) == b"hello\n"
    assert made.posts.stands == {"e1": "b", "e2": "b"}
    made.client.kill("b")
    time.sleep(2 * near._LOOK)
    with pytest.raises(WorkerLost, match=r"the worker b that it was reached by was lost .no other worker stands"):
        made.posts.dial(made.hosts["e1"])


def test_a_worker_that_does_not_answer_is_lost(posts, monkeypatch):
    monkeypatch.setattr(near, "PARKED", 0.1)
    monkeypatch.setattr(near, "GRACE", 0.3)
    made = posts(a=["east"], b=["west"])
    stream, other = made.posts.dial(made.hosts["e1"]), made.posts.dial(made.hosts["w1"])
    made.client.futures["a"].actor.stuck = True
    begun = time.monotonic()
    assert read(stream, 100) == b"hello\n"
    assert time.monotonic() - begun < 2
    assert made.told == [("e1", "the worker a that it was reached by was lost (it did not answer in time)")]
    assert not other.lost


def test_after_the_end_nothing_is_connected_to(posts):
    made = posts(a=["east"])
    stream = made.posts.dial(made.hosts["e1"])
    made.posts.close()
    with pytest.raises(WorkerLost, match="e1: the connections were closed"):
        made.posts.dial(made.hosts["e1"])
    assert (read(stream, 100), stream.lost, made.told) in [(b"", "", []), (b"hello\n", "", [])]


def test_a_connection_that_ends_as_it_begins_is_closed_and_told(monkeypatch):
    class Gone:
        closed = False

        def getsockname(self):
            raise OSError(9, "Bad file descriptor")

        def close(self):
            self.closed = True

    monkeypatch.setattr(far.login, "connect", lambda _: gone)
    gone = Gone()
    found = asyncio.run(far.Post().open(1, host("h", "10.1.0.1", 1)))
    assert (found.message, gone.closed) == ("the connection ended as it began: Bad file descriptor", True)
    late = Future_()
    late.set_exception(HostUnreachable("h", "nobody answers"))
    far._hung_up(late)  # there is nothing to close


def test_a_worker_that_cannot_make_a_post_is_passed_over(posts):
    made = posts(a=["east"], b=["east"])
    made.client.broken["a"] = ModuleNotFoundError("No module named 'fwproof'")
    assert read(made.posts.dial(made.hosts["e1"]), 6) == b"hello\n"
    assert made.posts.stands == {"e1": "b"}
    made.client.zones.pop("b")
    made.client.futures["b"].status = "lost"
    time.sleep(2 * near._LOOK)
    with pytest.raises(WorkerLost, match="the worker b"):
        made.posts.dial(made.hosts["e1"])


def test_a_scheduler_that_does_not_answer_is_an_error_of_the_host(posts, monkeypatch):
    monkeypatch.setattr(engine_dask, "_CONNECT", 0.2)
    made = posts(a=["east"])
    stream = made.posts.dial(made.hosts["e1"])
    made.client.frozen = True
    with pytest.raises(WorkerLost, match=r"e2: the scheduler does not say which workers there are \(TimeoutError\)"):
        made.posts.dial(made.hosts["e2"])
    assert read(made.posts.dial(made.hosts["e1"]), 6) == read(stream, 6) == b"hello\n"


@pytest.mark.parametrize("sense", [[(1,)], 7], ids=["no pair", "no list"])
def test_a_worker_that_sends_what_makes_no_sense_is_lost(posts, sense):
    made = posts(a=["east"])
    stream = made.posts.dial(made.hosts["e1"])
    actor = made.client.futures["a"].actor

    async def take(seconds):
        return sense

    actor.post = SimpleNamespace(take=take, give=actor.post.give)
    assert read(stream, 100) == b"hello\n"
    assert "the worker a that it was reached by was lost (" in stream.lost
    assert made.told == [("e1", stream.lost)]


@pytest.mark.parametrize(("come", "piece"), [(lambda stream: stream.feed(b"x"), b"x"), (carried.Carried.end, b"")])
def test_who_waits_for_a_stream_hears_at_once(come, piece):
    stream = carried.Carried(("", ""), None)
    stream.settimeout(5)
    threading.Timer(0.05, come, [stream]).start()
    begun = time.monotonic()
    assert stream.recv(9) == piece
    assert time.monotonic() - begun < 4


def test_the_end_of_a_stream_is_told_to_its_carrier_once():
    sent = []
    stream = carried.Carried(("", ""), sent.append)
    stream.close()
    stream.close()
    assert sent == [None]
    other = carried.Carried(("", ""), sent.append)
    assert (other.end("gone"), other.end("once more"), other.lost) == (True, False, "gone")
    other.close()
    assert sent == [None], "the carrier has ended it itself"


def test_a_host_that_sends_more_than_is_read_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(carried, "MOST", 10)
    sent = []
    stream = carried.Carried(("", ""), sent.append)
    stream.feed(b"x" * 10)
    assert not sent
    stream.feed(b"yz")
    stream.feed(b"w")
    assert (sent, stream.lost) == ([None], "it had sent 10 bytes more than were read")


def test_connections_that_nobody_answers_keep_no_other_waiting(monkeypatch):
    """As many as an auditor may work on at once are begun at once; one that comes too late is closed."""
    (most,) = (each.le for each in LimitsShape.model_fields["at_once"].metadata if hasattr(each, "le"))
    together, late = threading.Barrier(most), threading.Event()
    monkeypatch.setattr(far, "_NAMES", 0.0)
    kept = []

    def connect(place):
        if place.ssh.timeout < 1:
            late.wait(5)
            kept.append(socket.socketpair())
            return kept[0][0]
        together.wait(5)
        raise HostUnreachable(place.name, "nobody answers")

    monkeypatch.setattr(far.login, "connect", connect)
    slow = Host(name="s", addresses=(), ssh=SshAddress(address="x", timeout=0.1))

    async def play():
        post = far.Post()
        found = await post.open(most + 1, slow)
        late.set()
        rest = await asyncio.gather(*(post.open(n, host("h", "10.1.0.1", 1)) for n in range(most)))
        return found, rest

    found, rest = asyncio.run(play())
    assert found.message == "no connection to x within 0.1 s"
    assert {each.message for each in rest} == {"nobody answers"}
    with kept[0][1] as other:
        other.settimeout(5)
        assert other.recv(1) == b""


def ends(*, keep):
    """Open a stream of a post, keep the post or drop it, and return whether the host sees its end within a second."""

    async def play():
        heard = asyncio.Event()

        async def serve(reader, writer):
            await reader.read()
            heard.set()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            place = server.sockets[0].getsockname()[1]
            post = far.Post()
            assert await post.open(1, host("h", "10.1.0.1", place)) == ("127.0.0.1", "127.0.0.1")
            kept = post if keep else None
            del post
            try:
                await asyncio.wait_for(heard.wait(), 1.0)
            except TimeoutError:
                return False
            finally:
                del kept
                await asyncio.sleep(0.05)
            return True

    return asyncio.run(play())


def test_a_post_that_is_dropped_ends_its_connections():
    assert ends(keep=False)
    assert not ends(keep=True)


def test_a_post_that_nobody_asks_ends_its_connections(monkeypatch):
    monkeypatch.setattr(far, "LEASE", 0.2)
    assert ends(keep=True)


def test_a_post_that_has_closed_everything_says_so(monkeypatch):
    monkeypatch.setattr(far, "LEASE", 0.05)

    async def play():
        post = far.Post()
        assert await post.take(0.01) == []
        await asyncio.sleep(0.2)
        await post.take(0.01)

    with pytest.raises(ConnectionError, match="has closed its connections"):
        asyncio.run(play())


def test_a_stream_that_was_ended_is_closed_with_the_post_though_its_host_takes_nothing_in():
    async def play():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            post = far.Post()
            await post.open(1, host("h", "10.1.0.1", listening.getsockname()[1]))
            sock, _ = listening.accept()
            with sock:
                held = post._streams()
                (writer,) = held._writers.values()
                while not (waits := writer.transport.get_write_buffer_size()):
                    await post.give([(1, bytes(1 << 20))])
                await post.give([(1, None), (1, b"more")])
                assert writer.transport.get_write_buffer_size() == waits
                held.close()
                await asyncio.sleep(0.02)
                return writer.transport.get_write_buffer_size()

    assert asyncio.run(play()) == 0


def test_hosts_lost_while_they_are_opened_may_be_sent_to_again_later_ones_not():
    jump = Jump(name="j", ssh=SshAddress(address="x"))
    behind = Host(name="b", addresses=(), ssh=SshAddress(address="y", jumps=(jump,)))
    alone = Host(name="a", addresses=(), ssh=SshAddress(address="z"))
    gate, said = Gate(), []
    losses = Losses(gate, said.append)
    losses.begin([behind, alone])
    losses.lost("j", "its worker ended")
    assert gate.lost == {"b": "its worker ended"}
    assert losses.take() == [behind]
    assert (gate.lost, losses.take()) == ({}, [])
    losses.settle()
    losses.lost("a", "its worker ended")
    assert (gate.lost, losses.take()) == ({"a": "its worker ended"}, [])
    assert said == ["b: its worker ended; it is opened again", "a: its worker ended; nothing more is sent to it"]


@pytest.mark.parametrize(("losses", "opened"), [(0, 1), (1, 2), (2, 3), (9, 3)])
def test_a_host_is_opened_again_as_often_as_it_may_and_is_lost_for_good_then(tmp_path, losses, opened):
    alone = Host(name="a", addresses=(), ssh=SshAddress(address="z"))
    other = Host(name="b", addresses=(), ssh=SshAddress(address="z"))
    field = Field(Inventory(path=tmp_path, sha256="", hosts={"a": alone, "b": other}, zones={}))
    said, begun = [], []
    noted = Losses(field.gate, said.append)

    def open_(host):
        begun.append(host.name)
        assert host.name not in field.snapshots, "it is begun with anew"
        field.snapshots[host.name] = len(begun)
        if host is alone and begun.count("a") <= losses:
            noted.lost("a", "its worker ended")
            noted.lost("a", "its worker ended")

    field._open_by_workers([alone, other], open_, noted)
    assert (begun.count("a"), begun.count("b")) == (opened, 1)
    assert set(field.snapshots) == {"a", "b"}
    last = losses > 2
    assert field.gate.lost == ({"a": "its worker ended"} if last else {})
    assert ("a: its worker was lost once more; nothing is sent to it" in said) is last


def test_engines_that_no_audit_can_have_are_refused():
    check_engine("threads")
    check_engine("tls://h:1")
    with pytest.raises(UsageError, match=r"one connection each .* which processes cannot share"):
        check_engine("processes")
    with pytest.raises(UsageError, match="threads or tls://HOST:PORT, not 'dask'"):
        check_engine("dask")
