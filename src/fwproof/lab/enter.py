"""``python -m fwproof.lab.enter COMMAND…``: a command as root of a new user, mount and pid namespace.

The network stays this machine's, and the command has no power over it. All of it ends with the process that
started it.
"""

from __future__ import annotations

import os
import sys

from fwproof.errors import LabError
from fwproof.lab import kernel
from fwproof.lab.userns import fork_inside, id_map


def _run_inside(argv: list[str]) -> int:
    kernel.die_with_parent()
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        kernel.die_with_parent()
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        os.execvp(argv[0], argv)  # noqa: S606
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    kernel.die_with_parent()
    try:
        child = fork_inside(id_map(), lambda: _run_inside(argv))
    except LabError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
