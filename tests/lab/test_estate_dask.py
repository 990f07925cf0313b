"""Reading hosts by workers that stand in their zones: a real scheduler and workers in the lab's networks, with TLS.

Where dask.distributed is not installed, there is nothing to try: it is the extra ``distributed``.
"""

import os
import time
from contextlib import ExitStack

import pytest

from fwproof.lab import Lab

from . import estate, zoned

pytest.importorskip("distributed.security", exc_type=ImportError)
pytestmark = pytest.mark.lab
INVENTORY = """\
zones: {front: [10.50.0.0/24], back: [10.50.1.0/24], deep: [10.50.2.0/24]}
defaults: {access: read}
hosts:
""" + "".join(f"  {name}: {{addresses: {address}}}\n" for name, address in estate.ADDRESS.items())
SLOW = """\
rm -f /usr/sbin/ip6tables-save; printf '#!/bin/sh\\nsleep 4\\nexec /usr/sbin/xtables-nft-multi ip6tables-save "$@"\\n' \
> /usr/sbin/ip6tables-save; chmod 755 /usr/sbin/ip6tables-save
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    topology = estate.topology(tmp_path_factory.mktemp("estate"))
    with Lab(f"dask-{os.getpid()}", topology=topology) as up:
        yield up


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return zoned.made_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def cluster(lab, tls, tmp_path, monkeypatch):
    """Start a scheduler with the auditor, a worker beside it and two in the network behind the bastion."""
    zoned.client_files(tls, monkeypatch)
    with ExitStack() as stack:
        found = zoned.Cluster(stack, lab, tls, tmp_path, "auditor", "10.50.0.1")
        found.begin("f1", "auditor", "front")
        found.begin("b1", "bastion", "back")
        found.begin("b2", "bastion", "back")
        found.ready()
        yield found


def begun(lab, host):
    return int(lab.run(host, ["/bin/sh", "-c", "grep -c 'Accepted publickey' /var/log/sshd.log"]).stdout)


def test_workers_in_zones_read_and_one_is_killed(lab, cluster, tmp_path):
    for host in ("web1", "web2"):
        lab.run(host, ["/bin/sh", "-c", SLOW])
        estate.log_ins(lab, host)

    def kill():
        deadline = time.monotonic() + 30
        while not (begun(lab, "web1") and begun(lab, "web2")) and time.monotonic() < deadline:
            time.sleep(0.05)
        cluster.kill("b1")

    names = ("auditor", "web1", "web2", "deep1")
    done, stored = estate.collect(lab, tmp_path, INVENTORY, *names, "--engine", cluster.address, meanwhile=kill)
    assert (done.returncode, stored) == (6, ["auditor", "web1", "web2"]), done.stderr
    assert "deep1: no worker stands in its zone (deep)" in done.stderr
    # only what the worker had under way was read again, and the result says so
    twice = [line.split(":")[0] for line in done.stderr.splitlines() if "begun 2 times" in line]
    assert len(twice) == 1, done.stderr
    assert {name: begun(lab, name) for name in ("web1", "web2")} == {"web1": 1, "web2": 1} | {twice[0]: 2}
    # web1 and web2 cannot be reached from the auditor at all: their zone's workers did it
    assert cluster.workers["f1"].poll() is None
