"""What a gate reads of a script is what a shell runs: stubs in place of iptables write down what they are given."""

import shutil
import subprocess

import pytest
from tests.differential.random_shell import script

from fwproof.gating.shell import read_shell

SHELLS = {"sh": (("sh",), 500), "bash": (("bash", "--posix"), 250)}
"""How each is started, and how many scripts it gets: about two of three are read, and the others refused."""
PROGRAMS = {"iptables", "ip6tables"}
STUB = """#!/bin/sh
{ printf '%s' "${0##*/}"; for word; do printf '\\037%s' "$word"; done; printf '\\036'; } >> "$RECORD"
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bin")
    for name in PROGRAMS:
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)
    return folder


def ran(shell, text, stubs):
    """Return what a shell runs of the stubs; nothing else is on its path."""
    record, file = stubs / "record", stubs / "script"
    record.write_bytes(b"")
    file.write_text(text)
    place = shutil.which(shell[0])
    env = {"PATH": str(stubs), "RECORD": str(record), "LC_ALL": "C"}
    subprocess.run(
        [place, *shell[1:], str(file)], env=env, cwd=stubs, capture_output=True, check=False, timeout=20,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return [entry.split("\x1f") for entry in record.read_text().split("\x1e")[:-1]]


@pytest.mark.parametrize("name", SHELLS)
def test_what_is_read_of_random_scripts_is_what_a_shell_runs(name, stubs):
    shell, scripts = SHELLS[name]
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {name} on this machine")
    read = commands = 0
    for seed in range(scripts):
        text = script(seed)
        found = read_shell(text, "s.sh")
        if found.faults or any(each.words[0].text not in PROGRAMS for each in found.commands):
            continue  # another program is a fault of the script's
        read += 1
        mine = [[word.text for word in command.words] for command in found.commands]
        assert mine == ran(shell, text, stubs), f"seed {seed}\n{text}"
        commands += len(mine)
    assert read > scripts / 2
    assert commands > 2 * read
