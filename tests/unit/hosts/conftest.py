"""A host that is this process's own machine: commands of the tests run in a local shell, without SSH."""

import contextlib
import select
import subprocess
import time

import pytest

from fwproof.errors import CommandTimeout
from fwproof.hosts.session import run_many
from fwproof.inventory import Host, SshAddress


class LocalChannel:
    def __init__(self, host, argv):
        self._host = host
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = subprocess.Popen(argv, **pipes, bufsize=0)
        self._buffers = {self._process.stdout: b"", self._process.stderr: b""}
        self._open = set(self._buffers)

    def send(self, data):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(data)

    def readline(self, timeout):
        deadline = time.monotonic() + timeout
        out = self._process.stdout
        while b"\n" not in self._buffers[out] and self._open:
            ready, _, _ = select.select(list(self._open), [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise CommandTimeout(self._host, "too slow")
            for stream in ready:
                piece = stream.read(65536)
                self._buffers[stream] += piece
                if not piece:
                    self._open.discard(stream)
        line, mark, self._buffers[out] = self._buffers[out].partition(b"\n")
        return line + mark

    @property
    def stderr(self):
        return self._buffers[self._process.stderr].decode("utf-8", "surrogateescape")

    def close(self):
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()


class LocalTransport:
    """``shells`` counts the shells it started; ``shell`` replaces the one that would be."""

    def __init__(self, shell=None):
        self.host = Host(name="here", addresses=(), ssh=SshAddress(address="192.0.2.1", user="root"))
        self.shells, self._shell = 0, shell

    def open_channel(self, argv):
        self.shells += 1
        return LocalChannel(self.host.name, self._shell or argv)

    def run_many(self, commands, *, timeout=60.0):
        return run_many(self, commands, timeout)


@pytest.fixture
def local():
    return LocalTransport


@pytest.fixture
def a_host():
    def make(name="here", **ssh):
        return Host(name=name, addresses=(), ssh=SshAddress(**{"address": "192.0.2.1", **ssh}))

    return make
