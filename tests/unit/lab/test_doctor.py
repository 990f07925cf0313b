"""The doctor says what to do, and its questions can be answered with no."""

import errno
import subprocess
import sys

import pytest

from fwproof.lab.doctor import Finding
from fwproof.lab.userns import user_namespace_advice


@pytest.mark.parametrize(
    ("key", "value", "command"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("user/max_user_namespaces", "96365", "run the lab as root"),
    ],
)
def test_advice_is_the_one_command(tmp_path, key, value, command):
    (tmp_path / key).parent.mkdir()
    (tmp_path / key).write_text(f"{value}\n")
    assert command in user_namespace_advice(tmp_path)


def test_a_finding_reads_as_one_line():
    assert str(Finding("veth", ok=True, advice="x")).split() == ["veth", "OK"]
    assert str(Finding("veth", ok=False, detail="no", advice="do")).endswith("MISSING: no: do")
    assert Finding("veth", ok=False).stops
    assert not Finding("veth", ok=False, optional=True).stops


ASK = """
import os, socket, sys
from fwproof.lab import kernel, netfilter_try
from fwproof.lab.userns import fork_inside, id_map

def ask():
    kernel.unshare(kernel.CLONE_NEWNET)
    netfilter_try.extension("tcp", socket.AF_INET, target=False)
    try:
        netfilter_try.extension("fwproof-none", socket.AF_INET, target=False)
    except OSError as error:
        return error.errno
    return 0

sys.exit(os.waitstatus_to_exitcode(os.waitpid(fork_inside(id_map(), ask), 0)[1]))
"""


@pytest.mark.lab
def test_an_unknown_extension_is_missing():
    assert subprocess.run([sys.executable, "-c", ASK], check=False).returncode == errno.ENOENT
