"""Audits that begin with everything imported: a process forks one for each line on its standard input. Not a test.

Starting Python, imports and the reports' templates are a third of the processor time of most audits of these tests. A
request is a JSON object of ``words`` (pytest's), ``environment``, ``folder`` and ``out``, the file for both outputs;
the answers are two lines, the pid and then the exit status.
"""

import atexit
import gc
import json
import os
import select
import signal
import subprocess
import sys
from functools import cache


class Template:
    """The process that forks."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            bufsize=0,  # select would not see the status of an audit that ended before its pid was read
        )  # fmt: skip
        atexit.register(self.close)

    def run(self, words, folder, environment, out, timeout):
        """Run pytest and return its exit status; raises TimeoutExpired when it has not ended in ``timeout`` seconds."""
        asked = {"words": words, "folder": str(folder), "environment": environment, "out": str(out)}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        pid = int(self._process.stdout.readline())
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            os.kill(pid, signal.SIGKILL)
            self._process.stdout.readline()
            raise subprocess.TimeoutExpired(words, timeout, out.read_bytes())
        return int(self._process.stdout.readline())

    def close(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@cache
def template():
    """Return this process's template, started when it is asked for first."""
    return Template()


def _serve():
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(asked)
        print(child, flush=True)  # noqa: T201
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


def _become(asked):
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.path[0] = asked["folder"]  # as `python -m pytest` has it
    sys.argv = ["pytest", *asked["words"]]
    status = 70
    try:
        status = pytest.main(asked["words"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status))


if __name__ == "__main__":
    # what audits import when they need it
    import paramiko  # noqa: F401
    import pytest

    import fwproof.audit.run  # noqa: F401
    from fwproof.probing.packets import scapy_layers
    from fwproof.report import html

    scapy_layers()
    for name in html._environment().list_templates():
        html._environment().get_template(name)
    gc.freeze()  # no audit looks for garbage in it
    _serve()
