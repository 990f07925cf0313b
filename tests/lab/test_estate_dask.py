"""Reading hosts by workers that stand in their zones: a real scheduler and workers in the lab's networks, with TLS.

Where dask.distributed is not installed, there is nothing to try: it is the extra ``distributed``.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from fwproof.lab import Lab

from . import estate

distributed_security = pytest.importorskip("distributed.security", exc_type=ImportError)
pytestmark = pytest.mark.lab
SCHEDULER = "tls://10.50.0.1:8786"
INVENTORY = """\
zones: {front: [10.50.0.0/24], back: [10.50.1.0/24], deep: [10.50.2.0/24]}
defaults: {access: read}
hosts:
""" + "".join(f"  {name}: {{addresses: {address}}}\n" for name, address in estate.ADDRESS.items())
JOINED = """\
import runpy, sys
from fwproof.lab import Lab
name, host, module = sys.argv[1:4]
Lab(name).join_network(host)
sys.argv[1:4] = []
runpy.run_module(module, run_name="__main__")
"""
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
    folder = tmp_path_factory.mktemp("tls")
    made = distributed_security.Security.temporary()
    for name, text in (("ca", made.tls_ca_file), ("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    return folder


def started(stack, lab, host, log, module, *words):
    # not `lab as`: a process that looks itself up in /proc must have the number that it has there
    command = [sys.executable, "-c", JOINED, lab.name, host, module]
    with log.open("w") as stream:
        process = subprocess.Popen([*command, *words], stderr=stream, stdout=stream)
    stack.callback(process.wait, 20)
    stack.callback(process.kill)
    return process


def until(log, words):
    deadline = time.monotonic() + 30
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.fixture
def workers(lab, tls, tmp_path, monkeypatch):
    """Start a scheduler with the auditor, a worker beside it and two in the network behind the bastion."""
    files = ["--tls-ca-file", f"{tls}/ca", "--tls-cert", f"{tls}/cert", "--tls-key", f"{tls}/key"]
    for name, value in (("CA_FILE", "ca"), ("CLIENT__CERT", "cert"), ("CLIENT__KEY", "key")):
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", f"{tls}/{value}")
    with ExitStack() as stack:
        started(
            stack, lab, "auditor", tmp_path / "log", "distributed.cli.dask_scheduler",
            "--protocol", "tls", "--host", "10.50.0.1", "--port", "8786", "--no-dashboard", "--no-show", *files,
        )  # fmt: skip
        until(tmp_path / "log", "Scheduler at:")
        found = {}
        for name, host, zone in (("f1", "auditor", "front"), ("b1", "bastion", "back"), ("b2", "bastion", "back")):
            folder = tmp_path / name
            folder.mkdir()
            found[name] = started(
                stack, lab, host, folder / "log", "distributed.cli.dask_worker",
                SCHEDULER, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                "--resources", f"zone:{zone}=1000", "--local-directory", str(folder), *files,
            )  # fmt: skip
        for name in found:
            until(tmp_path / name / "log", "Registered to:")
        yield found


def begun(lab, host):
    return int(lab.run(host, ["/bin/sh", "-c", "grep -c 'Accepted publickey' /var/log/sshd.log"]).stdout)


def test_workers_in_zones_read_and_one_is_killed(lab, workers, tmp_path):
    for host in ("web1", "web2"):
        lab.run(host, ["/bin/sh", "-c", SLOW])
        estate.log_ins(lab, host)

    def kill():
        deadline = time.monotonic() + 30
        while not (begun(lab, "web1") and begun(lab, "web2")) and time.monotonic() < deadline:
            time.sleep(0.05)
        workers["b1"].send_signal(signal.SIGKILL)

    names = ("auditor", "web1", "web2", "deep1")
    done, stored = estate.collect(lab, tmp_path, INVENTORY, *names, "--engine", SCHEDULER, meanwhile=kill)
    assert (done.returncode, stored) == (6, ["auditor", "web1", "web2"]), done.stderr
    assert "deep1: no worker stands in its zone (deep)" in done.stderr
    # only what the worker had under way was read again, and the result says so
    twice = [line.split(":")[0] for line in done.stderr.splitlines() if "begun 2 times" in line]
    assert len(twice) == 1, done.stderr
    assert {name: begun(lab, name) for name in ("web1", "web2")} == {"web1": 1, "web2": 1} | {twice[0]: 2}
    # web1 and web2 cannot be reached from the auditor at all: their zone's workers did it
    assert workers["f1"].poll() is None
