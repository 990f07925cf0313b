"""Names, state and liveness of a lab."""

import os
import time

import pytest

from fwproof.errors import LabError, UsageError
from fwproof.lab.state import FRESH, NAME_VARIABLE, StateDir, lab_name
from fwproof.lab.userns import subordinate_range


def test_name_is_the_given_one_then_the_variable_then_lab(monkeypatch):
    monkeypatch.delenv(NAME_VARIABLE, raising=False)
    assert lab_name() == "lab"
    monkeypatch.setenv(NAME_VARIABLE, "other")
    assert lab_name() == "other"
    assert lab_name("mine") == "mine"


@pytest.mark.parametrize("name", ["../x", "A", "a b", "-a", "a" * 33, "a/b", "a\n"])
def test_a_name_cannot_leave_the_state_folder(name):
    with pytest.raises(UsageError, match="lab name"):
        lab_name(name)


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr("fwproof.lab.state.state_base", lambda: tmp_path / "base")
    state = StateDir("x")
    state.create()
    return state


def test_the_lock_is_the_lab_s_life(state):
    assert not state.is_locked()
    held = state.take_lock()
    assert state.is_locked()
    assert state.take_lock() is None
    os.close(held)
    assert not state.is_locked()


def test_wipe_leaves_nothing_but_the_lock(state):
    held = state.take_lock()
    state.write("pid", "1\n")
    state.file("fs").mkdir()
    state.file("link").symlink_to("/etc/passwd")
    state.wipe()
    os.close(held)
    assert [path.name for path in state.path.iterdir()] == ["lock"]


def test_dead_labs_are_swept_and_no_others(state):
    old = time.time() - 2 * FRESH
    dead, alive, young, strange = (StateDir(name) for name in ("dead", "alive", "young", "strange"))
    for each in (dead, alive, young, strange):
        each.create()
    os.close(dead.take_lock())
    os.close(young.take_lock())
    held = alive.take_lock()
    dead.write("id_ed25519", "secret", 0o600)
    for each in (dead, alive, strange, state):
        os.utime(each.path, (old, old))
    state.sweep()
    os.close(held)
    assert sorted(path.name for path in state.path.parent.iterdir()) == ["alive", "strange", "x", "young"]


def test_files_are_written_with_their_mode(state):
    state.write("key", "secret", 0o600)
    assert state.file("key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.path.iterdir()] == ["key"]


@pytest.mark.parametrize("text", [None, "", "rubbish"])
def test_without_a_readable_pid_the_lab_is_not_up(state, text):
    if text is not None:
        state.write("pid", text)
    with pytest.raises(LabError, match="is not up: start it with"):
        state.pid()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann:100000:65536\n", (100000, 65536)),
        ("1000:200000:65536\n", (200000, 65536)),
        ("ann:1:10\nann:100000:65536\nann:5:1\n", (100000, 65536)),
        ("bob:100000:65536\n", (0, 0)),
        ("ann:x:65536\nann\n:\n", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_subordinate_range(text, expected):
    assert subordinate_range(text, "ann", 1000) == expected
