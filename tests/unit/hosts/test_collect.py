import json

import pytest

from fwproof.errors import CommandRefused, Garbled, HostError, HostUnreachable, InputError, NotThere
from fwproof.hosts import replay
from fwproof.hosts.access import commands
from fwproof.hosts.collect import collect, on_all, recapture
from fwproof.hosts.replay import ReplayTransport
from fwproof.snapshot import Capture, Snapshot

FIXED = {"ip-addr": "[]", "ip-route": "[]", "ip6-route": "[]", "ip-rule": "[]", "ip6-rule": "[]", "ip-neigh": "[]",
         **dict.fromkeys(("nft", "nft-boot", "nft-boot-sysconfig"), '{"nftables": []}'),
         "uname": "Linux h\n", "os-release": "caf\udce9 \u2019\n\0"}  # fmt: skip


def capture(name, stdout=None, status=0, stderr=""):
    text = FIXED.get(name, "") if stdout is None else stdout
    return Capture(name=name, argv=("/bin/" + name,), status=status, stdout=text, stderr=stderr, at="t", seconds=0.5)


def snapshot(host, **changes):
    captures = {c.name: capture(c.name) for c in commands(host)}
    faults = {}
    for name, change in changes.items():
        if isinstance(change, HostError):
            del captures[name]
            faults[name] = change
        else:
            captures[name] = change
    return Snapshot(host=host.name, captures=captures, faults=faults)


def test_what_is_right_has_no_faults(a_host):
    stored = snapshot(a_host())
    assert collect(ReplayTransport(a_host(), stored)) == stored


def test_rubbish_is_a_fault_and_stays_as_evidence(a_host):
    taken = collect(ReplayTransport(a_host(), snapshot(a_host(), nft=capture("nft", "rubbish"))))
    assert taken.captures["nft"].stdout == "rubbish"
    assert set(taken.faults) == {"nft"}
    with pytest.raises(Garbled):
        taken.text("nft")


def test_what_was_not_collected_is_refused_and_never_empty(a_host):
    stored = snapshot(a_host(), nft=NotThere("here", "/usr/sbin/nft: not installed"))
    taken = collect(ReplayTransport(a_host(), stored), ["sshd"])
    assert type(taken.faults["nft"]) is NotThere
    assert type(taken.faults["fail2ban-status-sshd"]) is CommandRefused


def test_some_captures_once_more(a_host):
    transport = ReplayTransport(a_host(), snapshot(a_host()))
    assert set(recapture(transport, ["iptables-save", "uname"]).captures) == {"iptables-save", "uname"}
    with pytest.raises(KeyError):
        recapture(transport, ["no such capture"])


class Dead(ReplayTransport):
    def run_many(self, commands, *, timeout=60.0):
        raise HostUnreachable(self.host.name, "no connection")


def test_a_dead_host_is_one_error_and_leaves_the_others(a_host):
    hosts = {name: a_host(name) for name in ("a", "dead", "b")}
    kinds = {"dead": Dead}
    transports = {n: kinds.get(n, ReplayTransport)(h, snapshot(h)) for n, h in hosts.items()}
    answers = on_all(lambda name: collect(transports[name], ["sshd"] if name == "a" else ()), transports)
    assert list(answers) == ["a", "dead", "b"]
    assert isinstance(answers["dead"], HostUnreachable)
    assert "fail2ban-status-sshd" in answers["a"].faults
    assert not answers["b"].faults


def test_no_hosts_at_all():
    assert on_all(collect, {}) == {}


def same(one, other):
    assert one.host == other.host
    assert one.captures == other.captures
    assert {n: (type(f), str(f)) for n, f in one.faults.items()} == {
        n: (type(f), str(f)) for n, f in other.faults.items()
    }


def test_a_stored_snapshot_comes_back_byte_for_byte(a_host, tmp_path):
    stored = snapshot(
        a_host(), nft=Garbled("here", "x", "do y"), sockets=capture("sockets", "\udcff\r\n\u202e", 1, "e\udc80")
    )
    replay.save(stored, tmp_path / "deep" / "here")
    same(replay.load(tmp_path / "deep" / "here"), stored)


def edit(folder, change):
    path = folder / "snapshot.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


SPOILT = {
    "output edited": (lambda d: (d / "uname.txt").write_text("Linux other\n"), "was changed"),
    "output gone": (lambda d: (d / "uname.txt").unlink(), "cannot be read"),
    "index gone": (lambda d: (d / "snapshot.json").unlink(), "cannot be read"),
    "index cut": (lambda d: (d / "snapshot.json").write_text("{"), "is no JSON"),
    "index a list": (lambda d: (d / "snapshot.json").write_text("[]"), "is no snapshot"),
    "other schema": (lambda d: edit(d, lambda i: i.update(schema="x")), "is no snapshot"),
    "no host": (lambda d: edit(d, lambda i: i.pop("host")), "not as fwproof collect writes it"),
    "path as name": (lambda d: edit(d, lambda i: i["captures"][0].update(name="../../etc/passwd")), "no capture name"),
    "path inside": (lambda d: edit(d, lambda i: i["captures"][0].update(name="a/../../x")), "no capture name"),
    "capture a number": (lambda d: edit(d, lambda i: i["captures"].append(7)), "not as fwproof collect writes it"),
    "faults a list": (lambda d: edit(d, lambda i: i.update(faults=[1])), "not as fwproof collect writes it"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILT.values(), ids=SPOILT)
def test_a_stored_snapshot_that_was_spoilt_is_refused(a_host, tmp_path, spoil, message):
    replay.save(snapshot(a_host()), tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=message):
        replay.load(tmp_path)


def test_a_stored_snapshot_runs_nothing(a_host):
    transport = ReplayTransport(a_host(), snapshot(a_host()))
    assert transport.run(["/bin/uname"]).stdout == "Linux h\n"
    with pytest.raises(CommandRefused, match="does not hold"):
        transport.run(["/bin/uname", "-r"])
    with pytest.raises(CommandRefused, match="cannot run"):
        transport.open_channel(["/bin/sh"])
