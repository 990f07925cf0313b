"""Whole audits by workers that stand in their zones: a real scheduler and workers in the lab's networks, with TLS.

Where dask.distributed is not installed, there is nothing to try: it is the extra ``distributed``.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from fwproof.lab import Lab

from . import zoned
from .auditing import ROOT, on
from .test_stopping import AGENTS, SOON

pytest.importorskip("distributed.security", exc_type=ImportError)
pytestmark = pytest.mark.lab
HELD = r"""
cd /usr/sbin; rm -f ip6tables-save; touch /run/hold
printf '#!/bin/sh\nwhile [ -e /run/hold ]; do sleep 0.05; done\n' > ip6tables-save
echo 'exec /usr/sbin/xtables-nft-multi ip6tables-save "$@"' >> ip6tables-save; chmod 755 ip6tables-save
"""
"""Lets the host be read no further than to its IPv6 tables as long as a file is there."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    topology = zoned.topology(tmp_path_factory.mktemp("zoned"))
    with Lab(f"zoned-{os.getpid()}", topology=topology) as up:
        zoned.guard(up)
        yield up


@pytest.fixture(scope="module")
def files(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    inventory, checks = zoned.written(folder, lab)
    reaching_all, _ = zoned.written(folder, lab, "gateway")
    return SimpleNamespace(inventory=inventory, checks=checks, reaching_all=reaching_all)


@pytest.fixture(scope="module")
def cluster(lab, tmp_path_factory):
    """Start a scheduler with the auditor, a worker beside it and two in the network behind the gateway."""
    tls = zoned.made_tls(tmp_path_factory.mktemp("tls"))
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        zoned.client_files(tls, patched)
        found = zoned.Cluster(stack, lab, tls, tmp_path_factory.mktemp("dask"), "auditor", "10.60.0.1")
        found.begin("f1", "auditor", "front")
        found.begin("b1", "gateway", "back")
        found.begin("b2", "gateway", "back")
        found.ready()
        yield found


AGENTS_OF = ("app1", "app2", "db1", "db2")


def agents(lab, hosts=AGENTS_OF):
    """Return those of hosts on which an agent runs."""
    return [host for host in hosts if lab.run(host, ["/usr/bin/python3", "-c", AGENTS]).stdout]


def gone(lab, *hosts):
    """Whether soon no agent runs on hosts."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline and agents(lab, hosts or AGENTS_OF):
        time.sleep(0.1)
    return not agents(lab, hosts or AGENTS_OF)


def log_ins(lab, host):
    """Return from where a host was logged in to."""
    return on(lab, host, "sed -n 's/.*Accepted publickey for .* from \\([0-9.]*\\) .*/\\1/p' /var/log/sshd.log").split()


class Audit:
    """An audit that has begun: ``wait`` for its status, or until it has ``said`` something."""

    def __init__(self, lab, folder, files, *words, inventory=None):
        self.log, self.reports = folder / "log", folder / "reports"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        command += [str(files.checks), "--inventory", str(inventory or files.inventory), "--reports", str(self.reports)]
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                [*command, *words], cwd=ROOT, stdout=stream, stderr=stream,
                env={**os.environ, "FWPROOF_LAB_NAME": lab.name, "NO_COLOR": "1"},
            )  # fmt: skip

    def said(self, words):
        zoned.until(self.log, words)

    def wait(self):
        self.status = self.process.wait(120)
        self.out = self.log.read_text()
        self.results = json.loads((self.reports / "latest" / "results.json").read_text())
        self.verdicts = {check["id"]: check["verdict"] for check in self.results["checks"]}
        return self


def by(lab, tmp_path, files, cluster, *words):
    return Audit(lab, tmp_path, files, "--fwproof-engine", cluster.address, *words)


@pytest.fixture(scope="module")
def everywhere(lab, files, tmp_path_factory):
    """Audit from the gateway, which reaches all hosts by itself."""
    return Audit(lab, tmp_path_factory.mktemp("everywhere"), files, inventory=files.reaching_all).wait()


def test_a_worker_lost_while_hosts_are_opened_leaves_the_same_verdicts(lab, files, cluster, everywhere, tmp_path):
    assert everywhere.status == 1, everywhere.out
    assert {*everywhere.verdicts.values()} == {"pass", "fail", "not-applicable"}
    for host in ("app1", "db1", "db2"):
        on(lab, host, ": > /var/log/sshd.log")
    on(lab, "db1", HELD)
    audit = by(lab, tmp_path, files, cluster)
    while not (log_ins(lab, "db1") and log_ins(lab, "db2")):
        assert audit.process.poll() is None, audit.log.read_text()
        time.sleep(0.05)
    cluster.kill("b1")
    audit.said("it is opened again")
    on(lab, "db1", "rm /run/hold")
    audit.wait()
    assert audit.verdicts == everywhere.verdicts, audit.out
    assert audit.status == 1
    (line,) = [line for line in audit.out.splitlines() if "was lost" in line]
    assert "the worker b1 that it was reached by was lost; it is opened again" in line
    assert audit.results["run"]["workers"] == {"app1": "f1", "app2": "f1", "db1": "b2", "db2": "b2"}
    # neither zone was entered from elsewhere, and the watchdog looked by the same way
    assert {*log_ins(lab, "app1")} == {"10.60.0.1"}
    assert {*log_ins(lab, "db1")} == {"10.60.1.2"}
    assert len(log_ins(lab, "db1")) > 2
    assert gone(lab)


def test_a_worker_lost_while_probes_are_sent_costs_its_hosts_alone(lab, files, cluster, everywhere, tmp_path):
    cluster.kill("b1")  # so that one worker holds both hosts of the zone
    words = ("--no-exercise", "-k", "ipv4 and (app1-app2 or app1-db2 or db1-db2)")
    audit = by(lab, tmp_path, files, cluster, *words)
    audit.said("wave 1 of")
    cluster.kill("b2")
    audit.said("db1: the worker b2 that it was reached by was lost; nothing more is sent to it")
    assert gone(lab, "db1", "db2")
    audit.wait()
    assert audit.status == 6, audit.out
    told = sorted(line.split("] ")[1].split(":")[0] for line in audit.out.splitlines() if "; nothing more is" in line)
    assert told == ["db1", "db2"]
    assert sorted(audit.results["run"]["stopped"]) == [
        f"{host}: the worker b2 that it was reached by was lost" for host in told
    ], audit.results["run"]["stopped"]
    errors = [check for check in audit.results["checks"] if check["verdict"] == "error"]
    assert errors
    assert all({check["host"], check["vantage"]} & {"db1", "db2"} for check in errors)
    assert all("the worker b2 that it was reached by was lost" in check["reason"] for check in errors), audit.out
    tested = {name: verdict for name, verdict in audit.verdicts.items() if verdict not in {"error", "not-applicable"}}
    assert {f"app1-{name}[app1-app2-ipv4]" for name in ("web", "ssh")} <= tested.keys()
    assert tested.items() <= everywhere.verdicts.items()
    assert gone(lab)
