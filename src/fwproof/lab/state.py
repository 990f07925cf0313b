"""Where a lab keeps its state, and how it is known to be alive.

A lab is alive exactly while its first process holds the lock on ``lock``: the kernel drops that lock with the
process, however it ends, so no stale file can claim a lab that is gone (flock(2)).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fwproof.errors import LabError, UsageError

DEFAULT_NAME = "lab"
NAME_VARIABLE = "FWPROOF_LAB_NAME"
FRESH = 600.0
"""Seconds within which the folder of a lab that is not alive may be one that is being started."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def lab_name(name: str | None = None) -> str:
    """Return the lab's name: the one given, that of ``$FWPROOF_LAB_NAME``, or ``lab``.

    Raises UsageError for a name that is not 1 to 32 lower-case letters, digits, dashes and underscores.
    """
    chosen = name or os.environ.get(NAME_VARIABLE) or DEFAULT_NAME
    if not _NAME.fullmatch(chosen):
        raise UsageError(
            f"lab name {chosen!r}: expected 1 to 32 lower-case letters, digits, '-' and '_', the first no sign"
        )
    return chosen


def state_base() -> Path:
    """Return the folder that holds the state of this user's labs."""
    if os.geteuid() == 0:
        return Path("/run/fwproof")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "fwproof"
    return _user_cache() / "fwproof" / "run"


def cache_base() -> Path:
    """Return the folder that holds the images of this user's labs."""
    base = Path("/var/cache") if os.geteuid() == 0 and "XDG_CACHE_HOME" not in os.environ else _user_cache()
    return base / "fwproof" / "lab"


def _user_cache() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME")
    return Path(configured) if configured else Path.home() / ".cache"


class StateDir:
    """The files of one lab: ``pid, lock, log, state.json, id_ed25519, known_hosts, ssh_config, hosts, control``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = state_base() / name

    def file(self, name: str) -> Path:
        """Return the path of one of the lab's files."""
        return self.path / name

    def create(self) -> None:
        """Make the folder, traversable by the lab's own users but listable by nobody else."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(exist_ok=True)
        self.path.chmod(0o711)

    def wipe(self) -> None:
        """Remove what a lab left behind; a lab has nothing else that could be left."""
        for entry in list(self.path.iterdir()) if self.path.is_dir() else []:
            if entry.name == "lock":
                continue  # held by whoever wipes
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def sweep(self) -> None:
        """Remove the folders of this user's other labs that ended without taking them along, as by ``kill -9``."""
        for folder in self.path.parent.iterdir():
            if folder != self.path:
                with suppress(FileNotFoundError):  # another lab that starts sweeps, too
                    StateDir(folder.name).remove_dead()

    def remove_dead(self) -> None:
        """Remove the folder of a lab that is not alive; one that changed within FRESH seconds may be starting."""
        if time.time() - self.path.stat().st_mtime < FRESH or not self.file("lock").exists():
            return
        lock = self.take_lock()
        if lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(lock)

    def take_lock(self) -> int | None:
        """Return a descriptor that holds the lab's lock, None while another process holds it."""
        descriptor = os.open(self.file("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_locked(self) -> bool:
        """Tell whether the lab is alive or being started."""
        if not self.file("lock").exists():
            return False
        descriptor = self.take_lock()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def pid(self) -> int:
        """Return the process id of the lab's first process; raises LabError when the lab is not up."""
        try:
            return int(self.file("pid").read_text())
        except (FileNotFoundError, ValueError):
            raise not_up(self.name) from None

    def read_state(self) -> dict[str, Any]:
        """Return ``state.json``; raises LabError when the lab is not up."""
        try:
            state: dict[str, Any] = json.loads(self.file("state.json").read_text())
        except (FileNotFoundError, ValueError):
            raise not_up(self.name) from None
        return state

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write one of the lab's files whole or not at all."""
        target = self.file(name)
        aside = self.file(f".{name}.new")
        aside.touch(mode=0o600)
        aside.write_text(text)
        aside.chmod(mode)
        aside.replace(target)

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Write ``state.json``."""
        self.write("state.json", json.dumps(state, indent=1) + "\n")


def not_up(name: str) -> LabError:
    """Return the error that says that the lab is not up, and how to bring it up."""
    return LabError(f"the lab {name!r} is not up: start it with `fwproof lab up --name {name}`")
