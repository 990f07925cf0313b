"""Small pieces of an audit: the bad request, what listens, what a model needs, who holds the lock."""

import fcntl
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from fwproof.audit.ban import request_text
from fwproof.audit.exercises import _about, _listening
from fwproof.audit.lock import Lock
from fwproof.audit.modelling import model_of
from fwproof.errors import CommandRefused, Garbled, HostError, NotThere, UsageError
from fwproof.flow import Family
from fwproof.hosts.access import PLAIN_COMMANDS, ROOT_COMMANDS
from fwproof.policy.model import Service
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

REQUESTS = [
    ({}, "10.0.0.10", ["GET / HTTP/1.1", "Host: 10.0.0.10"]),
    ({"method": "POST", "path": "/api"}, "10.0.0.10", ["POST /api HTTP/1.1", "Host: 10.0.0.10"]),
    ({"X-Key": "wrong"}, "fd00::10", ["GET / HTTP/1.1", "Host: [fd00::10]", "X-Key: wrong"]),
]


@pytest.mark.parametrize(("provoke", "host", "lines"), REQUESTS)
def test_the_bad_request_is_one_http_request(provoke, host, lines):
    text = request_text(SimpleNamespace(provoke=provoke), ip_address(host)).decode()
    assert text == "".join(f"{line}\r\n" for line in [*lines, "Connection: close", ""])


SOCKETS = """\
udp   UNCONN 0      0            0.0.0.0:5353      0.0.0.0:*
tcp   LISTEN 0      128          0.0.0.0:8080      0.0.0.0:*
tcp   LISTEN 0      128        127.0.0.1:2000      0.0.0.0:*
tcp   LISTEN 0      128        10.0.0.10:22        0.0.0.0:*
tcp   ESTAB  0      0          127.0.0.1:21      127.0.0.1:40000
tcp   LISTEN 0      128             [::]:443          [::]:*
tcp   LISTEN 0      128            [::1]:25           [::]:*
tcp   LISTEN 0      128      127.0.0.1%lo:1999      0.0.0.0:*
"""
LISTENING = [
    (SOCKETS, Family.IPV4, 1999),
    (SOCKETS, Family.IPV6, 25),
    ("", Family.IPV4, None),
    ("tcp LISTEN 0 128 10.0.0.10:22 0.0.0.0:*\n", Family.IPV4, None),
    ("tcp LISTEN 0 128 *:9090 *:*\n", Family.IPV4, 9090),
    ("tcp LISTEN 0 128 *:9090 *:*\n", Family.IPV6, 9090),
    ("tcp LISTEN rubbish\n\ntcp LISTEN 0 0 0.0.0.0:x y\n", Family.IPV4, None),
]


@pytest.mark.parametrize(("text", "family", "port"), LISTENING)
def test_the_lowest_port_that_loopback_reaches(text, family, port):
    assert _listening(text, family) == port


ABOUT = [
    ("-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT", True),
    ("-A INPUT -p tcp -m tcp --dport 80", True),
    ("-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT", False),
    ("-A LIST -m recent --set --name X", True),
    ("-A DROP_IN -m limit --limit 1/sec -j LOG", True),
    ("-A INPUT -i lo -j ACCEPT", False),
]


@pytest.mark.parametrize(("text", "about"), ABOUT)
def test_the_rules_that_a_burst_is_about(text, about):
    assert _about(text, SimpleNamespace(service=Service("tcp", 80, "http"))) is about


TABLES = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"
BENEATH = ("ip_tables_names", "ip6_tables_names", "traffic-control")
GOOD = {"iptables-save": TABLES, "ip6tables-save": TABLES, "ip-addr": "[]", "ip-route": "[]", "ip6-route": "[]"}


def snapshot(faults, texts=None):
    captures = {
        name: Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="", seconds=0.0)
        for name, text in {**GOOD, **(texts or {})}.items()
    }
    others = {command.name for command in (*PLAIN_COMMANDS, *ROOT_COMMANDS)} - set(captures)
    absent = {name: NotThere("h", "not installed") for name in others}
    return Snapshot(host="h", captures=captures, faults={**absent, **faults})


