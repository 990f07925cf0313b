"""Stopping: whatever ends an audit, within about a second nothing more is sent and what was begun is taken back."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from fwproof.lab import Lab

from .auditing import INVENTORY, POLICY, ROOT, Run, on

pytestmark = pytest.mark.lab
GOOD = "ai-server"
AGENTS = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline").read()
    except OSError:
        continue
    if int(pid) != os.getpid() and ("fwproof-agent" in words or "b64decode" in words):
        print(pid)
"""
"""Prints the processes of agents: installed ones, and streamed ones."""
WATCHER = """
import socket, struct, sys, time
sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
print("up", flush=True)
while True:
    data, place = sock.recvfrom(200)
    if place[2] == 4 or len(data) < 28:
        continue
    four = data[0] >> 4 == 4
    proto, at = (data[9], (data[0] & 15) * 4) if four else (data[6], 40)
    if proto in (6, 17) and len(data) >= at + 4:
        sport, dport = struct.unpack_from("!HH", data, at)
        if 61000 <= sport <= 65499 and dport != 22:
            print(time.time(), dport, flush=True)
"""
"""Prints the time of every probe that comes in, by its source port; answers of the auditor's SSH are none."""


@pytest.fixture(scope="module")
def lab():
    with Lab(f"stop{os.getpid()}") as lab:
        yield lab


class Arrivals:
    """What arrives at a host, while it is watched: times, in seconds of the epoch."""

    def __init__(self, lab, host):
        argv = [sys.executable, "-m", "fwproof", "lab", "exec", host, "--", "/usr/bin/python3", "-c", WATCHER]
        env = {**os.environ, "FWPROOF_LAB_NAME": lab.name}
        self.times = []
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
        assert self.process.stdout.readline() == "up\n"
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.times.append(float(line.split()[0]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def after(self, moment):
        return [when for when in self.times if when > moment]

    def busiest(self, seconds=1.0):
        """Return how many arrived within any second, at most."""
        times, first, most = sorted(self.times), 0, 0
        for last, when in enumerate(times):
            while times[first] <= when - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


class Audit:
    """An audit under way, whose output is read line by line."""

    def __init__(self, lab, reports, *words, inventory=INVENTORY, policy=POLICY, verb=None):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", str(policy)]
        command = verb or [*command, "--inventory", str(inventory), "--reports", str(reports), *words]
        env = {**os.environ, "FWPROOF_LAB_NAME": lab.name, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
            # a shell's background job ignores SIGINT, and so would its children
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        self.lines = []

    def until(self, words):
        """Read on until a line has ``words``."""
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return
        raise AssertionError("".join(self.lines))

    def end(self, how):
        """End it by a signal; return when that was, and how long it took to end."""
        begun, at = time.monotonic(), time.time()
        self.process.send_signal(how)
        self.lines += self.process.stdout.readlines()
        self.process.wait(30)
        return at, time.monotonic() - begun


def agents(lab, host):
    return lab.run(host, ["/usr/bin/python3", "-c", AGENTS]).stdout.split()


def gone(lab, *hosts, within):
    """Wait until no agent runs on hosts; return how long that took."""
    begun = time.monotonic()
    while left := [host for host in hosts if agents(lab, host)]:
        assert time.monotonic() - begun < within, left
    return time.monotonic() - begun


def banned(lab):
    status = on(lab, GOOD, "fail2ban-client status ollama-api")
    return status.rpartition("Banned IP list:")[2].split()
