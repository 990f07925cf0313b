"""The lab leaves the machine alone, and nothing of it survives its first process."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwproof.errors import LabError
from fwproof.lab import Lab
from fwproof.lab.state import StateDir

pytestmark = pytest.mark.lab

# What the machine changes by itself, all the time.
RESTLESS = ("kernel/random", "fs/dentry-state", "fs/inode", "fs/file-nr", "kernel/ns_last_pid", "kernel/pty/nr")
RESTLESS += ("net/netfilter/nf_conntrack_count", "fs/quota", "fs/aio-nr", "kernel/perf_event_max_sample_rate")
HELD = """
import sys, time
from fwproof.lab import Lab
lab = Lab(sys.argv[1])
lab.up(with_parent=True)
print("up", flush=True)
time.sleep(600)
"""


def sysctls():
    found = {}
    for path in Path("/proc/sys").rglob("*"):
        name = str(path.relative_to("/proc/sys"))
        if path.is_file() and not name.startswith(RESTLESS):
            try:
                found[name] = path.read_bytes()
            except OSError:
                found[name] = b"unreadable"
    return found


def machine():
    """Everything of this machine's own that a lab could have touched."""

    def output(*words):
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    counted = ("stats", "stats64", "valid_life_time", "preferred_life_time")
    addresses = json.loads(output("ip", "-j", "addr"))
    for entry in addresses:
        entry["addr_info"] = [{k: v for k, v in a.items() if k not in counted} for a in entry["addr_info"]]
    state = {
        "addresses": addresses,
        "routes": output("ip", "route", "show", "table", "all") + output("ip", "-6", "route", "show", "table", "all"),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "named": sorted(path.name for path in Path("/run/netns").glob("*")),
        "sysctls": sysctls(),
    }
    if shutil.which("nft") and os.geteuid() == 0:
        state["rules"] = output("nft", "list", "ruleset")
    return state


def inhabitants(namespace):
    """The processes that live in a user namespace."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or str((entry / "ns/user").readlink()) != namespace:
                continue
            if "State:\tZ" not in (entry / "status").read_text():  # ended; the machine's init has yet to notice
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def starters(name):
    """The programs that start a lab of this name, also those whose caller is gone."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"fwproof.lab.starter" in words and name.encode() in words:
                found.add(int(entry.name))
    return found


def wait_while(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while left := condition():
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


@pytest.fixture
def lab():
    lab = Lab(f"s{os.getpid()}")
    yield lab
    lab.down()
    assert not lab.state.exists()


def namespace_of(lab):
    return str(Path(f"/proc/{lab.status()['pid']}/ns/user").readlink())


def test_the_machine_is_the_same_before_while_and_after(lab):
    before = machine()
    lab.up()
    namespace = namespace_of(lab)
    assert len(inhabitants(namespace)) > 20
    assert machine() == before
    lab.reboot("ai-server")
    assert machine() == before
    lab.down()
    assert machine() == before
    wait_while(lambda: inhabitants(namespace))
    assert not lab.is_up()


def test_killing_the_first_process_ends_everything(lab):
    before = machine()
    lab.up()
    namespace = namespace_of(lab)
    inside = subprocess.Popen(lab.exec_command("proxy", ["sleep", "600"]))
    guest = [sys.executable, "-m", "fwproof.cli.lab", "as", "--name", lab.name, "admin", "--", "sleep", "600"]
    visitor = subprocess.Popen(guest)
    wait_while(lambda: "sleep 600" not in lab.run("proxy", ["ps", "ax"]).stdout)
    time.sleep(0.5)
    os.kill(lab.status()["pid"], signal.SIGKILL)
    wait_while(lambda: inhabitants(namespace))
    assert inside.wait(5) != 0
    assert visitor.wait(5) != 0
    assert machine() == before
    assert not lab.is_up()
    lab.up()  # over the stale state
    assert lab.run("ai-server", ["hostname"]).stdout == "ai-server\n"


def test_a_lab_held_by_a_process_ends_with_it(lab):
    holder = subprocess.Popen([sys.executable, "-c", HELD, lab.name], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"up\n"
    namespace = namespace_of(lab)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    wait_while(lambda: inhabitants(namespace))
    assert not lab.is_up()


def test_killing_the_starter_at_any_moment_leaves_no_orphan(lab):
    before = machine()
    chance = random.Random(5)
    ended_early = 0
    for _ in range(8):
        starter = subprocess.Popen(
            [sys.executable, "-m", "fwproof.cli.lab", "up", "--name", lab.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.1, 1.3))
        starter.kill()
        starter.wait()
        state = StateDir(lab.name)
        wait_while(lambda: starters(lab.name), 20)
        deadline = time.monotonic() + 10
        while state.is_locked() and not lab.is_up() and time.monotonic() < deadline:
            time.sleep(0.02)
        if not state.is_locked():
            ended_early += 1
        lab.down()
        assert not state.is_locked()
    assert ended_early > 0
    assert machine() == before


def test_a_starter_whose_caller_is_gone_makes_no_lab(lab):
    ours, theirs = os.pipe()
    os.close(theirs)
    words = [lab.name, str(lab.topology), "no-image", str(ours)]
    starter = subprocess.run(
        [sys.executable, "-m", "fwproof.lab.starter", *words],
        pass_fds=[ours], capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(ours)
    assert (starter.returncode, starter.stderr) == (3, "whoever asked for this lab has ended\n")
    assert not lab.state.exists()


def test_two_labs_do_not_see_each_other(lab):
    lab.up()
    with Lab(f"{lab.name}b") as other:
        assert lab.run("proxy", ["sh", "-c", "echo mine > /tmp/mine"]).returncode == 0
        assert other.run("proxy", ["cat", "/tmp/mine"]).returncode != 0
        assert other.ssh_identity.read_text() != lab.ssh_identity.read_text()
    assert lab.is_up()


def test_a_boot_step_that_fails_is_named(tmp_path, lab):
    (tmp_path / "serve.py").write_text("")
    path = tmp_path / "topology.yaml"
    path.write_text(
        "service_program: serve.py\nnetworks: [srv]\nhosts:\n  a:\n"
        "    links: [{network: srv, addresses: [10.0.0.1/24]}]\n    first_boot: [no-such-command]\n"
    )
    broken = Lab(lab.name, path)
    with pytest.raises(LabError, match=r"(?s)a: a boot step failed; .*no-such-command: not found"):
        broken.up()
    assert not broken.is_up()
