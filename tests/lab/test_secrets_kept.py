"""No secret leaves its place: not in a process list, an environment, a log, a report or the evidence of an audit.

Looked for while an audit runs and afterwards, on the auditor's machine and on the lab's hosts, whose processes are
processes of this machine.
"""

import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fwproof.lab import Lab
from fwproof.redact import MARK

from .auditing import POLICY, Run, on

pytestmark = pytest.mark.lab

HOST = "ai-server"
ENDS = (b"/usr/local/sbin/fwproof-agent", b"/secret.policy.yaml")  # an agent's command line, and the audit's
HOSTS = (HOST, "proxy", "admin", "workstation", "store-postgres", "outside")


class Watch:
    """Looks at the command line and the environment of every process that may be looked at, over and over."""

    def __init__(self, wanted):
        self.wanted, self.found, self.seen, self.rounds = wanted, set(), set(), 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            self.rounds += 1
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        text = (process / name).read_bytes()
                    except OSError:
                        continue
                    self.found |= {(what, name) for what, value in self.wanted.items() if value in text}
                    self.seen |= {end for end in ENDS if end in text}
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


@pytest.fixture(scope="module")
def lab():
    with Lab(f"secrets-{os.getpid()}") as up:
        yield up


@pytest.fixture(scope="module")
def planted(lab):
    """What is secret here: headers of a policy, a key in a rule's comment, and the auditor's own."""
    key = [line for line in lab.ssh_identity.read_bytes().splitlines() if b"PRIVATE KEY" not in line]
    made = {name: f"{name}-{secrets.token_hex(12)}".encode() for name in ("header", "bearer", "comment")}
    return made | {"ssh key": key[len(key) // 2]}


@pytest.fixture(scope="module")
def audited(lab, planted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    text = POLICY.read_text(encoding="utf-8")
    header = "headers: {Authorization: Bearer fwproof-wrong-key}"
    assert header in text
    ours = f"headers: {{Authorization: Bearer {planted['bearer'].decode()}, X-Tenant: {planted['header'].decode()}}}"
    text = text.replace(header, ours).replace("hosts: [ai-servers]", f"hosts: [{HOST}]")
    (policy := folder / "secret.policy.yaml").write_text(text)
    on(lab, HOST, f"iptables -A DROP_IN -m comment --comment 'api_key={planted['comment'].decode()}'")
    canary = [sys.executable, "-c", "import time; time.sleep(60)", "canary-in-the-list"]
    environment = {**os.environ, "CANARY": "canary-in-the-environment"}
    wanted = planted | {"list": b"canary-in-the-list", "environment": b"canary-in-the-environment"}
    with subprocess.Popen(canary, env=environment) as process, Watch(wanted) as watch:
        run = Run(lab, folder / "reports", policy=policy, fresh=True)
        process.kill()
    return run, watch


def test_nothing_is_seen_in_a_process_list_or_an_environment(audited):
    run, watch = audited
    assert run.status in {0, 1}, run.out
    assert {("list", "cmdline"), ("environment", "environ")} <= watch.found, "the watch sees nothing"
    assert watch.found <= {("list", "cmdline"), ("environment", "environ")}
    # it was looked at both ends of the connections, and often
    assert watch.seen == set(ENDS)
    assert watch.rounds > 50


def test_the_ban_was_provoked_with_the_secret(audited):
    run, _ = audited
    assert [check["verdict"] for name, check in run.checks.items() if name.startswith("bans-ollama-api:exercise")] == [
        "pass"
    ] * 2


def test_nothing_is_in_any_file_that_an_audit_writes_or_in_what_it_prints(audited, planted):
    run, _ = audited
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert {"results.json", "report.html", "junit.xml", "iptables-save.txt"} <= {path.name for path in files}
    (tables,) = run.folder.glob(f"evidence/{HOST}/iptables-save.txt")
    assert f"api_key={MARK}" in tables.read_text(encoding="utf-8")
    leaks = {(name, str(path.relative_to(run.folder))) for path in files for name, value in planted.items()
             if value in path.read_bytes()}  # fmt: skip
    assert leaks == set()
    assert [name for name, value in planted.items() if value.decode() in run.out] == []


def test_nothing_is_left_on_a_host(audited, lab, planted):
    """But where it was planted: what an audit brought is in no file of a host, its logs among them."""
    brought = [planted[name].decode() for name in ("header", "bearer", "ssh key")]
    on(lab, HOST, f"echo '{brought[0]}' > /var/log/canary")
    where = "/etc /home /root /run /srv /tmp /var"
    for host in HOSTS:
        words = " ".join(f"-e '{value}'" for value in brought)
        done = lab.run(host, ["/bin/sh", "-c", f"grep -rlFsI --devices=skip {words} {where}"])
        assert done.stdout.splitlines() == (["/var/log/canary"] if host == HOST else []), host
