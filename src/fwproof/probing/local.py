"""A byte channel over a process of this machine: agents in namespaces that the caller made."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence

from fwproof.errors import CommandTimeout, HostUnreachable


class ProcessChannel:
    """Runs a command and speaks to it over its standard input and output."""

    def __init__(self, host: str, argv: Sequence[str]) -> None:
        self.host = host
        self._buffer = b""
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the channel
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, bufsize=0
        )

    def send(self, data: bytes) -> None:
        """Write all bytes; HostUnreachable when the process has ended."""
        assert self._process.stdin is not None
        try:
            view = memoryview(data)
            while view:
                view = view[self._process.stdin.write(view) or 0 :]
        except (BrokenPipeError, ValueError) as error:
            raise HostUnreachable(self.host, "the process has ended") from error

    def readline(self, timeout: float) -> bytes:
        """Return the next line without waiting longer than ``timeout`` seconds; empty at the end of output."""
        assert self._process.stdout is not None
        end = time.monotonic() + timeout
        chunks = [self._buffer]
        while b"\n" not in chunks[-1]:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self._buffer = b"".join(chunks)
                raise CommandTimeout(self.host, f"no answer within {timeout:g} s")
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                self._buffer = b""
                return b""
            chunks.append(chunk)
        line, _, self._buffer = b"".join(chunks).partition(b"\n")
        return line + b"\n"

    @property
    def stderr(self) -> str:
        """What the process wrote to its standard error so far, at most the last 64 KiB."""
        if self._complaints.closed:
            return ""
        size = os.fstat(self._complaints.fileno()).st_size
        return os.pread(self._complaints.fileno(), 1 << 16, max(0, size - (1 << 16))).decode("utf-8", "replace")

    def close(self) -> None:
        """End the process: first by end of input, then by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._complaints.close()
