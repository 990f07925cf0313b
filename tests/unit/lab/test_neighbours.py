"""Whether the kernel's tables of neighbours have room for a lab is said before it comes up."""

import json
from ipaddress import ip_interface
from pathlib import Path

import pytest

from fwproof.errors import InputError, LabError
from fwproof.lab import Lab, doctor, handle
from fwproof.lab.neighbours import Room, entries, rooms
from fwproof.lab.topology import LabHost, Link, Topology

STAT = "entries  allocs   destroys\n{:08x} 00008067 0000767f\n{:08x} 00007cb4 0000868c\n"


def topology(*hosts):
    return Topology(Path("t"), Path("s"), ("a", "b"), {host.name: host for host in hosts})


def host(name, *addresses, routes=(), network="a"):
    return LabHost(name=name, links=(Link(network, tuple(map(ip_interface, addresses))),), routes=routes)


BOTH = ("10.0.0.254/16", "fd00::fe/64")
FAR = ("10.0.0.0/8 via 10.0.0.254", "172.16.0.0/12 via 10.0.0.254", "fd00::/32 via fd00::fe")


@pytest.mark.parametrize(
    ("hosts", "four", "six"),
    [
        ([], 0, 0),
        ([host("r", *BOTH)], 2, 2),
        ([host("r", *BOTH), host("h", "10.0.1.1/16", routes=FAR[:2])], 6, 2),
        ([host("r", *BOTH), host("h", "10.0.1.1/16", "fd00::1/64", routes=FAR)], 6, 8),
    ],
)
def test_entries_are_of_gateways_and_of_one_more_on_the_link(hosts, four, six):
    assert (entries(topology(*hosts), 4), entries(topology(*hosts), 6)) == (four, six)


def proc(root, *, used=16, limits=(1024, 1024)):
    for table, name, limit in zip(("arp_cache", "ndisc_cache"), ("ipv4", "ipv6"), limits, strict=True):
        files = {f"net/stat/{table}": STAT.format(used, used), f"sys/net/{name}/neigh/default/gc_thresh3": f"{limit}\n"}
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return root


def test_a_lab_that_does_not_fit_is_told_with_what_to_do(tmp_path):
    hosts = [host(f"h{n}", "10.0.1.1/16", "fd00::1/64", routes=FAR) for n in range(170)]
    four, six = rooms(topology(*hosts), proc(tmp_path))
    assert (four.enough, six.enough) == (True, False)
    assert str(six).endswith("holds 1024 entries: 16 are taken, and this lab may need 1020")
    assert "sysctl net.ipv6.neigh.default.gc_thresh3=2072" in six.advice
    assert rooms(topology(*hosts[:168]), tmp_path)[1].enough  # 16 and 1008 are 1024


@pytest.mark.parametrize("broken", ["net/stat/arp_cache", "sys/net/ipv4/neigh/default/gc_thresh3"])
@pytest.mark.parametrize("text", [None, "", "x\ny\n", "one line"])
def test_what_cannot_be_read_says_nothing(tmp_path, broken, text):
    proc(tmp_path)
    (tmp_path / broken).unlink()
    if text is not None:
        (tmp_path / broken).write_text(text)
    assert [room.family for room in rooms(topology(), tmp_path)] == [6]


FULL = Room(6, 1200, 16, 1024)


def test_the_lab_says_so_before_it_comes_up(monkeypatch):
    def stop(*_args, **_more):
        raise LabError("no further")

    monkeypatch.setattr(handle, "rooms", lambda _: [Room(4, 8, 16, 1024), FULL])
    monkeypatch.setattr(handle, "require_namespaces", lambda: None)
    monkeypatch.setattr(handle, "ensure_image", stop)
    said = []
    with pytest.raises(LabError, match="no further"):
        Lab("none").up(said.append)
    assert len(said) == 1
    assert "16 are taken, and this lab may need 1200" in said[0]
    assert "gc_thresh3=2432" in said[0]


def test_the_doctor_says_so_and_the_lab_can_run(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_inside", list)
    monkeypatch.setattr(doctor, "rooms", lambda _: [FULL])
    found = doctor.examine()[-1]
    assert (found.feature, found.ok, found.stops) == ("room for neighbours (IPv6)", False, False)
    assert "this lab may need 1200: as root, run `sysctl" in str(found)
    assert json.dumps(found.as_json())
    with pytest.raises(InputError, match="nowhere"):
        doctor.examine(tmp_path / "nowhere.yaml")
