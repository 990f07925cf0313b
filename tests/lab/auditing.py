"""Runs `pytest` on policies against a lab, as a user would, and reads what it wrote. Not a test itself."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fwproof.lab import Lab

from .forked import template

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "checks" / "ai-server.policy.yaml"
INVENTORY = ROOT / "fixtures" / "inventory.yaml"


class Run:
    """One finished audit: exit status, what it printed, and its folder of reports (None where it wrote none).

    ``fresh``: by a Python of its own, as a user starts it; otherwise by one that has all it needs imported.
    """

    def __init__(self, lab, reports, *words, inventory=INVENTORY, policy=POLICY, timeout=180, fresh=False):
        command = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", str(policy)]
        command += ["--inventory", str(inventory), "--reports", str(reports), *words]
        environment = {**os.environ, "FWPROOF_LAB_NAME": lab.name, "NO_COLOR": "1"}
        begun = time.monotonic()
        with tempfile.NamedTemporaryFile() as out:
            if fresh:
                self.status = subprocess.run(
                    [sys.executable, "-m", "pytest", *command], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                    timeout=timeout, check=False, env=environment,
                ).returncode  # fmt: skip
            else:
                self.status = template().run(command, ROOT, environment, Path(out.name), timeout)
            self.out = Path(out.name).read_text(encoding="utf-8")
        self.seconds = time.monotonic() - begun
        latest = reports / "latest"
        self.folder = latest.resolve() if latest.exists() else None
        self.results = json.loads((latest / "results.json").read_text(encoding="utf-8")) if self.folder else {}
        self.checks = {check["id"]: check for check in self.results.get("checks", ())}

    def of(self, host, kind=None):
        """Return the checks of a host, of one kind or of all."""
        found = (check for check in self.checks.values() if check["host"] == host)
        return [check for check in found if kind is None or check["kind"] == kind]

    def verdicts(self, host):
        """Return the verdicts of a host's checks, by check id."""
        return {check["id"]: check["verdict"] for check in self.of(host)}


def on(lab, host, script, status=0):
    """Run a shell script as root inside a host and return what it printed."""
    done = lab.run(host, ["/bin/sh", "-c", script])
    assert done.returncode == status, done.stderr
    return done.stdout


def scenario(name, topology, folder, *words, timeout=180):
    """Return the fixtures ``lab``, ``audit`` and ``first`` of a module about one topology, and policies in a folder.

    ``words`` choose what of the policies the first audit checks.
    """

    @pytest.fixture(scope="module")
    def lab():
        with Lab(f"{name}{os.getpid()}", ROOT / "fixtures" / "lab" / topology) as lab:
            yield lab

    @pytest.fixture(scope="module")
    def audit(lab, tmp_path_factory):
        place = tmp_path_factory.mktemp(name)

        def audit(*words, policy=folder):
            return Run(
                lab, place / "reports", *words, inventory=folder / "inventory.yaml", policy=policy, timeout=timeout
            )

        return audit

    @pytest.fixture(scope="module")
    def first(audit):
        """The audit of all hosts as the lab starts them."""
        return audit(*words)

    return lab, audit, first