NFT = '{"nftables": []}'
V4, V6 = {Family.IPV4}, {Family.IPV6}
NO_V6 = {"ip6tables-save": NotThere("h", "not installed")}
MODELS = [
    ("all is there", snapshot({}), V4 | V6, None),
    ("IPv6 is missing and wanted", snapshot(NO_V6), V4 | V6, NotThere),
    ("IPv6 is missing and nobody asks", snapshot(NO_V6), V4, None),
    ("IPv4 is refused", snapshot({"iptables-save": CommandRefused("h", "sudo does not allow")}), V4, CommandRefused),
    ("no addresses", snapshot({"ip-addr": Garbled("h", "rubbish")}), V4, Garbled),
    ("no host", HostError("h", "down"), V4, HostError),
    ("nft is there and was refused", snapshot({"nft": CommandRefused("h", "sudo does not allow")}), V4, CommandRefused),
    ("legacy tables were refused", snapshot({"iptables-legacy-save": CommandRefused("h", "no")}), V4, CommandRefused),
    ("legacy tables that nobody asks for were refused", snapshot({"ip6tables-legacy-save": Garbled("", "")}), V4, None),
    ("filters of traffic control were not shown", snapshot({"traffic-control": CommandRefused("h", "no")}), V4,
     CommandRefused),
    ("names of legacy tables were refused", snapshot({"ip_tables_names": CommandRefused("h", "no")}), V4, None),
    ("nothing but nft, and these names were refused",
     snapshot({"iptables-save": NotThere("h", "no"), "ip_tables_names": CommandRefused("h", "no")}, {"nft": NFT}), V4,
     CommandRefused),
    ("nothing but nft, and these names are of the other family",
     snapshot({"iptables-save": NotThere("h", "no"), "ip6_tables_names": CommandRefused("h", "no")}, {"nft": NFT}), V4,
     None),
    ("addresses of another kind", snapshot({}, {"ip-addr": '{"a": 1}'}), V4, HostError),
]  # fmt: skip


@pytest.mark.parametrize(("what", "found", "families", "fault"), MODELS, ids=[row[0] for row in MODELS])
def test_a_model_needs_the_tables_that_are_asked_about(what, found, families, fault):
    model = model_of(found, families)
    assert isinstance(model, HostModel if fault is None else fault)


def test_legacy_tables_that_only_a_warning_tells_of_are_not_forgotten():
    warning = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"
    found = snapshot({})
    captures = {**found.captures, "iptables-save": replace(found.captures["iptables-save"], stderr=warning)}
    model = model_of(replace(found, captures=captures), V4 | V6)
    assert "legacy" in model.blind[Family.IPV4][0]
    assert not model.blind[Family.IPV6]
    assert not model_of(found, V4 | V6).blind[Family.IPV4]


def test_a_snapshot_of_an_older_version_did_not_ask_what_is_beneath():
    found = snapshot({})
    older = {name: fault for name, fault in found.faults.items() if name not in BENEATH}
    assert len(older) == len(found.faults) - len(BENEATH)
    model = model_of(replace(found, faults=older), V4 | V6)
    assert isinstance(model, HostModel)
    assert not any(model.blind.values())
    model = model_of(snapshot({}, {"ip_tables_names": "mangle\n", "traffic-control": "eth0 egress 7\n"}), V4 | V6)
    assert [len(model.blind[family]) for family in Family] == [2, 1]


def host(name, *addresses):
    return SimpleNamespace(name=name, addresses=tuple(map(ip_address, addresses)))


WEB, DATA = host("web", "192.0.2.1", "2001:db8::1"), host("db", "192.0.2.2")
HOLD = """
from ipaddress import ip_address
from types import SimpleNamespace
from fwproof.audit.lock import Lock
lock = Lock([SimpleNamespace(name="web", addresses=tuple(map(ip_address, ("2001:db8::1", "192.0.2.1"))))], lab=False)
print("held", flush=True)
input()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_one_audit_of_a_host_at_a_time(folder):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another audit of web is running"):
            Lock([DATA, WEB], lab=False)
        Lock([DATA], lab=False).release()  # what was locked before the refusal is free again
        Lock([WEB], lab=True).release()  # the same addresses, in a lab
        other.communicate("\n")
    lock = Lock([WEB, DATA], lab=False)
    lock.release()
    lock.release()
    Lock([WEB], lab=False).release()


def test_nothing_stays_of_a_lock(folder):
    Lock([WEB, DATA], lab=False).release()
    assert not list(folder.iterdir())


def test_a_lock_that_is_let_go_meanwhile_is_no_lock(folder, monkeypatch):
    """Between opening and locking, the holder takes its file away; whoever locked that would hold nothing."""
    real, taken = fcntl.flock, []

    def flock(handle, how):
        if not taken:
            (path,) = folder.iterdir()
            taken.append(path)
            path.unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = Lock([WEB], lab=False)
    assert taken
    with pytest.raises(UsageError, match="another audit of web"):
        Lock([WEB], lab=False)
    lock.release()


def test_labs_of_different_names_do_not_lock_each_other(folder, monkeypatch):
    monkeypatch.setenv("FWPROOF_LAB_NAME", "one")
    first = Lock([WEB], lab=True)
    with pytest.raises(UsageError):
        Lock([WEB], lab=True)
    monkeypatch.setenv("FWPROOF_LAB_NAME", "two")
    Lock([WEB], lab=True).release()
    first.release()


def test_a_link_in_everybodys_folder_is_not_followed(folder):
    lock = Lock([WEB], lab=False)
    (path,) = folder.iterdir()
    lock.release()
    precious = folder / "precious"
    precious.write_text("keep")
    path.symlink_to(precious)
    with pytest.raises(UsageError, match="cannot be opened"):
        Lock([WEB], lab=False)
    assert precious.read_text() == "keep"
